//! Rotary position embedding (arXiv 2104.09864), half-split form as in transformers: element `i` of a head is
//! paired with element `i + D/2`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

use crate::kernels::rotary::rotate;

/// How rotation frequencies are stretched beyond the base, `rope_scaling` / `rope_parameters` of `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RopeScaling {
    /// The plain frequencies θ^(−2i/D).
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// How much longer the context became.
        factor: f64,
    },
    /// LLaMA 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// How much longer the context became.
        factor: f64,
        /// Waves longer than `original_max_position_embeddings / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Waves shorter than `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context length of pretraining.
        original_max_position_embeddings: f64,
    },
}

impl RopeScaling {
    /// The rotation frequencies of a head of `channels`, radians per position: `[D/2]`.
    ///
    /// Source: `modeling_rope_utils.py` of transformers (`_compute_llama3_parameters` for the ramp).
    pub fn frequencies(&self, theta: f64, channels: usize) -> Vec<f64> {
        (0..channels / 2)
            .map(|i| theta.powf(-2.0 * i as f64 / channels as f64))
            .map(|frequency| match *self {
                Self::Default => frequency,
                Self::Linear { factor } => frequency / factor,
                Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    let ratio = original_max_position_embeddings / wavelength;
                    let kept = ((ratio - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                }
            })
            .collect()
    }
}

/// Cosines and sines of every position up to the context length, each `[positions, D/2]`.
#[derive(Module, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    /// Angles are taken in f64: in f32 those of late positions lose three digits.
    pub fn new(frequencies: &[f64], positions: usize, device: &Device) -> Self {
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> =
                (0..positions).flat_map(|t| frequencies.iter().map(move |w| f(t as f64 * w) as f32)).collect();
            Tensor::from_data(TensorData::new(values, [positions, frequencies.len()]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates `x`, `[B, H, T, D]`, by its positions 0 … T−1; channels beyond the frequencies stay as they are.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        rotate(x, self.cos.clone(), self.sin.clone())
    }
}
