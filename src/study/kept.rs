//! Results that are kept in a study's folder: whether they are whole, and what becomes of those that are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::task::Task;
use super::task_results::{
    ADAPT, AdaptTaskResult, EVAL, PER_TOKEN, RANKS, REFERENCE, ReferenceResult, SAMPLE, SIMILARITY,
    SimilarityTaskResult,
};
use crate::error::{Error, Result};
use crate::evaluate::{EvalResult, per_token};
use crate::seal::{self, Damage, Folder};
use crate::similarity::stored;
use crate::{files, rank};

/// What stands in a task's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// Its result.
    Done,
    /// Its result, which an older version wrote without checksums.
    Unchecked,
    /// What must not be used: it is not as it was written, or was made with another tokenizer.
    Damaged(Damage),
}

impl State {
    /// Whether there is a result to use.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Unchecked)
    }
}

impl Plan {
    /// What stands in the folder of `task`, every file of it read, in the study in `folder`.
    ///
    /// # Errors
    /// The system's.
    pub fn state(&self, task: &Task, folder: &Path) -> Result<State> {
        let result = folder.join(&task.folder);
        Ok(match seal::check_folder(&result, &self.made_with(task))? {
            Folder::Missing => State::Missing,
            Folder::Whole => State::Done,
            Folder::Unlisted if !self.sealed => State::Unchecked,
            Folder::Unlisted => {
                State::Damaged(Damage { file: result.join(seal::LIST), fault: "is missing".to_owned() })
            }
            Folder::Damaged(damage) => State::Damaged(damage),
        })
    }

    /// What determines a result beside what the name of its folder stands for.
    pub(super) fn made_with(&self, task: &Task) -> BTreeMap<String, String> {
        let tokenizer = self.contents.model(&task.model).and_then(|model| model.tokenizer.clone());
        tokenizer.map(|hash| ("tokenizer".to_owned(), hash)).into_iter().collect()
    }

    /// The folder of a task whose result another one needs.
    ///
    /// # Errors
    /// [`Error::Input`] where it is missing or not whole.
    pub(super) fn result_of(&self, task: &Task, folder: &Path) -> Result<PathBuf> {
        let result = folder.join(&task.folder);
        match self.state(task, folder)? {
            State::Done | State::Unchecked => Ok(result),
            State::Damaged(damage) => Err(unusable(&damage)),
            State::Missing => Err(Error::file(&result, "is missing", "run the study again, which computes it")),
        }
    }
}

/// The error for a result that must not be used.
pub(super) fn unusable(Damage { file, fault }: &Damage) -> Error {
    Error::file(file, fault.as_str(), "run the study again: this task alone is computed anew")
}

/// Gives the results of a study that an older version ran their checksums, if it is one. What cannot be read is left
/// without, so that it is computed anew.
pub(super) fn adopt(study: &Path) -> Result<()> {
    match Plan::read(study) {
        Ok(plan) if plan.sealed => return Ok(()),
        Err(error) if Plan::is_in(study) => tracing::warn!("{error}; the study is planned anew"),
        _ => {}
    }
    let mut adopted = 0;
    for entry in std::fs::read_dir(study.join("tasks")).into_iter().flatten().flatten() {
        let (folder, hidden) = (entry.path(), entry.file_name().to_string_lossy().starts_with('.'));
        if hidden || !folder.is_dir() || folder.join(seal::LIST).symlink_metadata().is_ok() {
            continue;
        }
        match readable(&folder) {
            Ok(()) => {
                seal::adopt(&folder)?;
                adopted += 1;
            }
            Err(error) => tracing::warn!("{}: is not taken for a result: {error}", folder.display()),
        }
    }
    if adopted > 0 {
        tracing::warn!(
            "{}: {adopted} results of an older version had no checksums; they are taken as they are, and have them now",
            study.display()
        );
    }
    Ok(())
}

/// Whether every file of a result can be read.
fn readable(folder: &Path) -> Result<()> {
    let at = |file: &str| Some(folder.join(file)).filter(|path| path.exists());
    if let Some(path) = at(REFERENCE) {
        files::read_json::<ReferenceResult>(&path)?;
        stored::read(&folder.join(SAMPLE)).map(drop)
    } else if let Some(path) = at(SIMILARITY) {
        files::read_json::<SimilarityTaskResult>(&path).map(drop)
    } else if let Some(path) = at(EVAL) {
        files::read_json::<EvalResult>(&path)?;
        if let Some(ranks) = at(RANKS) {
            files::read_json::<rank::Ranks>(&ranks)?;
        }
        per_token::read_kept(&folder.join(PER_TOKEN)).map(drop)
    } else if let Some(path) = at(ADAPT) {
        files::read_json::<AdaptTaskResult>(&path)?;
        at(PER_TOKEN).map_or(Ok(()), |path| per_token::read_kept(&path).map(drop))
    } else {
        Err(Error::file(folder, "holds no result of a study", "remove it"))
    }
}
