//! Studies run one after another on a thread of their own; pages see how they go.
//!
//! [`Queue`] is what the window holds. `worker` runs the jobs, `watch` is the monitor that reports on them, `kept`
//! stores the waiting jobs on disk, and [`state`] is what they share.

mod handle;
mod job;
mod kept;
mod state;
mod watch;
mod worker;

pub use handle::Queue;
pub use job::{Job, Work};
pub use state::{Clock, Curve, Ended, Entry, Level, Outcome, Running, TaskSeen, TrainingSeen, View};
pub(super) use worker::give_way;
