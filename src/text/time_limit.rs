//! Libraries that panic or compute without end on malformed files: they get a time limit and a thread of their own.

use std::io;
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::guard::without_panic;

/// Why work gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It panicked.
    Panicked,
    /// It took longer than it may.
    Overdue,
    /// The system had no thread for it.
    NoThread(io::Error),
}

/// Stack of a thread for guarded work, bytes: some libraries go deep into nested files.
const STACK: usize = 64 << 20;
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long work may go on after it was told to give up.
const GRACE: u32 = 50;

/// Lets `work` run on a thread of its own for at most this long. Where it is overdue, searches by patterns are made to give
/// up; what does not end even so is left behind.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    limit_patterns();
    let (sender, receiver) = channel();
    let guarded = move || {
        // Nobody may be waiting any more.
        let _ = sender.send(without_panic(work));
    };
    thread::Builder::new().stack_size(STACK).spawn(guarded).map_err(NoAnswer::NoThread)?;
    // Ticks, not the clock: a process that was stopped for an hour has not worked for an hour.
    let ticks = limit.as_millis().div_ceil(TICK.as_millis()) as u32;
    for tick in 0..ticks + GRACE {
        match receiver.recv_timeout(TICK) {
            Ok(_) if tick >= ticks => break,
            Ok(done) => return done.ok_or(NoAnswer::Panicked),
            Err(RecvTimeoutError::Disconnected) => return Err(NoAnswer::Panicked),
            Err(RecvTimeoutError::Timeout) if tick + 1 == ticks => set_pattern_limit(1),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    set_pattern_limit(MOST_RETRIES);
    Err(NoAnswer::Overdue)
}

/// Ways that one search by a pattern may try: more than a run of 30 million spaces needs under LLaMA 3's own pattern. It takes
/// a second or two; what needs more has a pattern with which time doubles for each character.
const MOST_RETRIES: u32 = 1 << 26;
/// Places that one search may keep to come back to; each takes some 40 bytes.
const MOST_PLACES: u32 = 1 << 25;

/// Limits what searches of the pattern library, Oniguruma, may do; beyond that they fail. Its own limit stops a run of
/// ten million spaces, and there is none for memory.
fn limit_patterns() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_pattern_limit(MOST_RETRIES);
        // SAFETY: sets a number that searches read when they begin.
        unsafe { onig_sys::onig_set_match_stack_limit_size(MOST_PLACES) };
    });
}

fn set_pattern_limit(retries: u32) {
    // SAFETY: both set a number that searches read when they begin; a search elsewhere that begins at this moment has the
    // one limit or the other.
    unsafe {
        onig_sys::onig_set_retry_limit_in_match(retries.into());
        onig_sys::onig_set_retry_limit_in_search(retries.into());
    }
}
