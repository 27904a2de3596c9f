//! The whole experiment over models, domains, strategies and seeds: planned, run, resumed, put together.
//!
//! [`config`] reads a study's TOML and [`ablation`] the grid in it, [`plan`] lists its tasks, [`mod@run`] does what is
//! missing (`distances` and `ranks` hold two kinds of task), and `results` are put together from the tasks' folders by [`collect()`].

pub mod ablation;
pub mod calls;
mod collect;
pub mod config;
mod contents;
mod correlations;
mod distances;
pub mod joint;
mod kept;
mod memory;
pub mod plan;
mod positions;
mod ranks;
mod results;
pub mod run;

use std::path::Path;

pub use collect::collect;
pub use config::StudyConfig;
pub use correlations::correlate;
pub use kept::State;
pub use memory::training_memory;
pub use plan::{Plan, Task, TaskKind};
pub use positions::positions;
pub use results::{
    AblationRow, Base, Call, Correlation, DomainChange, Influence, NullDistance, PartIntervals, PartialCorrelation,
    RestartControl, Row, RowEvidence, RowRank, StudyResults,
};

use crate::device::ChosenDevice;
use crate::disk::lock::Lock;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::progress::Monitor;
use run::Runner;

/// Plans the study and runs its missing tasks in `folder`. Returns its results.
///
/// # Errors
/// The error of the first task that fails or is interrupted; finished tasks stay.
pub fn run(config: StudyConfig, folder: &Path, monitor: &mut dyn Monitor) -> Result<StudyResults> {
    // From here on nobody else works here, so that what is left of other runs is dead.
    let _lock = Lock::inside(folder, "study")?;
    for place in [folder, &folder.join("tasks"), &folder.join("plots")] {
        scratch::sweep_folder(place);
    }
    let devices = config.devices.iter().map(|choice| choice.open()).collect::<Result<Vec<ChosenDevice>>>()?;
    let plan = Plan::new(config, &devices, monitor)?;
    kept::adopt(folder)?;
    plan.write(folder)?;
    let mut missing: Vec<&Task> = Vec::new();
    for task in &plan.tasks {
        if !plan.state(task, folder)?.is_done() {
            missing.push(task);
        }
    }
    let mut runner = Runner::new(&plan, folder, &devices);
    runner.remove_old_checkpoints();
    monitor.begin(&plan.config.name, missing.len() as u64);
    for task in missing {
        monitor.begin(&task.label(), 0);
        runner.run(task, monitor).map_err(|error| match error {
            Error::Interrupted(what) => Error::Interrupted(format!(
                "{}: {what}; tasks that are done stay in {}, give the same command again to go on",
                task.label(),
                folder.display()
            )),
            other => other,
        })?;
        monitor.end();
        monitor.advance(1, "");
    }
    monitor.end();
    collect(folder)
}

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
