//! How long work tells how far it is, and hears that it should stop. The library prints nothing itself.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::adapt::events::Event;
use crate::error::{Error, Result};

/// Watches long work. Every method has a silent default.
pub trait Monitor {
    /// Work of `total` units begins, inside whatever began before it.
    fn begin(&mut self, what: &str, total: u64) {
        let _ = (what, total);
    }

    /// So many more units are done; `note` is what to show beside them, such as the loss.
    fn advance(&mut self, units: u64, note: &str) {
        let _ = (units, note);
    }

    /// Training tells its numbers.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }

    /// What was read of a text, in one line and as JSON, to stand beside the result.
    fn note(&mut self, line: &str, facts: &Value) {
        let _ = (line, facts);
    }

    /// The latest begun work is done.
    fn end(&mut self) {}

    /// Whether the user wants to stop. Work then saves what it has and returns `Error::Interrupted`.
    fn stopped(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Watches nothing, but hears of a wish to stop as the monitor does that it stands for: work within work that is not shown.
pub struct Unseen<'m>(pub &'m dyn Monitor);

impl Monitor for Unseen<'_> {
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}

/// What work is asked for, with who watches it. What takes this also takes the request alone and is silent then.
pub struct Watched<'m, T> {
    /// What is asked for.
    pub request: T,
    monitor: Option<&'m mut dyn Monitor>,
}

impl<'m, T> Watched<'m, T> {
    /// `monitor` watches.
    pub fn by(request: T, monitor: &'m mut dyn Monitor) -> Self {
        Self { request, monitor: Some(monitor) }
    }

    /// The same for another request, made of this one.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Watched<'m, U> {
        Watched { request: change(self.request), monitor: self.monitor }
    }
}

impl<T> From<T> for Watched<'_, T> {
    fn from(request: T) -> Self {
        Self { request, monitor: None }
    }
}

impl<T> Monitor for Watched<'_, T> {
    fn begin(&mut self, what: &str, total: u64) {
        if let Some(monitor) = &mut self.monitor {
            monitor.begin(what, total);
        }
    }

    fn advance(&mut self, units: u64, note: &str) {
        if let Some(monitor) = &mut self.monitor {
            monitor.advance(units, note);
        }
    }

    fn event(&mut self, event: &Event) {
        if let Some(monitor) = &mut self.monitor {
            monitor.event(event);
        }
    }

    fn note(&mut self, line: &str, facts: &Value) {
        if let Some(monitor) = &mut self.monitor {
            monitor.note(line, facts);
        }
    }

    fn end(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.end();
        }
    }

    fn stopped(&self) -> bool {
        self.monitor.as_ref().is_some_and(|monitor| monitor.stopped())
    }
}

/// Work that is mostly too short to be shown: its monitor hears of it once it has taken a while.
pub(crate) struct MaybeLong<'m> {
    monitor: &'m mut dyn Monitor,
    what: String,
    total: u64,
    /// Units that the monitor has not heard of.
    pending: u64,
    since: Instant,
    begun: bool,
}

impl<'m> MaybeLong<'m> {
    /// `what` is what is being done, as in "reading books.txt".
    pub fn new(monitor: &'m mut dyn Monitor, what: String, total: u64) -> Self {
        Self { monitor, what, total, pending: 0, since: Instant::now(), begun: false }
    }

    /// Who watches.
    pub fn monitor(&mut self) -> &mut dyn Monitor {
        self.monitor
    }

    /// So many more units are done.
    ///
    /// # Errors
    /// [`Error::Interrupted`], as the user wants.
    pub fn advance(&mut self, units: u64) -> Result<()> {
        const A_WHILE: Duration = Duration::from_millis(500);
        self.pending += units;
        if !self.begun && self.since.elapsed() > A_WHILE {
            self.monitor.begin(&self.what, self.total);
            self.begun = true;
        }
        if self.begun {
            self.monitor.advance(std::mem::take(&mut self.pending), "");
        }
        match self.monitor.stopped() {
            true => Err(Error::Interrupted(format!("stopped while {}, which starts anew", self.what))),
            false => Ok(()),
        }
    }
}

impl Drop for MaybeLong<'_> {
    fn drop(&mut self) {
        if self.begun {
            self.monitor.end();
        }
    }
}
