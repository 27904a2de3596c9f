//! AdamW with PyTorch's meaning of every parameter (arXiv 1711.05101; `torch.optim.AdamW`).
//!
//! The state is kept by the weight's published name, flat, so that a checkpoint is an ordinary safetensors file and
//! goes on to the bit.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::LanguageModel;
use crate::model::parameters::to_host;

/// AdamW's constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    #[arg(long, value_name = "NUMBER", default_value_t = Self::default().beta1)]
    pub beta1: f64,
    /// Decay of the second moment.
    #[arg(long, value_name = "NUMBER", default_value_t = Self::default().beta2)]
    pub beta2: f64,
    /// Added to the root of the bias-corrected second moment.
    #[arg(long, value_name = "NUMBER", default_value_t = Self::default().epsilon)]
    pub epsilon: f64,
    /// Decoupled decay, `p -= lr · decay · p`, of weights with two dimensions; norms and biases are left alone.
    #[arg(long, value_name = "NUMBER", default_value_t = Self::default().weight_decay)]
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The optimiser's state.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    pub step: u64,
    /// Moments by the weight's name.
    pub moments: BTreeMap<String, Moments>,
}

/// First and second moment of one weight's gradient, `[n]` each.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Tensor<1>,
    /// Running mean of its square.
    pub second: Tensor<1>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, step: 0, moments: BTreeMap::new() }
    }

    /// One step at rate `lr` against `gradients`; weights without a gradient stay as they are.
    pub fn step(&mut self, lr: f64, model: LanguageModel, mut gradients: BTreeMap<String, Tensor<1>>) -> LanguageModel {
        self.step += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let steps = self.step as f64;
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        model.map_parameters(|name, shape, weight| {
            let Some(gradient) = gradients.remove(name) else { return weight };
            let squared = gradient.clone() * gradient.clone();
            let moments = match self.moments.remove(name) {
                Some(Moments { first, second }) => Moments {
                    first: first * beta1 + gradient * (1.0 - beta1),
                    second: second * beta2 + squared * (1.0 - beta2),
                },
                None => Moments { first: gradient * (1.0 - beta1), second: squared * (1.0 - beta2) },
            };
            let root = (moments.second.clone() / correction2).sqrt() + epsilon;
            let update = moments.first.clone() * (lr / correction1) / root;
            let decayed =
                if shape.len() >= 2 && weight_decay != 0.0 { weight * (1.0 - lr * weight_decay) } else { weight };
            self.moments.insert(name.to_owned(), moments);
            decayed - update
        })
    }
}

/// Global L2 norm of all gradients.
///
/// # Errors
/// The device's failure, which surfaces at this read-back.
pub fn gradient_norm(gradients: &BTreeMap<String, Tensor<1>>) -> Result<f64> {
    let squares = gradients.values().map(|g| (g.clone() * g.clone()).sum()).collect();
    let squares = to_host(Tensor::cat(squares, 0))?;
    Ok(squares.iter().map(|&s| f64::from(s)).sum::<f64>().sqrt())
}

/// Scales gradients of norm `norm` down to at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does.
pub fn clip(gradients: &mut BTreeMap<String, Tensor<1>>, norm: f64, max_norm: f64) {
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = gradient.clone() * factor;
        }
    }
}
