//! Which epoch a step belongs to, where epochs may differ in length.

use crate::error::{Error, Result};
use crate::recipe::AdaptSettings;

/// The steps of a run, by epoch.
pub struct Epochs {
    /// Steps of each epoch; after the last of them the first comes again.
    steps: Vec<u64>,
    total: u64,
}

impl Epochs {
    /// Of a training text of `windows` windows. `plan` says how many of them each epoch reads, if it is not all.
    ///
    /// # Errors
    /// An epoch that is shorter than a batch and would read nothing.
    pub fn new(settings: &AdaptSettings, windows: usize, plan: Option<Vec<usize>>) -> Result<Self> {
        let (steps, per_epoch) = settings.steps(windows)?;
        let Some(plan) = plan else { return Ok(Self { steps: vec![per_epoch], total: steps }) };
        let steps: Vec<u64> =
            plan.iter().map(|&read| settings.steps(read).map(|(_, steps)| steps)).collect::<Result<_>>()?;
        let once: u64 = steps.iter().sum();
        if once == 0 {
            return Err(Error::input(
                "the training text",
                "the plan of epochs reads nothing of it",
                "use another plan",
            ));
        }
        let total = settings.steps.unwrap_or(once).min(settings.max_steps.unwrap_or(u64::MAX));
        Ok(Self { steps, total })
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.total
    }

    /// Steps of an epoch.
    pub fn steps_of(&self, epoch: u64) -> u64 {
        self.steps[(epoch % self.steps.len() as u64) as usize]
    }

    /// The epoch of the step after `done` steps, and how many of its steps are done; both from 0.
    pub fn at(&self, done: u64) -> (u64, u64) {
        let once: u64 = self.steps.iter().sum();
        let (rounds, mut within) = (done / once, done % once);
        for (epoch, &steps) in self.steps.iter().enumerate() {
            if within < steps {
                return (rounds * self.steps.len() as u64 + epoch as u64, within);
            }
            within -= steps;
        }
        (rounds * self.steps.len() as u64, within) // `within` is below the sum
    }
}
