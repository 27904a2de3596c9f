//! How far a study is.

use std::path::Path;

use super::kept::State;
use super::plan::Plan;
use super::task::Task;
use crate::error::Result;

/// A study's progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Tasks with their labels and what stands in their folders.
    pub tasks: Vec<(String, State)>,
}

/// Which tasks of the study in `folder` are done.
pub fn status(folder: &Path) -> Result<Status> {
    Plan::read(folder)?.status(folder)
}

impl Plan {
    /// Which of its tasks are done in `folder`.
    ///
    /// # Errors
    /// The system's.
    pub fn status(&self, folder: &Path) -> Result<Status> {
        let state = |task: &Task| Ok((task.label(), self.state(task, folder)?));
        Ok(Status { tasks: self.tasks.iter().map(state).collect::<Result<_>>()? })
    }
}
