//! What a program must know of the disk that others use too: how paths are spelled, who works where, and what must not be
//! overwritten.
//!
//! [`paths`] brings what users write into one form. [`lock`] keeps a second run off a folder, [`scratch`] names files that
//! are not whole yet and removes what dead runs left of them; both ask [`owner`] whether a process still runs. [`outputs`]
//! guards what a command would write over.

pub mod hashes;
pub mod lock;
pub(crate) mod mounts;
pub mod ordinary;
pub mod outputs;
pub mod owner;
pub mod paths;
pub mod scratch;
