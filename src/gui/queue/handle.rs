//! The queue as the window holds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use egui::Context;

use super::job::Job;
use super::state::{Shared, View};
use super::{kept, worker};
use crate::gui::theme;

/// The queue and its worker.
pub struct Queue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Queue {
    /// Starts the worker; `data` is the folder for the application's own files, including the queue. Jobs that an
    /// earlier start left unfinished are offered, not started.
    pub fn start(context: &Context, data: PathBuf) -> Self {
        let shared = Arc::new(Shared::new(context.clone()));
        let keeper = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("queue".into()).spawn(move || kept::keep(&shared, &data))
        };
        let worker = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("worker".into()).spawn(move || worker::run(&shared))
        };
        let mut threads = Vec::new();
        for thread in [keeper, worker] {
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => shared.lock().trouble = Some(format!("nothing can be run: {error}; start odyssey again")),
            }
        }
        Self { shared, threads }
    }

    /// Adds a job at the end, unless one with the same folder is already there.
    pub fn push(&mut self, job: Job) {
        self.shared.change(|state| {
            let running = state.running.iter().map(|running| &running.entry);
            if running.chain(&state.waiting).any(|entry| entry.job.folder == job.folder) {
                return;
            }
            state.offered.retain(|entry| entry.job.folder != job.folder);
            state.past.retain(|ended| ended.entry.job.folder != job.folder);
            let entry = state.entry(job);
            state.waiting.push(entry);
        });
    }

    /// Whether something runs, or waits and will run.
    pub fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.running.is_some() || (!state.held && !state.waiting.is_empty())
    }

    /// One line on what runs, for the bottom of the window.
    pub fn headline(&self) -> Option<String> {
        let state = self.shared.lock();
        let Some(running) = &state.running else {
            let words = match state.waiting.len() {
                0 => return None,
                1 => "1 study waits".to_owned(),
                n => format!("{n} studies wait"),
            };
            return Some(format!("{words}; the queue is held"));
        };
        Some(theme::visible(&running.headline(state.paused)))
    }

    /// Folders of studies whose content changed since the last call.
    pub fn take_changed(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.shared.lock().changed)
    }

    /// The view, if it is newer than version `known`, with its version.
    pub fn newer(&self, known: u64) -> Option<(u64, View)> {
        let state = self.shared.lock();
        (state.revision != known).then(|| (state.revision, state.view()))
    }

    /// Holds the running work at its next step, or lets it go on.
    pub fn pause(&mut self, paused: bool) {
        self.shared.change(|state| state.paused = paused);
    }

    /// Whether the queue starts nothing more by itself.
    pub fn hold(&mut self, held: bool) {
        self.shared.change(|state| state.held = held);
    }

    /// Asks the running work to save and stop; the next in the queue then has its turn.
    pub fn stop_running(&mut self) {
        self.shared.change(|state| state.stop = state.running.is_some());
    }

    /// Takes what waits out of the queue.
    pub fn remove(&mut self, id: u64) {
        self.shared.change(|state| state.waiting.retain(|entry| entry.id != id));
    }

    /// Moves a waiting job one place up.
    pub fn move_up(&mut self, id: u64) {
        self.shared.change(|state| {
            if let Some(at) = state.waiting.iter().position(|entry| entry.id == id).filter(|&at| at > 0) {
                state.waiting.swap(at - 1, at);
            }
        });
    }

    /// Queues a job that an earlier start left unfinished.
    pub fn take_up(&mut self, id: u64) {
        self.shared.change(|state| {
            if let Some(at) = state.offered.iter().position(|entry| entry.id == id) {
                let entry = state.offered.remove(at);
                state.waiting.push(entry);
            }
        });
    }

    /// Removes an unfinished job of an earlier start, or an ended job, from the list; the folder stays.
    pub fn forget(&mut self, id: u64) {
        self.shared.change(|state| {
            state.offered.retain(|entry| entry.id != id);
            state.past.retain(|ended| ended.entry.id != id);
        });
    }

    /// Asks the running work to save and stop; it and what waits stay for the next start.
    pub fn stop(&mut self) {
        self.shared.change(|state| {
            state.held = true;
            state.stop = state.running.is_some();
            state.put_back = true;
        });
    }

    /// The same, and waits until it is saved.
    pub fn stop_and_wait(&mut self) {
        self.stop();
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.change(|_| ());
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Queue {
    /// The thread is not joined: unsaved work is done again at the next start.
    fn drop(&mut self) {
        self.stop();
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.change(|_| ());
    }
}
