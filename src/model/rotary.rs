//! Rotary position embedding (arXiv 2104.09864), half-split form as in transformers: element `i` of a head is
//! paired with element `i + D/2`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::rotary::rotate;

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
