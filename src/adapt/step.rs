//! One optimiser step: its gradient, the check of the gradient, and the update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::data::MicroBatch;
use super::objective::Objective;
use super::optimizer::{self, AdamW};
use crate::error::{Error, Result};
use crate::kernels::squares::sum_of_squares;
use crate::message::Message;
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, Precision};
use crate::recipe::Penalty;

/// The result of one optimiser step.
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
    let step = StepGradient::of(objective, &mut model, optimizer.step + 1, batches, false, 1.0, &unhindered)?;
    match step.fault(None) {
        Some(Fault { words, .. }) => {
            Err(Error::Numeric(Message::new(format!("step {}: ", optimizer.step + 1)).then(words)))
        }
        None => Ok(step.apply(model, optimizer, lr, max_norm)),
    }
}

/// Is called before each micro-batch, with it and the sum of the weights of all targets of the step. An error ends the
/// step: the user's wish to stop, or a device that fails there.
pub type Before<'a> = &'a dyn Fn(&MicroBatch, f64) -> Result<()>;

/// Nothing happens before a micro-batch.
///
/// # Errors
/// None.
pub fn unhindered(_: &MicroBatch, _: f64) -> Result<()> {
    Ok(())
}

/// Loss and gradient of one step, before anything is changed.
pub struct StepGradient {
    /// Each micro-batch's part of the loss, nats.
    losses: Vec<f64>,
    /// Their sum: nats per target.
    pub loss: f64,
    /// Global norm before clipping.
    pub norm: f64,
    /// What penalties added to the loss, which does not contain it.
    pub penalty: f64,
    /// −ln p of the targets of each micro-batch, nats, padding included: `[batch · time]`, still on the device.
    pub nll: Vec<Tensor<1>>,
    gradients: BTreeMap<String, Tensor<1>>,
}

/// The factor of the loss in the backward pass. In f16 gradients below 6e-8 would become 0 (arXiv 1710.03740). The
/// factor is as large as possible: it is doubled from time to time and halved when gradients overflow. It is a power of
/// two, so it causes no rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossScale {
    /// Its logarithm to base 2; `None` if nothing is scaled.
    log2: Option<u32>,
    /// Steps since it last changed.
    steps: u32,
}

impl LossScale {
    const FIRST: u32 = 16;
    const LARGEST: u32 = 24;
    const STEPS_TO_GROW: u32 = 1000;

    /// For a model whose products are computed in `precision`. Only f16 has a smaller range than f32.
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

    /// Records a step without overflow.
    fn grow(&mut self) {
        let Some(log2) = self.log2 else { return };
        self.steps += 1;
        if self.steps == Self::STEPS_TO_GROW {
            *self = Self { log2: Some((log2 + 1).min(Self::LARGEST)), steps: 0 };
        }
    }
}

/// The reason to refuse a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The micro-batch that caused it, if one did.
    pub micro_batch: Option<usize>,
    /// What is wrong, and what may help.
    pub words: Message,
}

impl StepGradient {
    /// Of step number `step`, over `batches`; layer by layer where memory is short. During the backward pass the
    /// gradient is multiplied by `scale`.
    ///
    /// # Errors
    /// The device's failure.
    pub fn of(
        objective: &Objective,
        model: &mut LanguageModel,
        step: u64,
        batches: &[MicroBatch],
        by_layers: bool,
        scale: f64,
        before: Before<'_>,
    ) -> Result<Self> {
        let objective = &Objective { scale, ..objective.clone() };
        let divisor = objective.divisor.unwrap_or_else(|| batches.iter().map(MicroBatch::weight).sum::<f64>());
        let weight = divisor / scale;
        let (mut losses, mut penalties, mut nll) = (Vec::new(), Vec::new(), Vec::new());
        let mut gradients: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        let mut windows = 0;
        for batch in batches {
            model.begin_windows(step, windows);
            windows += batch.inputs.len() as u64;
            before(batch, weight)?;
            let backward = objective.differentiate(model, batch, weight, by_layers)?;
            losses.push(backward.loss);
            penalties.extend(backward.penalty);
            nll.push(backward.nll);
            for (name, part) in backward.gradients {
                let sum = match gradients.remove(&name) {
                    Some(sum) => sum + part,
                    None => part,
                };
                gradients.insert(name, sum);
            }
        }
        model.begin_windows(0, 0); // what follows is not training, so dropout is off
        let losses: Vec<f64> =
            to_host(Tensor::cat(losses, 0))?.into_iter().map(|loss| f64::from(loss) / scale).collect();
        let mut penalty = match penalties.is_empty() {
            true => 0.0,
            false => to_host(Tensor::cat(penalties, 0).sum())?.into_iter().map(f64::from).sum::<f64>() / scale,
        };
        penalty += add_distances(objective, model, scale, &mut gradients)?;
        let norm = optimizer::gradient_norm(&gradients)? / scale;
        if scale != 1.0 {
            gradients.values_mut().for_each(|gradient| *gradient = gradient.clone() / scale);
        }
        Ok(Self { loss: losses.iter().sum(), losses, norm, penalty, nll, gradients })
    }

    /// The same, with a scaled gradient so that it neither becomes 0 nor overflows in the backward pass. If it
    /// overflows, it is computed again with half the scale.
    ///
    /// # Errors
    /// As [`StepGradient::of`].
    pub fn in_range(
        objective: &Objective,
        model: &mut LanguageModel,
        step: u64,
        batches: &[MicroBatch],
        by_layers: bool,
        scale: &mut LossScale,
        before: Before<'_>,
    ) -> Result<Self> {
        loop {
            let gradient = Self::of(objective, model, step, batches, by_layers, scale.factor(), before)?;
            if gradient.norm.is_finite() {
                scale.grow();
                return Ok(gradient);
            }
            if !gradient.loss.is_finite() || !scale.halve() {
                return Ok(gradient); // the scale is not the cause
            }
            tracing::debug!(step, factor = scale.factor(), "the gradient left the range of f16; scaled less");
        }
    }

    /// The gradient by weight, `[n]` each, without the scale.
    pub fn into_gradients(self) -> BTreeMap<String, Tensor<1>> {
        self.gradients
    }

    /// The reason to refuse the step, if there is one: numbers beyond f32, or a loss above `limit` (with its reason).
    pub fn fault(&self, limit: Option<&Limit>) -> Option<Fault> {
        let Self { losses, loss, norm, .. } = self;
        if !loss.is_finite() || !norm.is_finite() {
            return Some(Fault {
                micro_batch: losses.iter().position(|loss| !loss.is_finite()),
                words: Message::new(format!(
                    "loss {loss}, gradient norm {norm}: the numbers left the range of f32, or of "
                ))
                .key("compute")
                .then("; try a lower learning rate"),
            });
        }
        let limit = limit.filter(|limit| limit.is_exceeded(*loss))?;
        let largest = losses.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Some(Fault {
            micro_batch: largest.map(|(index, _)| index),
            words: Message::new(format!(
                "loss {loss:.3}, more than {} times the median of the last {} steps ({:.3}) and above {:.3}, what its noise \
                 and its beginning explain; look at its text, lower the learning rate, or take the step all the same with ",
                limit.factor, limit.steps, limit.median, limit.loss
            ))
            .set("outlier", 0),
        })
    }

    /// Removes what was kept of single targets.
    pub fn take_nll(&mut self) -> Vec<Tensor<1>> {
        std::mem::take(&mut self.nll)
    }

    /// Takes the step at rate `lr`, the gradient clipped to `max_norm`.
    pub fn apply(self, model: LanguageModel, optimizer: &mut AdamW, lr: f64, max_norm: Option<f64>) -> StepDone {
        let factor = max_norm.map_or(1.0, |max_norm| optimizer::clip(self.norm, max_norm));
        let model = optimizer.step(lr, factor, model, self.gradients);
        StepDone { model, loss: self.loss, gradient_norm: self.norm }
    }
}

/// Adds the gradients of distances from given weights, γ·(θ − θ₀), and returns the distances' part of the loss,
/// γ/2·Σ (θ − θ₀)².
fn add_distances(
    objective: &Objective,
    model: &LanguageModel,
    scale: f64,
    gradients: &mut BTreeMap<String, Tensor<1>>,
) -> Result<f64> {
    let mut sum = 0.0;
    for penalty in &objective.penalties {
        let Penalty::Distance { strength, from } = penalty else { continue };
        let mut apart = Vec::new();
        for weight in model.parameters() {
            let (Some(gradient), Some(origin)) = (gradients.get_mut(&weight.name), from.get(&weight.name)) else {
                continue;
            };
            let difference = weight.values - origin.clone();
            apart.push(difference.clone());
            *gradient = gradient.clone() + difference * (strength * scale);
        }
        sum += 0.5 * strength * sum_of_squares(apart.iter())?;
    }
    Ok(sum)
}

/// A loss above which a step is an outlier.
///
/// A factor alone would stop healthy runs: a small text that is learned by heart has a median near 0, and a window of it
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
    /// By the latest of these losses, `(step, loss)` from the first step on; `None` while there are few losses, and for
    /// a factor of 0.
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
