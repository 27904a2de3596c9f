//! A job of the queue: what is run, and in which folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::device::DeviceChoice;
use crate::study::{self, StudyConfig};

/// The seed of the demo, as in the command line.
const DEMO_SEED: u64 = 42;

/// Something to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name until the study's own name is known.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) work: Work,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// The built-in experiment; its corpora and base model lie beside the study's folder.
    Demo {
        /// What `--device` would say.
        device: String,
        /// Of everything.
        seed: u64,
    },
    /// A new study.
    Study(Box<StudyConfig>),
    /// The missing tasks of a study.
    Resume,
}

impl Job {
    /// The built-in experiment on a device, in a folder of `data`: if an earlier demo is not finished, its folder.
    pub fn demo(data: &Path, device: &str) -> Self {
        let studies = data.join("studies");
        let is_free = |folder: &PathBuf| match study::status(folder) {
            Ok(status) => status.tasks.iter().any(|(_, state)| !state.is_done()),
            Err(_) => !folder.exists(), // its corpora may be there already
        };
        let folders = (1..).map(|number: u32| studies.join(format!("demo-{number}")).join("study"));
        let folder = folders.into_iter().find(is_free).unwrap_or_else(|| studies.join("demo/study"));
        Self { name: "Demo".into(), folder, work: Work::Demo { device: device.to_owned(), seed: DEMO_SEED } }
    }

    /// A new study in a folder.
    pub fn study(config: StudyConfig, folder: PathBuf) -> Self {
        Self { name: config.name.clone(), folder, work: Work::Study(Box::new(config)) }
    }

    /// A job for the missing tasks of the study in a folder.
    pub fn resume(folder: &Path) -> Self {
        let name =
            folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned());
        Self { name, folder: folder.to_owned(), work: Work::Resume }
    }

    /// The study's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it computes, as far as that is known before it runs.
    pub fn device(&self) -> Option<String> {
        match &self.work {
            Work::Demo { device, .. } => Some(device.clone()),
            Work::Study(config) => {
                Some(config.devices.iter().map(DeviceChoice::to_string).collect::<Vec<_>>().join(", "))
            }
            Work::Resume => None,
        }
    }
}
