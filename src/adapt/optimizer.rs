//! AdamW; every constant means what it means in PyTorch (arXiv 1711.05101; `torch.optim.AdamW`).
//!
//! The state is kept by the weight's published name, flat. So a checkpoint is an ordinary safetensors file, and a
//! resumed run gives the same bits.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor};

use crate::error::Result;
use crate::kernels::adamw::{Constants, State};
use crate::kernels::squares::sum_of_squares;
use crate::model::{LanguageModel, Precision};
pub use crate::recipe::AdamWConfig;

/// The optimiser's state.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    pub step: u64,
    /// Moments by the weight's name.
    moments: BTreeMap<String, Moments>,
}

/// First and second moment of one weight's gradient, `[n]` each: the running means of the gradient and of its square.
///
/// In 16 bits they are held as the first and the root of the second, times 2¹⁴: squares of small gradients lie
/// below what f16 reaches, and gradients are seldom above 1.
#[derive(Debug, Clone)]
pub struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

impl Moments {
    /// A power of two, so that it causes no rounding. A value above 4 would exceed the largest f16, 65,504, and is held
    /// as 65,504.
    const LIFT: f64 = 16384.0;
    const LARGEST: f64 = 65504.0;

    /// Both moments in f32, from the form in which they are held; `None` before the first step.
    fn open(held: Option<Self>, precision: Precision) -> Option<[Tensor<1>; 2]> {
        let Self { first, second } = held?;
        if precision.is_f32() {
            return Some([first, second]);
        }
        let [first, root] = [first, second].map(|held| held.cast(FloatDType::F32) / Self::LIFT);
        Some([first, root.clone() * root])
    }

    /// The moments in the form in which they are held, after step number `step`.
    ///
    /// A second moment changes by a thousandth in a step. This is less than the spacing of 16-bit numbers, so rounding
    /// to the nearest would never change it. Therefore each value is shifted before rounding by a fraction of the
    /// spacing. The fraction runs evenly through (−½, ½] from step to step, so the rounding errors cancel over steps.
    /// It depends only on the step, so a resumed run gives the same bits.
    fn hold(first: Tensor<1>, second: Tensor<1>, precision: Precision, step: u64) -> Self {
        const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;
        let grain = match precision {
            Precision::F32 => return Self { first, second },
            Precision::Bf16 => 2f64.powi(-7),
            Precision::F16 => 2f64.powi(-10),
        };
        let shift = (step as f64 * GOLDEN_RATIO).fract() - 0.5;
        let narrow = |x: Tensor<1>| x.cast(precision.float());
        let hold = |x: Tensor<1>| {
            let x = (x * Self::LIFT).clamp(-Self::LARGEST, Self::LARGEST);
            let near = narrow(x.clone()).cast(FloatDType::F32);
            // ¾ of the relative spacing lies between ½ and 1½ of the absolute spacing everywhere.
            let next = narrow(near.clone() * (1.0 + 0.74 * grain)).cast(FloatDType::F32);
            narrow(x + (next - near) * shift)
        };
        Self { first: hold(first), second: hold(second.sqrt()) }
    }
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, step: 0, moments: BTreeMap::new() }
    }

    /// First and second moment of the weight called `name`, `[n]` each, in f32.
    pub fn moments(&self, name: &str) -> Option<[Tensor<1>; 2]> {
        Moments::open(self.moments.get(name).cloned(), self.config.moments)
    }

    /// The state in the form in which it is held: the weight's name, and first and second moment, `[n]` each.
    pub fn state(&self) -> impl Iterator<Item = (&String, [Tensor<1>; 2])> {
        self.moments.iter().map(|(name, Moments { first, second })| (name, [first.clone(), second.clone()]))
    }

    /// Restores the state that [`AdamW::state`] gave. It may have been converted to another type meanwhile.
    pub fn restore(&mut self, name: String, state: [Tensor<1>; 2]) {
        let [first, second] = state.map(|held| held.cast(self.config.moments.float()));
        self.moments.insert(name, Moments { first, second });
    }

    /// One step at rate `lr` against `gradients` times `factor` (see [`clip`]); weights without a gradient stay as they
    /// are.
    pub fn step(
        &mut self,
        lr: f64,
        factor: f64,
        model: LanguageModel,
        mut gradients: BTreeMap<String, Tensor<1>>,
    ) -> LanguageModel {
        self.step += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, moments: precision } = self.config;
        let steps = self.step as f64;
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        model.map_parameters(|name, shape, weight| {
            let Some(gradient) = gradients.remove(name) else { return weight };
            // Before the first step the moments are zero.
            let nothing = || [(); 2].map(|()| gradient.zeros_like());
            let [first, second] = Moments::open(self.moments.remove(name), precision).unwrap_or_else(nothing);
            let keep = if shape.len() >= 2 { 1.0 - lr * weight_decay } else { 1.0 };
            let rate = lr / correction1;
            let constants = Constants { factor, beta1, beta2, epsilon, rate, correction: correction2, keep };
            let State { weight, first, second } = State { weight, first, second }.step(gradient, constants);
            self.moments.insert(name.to_owned(), Moments::hold(first, second, precision, self.step));
            weight
        })
    }
}

/// Global L2 norm of all gradients.
///
/// # Errors
/// The device's failure, which surfaces at this read-back.
pub fn gradient_norm(gradients: &BTreeMap<String, Tensor<1>>) -> Result<f64> {
    Ok(sum_of_squares(gradients.values())?.sqrt())
}

/// The factor for gradients with this global `norm` that makes the norm at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_`.
pub fn clip(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
