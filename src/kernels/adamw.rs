//! One weight's step of AdamW.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::host::{self, Numbers};

/// The constants of one step, as `torch.optim.AdamW` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the bias-corrected second moment.
    pub epsilon: f64,
    /// The rate over the first moment's bias correction, 1 − β₁ᵗ.
    pub rate: f64,
    /// The second moment's bias correction, 1 − β₂ᵗ.
    pub correction: f64,
    /// What a weight is multiplied with, 1 − rate · decay.
    pub keep: f64,
}

/// A weight and its moments, `[n]` each, in f32.
pub struct State {
    /// The weight.
    pub weight: Tensor<1>,
    /// Running mean of the gradient.
    pub first: Tensor<1>,
    /// Running mean of its square.
    pub second: Tensor<1>,
}

impl State {
    /// The step against `gradient`, `[n]`.
    pub fn step(self, gradient: Tensor<1>, constants: Constants) -> Self {
        let Self { weight, first, second } = &self;
        if [weight, first, second, &gradient].into_iter().all(host::holds) {
            self.on_host(gradient, constants)
        } else {
            self.plain(gradient, constants)
        }
    }

    /// [`State::step`] by the framework's operations, on any device.
    pub fn plain(self, gradient: Tensor<1>, constants: Constants) -> Self {
        let Constants { beta1, beta2, epsilon, rate, correction, keep } = constants;
        let squared = gradient.clone() * gradient.clone();
        let first = self.first * beta1 + gradient * (1.0 - beta1);
        let second = self.second * beta2 + squared * (1.0 - beta2);
        let root = (second.clone() / correction).sqrt() + epsilon;
        let update = first.clone() * rate / root;
        let weight = if keep == 1.0 { self.weight } else { self.weight * keep };
        Self { weight: weight - update, first, second }
    }

    /// The same numbers from one pass.
    fn on_host(self, gradient: Tensor<1>, constants: Constants) -> Self {
        /// Numbers that one thread takes at a time.
        const STRETCH: usize = 1 << 14;
        let [mut weight, mut first, mut second] = [self.weight, self.first, self.second].map(Numbers::of);
        let gradient = Numbers::of(gradient);
        let Constants { beta1, beta2, epsilon, rate, correction, keep } = constants;
        let [add1, add2] = [beta1, beta2].map(|beta| (1.0 - beta) as f32);
        let [beta1, beta2, epsilon, rate, correction, keep] =
            [beta1, beta2, epsilon, rate, correction, keep].map(|constant| constant as f32);
        (weight.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(first.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(second.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(gradient.as_slice().par_chunks(STRETCH))
            .for_each(|(((weight, first), second), gradient)| {
                for (((w, m), v), &g) in weight.iter_mut().zip(first).zip(second).zip(gradient) {
                    *m = *m * beta1 + g * add1;
                    *v = *v * beta2 + g * g * add2;
                    *w = *w * keep - *m * rate / ((*v / correction).sqrt() + epsilon);
                }
            });
        let [weight, first, second] = [weight, first, second].map(Numbers::into_tensor);
        Self { weight, first, second }
    }
}
