//! How many windows of a step are computed at once: as many as asked for, or as many as the memory of the device
//! allows.
//!
//! Loss and gradient of a step are sums over its micro-batches. So a smaller micro-batch changes them only by rounding.
//! After a micro-batch was too large, the rest of the run uses a smaller one.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::recipe::AdaptSettings;

/// The step from which fewer windows were computed at once than asked for, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smaller {
    /// The first step, from 1.
    pub step: u64,
    /// Windows at once from then on.
    pub micro_batch: usize,
    /// Why, in words.
    pub reason: String,
}

/// The windows that are computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtOnce {
    windows: usize,
    smaller: Vec<Smaller>,
}

impl AtOnce {
    /// For windows of `context` tokens on a device that can sum over `most_tokens`; `before` lists the reductions of the
    /// run so far.
    ///
    /// # Errors
    /// A single window is longer than this.
    pub fn new(
        settings: &AdaptSettings,
        context: usize,
        most_tokens: Option<usize>,
        before: Vec<Smaller>,
        step: u64,
    ) -> Result<Self> {
        let asked = settings.micro_batch.min(settings.batch);
        let windows = before.last().map_or(asked, |last| last.micro_batch.min(asked));
        let mut at_once = Self { windows, smaller: before };
        if let Some(most) = most_tokens.filter(|most| windows * context > *most) {
            if context > most {
                let fault =
                    format!("is {context} tokens, and this device leaves out what a sum over tokens has beyond {most}");
                return Err(Error::key("context", fault, "use a shorter one, or another device"));
            }
            let reason = format!("this device leaves out what a sum over tokens has beyond {most}");
            at_once.shrink(step, most / context, reason);
        }
        Ok(at_once)
    }

    /// How many.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// The reductions, with their reasons.
    pub fn smaller(&self) -> &[Smaller] {
        &self.smaller
    }

    /// Halves the number from step `step` on; returns false if it is already one.
    pub fn halve(&mut self, step: u64, reason: String) -> bool {
        let more_than_one = self.windows > 1;
        if more_than_one {
            self.shrink(step, self.windows / 2, reason);
        }
        more_than_one
    }

    fn shrink(&mut self, step: u64, windows: usize, reason: String) {
        tracing::warn!(
            "step {step}: computing {windows} windows at once instead of {}, in batches as large as before: {reason}",
            self.windows
        );
        self.windows = windows;
        // Several halvings in one step count as one reduction.
        self.smaller.retain(|earlier| earlier.step != step);
        self.smaller.push(Smaller { step, micro_batch: windows, reason });
    }
}
