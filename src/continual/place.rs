//! Where a stream leaves its results: one folder, which grows by the folder of each stage, and the lock that keeps other runs
//! off it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::result::StreamResult;
use crate::adapt::differences_of_runs;
use crate::disk::lock::Lock;
use crate::disk::paths;
use crate::error::{Error, Result};
use crate::files;
use crate::message::Message;

/// What says how far a stream is.
const RESULT: &str = "stream.json";

/// The folder of a stream, and the lock on it.
#[derive(Debug)]
pub struct StreamPlace {
    /// The folder.
    pub out: PathBuf,
    /// Whether an unfinished stream goes on.
    pub(super) resume: bool,
    found: Option<StreamResult>,
    _lock: Lock,
}

impl StreamPlace {
    /// Takes the folder `out`; with `resume` an unfinished stream there goes on.
    ///
    /// # Errors
    /// There is something else in the folder, or an unfinished stream that nobody asked to go on with; another run is at work
    /// there; it cannot be written.
    pub fn take(out: &Path, resume: bool) -> Result<Self> {
        let out = Self::check(out)?;
        let lock = Lock::beside(&out, "adapt")?;
        let found = found_in(&out)?;
        match &found {
            None => files::check_new_folder(&out)?,
            Some(found) if found.done < found.of && !resume => {
                let fault = format!("holds an unfinished stream: {} of {} stages are done", found.done, found.of);
                let cure = Message::new("give ").key("resume").then(" to go on from it, or remove it to start again");
                return Err(Error::file(&out, fault, cure));
            }
            Some(_) => {}
        }
        Ok(Self { out, resume, found, _lock: lock })
    }

    /// Whether a stream could take `out`, as far as that can be said without the lock; its normal form.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn check(out: &Path) -> Result<PathBuf> {
        let out = paths::folder_place(out)?;
        if found_in(&out)?.is_none() {
            files::check_new_folder(&out)?;
        }
        Ok(out)
    }

    /// Whether the folder holds nothing to go on from.
    pub fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// How far the stream has come that is determined by the same.
    ///
    /// # Errors
    /// What is there is another stream's; the message says in what it differs.
    pub(super) fn so_far(&self, determined_by: &Value) -> Result<Option<&StreamResult>> {
        let Some(found) = &self.found else { return Ok(None) };
        let mut differences = differences_of_runs(&found.determined_by, determined_by);
        let counts = [found.domains.len(), found.done];
        if !found.retention.fits(found.of) || counts != [found.of, found.retention.stages()] {
            differences.push("its numbers do not fit together".to_owned());
        }
        match differences.is_empty() {
            true => Ok(Some(found)),
            false => {
                let fault = format!("exists already, with another stream: {}", differences.join(", "));
                Err(Error::file(&self.out, fault, "choose another folder or remove it first"))
            }
        }
    }

    /// Keeps how far the stream is.
    pub(super) fn keep(&self, result: &StreamResult) -> Result<()> {
        files::write_json(&self.out.join(RESULT), result)
    }
}

fn found_in(out: &Path) -> Result<Option<StreamResult>> {
    let file = out.join(RESULT);
    file.is_file().then(|| files::read_json(&file)).transpose()
}
