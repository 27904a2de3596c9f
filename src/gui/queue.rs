//! Studies run one after another on a thread of their own; pages see how they go.

use std::path::{Path, PathBuf};

use egui::Context;

use crate::study::StudyConfig;

/// Something to run.
#[derive(Debug, Clone)]
pub struct Job {
    folder: PathBuf,
    work: Work,
}

/// What a job does.
#[derive(Debug, Clone)]
pub enum Work {
    /// The built-in experiment.
    Demo,
    /// A new study.
    Study(Box<StudyConfig>),
    /// What is missing of a study that has begun.
    Resume,
}

impl Job {
    /// The built-in experiment on a device.
    pub fn demo(_device: &str) -> Self {
        Self { folder: PathBuf::from("odyssey-demo/study"), work: Work::Demo }
    }

    /// A new study in a folder.
    pub fn study(config: StudyConfig, folder: PathBuf) -> Self {
        Self { folder, work: Work::Study(Box::new(config)) }
    }

    /// What is missing of the study in a folder.
    pub fn resume(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), work: Work::Resume }
    }

    /// The study's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The queue and its worker.
pub struct Queue {
    jobs: Vec<Job>,
}

impl Queue {
    /// Starts the worker; `data` is where the application keeps what it makes, the queue itself among it.
    pub fn start(_context: &Context, _data: PathBuf) -> Self {
        Self { jobs: Vec::new() }
    }

    /// One more, at the end.
    pub fn push(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// Whether something runs or waits to.
    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// One line on what runs, for the bottom of the window.
    pub fn headline(&self) -> Option<String> {
        None
    }

    /// Folders of studies whose content changed since the last call.
    pub fn take_changed(&mut self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Asks the running work to save and stop; what waits stays for the next start.
    pub fn stop(&mut self) {}

    /// The same, and waits until it is saved.
    pub fn stop_and_wait(&mut self) {}
}
