//! The recipe of a training: every setting that determines it, as options of a command and as keys of a file.
//!
//! [`settings`] has the whole table, [`preset`] lays what somebody gives over a named set, [`schedule`] is the learning
//! rate step by step. Nothing here trains: [`crate::adapt`] does, and [`crate::memory`] says what that takes.

mod adamw;
mod batch;
pub mod kept;
mod options;
mod packing;
pub mod preset;
pub mod schedule;
pub mod settings;
mod stack;
pub mod strategies;
mod strategy;
mod table;
mod targets;
mod window_losses;
mod windows;

pub use adamw::AdamWConfig;
pub use batch::MicroBatch;
pub use options::{Given, RecipeOption, options, reference};
pub use packing::{Order, Packing};
pub use preset::RecipeArgs;
pub use schedule::{Decay, DecayShape, Schedule, WarmupShape};
pub use settings::{AdaptSettings, Preset};
pub use stack::Stack;
pub use strategies::{Strategies, Trainable};
pub use strategy::{
    Added, AfterStep, Found, Moment, NamedPlace, Need, Penalty, Remembered, Samples, Scorer, Start, Strategy, Update,
    WeightPlace,
};
pub use targets::{Kept, StepTargets};
pub use window_losses::{WindowLosses, losses};
pub use windows::TrainingWindows;
