//! The files that keep what a run tells: JSON lines, and TensorBoard's events.
//!
//! Both can be read while the run still writes them, and stay readable if the run is killed: each record is written by one
//! write.

mod jsonl;
mod recorded;
mod sparkline;
pub mod tensorboard;

pub use jsonl::is_metrics;
pub use recorded::Recorded;
pub use sparkline::sparkline;
pub use tensorboard::EventFile;
