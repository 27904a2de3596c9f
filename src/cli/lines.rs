//! Progress as plain lines: every minute or every twentieth of the work at hand, whichever comes first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odyssey::progress::Event;
use odyssey::progress::Monitor;

use super::say;

/// The longest without a line.
const LONGEST: Duration = Duration::from_secs(60);
/// Parts of the work that are told of.
const PARTS: u64 = 20;
/// Work that is done sooner needs no line, and lines come no faster than this.
const SHORT: Duration = Duration::from_secs(2);

/// Tells of work within work on standard error.
#[derive(Default)]
pub struct Lines {
    told: Arc<Mutex<Told>>,
    /// Whether a thread sees to the lines of every minute.
    watched: bool,
}

/// What is told of.
struct Told {
    /// Work within work, the outermost first.
    stack: Vec<Work>,
    /// When the latest line was written, or the first work began.
    last: Instant,
}

struct Work {
    what: String,
    /// Units in all; 0 where nobody knows.
    total: u64,
    done: u64,
    /// Units that were done before, by an earlier process.
    before: u64,
    note: String,
    began: Instant,
    /// Parts that were told of.
    parts: u64,
}

impl Lines {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to a line every minute also while nothing advances; without a thread for it there is none then.
    fn watch(&mut self) {
        if self.watched {
            return;
        }
        self.watched = true;
        let told = Arc::downgrade(&self.told);
        let watch = move || {
            while let Some(told) = told.upgrade() {
                told.lock().unwrap_or_else(PoisonError::into_inner).tell_when_long();
                drop(told);
                std::thread::sleep(Duration::from_secs(1));
            }
        };
        let _ = std::thread::Builder::new().name("progress".into()).spawn(watch);
    }
}

impl Monitor for Lines {
    fn begin(&mut self, what: &str, total: u64) {
        self.watch();
        let began = Instant::now();
        let mut told = self.told();
        if told.stack.is_empty() {
            told.last = began;
        }
        told.stack.push(Work { what: what.into(), total, done: 0, before: 0, note: String::new(), began, parts: 0 });
    }

    fn advance(&mut self, units: u64, note: &str) {
        let mut told = self.told();
        let Some(work) = told.stack.last_mut() else { return };
        work.done += units;
        note.clone_into(&mut work.note);
        let parts = work.parts_done();
        // The end is told by the result.
        if parts > work.parts && parts < PARTS && work.began.elapsed() >= SHORT && told.last.elapsed() >= SHORT {
            told.tell();
        } else {
            told.tell_when_long();
        }
    }

    fn event(&mut self, event: &Event) {
        if let (Event::Begun { step, .. }, Some(work)) = (event, self.told().stack.last_mut()) {
            work.before = *step;
            work.parts = work.parts_done();
        }
    }

    fn end(&mut self) {
        self.told().stack.pop();
    }
}

impl Default for Told {
    fn default() -> Self {
        Self { stack: Vec::new(), last: Instant::now() }
    }
}

impl Told {
    fn tell_when_long(&mut self) {
        if !self.stack.is_empty() && self.last.elapsed() >= LONGEST {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.last = Instant::now();
        if let Some(work) = self.stack.last_mut() {
            work.parts = work.parts_done();
        }
        let parts: Vec<String> = self.stack.iter().map(Work::words).collect();
        say::note(&parts.join(": "));
    }
}

impl Work {
    fn parts_done(&self) -> u64 {
        (u128::from(self.done) * u128::from(PARTS) / u128::from(self.total.max(1))) as u64
    }

    /// `training 1500 of 3000 (50 %), loss 2.345, 41 s left`.
    fn words(&self) -> String {
        let Self { what, total, done, before, note, began, .. } = self;
        let took = began.elapsed();
        if *total == 0 {
            return format!("{what}, {} so far", duration(took));
        }
        let share = 100.0 * *done as f64 / *total as f64;
        let note = if note.is_empty() { String::new() } else { format!(", {note}") };
        let now = done.saturating_sub(*before);
        let left = match now {
            0 => String::new(),
            _ => {
                let seconds = took.as_secs_f64() * total.saturating_sub(*done) as f64 / now as f64;
                let left = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                format!(", {} left", duration(left))
            }
        };
        format!("{what} {done} of {total} ({share:.0} %){note}{left}")
    }
}

/// A length of time for people: `41 s`, `12 min`, `3 h 20 min`.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
