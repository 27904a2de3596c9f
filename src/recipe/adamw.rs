//! The constants of the optimiser.

use serde::{Deserialize, Serialize};

use crate::model::Precision;

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
    /// How its two moments are held: in 16 bits they take 4 bytes for each weight instead of 8.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    pub moments: Precision,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, moments: Precision::F32 }
    }
}
