//! Rotary position embedding (arXiv 2104.09864), half-split form as in transformers: element `i` of a head is
//! paired with element `i + D/2`.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::rotary::rotate;

/// Rotations by position. Cosines and sines are made for as many positions as windows really have: of the longest window
/// that some models know they would take gigabytes.
#[derive(Module, Debug)]
pub struct Rotary {
    #[module(skip)]
    angles: Angles,
}

/// What rotations are made from, and those made so far. Copies of a model share them.
#[derive(Debug, Clone)]
struct Angles {
    /// Radians per position, `[D/2]`.
    frequencies: Arc<Vec<f64>>,
    made: Arc<Mutex<Vec<Rotations>>>,
}

/// Cosines and sines of positions 0 … n−1 on one device, each `[n, D/2]`.
#[derive(Debug, Clone)]
struct Rotations {
    device: Device,
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Angles {
    /// Those of at least so many positions.
    fn rotations(&self, positions: usize, device: &Device) -> Rotations {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let old = made.iter().position(|rotations| rotations.device == *device);
        let length = old.map_or(0, |at| made[at].cos.dims()[0]);
        if let Some(at) = old.filter(|_| positions <= length) {
            return made[at].clone();
        }
        // Windows that grow by a token would make them anew each time.
        let grown = if length == 0 { positions } else { positions.max(length + length / 8) };
        let rotations = self.made_for(grown, device);
        match old {
            Some(at) => made[at] = rotations.clone(),
            None => made.push(rotations.clone()),
        }
        rotations
    }

    /// Angles are taken in f64: in f32 those of late positions lose three digits.
    fn made_for(&self, positions: usize, device: &Device) -> Rotations {
        let table = |f: fn(f64) -> f64| {
            let frequencies = self.frequencies.iter();
            let values: Vec<f32> =
                (0..positions).flat_map(|t| frequencies.clone().map(move |w| f(t as f64 * w) as f32)).collect();
            Tensor::from_data(TensorData::new(values, [positions, self.frequencies.len()]), device)
        };
        Rotations { device: device.clone(), cos: table(f64::cos), sin: table(f64::sin) }
    }
}

impl Rotary {
    /// Rotations by these frequencies, radians per position.
    pub fn new(frequencies: Vec<f64>) -> Self {
        Self { angles: Angles { frequencies: Arc::new(frequencies), made: Arc::default() } }
    }

    /// Rotates `x`, `[B, H, T, D]`, by its positions 0 … T−1; channels beyond the frequencies stay as they are.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, time, _] = x.dims();
        let Rotations { cos, sin, .. } = self.angles.rotations(time, &x.device());
        rotate(x, cos, sin)
    }
}
