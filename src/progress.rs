//! How long work tells how far it is, and hears that it should stop. The library prints nothing itself.

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
