//! One optimiser step: its gradient, whether that can be trusted, and the update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::data::MicroBatch;
use super::objective::{Backward, Objective};
use super::optimizer::{self, AdamW};
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, Precision};
use crate::progress::Monitor;

/// What one optimiser step did.
pub struct StepDone {
    /// The model after it.
    pub model: LanguageModel,
    /// Loss before it, nats per target.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// One optimiser step over `batches`, whose gradients are accumulated.
///
/// # Errors
/// [`Error::Numeric`] when loss or gradient is not finite; the device's failure.
pub fn training_step(
    objective: &Objective,
    mut model: LanguageModel,
    optimizer: &mut AdamW,
    batches: &[MicroBatch],
    lr: f64,
    max_norm: Option<f64>,
) -> Result<StepDone> {
    let step = StepGradient::of(objective, &mut model, optimizer.step + 1, batches, false, 1.0)?;
    match step.fault(None) {
        Some(Fault { words, .. }) => Err(Error::Numeric(format!("step {}: {words}", optimizer.step + 1))),
        None => Ok(step.apply(model, optimizer, lr, max_norm)),
    }
}

/// What gives loss and gradient of a micro-batch.
pub trait Differentiable {
    /// Those of one of a step whose targets weigh `step_weight` in all; block by block where memory is short
    /// ([`Objective::backward_by_blocks`]). `model` is on an autodiff device.
    ///
    /// # Errors
    /// The device's failure, which may also show only when the result is read.
    fn differentiate(
        &self,
        model: &LanguageModel,
        batch: &MicroBatch,
        step_weight: f64,
        by_blocks: bool,
    ) -> Result<Backward>;
}

impl Differentiable for Objective {
    fn differentiate(
        &self,
        model: &LanguageModel,
        batch: &MicroBatch,
        step_weight: f64,
        by_blocks: bool,
    ) -> Result<Backward> {
        match by_blocks {
            true => self.backward_by_blocks(model, batch, step_weight),
            false => self.backward(model, batch, step_weight),
        }
    }
}

/// One that hears, before each micro-batch, of a wish to stop.
pub struct Stoppable<'a> {
    /// What gives loss and gradient.
    pub objective: &'a dyn Differentiable,
    /// Who hears of the wish.
    pub monitor: &'a dyn Monitor,
}

impl Differentiable for Stoppable<'_> {
    fn differentiate(
        &self,
        model: &LanguageModel,
        batch: &MicroBatch,
        step_weight: f64,
        by_blocks: bool,
    ) -> Result<Backward> {
        match self.monitor.stopped() {
            true => Err(Error::Interrupted("stopped within a step".into())),
            false => self.objective.differentiate(model, batch, step_weight, by_blocks),
        }
    }
}

/// Loss and gradient of one step, before anything is changed.
pub struct StepGradient {
    /// Each micro-batch's part of the loss, nats.
    losses: Vec<f64>,
    /// Their sum: nats per target.
    pub loss: f64,
    /// Global norm before clipping.
    pub norm: f64,
    gradients: BTreeMap<String, Tensor<1>>,
}

/// What the loss is multiplied with on the way back, so that gradients in f16, which knows nothing below 6e-8, do not
/// vanish (arXiv 1710.03740): as large as they allow, found by doubling it from time to time and halving it when they
/// overflow. A power of two, so that it rounds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossScale {
    /// Its logarithm to base 2; `None` where nothing is scaled.
    log2: Option<u32>,
    /// Steps since it last changed.
    steps: u32,
}

impl LossScale {
    const FIRST: u32 = 16;
    const LARGEST: u32 = 24;
    const STEPS_TO_GROW: u32 = 1000;

    /// For a model whose products are computed in `precision`. Only f16 falls short of the range of f32.
    pub fn for_compute(precision: Precision) -> Self {
        Self { log2: (precision == Precision::F16).then_some(Self::FIRST), steps: 0 }
    }

    /// Whether nothing is scaled.
    pub fn is_none(&self) -> bool {
        self.log2.is_none()
    }

    /// The factor.
    pub fn factor(&self) -> f64 {
        self.log2.map_or(1.0, |log2| f64::from(log2).exp2())
    }

    /// Half of it, unless it is 1 already.
    fn halve(&mut self) -> bool {
        let half = self.log2.and_then(|log2| log2.checked_sub(1));
        if half.is_some() {
            *self = Self { log2: half, steps: 0 };
        }
        half.is_some()
    }

    /// A step went well with it.
    fn grow(&mut self) {
        let Some(log2) = self.log2 else { return };
        self.steps += 1;
        if self.steps == Self::STEPS_TO_GROW {
            *self = Self { log2: Some((log2 + 1).min(Self::LARGEST)), steps: 0 };
        }
    }
}

/// Why a step is not to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The micro-batch at fault, where one is.
    pub micro_batch: Option<usize>,
    /// What is wrong, and what may help.
    pub words: String,
}

impl StepGradient {
    /// Of step number `step`, over `batches`; block by block where memory is short.
    /// On its way back the gradient is `scale` times as large.
    ///
    /// # Errors
    /// The device's failure.
    pub fn of(
        objective: &dyn Differentiable,
        model: &mut LanguageModel,
        step: u64,
        batches: &[MicroBatch],
        by_blocks: bool,
        scale: f64,
    ) -> Result<Self> {
        let weight = batches.iter().map(MicroBatch::weight).sum::<f64>() / scale;
        let mut losses = Vec::new();
        let mut gradients: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        let mut blocks = 0;
        for batch in batches {
            model.begin_blocks(step, blocks);
            blocks += batch.inputs.len() as u64;
            let backward = objective.differentiate(model, batch, weight, by_blocks)?;
            losses.push(backward.loss);
            for (name, part) in backward.gradients {
                let sum = match gradients.remove(&name) {
                    Some(sum) => sum + part,
                    None => part,
                };
                gradients.insert(name, sum);
            }
        }
        model.begin_blocks(0, 0); // what follows is no training: nothing is left out
        let losses: Vec<f64> =
            to_host(Tensor::cat(losses, 0))?.into_iter().map(|loss| f64::from(loss) / scale).collect();
        let norm = optimizer::gradient_norm(&gradients)? / scale;
        if scale != 1.0 {
            gradients.values_mut().for_each(|gradient| *gradient = gradient.clone() / scale);
        }
        Ok(Self { loss: losses.iter().sum(), losses, norm, gradients })
    }

    /// The same, the gradient scaled so that it neither vanishes nor overflows on its way back: where it does overflow it
    /// is computed again with half the scale.
    ///
    /// # Errors
    /// As [`StepGradient::of`].
    pub fn in_range(
        objective: &dyn Differentiable,
        model: &mut LanguageModel,
        step: u64,
        batches: &[MicroBatch],
        by_blocks: bool,
        scale: &mut LossScale,
    ) -> Result<Self> {
        loop {
            let gradient = Self::of(objective, model, step, batches, by_blocks, scale.factor())?;
            if gradient.norm.is_finite() {
                scale.grow();
                return Ok(gradient);
            }
            if !gradient.loss.is_finite() || !scale.halve() {
                return Ok(gradient); // no fault of the scale
            }
            tracing::debug!(step, factor = scale.factor(), "the gradient left the range of f16; scaled less");
        }
    }

    /// Its gradient by weight, `[n]` each, as large as it is.
    pub fn into_gradients(self) -> BTreeMap<String, Tensor<1>> {
        self.gradients
    }

    /// What speaks against taking the step: numbers beyond f32, or a loss above `limit` (with its reason).
    pub fn fault(&self, limit: Option<&Limit>) -> Option<Fault> {
        let Self { losses, loss, norm, .. } = self;
        if !loss.is_finite() || !norm.is_finite() {
            return Some(Fault {
                micro_batch: losses.iter().position(|loss| !loss.is_finite()),
                words: format!(
                    "loss {loss}, gradient norm {norm}: the numbers left the range of f32, or of --compute; try a \
                     lower learning rate"
                ),
            });
        }
        let limit = limit.filter(|limit| limit.is_exceeded(*loss))?;
        let largest = losses.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Some(Fault {
            micro_batch: largest.map(|(index, _)| index),
            words: format!(
                "loss {loss:.3}, more than {} times the median of the last {} steps ({:.3}) and above {:.3}, what its noise \
                 and its beginning explain; look at its text, lower the learning rate, or take the step all the same with \
                 --outlier 0",
                limit.factor, limit.steps, limit.median, limit.loss
            ),
        })
    }

    /// Takes the step at rate `lr`, the gradient clipped to `max_norm`.
    pub fn apply(self, model: LanguageModel, optimizer: &mut AdamW, lr: f64, max_norm: Option<f64>) -> StepDone {
        let factor = max_norm.map_or(1.0, |max_norm| optimizer::clip(self.norm, max_norm));
        let model = optimizer.step(lr, factor, model, self.gradients);
        StepDone { model, loss: self.loss, gradient_norm: self.norm }
    }
}

/// A loss beyond which a step is no ordinary one.
///
/// A factor alone would stop healthy runs: a small text that is learned by heart has a median near 0, and a block of it
/// that is harder than the others several times that. So a loss also has to stand out from the run's own noise, to be a
/// nat above the median, and to be no better than where the run began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// How many times the median.
    factor: f64,
    steps: usize,
    median: f64,
    /// The limit itself, nats per target.
    loss: f64,
}

impl Limit {
    /// By the latest of these losses, `(step, loss)` from the first step on; `None` while they are few, and for a factor of
    /// 0.
    pub fn after(losses: &[(u64, f64)], factor: f64) -> Option<Self> {
        const LATEST: usize = 64;
        const FEWEST: usize = 16;
        /// The least distance from the median, nats per target: probabilities almost three times lower.
        const NAT: f64 = 1.0;
        let sorted = |losses: &[(u64, f64)]| {
            let mut losses: Vec<f64> = losses.iter().map(|&(_, loss)| loss).collect();
            losses.sort_by(f64::total_cmp);
            losses
        };
        if losses.len() < FEWEST || factor == 0.0 {
            return None;
        }
        let latest = sorted(&losses[losses.len().saturating_sub(LATEST)..]);
        let steps = latest.len();
        let (median, high) = (latest[steps / 2], latest[steps - 1 - steps / 16]);
        let beginning = sorted(&losses[..FEWEST])[FEWEST / 2];
        // A factor below 1 is for looking at what is learned worse than the rest: it is taken as it stands.
        let loss = match factor < 1.0 {
            true => factor * median,
            false => (factor * median).max(median + factor * (high - median)).max(median + NAT).max(beginning),
        };
        Some(Self { factor, steps, median, loss })
    }

    /// Whether a loss is beyond it.
    pub fn is_exceeded(&self, loss: f64) -> bool {
        loss > self.loss
    }
}
