//! One weight's step of AdamW.

use std::iter;

use burn::tensor::Tensor;
use minijinja::context;
use rayon::prelude::*;

use super::host::{self, Numbers, STRETCH};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// The constants of one step, as `torch.optim.AdamW` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// The factor that clips the gradient, applied first.
    pub factor: f64,
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
    /// The factor of a weight, 1 − rate · decay.
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
            return self.on_host(gradient, constants);
        }
        let abilities = [weight, first, second, &gradient].map(wgsl::ability);
        match abilities {
            [Some(ability), Some(_), Some(_), Some(_)] => self.on_wgpu(gradient, constants, ability),
            _ => self.plain(gradient, constants),
        }
    }

    /// [`State::step`] by the framework's operations, on any device.
    pub fn plain(self, gradient: Tensor<1>, constants: Constants) -> Self {
        let Constants { factor, beta1, beta2, epsilon, rate, correction, keep } = constants;
        let gradient = if factor == 1.0 { gradient } else { gradient * factor };
        let squared = gradient.clone() * gradient.clone();
        let first = self.first * beta1 + gradient * (1.0 - beta1);
        let second = self.second * beta2 + squared * (1.0 - beta2);
        let root = (second.clone() / correction).sqrt() + epsilon;
        let update = first.clone() * rate / root;
        let weight = if keep == 1.0 { self.weight } else { self.weight * keep };
        Self { weight: weight - update, first, second }
    }

    /// The same numbers from one pass of a kernel.
    fn on_wgpu(self, gradient: Tensor<1>, constants: Constants, ability: Ability) -> Self {
        /// Numbers or vectors of four that an invocation takes: starting a workgroup also costs time.
        const EACH: u32 = 16;
        let [count] = gradient.dims();
        let aligned = count.is_multiple_of(4);
        let items = if aligned { count / 4 } else { count };
        let lanes = ability.lanes();
        let each = if ability.software { EACH } else { 1 };
        let kernel = Kernel::new("adamw", context! { lanes, each, aligned }, [lanes, 1, 1]);
        let Constants { factor, beta1, beta2, epsilon, rate, correction, keep } = constants;
        let numbers = [factor, beta1, beta2, 1.0 - beta1, 1.0 - beta2, epsilon, rate, correction, keep];
        let words = iter::once(items as u32).chain(numbers.map(|number| (number as f32).to_bits()));
        let old = [self.weight, self.first, self.second, gradient].map(Buffer::of);
        let new = [(); 3].map(|()| old[0].beside([count]));
        let buffers: Vec<&Buffer> = old.iter().chain(&new).collect();
        kernel.launch(wgsl::groups(items.div_ceil((lanes * each) as usize)), &buffers, &words.collect::<Vec<_>>());
        let [weight, first, second] = new.map(Buffer::into_tensor);
        Self { weight, first, second }
    }

    /// The same numbers from one pass on this process's memory.
    fn on_host(self, gradient: Tensor<1>, constants: Constants) -> Self {
        let [mut weight, mut first, mut second] = [self.weight, self.first, self.second].map(Numbers::of);
        let gradient = Numbers::of(gradient);
        let Constants { factor, beta1, beta2, epsilon, rate, correction, keep } = constants;
        let [add1, add2] = [beta1, beta2].map(|beta| (1.0 - beta) as f32);
        let [factor, beta1, beta2, epsilon, rate, correction, keep] =
            [factor, beta1, beta2, epsilon, rate, correction, keep].map(|constant| constant as f32);
        (weight.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(first.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(second.as_mut_slice().par_chunks_mut(STRETCH))
            .zip(gradient.as_slice().par_chunks(STRETCH))
            .for_each(|(((weight, first), second), gradient)| {
                for (((w, m), v), &g) in weight.iter_mut().zip(first).zip(second).zip(gradient) {
                    let g = g * factor;
                    *m = *m * beta1 + g * add1;
                    *v = *v * beta2 + g * g * add2;
                    *w = *w * keep - *m * rate / ((*v / correction).sqrt() + epsilon);
                }
            });
        let [weight, first, second] = [weight, first, second].map(Numbers::into_tensor);
        Self { weight, first, second }
    }
}
