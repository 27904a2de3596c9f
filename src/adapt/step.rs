//! One optimiser step: its gradient, whether that can be trusted, and the update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::data::MicroBatch;
use super::objective::{Backward, Objective};
use super::optimizer::{self, AdamW};
use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::model::parameters::to_host;

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
    let step = StepGradient::of(objective, &mut model, optimizer.step + 1, batches, false)?;
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
    ///
    /// # Errors
    /// The device's failure.
    pub fn of(
        objective: &dyn Differentiable,
        model: &mut LanguageModel,
        step: u64,
        batches: &[MicroBatch],
        by_blocks: bool,
    ) -> Result<Self> {
        let weight: f64 = batches.iter().map(MicroBatch::weight).sum();
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
        let losses: Vec<f64> = to_host(Tensor::cat(losses, 0))?.into_iter().map(f64::from).collect();
        let norm = optimizer::gradient_norm(&gradients)?;
        Ok(Self { loss: losses.iter().sum(), losses, norm, gradients })
    }

    /// What speaks against taking the step: numbers beyond f32, or a loss above `limit` (with its reason).
    pub fn fault(&self, limit: Option<&Limit>) -> Option<Fault> {
        let Self { losses, loss, norm, .. } = self;
        if !loss.is_finite() || !norm.is_finite() {
            return Some(Fault {
                micro_batch: losses.iter().position(|loss| !loss.is_finite()),
                words: format!(
                    "loss {loss}, gradient norm {norm}: the numbers left the range of f32; try a lower learning rate"
                ),
            });
        }
        let limit = limit.filter(|limit| *loss > limit.loss)?;
        let largest = losses.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Some(Fault {
            micro_batch: largest.map(|(index, _)| index),
            words: format!(
                "loss {loss:.3}, more than {} times the median of the last {} steps ({:.3}); look at its text, lower the \
                 learning rate, or take the step all the same with --outlier 0",
                limit.factor, limit.steps, limit.median
            ),
        })
    }

    /// Takes the step at rate `lr`, the gradient clipped to `max_norm`.
    pub fn apply(mut self, model: LanguageModel, optimizer: &mut AdamW, lr: f64, max_norm: Option<f64>) -> StepDone {
        if let Some(max_norm) = max_norm {
            optimizer::clip(&mut self.gradients, self.norm, max_norm);
        }
        let model = optimizer.step(lr, model, self.gradients);
        StepDone { model, loss: self.loss, gradient_norm: self.norm }
    }
}

/// A loss beyond which a step is no ordinary one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    factor: f64,
    steps: usize,
    median: f64,
    loss: f64,
}

impl Limit {
    /// `factor` times the median of the latest losses; `None` while they are few, and for a factor of 0.
    pub fn after(losses: &[(u64, f64)], factor: f64) -> Option<Self> {
        const LATEST: usize = 64;
        const FEWEST: usize = 16;
        let mut latest: Vec<f64> = losses.iter().rev().take(LATEST).map(|&(_, loss)| loss).collect();
        if latest.len() < FEWEST || factor == 0.0 {
            return None;
        }
        latest.sort_by(f64::total_cmp);
        let median = latest[latest.len() / 2];
        Some(Self { factor, steps: latest.len(), median, loss: factor * median })
    }
}
