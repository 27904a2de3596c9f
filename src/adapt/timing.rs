//! How fast a recipe trains on this device: micro-batches are timed without changing the model.

use std::time::Instant;

use burn::module::Module;

use super::data::MicroBatch;
use super::objective::Objective;
use super::optimizer::AdamW;
use super::step::training_step;
use crate::error::{Error, Result};
use crate::model::LoadedModel;
use crate::progress::Monitor;
use crate::recipe::{AdaptSettings, Stack};

/// Steps that are run to time one: the first also includes the set-up.
const TIMED: u64 = 2;

/// Targets per second of training `base` with `settings`. One micro-batch is run first; the second is timed.
///
/// # Errors
/// Adapters that the model has no layers for; the device's failure; an interruption.
pub fn tokens_per_second(
    base: &LoadedModel,
    settings: &AdaptSettings,
    batch: &MicroBatch,
    seed: u64,
    monitor: &mut dyn Monitor,
) -> Result<f64> {
    let mut model = Stack::new(settings).trainable(base, seed)?.train();
    let mut optimizer = AdamW::new(settings.adamw);
    let mut rate = f64::NAN;
    monitor.begin("timing a training step", TIMED);
    for _ in 0..TIMED {
        let started = Instant::now();
        // With a rate of 0 the model does not change, and no number can leave its range.
        let done =
            training_step(&Objective::default(), model, &mut optimizer, std::slice::from_ref(batch), 0.0, Some(1.0))?;
        rate = batch.weight() / started.elapsed().as_secs_f64().max(1e-9);
        model = done.model;
        monitor.advance(1, "");
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while timing a training step; nothing was saved".into()));
        }
    }
    monitor.end();
    Ok(rate)
}
