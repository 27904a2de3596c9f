//! Random weights.

use std::ops::Range;

use burn::tensor::TensorData;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::numbers::Numbers;
use super::source::{WeightSource, with_rows};
use crate::device::precision::Precision;
use crate::error::{Error, Result};

/// Random weights for a base trained from scratch: GPT-2's scheme, N(0, 0.02²), the projections that write into the
/// residual stream scaled by 1/√(2·layers), norms 1 and biases 0.
pub struct RandomWeights {
    rng: ChaCha8Rng,
    residual_scale: f32,
    /// How the names of the weights end that write into the residual stream.
    residual: &'static [&'static str],
    precision: Precision,
}

impl RandomWeights {
    /// Weights drawn from `seed` for a model of so many `layers`, of which the weights whose names end so write into the residual
    /// stream.
    pub fn new(seed: u64, layers: usize, residual: &'static [&'static str]) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            residual_scale: (2.0 * layers as f32).powf(-0.5),
            residual,
            precision: Precision::F32,
        }
    }

    /// Holds matrices in `precision`.
    pub fn held_in(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// A standard normal number (Box–Muller).
    fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) * 2f64.powi(-53);
        let (u, v) = (unit(self.rng.next_u64()), unit(self.rng.next_u64()));
        ((-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()) as f32
    }
}

impl WeightSource for RandomWeights {
    fn has(&self, _name: &str) -> bool {
        false
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        let shape = with_rows(shape, rows.len());
        let count = shape.iter().product();
        let writes_residual = self.residual.iter().any(|end| name.ends_with(end));
        let deviation = if writes_residual { 0.02 * self.residual_scale } else { 0.02 };
        let is_norm = shape.len() == 1;
        let value = |_| match name {
            _ if name.ends_with(".bias") => 0.0,
            _ if is_norm => 1.0,
            _ => deviation * self.normal(),
        };
        let mut numbers = Numbers::new(precision, count);
        numbers.push((0..count).map(value));
        numbers.finish(shape).map_err(Error::numeric)
    }
}
