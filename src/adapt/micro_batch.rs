//! How many of a step's blocks are computed at once: as many as asked for, as far as the device has it in it.
//!
//! A step's loss and gradient are sums over its micro-batches, so that fewer blocks at once change them by rounding
//! alone. Once there were too many, there are fewer for the rest of the run.

use serde::{Deserialize, Serialize};

use super::settings::AdaptSettings;
use crate::error::{Error, Result};

/// From where on fewer blocks were computed at once than asked for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smaller {
    /// The first step, from 1.
    pub step: u64,
    /// Blocks at once from then on.
    pub micro_batch: usize,
    /// Why, in words.
    pub reason: String,
}

/// The blocks that are computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtOnce {
    blocks: usize,
    smaller: Vec<Smaller>,
}

impl AtOnce {
    /// For blocks of `context` tokens on a device that can sum over `most_tokens`; goes on from what made them fewer
    /// `before`.
    ///
    /// # Errors
    /// A block is longer than that alone.
    pub fn new(
        settings: &AdaptSettings,
        context: usize,
        most_tokens: Option<usize>,
        before: Vec<Smaller>,
        step: u64,
    ) -> Result<Self> {
        let asked = settings.micro_batch.min(settings.batch);
        let blocks = before.last().map_or(asked, |last| last.micro_batch.min(asked));
        let mut at_once = Self { blocks, smaller: before };
        if let Some(most) = most_tokens.filter(|most| blocks * context > *most) {
            if context > most {
                let fault =
                    format!("is {context} tokens, and this device leaves out what a sum over tokens has beyond {most}");
                return Err(Error::input("context", fault, "use a shorter one, or another device"));
            }
            let reason = format!("this device leaves out what a sum over tokens has beyond {most}");
            at_once.shrink(step, most / context, reason);
        }
        Ok(at_once)
    }

    /// How many.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// What made them fewer than asked for.
    pub fn smaller(&self) -> &[Smaller] {
        &self.smaller
    }

    /// Half as many from step `step` on; false where it is one already.
    pub fn halve(&mut self, step: u64, reason: String) -> bool {
        let more_than_one = self.blocks > 1;
        if more_than_one {
            self.shrink(step, self.blocks / 2, reason);
        }
        more_than_one
    }

    fn shrink(&mut self, step: u64, blocks: usize, reason: String) {
        tracing::warn!(
            "step {step}: computing {blocks} blocks at once instead of {}, in batches as large as before: {reason}",
            self.blocks
        );
        self.blocks = blocks;
        // A step that is halved again and again is one reduction.
        self.smaller.retain(|earlier| earlier.step != step);
        self.smaller.push(Smaller { step, micro_batch: blocks, reason });
    }
}
