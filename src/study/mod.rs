//! The whole experiment over models, domains, strategies and seeds: planned, run, resumed, put together.
//!
//! [`config`] reads a study's TOML and [`ablation`] the grid in it, [`planning`] lists its tasks, [`mod@run`] does what is
//! missing (each kind of task has a file in `tasks/`), and [`collect()`] makes the results from the tasks' folders.

pub mod ablation;
pub mod calls;
mod collect;
pub mod config;
mod contents;
mod correlations;
pub mod joint;
mod kept;
mod memory;
pub mod plan;
pub mod planning;
mod positions;
mod results;
pub mod run;
pub mod runner;
mod status;
mod task;
mod task_results;
mod tasks;

pub use collect::collect;
pub use config::StudyConfig;
pub use correlations::correlate;
pub use kept::State;
pub use memory::training_memory;
pub use plan::Plan;
pub use positions::positions;
pub use results::{
    AblationRow, Base, Call, Correlation, DomainChange, Influence, NullDistance, PartIntervals, PartialCorrelation,
    RestartControl, Row, RowEvidence, RowRank, StudyResults, arm,
};
pub use run::run;
pub use status::{Status, status};
pub use task::{Adaptation, Task, TaskKind, TaskText, TaskWork};
