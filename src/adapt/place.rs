//! Where a run leaves its result, from its first instant to its last: the new folder, the checkpoint beside it, and the
//! lock that keeps other runs off both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::checkpoint::differences_of_runs;
use super::folder;
use super::result::{AdaptResult, Adaptation, Form};
use super::state::Resumable;
use crate::disk::lock::Lock;
use crate::disk::{paths, scratch};
use crate::error::{Error, Result};
use crate::files;
use crate::message::Message;
use crate::model::LoadedModel;

/// A new folder, its checkpoint, and the lock on them.
#[derive(Debug)]
pub struct RunPlace {
    /// The folder of the result.
    pub out: PathBuf,
    checkpoint: PathBuf,
    resume: bool,
    /// What is in the folder, if it is the whole result of a run.
    found: Option<AdaptResult>,
    _lock: Lock,
}

impl RunPlace {
    /// Takes the new folder `out` for a run that leaves `form` there, and does `work` (a word, for whoever comes second).
    /// With `resume` it goes on from a checkpoint.
    ///
    /// # Errors
    /// The folder has something in it that is no run's result; it cannot be written; another run is at work there; a
    /// checkpoint is there that nobody asked for.
    pub fn take(out: &Path, form: Form, resume: bool, work: &str) -> Result<Self> {
        let out = Self::check(out, form)?;
        let lock = Lock::beside(&out, work)?;
        let found = folder::result_in(&out, form);
        if found.is_none() {
            files::check_new_folder(&out)?; // another run may have filled it before the lock was free
        }
        let checkpoint = paths::with_ending(&out, ".checkpoint");
        if checkpoint.exists() && !resume && found.is_none() {
            let fault = "is left by an interrupted run";
            let cure = Message::new("give ").key("resume").then(" to go on from it, or remove it to start again");
            return Err(Error::file(&checkpoint, fault, cure));
        }
        for place in [&out, &checkpoint] {
            scratch::sweep_locked(place);
        }
        Ok(Self { out, checkpoint, resume, found, _lock: lock })
    }

    /// Whether a run could take `out`, as far as that can be said without the lock; its normal form.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn check(out: &Path, form: Form) -> Result<PathBuf> {
        let out = paths::folder_place(out)?;
        if folder::result_in(&out, form).is_none() {
            files::check_new_folder(&out)?;
        }
        Ok(out)
    }

    /// Whether the folder holds the whole result of some run already.
    pub fn is_filled(&self) -> bool {
        self.found.is_some()
    }

    /// Where a run is to be resumed and there is nothing to go on from: the checkpoint that is missing.
    pub fn lacks_checkpoint(&self) -> Option<&Path> {
        (self.resume && self.found.is_none() && !self.checkpoint.exists()).then_some(&self.checkpoint)
    }

    /// How the run is kept: every so many steps, and after `longest` at the latest.
    pub fn resumable<'a>(&'a self, every: Option<u64>, longest: Duration, how_to_resume: &'a str) -> Resumable<'a> {
        Resumable { path: &self.checkpoint, resume: self.resume, every, longest, how_to_resume }
    }

    /// The result in the folder where it is that of this very run, which was ended after it was written or is given a
    /// second time.
    ///
    /// # Errors
    /// The result is another run's.
    pub fn result_of(&self, determined_by: &Value) -> Result<Option<AdaptResult>> {
        let Some(found) = &self.found else { return Ok(None) };
        let differences = differences_of_runs(&found.determined_by, determined_by);
        if !differences.is_empty() {
            let fault = format!("exists already, with the result of another run: {}", differences.join(", "));
            return Err(Error::file(&self.out, fault, "choose another folder or remove it first"));
        }
        self.remove_checkpoint();
        Ok(Some(AdaptResult { out: self.out.display().to_string(), ..found.clone() }))
    }

    /// Writes the result, and removes the checkpoint.
    ///
    /// # Errors
    /// The system's. The checkpoint stays then.
    pub fn write(&self, adaptation: &mut Adaptation, base: &LoadedModel) -> Result<()> {
        folder::write(adaptation, base, &self.out)?;
        self.remove_checkpoint();
        Ok(())
    }

    /// What it says is whole elsewhere.
    fn remove_checkpoint(&self) {
        if let Err(error) = std::fs::remove_file(&self.checkpoint)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{}: cannot be removed: {error}; it is not needed any more", self.checkpoint.display());
        }
    }
}
