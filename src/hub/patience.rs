//! How often and how long the hub is asked again.

use std::time::{Duration, Instant};

use super::trouble::Trouble;
use crate::progress::Monitor;

/// How often a request is made before its failure counts.
pub(super) const ATTEMPTS: u32 = 5;
/// The same for the first question, which shows whether there is a network.
pub(super) const FIRST_ATTEMPTS: u32 = 2;
/// The pause before the second attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that the hub may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How often somebody who waits looks whether the user wants to stop.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Tries up to `attempts` times while the trouble is temporary.
pub(super) fn repeated<T>(
    attempts: u32,
    monitor: &mut dyn Monitor,
    mut ask: impl FnMut(&mut dyn Monitor) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut patience = Patience::new(attempts);
    loop {
        match ask(monitor) {
            Ok(answer) => return Ok(answer),
            Err(trouble) => patience.after(trouble, monitor)?,
        }
    }
}

/// How long to go on trying.
pub(super) struct Patience {
    failures: u32,
    attempts: u32,
}

impl Patience {
    pub fn new(attempts: u32) -> Self {
        Self { failures: 0, attempts }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The trouble, where another attempt makes no sense.
    pub fn after(&mut self, trouble: Trouble, monitor: &dyn Monitor) -> Result<(), Trouble> {
        self.failures += 1;
        let asked = match &trouble {
            Trouble::Refused { wait, .. } => *wait,
            _ => None,
        };
        // If the hub answers at all, there is a network, and the request is repeated as often as any other.
        let attempts = if matches!(trouble, Trouble::Refused { .. }) { ATTEMPTS } else { self.attempts };
        let wait = asked.unwrap_or(PAUSE * 2_u32.pow(self.failures - 1));
        if !trouble.is_passing() || self.failures >= attempts || wait > LONGEST_WAIT {
            return Err(trouble);
        }
        tracing::debug!(?trouble, ?wait, "asking the hub again");
        if asked.is_some() {
            tracing::warn!("the hub asks to wait {} s", wait.as_secs());
        }
        let since = Instant::now();
        while since.elapsed() < wait {
            if monitor.stopped() {
                return Err(Trouble::Stopped);
            }
            std::thread::sleep(TICK.min(wait - since.elapsed().min(wait)));
        }
        Ok(())
    }
}
