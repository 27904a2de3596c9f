//! Additional pretraining: the same model is trained further on the text of a domain.
//!
//! `train` has the loop, `run` what it does in a step, `training` what it consists of, `determined` what determines it. [`data`] cuts the text into windows and orders them, [`objective`] gives loss and gradient of
//! a micro-batch, [`step`] and [`optimizer`] turn gradients into a step, [`checkpoint`] lets a run stop and resume,
//! [`micro_batch`] fits the work into the memory of the device, [`diary`] writes what a run tells into files. [`find_lr`]
//! tries learning rates, [`timing`] measures the speed on this device, [`stopping`] ends a run early. The settings are
//! [`crate::recipe`].

pub mod checkpoint;
pub mod data;
mod determined;
pub mod diary;
mod epochs;
pub mod find_lr;
mod folder;
pub mod micro_batch;
mod needs;
pub mod objective;
pub mod optimizer;
mod place;
mod result;
mod run;
mod sampling;
mod shortage;
mod state;
pub mod step;
pub mod stopping;
pub mod timing;
mod train;
mod training;
mod validation;

pub use crate::recipe::{AdaptSettings, Strategies, Trainable};
pub use checkpoint::differences_of_runs;
pub use data::trained_tokens;
pub use folder::write;
pub use place::RunPlace;
pub use result::{AdaptResult, Adaptation, Best, Curves, Form};
pub use state::Resumable;
pub use step::{Before, StepDone, training_step, unhindered};
pub use train::adapt;
pub use training::Training;
