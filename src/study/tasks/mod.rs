//! What each kind of task does, a file each.

pub(super) mod adapt;
mod ranks;
pub(super) mod reference;
mod sample;
mod scores;
pub(super) mod similarity;
pub(super) mod zero_shot;
