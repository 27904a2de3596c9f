//! Early stopping: a run ends when the validation loss has not improved for a while.
//!
//! After re-warming the loss first rises and then falls below where it began (the V of arXiv 2308.04014 and
//! 2406.14833): stopping during the rise would stop at the worst point. So validations before a certain step do not
//! count, nor does the loss of the base. A later validation must be better than the best one since that step.
//!
//! Whether to stop is a function of the validations alone, so that a run that goes on from a checkpoint stops where it
//! would have stopped.

use serde::{Deserialize, Serialize};

use crate::recipe::AdaptSettings;
use crate::recipe::schedule::share_of;

/// Default share of the steps after the warm-up in which the loss may rise at first.
const DIP_SHARE: f64 = 0.25;

/// When a run stops early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many validations in a row without an improvement end the run.
    pub patience: u64,
    /// Validations before this many steps do not count.
    pub after: u64,
}

/// Why a run ended before its last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// Steps done.
    pub step: u64,
    /// Steps that were planned.
    pub of: u64,
    /// Why, in words.
    pub words: String,
}

impl Patience {
    /// The rule for a run of `steps` steps, if the settings have one.
    pub fn new(settings: &AdaptSettings, steps: u64) -> Option<Self> {
        let after = match settings.patience_after {
            Some(after) => share_of(after, steps),
            None => settings.schedule(steps).warmup + share_of(DIP_SHARE, steps),
        };
        settings.patience.map(|patience| Self { patience, after })
    }

    /// The reason why it can never end a run that is validated after these steps (in order), if that is so. After the
    /// first validation that counts, `patience` further ones must follow before the last step.
    pub fn cannot_act(&self, validations: impl Iterator<Item = u64>) -> Option<String> {
        let Self { patience, after } = *self;
        let counted = validations.filter(|&step| step >= after).count() as u64;
        (counted < patience.saturating_add(2)).then(|| {
            format!(
                "a patience of {patience} can end nothing here: from step {after} on, where it begins, there are \
                 {counted} validations, and it takes {} before the last; more validations, a smaller patience or a \
                 smaller share before it would let it",
                patience.saturating_add(1)
            )
        })
    }

    /// Whether these validations, `(steps done, loss)` in order, are enough, and why. A loss that is not finite is not
    /// an improvement.
    pub fn enough(&self, valid_loss: &[(u64, f64)]) -> Option<String> {
        let counted = &valid_loss[valid_loss.partition_point(|(step, _)| *step < self.after)..];
        let (mut best, mut since) = (None::<(u64, f64)>, 0);
        for &(step, loss) in counted {
            if loss.is_finite() && best.is_none_or(|(_, lowest)| loss < lowest) {
                (best, since) = (Some((step, loss)), 0);
            } else {
                since += 1;
            }
        }
        let best = match best {
            Some((step, loss)) => format!("better than {loss:.4}, after step {step}"),
            None => "that is finite".to_owned(),
        };
        let Self { patience, after } = *self;
        (since >= patience).then(|| {
            format!("{since} validations in a row brought nothing {best}; those before step {after} do not count")
        })
    }
}
