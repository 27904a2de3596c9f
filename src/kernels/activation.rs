//! The nonlinearities of the models' MLPs: computed for every element in one forward and one backward pass.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::Tensor;
use burn::tensor::activation;
use minijinja::context;
use rayon::prelude::*;

use super::host::{Numbers, Read, STRETCH};
use super::node::{self, Function};
use super::place::{Place, place};
use super::vectors::{erf, exponential, sigmoid};
use super::wgsl::{self, Ability, Buffer, Kernel};

/// 2·√(2/π), and 0.044715 times it: the tanh form of GELU is x · σ(x·(CUBIC·x² + LINEAR)).
const LINEAR: f64 = 1.595_769_121_605_730_8;
const CUBIC: f64 = 0.044715 * LINEAR;

/// GELU (arXiv 1606.08415) in its exact form, x/2 · (1 + erf(x/√2)), of every element.
pub fn gelu_by_erf(x: Tensor<3>) -> Tensor<3> {
    match place(&x) {
        Place::Elsewhere => plain_gelu_by_erf(x),
        _ => node::apply(Gelu::ByErf, [x]),
    }
}

/// [`gelu_by_erf`] by the framework's operations, on any device. The framework's own GELU is not used, because on GPUs
/// its gradient is that of the approximation.
pub fn plain_gelu_by_erf(x: Tensor<3>) -> Tensor<3> {
    x.clone() * ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5
}

/// GELU in the form with tanh, x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))), of every element.
pub fn gelu_by_tanh(x: Tensor<3>) -> Tensor<3> {
    match place(&x) {
        Place::Elsewhere => plain_gelu_by_tanh(x),
        _ => node::apply(Gelu::ByTanh, [x]),
    }
}

/// [`gelu_by_tanh`] by the framework's operations, on any device. (1 + tanh u)/2 is σ(2u): one exponential instead of a
/// tanh, and the cube as products.
pub fn plain_gelu_by_tanh(x: Tensor<3>) -> Tensor<3> {
    let steepness = x.clone() * x.clone() * CUBIC + LINEAR;
    x.clone() * activation::sigmoid(x * steepness)
}

/// The product inside SwiGLU (arXiv 2002.05202), gate · σ(gate) · up, of every pair of elements.
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    match (place(&gate), place(&up)) {
        (Place::Elsewhere, _) | (_, Place::Elsewhere) => plain_swiglu(gate, up),
        _ => node::apply(SwiGlu, [gate, up]),
    }
}

/// [`swiglu`] by the framework's operations, on any device.
pub fn plain_swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    activation::silu(gate) * up
}

#[derive(Debug, Clone, Copy)]
enum Gelu {
    ByErf,
    ByTanh,
}

impl Gelu {
    /// Its name in `shaders/activation.wgsl`.
    fn name(self) -> &'static str {
        match self {
            Self::ByErf => "gelu_by_erf",
            Self::ByTanh => "gelu_by_tanh",
        }
    }
}

impl Function<1> for Gelu {
    /// The input.
    type Saved = Tensor<3>;

    fn forward(&self, [x]: [Tensor<3>; 1]) -> (Tensor<3>, Self::Saved) {
        let [y] = match place(&x) {
            Place::Wgpu(ability) => on_wgpu(ability, self.name(), false, [x.clone()]),
            _ => on_host([x.clone()], [Numbers::zeros(x.dims())], [by_erf, by_tanh][*self as usize]),
        };
        (y, x)
    }

    fn backward(&self, x: Self::Saved, gradient: Tensor<3>, _: [bool; 1]) -> [Option<Tensor<3>>; 1] {
        let slope = match place(&x) {
            Place::Wgpu(ability) => on_wgpu(ability, self.name(), true, [x, gradient]),
            _ => on_host([x], [Numbers::of(gradient)], [by_erf_back, by_tanh_back][*self as usize]),
        };
        slope.map(Some)
    }
}

#[derive(Debug)]
struct SwiGlu;

impl Function<2> for SwiGlu {
    /// The inputs.
    type Saved = [Tensor<3>; 2];

    fn forward(&self, inputs: [Tensor<3>; 2]) -> (Tensor<3>, Self::Saved) {
        let [y] = match place(&inputs[0]) {
            Place::Wgpu(ability) => on_wgpu(ability, "swiglu", false, inputs.clone()),
            _ => on_host(inputs.clone(), [Numbers::zeros(inputs[0].dims())], gated),
        };
        (y, inputs)
    }

    fn backward(&self, [gate, up]: Self::Saved, gradient: Tensor<3>, _: [bool; 2]) -> [Option<Tensor<3>>; 2] {
        let slopes = match place(&gate) {
            Place::Wgpu(ability) => on_wgpu(ability, "swiglu", true, [gate, up, gradient]),
            _ => {
                let of_up = Numbers::zeros(gate.dims());
                on_host([gate, up], [Numbers::of(gradient), of_up], gated_back)
            }
        };
        slopes.map(Some)
    }
}

/// A pass over elements of `N` tensors that writes those of `M`, the first of them may hold the gradient before it is
/// overwritten.
type Pass<const N: usize, const M: usize> = fn([&[f32]; N], [&mut [f32]; M]);

/// A pass by all threads over tensors of one shape.
fn on_host<const N: usize, const M: usize>(
    inputs: [Tensor<3>; N],
    mut outputs: [Numbers; M],
    pass: Pass<N, M>,
) -> [Tensor<3>; M] {
    let inputs = inputs.map(Read::of);
    let inputs = inputs.each_ref().map(Read::as_slice);
    let count = inputs[0].len();
    let mut parts = outputs.each_mut().map(|output| output.as_mut_slice().chunks_mut(STRETCH));
    let of_stretch = |start| (start, parts.each_mut().map(|part| part.next().unwrap_or_default()));
    let stretches: Vec<(usize, [&mut [f32]; M])> = (0..count).step_by(STRETCH).map(of_stretch).collect();
    stretches.into_par_iter().for_each(|(start, outputs)| {
        pass(inputs.map(|input| &input[start..count.min(start + STRETCH)]), outputs);
    });
    outputs.map(Numbers::into_tensor)
}

/// Beyond this, GELU is x or 0, and the cube could be too large for f32.
const FLAT: f32 = 20.0;

vectorised! {
    fn by_erf(inputs: [&[f32]; 1], outputs: [&mut [f32]; 1]) {
        const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
        let ([x], [y]) = (inputs, outputs);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * (0.5 + 0.5 * erf(x * HALF_ROOT));
        }
    }
}

vectorised! {
    /// The slope is Φ(x) + x·φ(x) of the normal distribution.
    fn by_erf_back(inputs: [&[f32]; 1], outputs: [&mut [f32]; 1]) {
        const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
        /// 1/√(2π).
        const DENSITY: f32 = 0.398_942_3;
        let ([x], [gradient]) = (inputs, outputs);
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let near = x.clamp(-FLAT, FLAT);
            let below = 0.5 + 0.5 * erf(x * HALF_ROOT);
            *gradient *= below + near * DENSITY * exponential(-0.5 * near * near);
        }
    }
}

vectorised! {
    fn by_tanh(inputs: [&[f32]; 1], outputs: [&mut [f32]; 1]) {
        let ([x], [y]) = (inputs, outputs);
        for (y, &x) in y.iter_mut().zip(x) {
            let near = x.clamp(-FLAT, FLAT);
            let (share, _) = sigmoid(near * (near * near * CUBIC as f32 + LINEAR as f32));
            *y = x * share;
        }
    }
}

vectorised! {
    fn by_tanh_back(inputs: [&[f32]; 1], outputs: [&mut [f32]; 1]) {
        let ([x], [gradient]) = (inputs, outputs);
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let near = x.clamp(-FLAT, FLAT);
            let cubic = near * near * CUBIC as f32;
            let (share, slope) = sigmoid(near * (cubic + LINEAR as f32));
            *gradient *= share + near * slope * (3.0 * cubic + LINEAR as f32);
        }
    }
}

vectorised! {
    fn gated(inputs: [&[f32]; 2], outputs: [&mut [f32]; 1]) {
        let ([gate, up], [y]) = (inputs, outputs);
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            let (share, _) = sigmoid(gate);
            *y = gate * share * up;
        }
    }
}

vectorised! {
    fn gated_back(inputs: [&[f32]; 2], outputs: [&mut [f32]; 2]) {
        let ([gate, up], [gradient, of_up]) = (inputs, outputs);
        for ((gradient, of_up), (&gate, &up)) in gradient.iter_mut().zip(of_up).zip(gate.iter().zip(up)) {
            let (share, slope) = sigmoid(gate);
            *of_up = *gradient * gate * share;
            *gradient *= up * (share + gate * slope);
        }
    }
}

/// The same passes of `shaders/activation.wgsl`.
fn on_wgpu<const N: usize, const M: usize>(
    ability: Ability,
    function: &str,
    back: bool,
    inputs: [Tensor<3>; N],
) -> [Tensor<3>; M] {
    let shape = inputs[0].dims();
    let count = inputs[0].shape().num_elements();
    let inputs = inputs.map(Buffer::of);
    let outputs = [(); M].map(|()| inputs[0].beside(shape));
    let width = if count.is_multiple_of(4) { 4 } else { 1 };
    let lanes = ability.lanes();
    let values = context! { function, back, width, lanes };
    let elements = (count / width) as u32;
    let buffers: Vec<&Buffer> = inputs.iter().chain(&outputs).collect();
    Kernel::new("activation", values, [lanes, 1, 1]).launch(
        wgsl::groups(elements.div_ceil(lanes) as usize),
        &buffers,
        &[elements],
    );
    outputs.map(Buffer::into_tensor)
}
