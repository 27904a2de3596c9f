pub mod data;
pub mod objective;
pub mod optimizer;
pub mod schedule;

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::model::parameters::to_host;
use data::MicroBatch;
use objective::Objective;
use optimizer::AdamW;

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
    model: LanguageModel,
    optimizer: &mut AdamW,
    batches: &[MicroBatch],
    lr: f64,
    max_norm: Option<f64>,
) -> Result<StepDone> {
    let weight: f64 = batches.iter().map(MicroBatch::weight).sum();
    let mut losses = Vec::new();
    let mut gradients: BTreeMap<String, Tensor<1>> = BTreeMap::new();
    for batch in batches {
        let backward = objective.backward(&model, batch, weight)?;
        losses.push(backward.loss);
        for (name, part) in backward.gradients {
            let sum = match gradients.remove(&name) {
                Some(sum) => sum + part,
                None => part,
            };
            gradients.insert(name, sum);
        }
    }
    let loss: f64 = to_host(Tensor::cat(losses, 0))?.into_iter().map(f64::from).sum();
    let gradient_norm = optimizer::gradient_norm(&gradients)?;
    if !loss.is_finite() || !gradient_norm.is_finite() {
        return Err(Error::Numeric(format!(
            "step {}: loss {loss}, gradient norm {gradient_norm}: the numbers left the range of f32; try a lower \
             learning rate",
            optimizer.step + 1
        )));
    }
    if let Some(max_norm) = max_norm {
        optimizer::clip(&mut gradients, gradient_norm, max_norm);
    }
    Ok(StepDone { model: optimizer.step(lr, model, gradients), loss, gradient_norm })
}
