//! What a run will need in memory, before it starts: what the device has, and what would fit where it does not.
//!
//! [`work`] says what is to be done, `sizes` counts what it takes of a model of given sizes, [`plan`] compares that with what
//! is free.

pub mod plan;
mod sizes;
pub mod work;

pub use plan::{Alternative, MemoryPlan};
pub use sizes::Part;
pub use work::{EncoderSize, Training, Work};
