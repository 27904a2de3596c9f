//! The queue on disk: waiting and running jobs, so that a crash or a restart loses none.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Job;
use super::state::{Shared, State};
use crate::error::{Error, Result};
use crate::files;

/// The file in the application's folder.
const FILE: &str = "queue.json";
/// A lock of the window that owns the file.
const LOCK: &str = "queue.lock";
const SCHEMA: &str = "odyssey.queue/1";

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    schema: String,
    /// What was running, then what waits.
    jobs: Vec<Job>,
}

/// Offers the jobs of the file, and writes the file again at every change until the program ends.
pub(super) fn keep(shared: &Shared, data: &Path) {
    let _lock = match lock(data) {
        Ok(lock) => lock,
        Err(error) => return shared.change(|state| state.trouble = Some(error.to_string())),
    };
    let path = data.join(FILE);
    match read(&path) {
        Ok(jobs) => shared.change(|state| {
            for job in jobs {
                let entry = state.entry(job);
                state.offered.push(entry);
            }
        }),
        Err(error) => shared.change(|state| state.trouble = Some(error.to_string())),
    }
    let mut written = 0;
    let mut state = shared.lock();
    loop {
        // The worker finishes first: a job that it stopped goes back into the queue.
        let ends = shared.closing.load(Ordering::SeqCst) && state.running.is_none();
        if state.edition != written {
            written = state.edition;
            let kept = Kept { schema: SCHEMA.into(), jobs: unfinished(&state) };
            drop(state);
            let done = if kept.jobs.is_empty() && !path.exists() { Ok(()) } else { files::write_json(&path, &kept) };
            state = shared.lock();
            let trouble = done.err().map(|error| format!("the waiting jobs are not saved for the next start: {error}"));
            if trouble.is_some() && state.trouble != trouble {
                state.trouble = trouble;
                state.revision += 1;
                shared.repaint();
            }
        } else if ends {
            return;
        } else {
            state = shared.wait(state);
        }
    }
}

fn unfinished(state: &State) -> Vec<Job> {
    let running = state.running.iter().map(|running| &running.entry);
    running.chain(&state.waiting).chain(&state.offered).map(|entry| entry.job.clone()).collect()
}

fn read(path: &Path) -> Result<Vec<Job>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let kept: Kept = files::read_json(path)?;
    if kept.schema != SCHEMA {
        let fault = format!("is {:?}, expected {SCHEMA:?}", kept.schema);
        return Err(Error::file(path, fault, "another version of odyssey wrote it; it is replaced"));
    }
    Ok(kept.jobs)
}

/// Two windows would overwrite each other's.
fn lock(data: &Path) -> Result<File> {
    fs::create_dir_all(data).map_err(|e| Error::writing(data, e))?;
    let path = data.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Error::writing(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let fault = "another window of odyssey keeps its queue here";
            Err(Error::file(data, fault, "the waiting jobs of this window are lost when it is closed"))
        }
        Err(TryLockError::Error(error)) => Err(Error::writing(&path, error)),
    }
}
