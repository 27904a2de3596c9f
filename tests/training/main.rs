//! Training: steps, schedules, stopping, and what survives a kill.

mod adaptation;
#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod continual;
mod merge;
mod remedies;
mod schedules;
mod strategies;
mod survival;
mod watching;
mod wise_ft;
