//! The studies of the home page and the state of each.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::study::Plan;

/// A file that the folder of every study has from the start.
const PLAN: &str = "plan.json";

/// A folder on the home page.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The study's folder.
    pub folder: PathBuf,
    /// Its name; the folder's where it cannot be read.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// When something was last written in it.
    pub changed: Option<SystemTime>,
}

/// How far a study is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Every task is done.
    Finished {
        /// Domains.
        domains: usize,
    },
    /// Some are missing; running it again goes on.
    Unfinished {
        /// Tasks done.
        done: usize,
        /// Of so many.
        of: usize,
    },
    /// The folder is gone.
    Gone,
    /// It cannot be read, and why.
    Broken(String),
}

impl Entry {
    /// Looks into a folder. A fault becomes its state, not an error.
    pub fn of(folder: &Path) -> Self {
        let called = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut name = called.unwrap_or_else(|| folder.display().to_string());
        let changed = std::fs::metadata(folder).and_then(|about| about.modified()).ok();
        let state = match (folder.is_dir(), look(folder)) {
            (false, _) => State::Gone,
            (true, Err(error)) => State::Broken(error.to_string()),
            (true, Ok((called, state))) => {
                name = called;
                state
            }
        };
        Self { folder: folder.to_owned(), name, state, changed }
    }
}

fn look(folder: &Path) -> Result<(String, State)> {
    let plan = Plan::read(folder)?;
    // Whether results are whole is asked where they are read: a list of studies is not to read them all.
    let (done, of) = (plan.tasks.iter().filter(|task| task.is_done(folder)).count(), plan.tasks.len());
    let state = match done == of {
        true => State::Finished { domains: plan.config.domains.len() },
        false => State::Unfinished { done, of },
    };
    Ok((plan.config.name, state))
}

/// Whether a folder is a study's.
pub fn is_study(folder: &Path) -> bool {
    folder.join(PLAN).exists()
}

/// The folders of studies in `folder`, by name, or the folder itself where it is one; the demo keeps its study in a
/// subfolder.
///
/// # Errors
/// The folder cannot be read, or holds no study.
pub fn studies_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_study(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::reading(folder, e))?;
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::reading(folder, e))?.path();
        let deeper = path.join("study");
        match (is_study(&path), is_study(&deeper)) {
            (true, _) => found.push(path),
            (false, true) => found.push(deeper),
            (false, false) => {}
        }
    }
    found.sort();
    if found.is_empty() {
        let cure = "name the folder that `odyssey study run --out` or `odyssey demo --out` made, or a folder with such folders";
        return Err(Error::file(folder, "holds no study", cure));
    }
    Ok(found)
}
