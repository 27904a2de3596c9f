//! What the model trains on.

use crate::recipe::AdaptSettings;
pub use crate::recipe::{MicroBatch, Order, Packing, TrainingWindows};

/// Targets of all steps of a run, also of steps that an earlier process did.
pub fn trained_tokens(windows: &TrainingWindows, settings: &AdaptSettings, steps: u64, steps_per_epoch: u64) -> u64 {
    let epochs = steps / steps_per_epoch;
    let batch = settings.batch;
    let targets = |epoch: u64, steps: u64| -> u64 {
        windows.epoch(epoch).iter().take(steps as usize * batch).map(|&window| windows.targets(window) as u64).sum()
    };
    (0..epochs).map(|epoch| targets(epoch, steps_per_epoch)).sum::<u64>() + targets(epochs, steps % steps_per_epoch)
}
