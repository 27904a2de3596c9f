//! The recipe of a training: every setting that determines it, as options of a command and as keys of a file.
//!
//! [`settings`] has the whole table, [`preset`] lays what somebody gives over a named set, [`schedule`] is the learning
//! rate step by step. Nothing here trains: [`crate::adapt`] does, and [`crate::memory`] says what that takes.

mod adamw;
mod packing;
pub mod preset;
pub mod schedule;
pub mod settings;

pub use adamw::AdamWConfig;
pub use packing::{Order, Packing};
pub use preset::RecipeArgs;
pub use schedule::{Decay, DecayShape, Schedule, WarmupShape};
pub use settings::{AdaptSettings, Preset, Strategy};
