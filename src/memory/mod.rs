//! The memory that a run needs, computed before it starts: what the device has, and which other settings would fit.
//!
//! [`work`] says what is to be done, `sizes` counts what it takes of a model of given sizes, [`plan`] compares that with what
//! is free.

pub mod plan;
mod sizes;
pub mod work;

pub use plan::{Alternative, MemoryPlan};
pub use sizes::Part;
pub use work::{EncoderSize, Training, Work};
