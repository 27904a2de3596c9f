//! What the framework's own operations are too slow for, each beside the plain form that it is tested against.
//!
//! A loss or an optimiser's step composed of the framework's operations is a dozen passes over memory, which the CPU
//! backend takes one after the other on one thread, with one exponential at a time. There they are one pass here, by all
//! threads, on the tensors' own memory: [`cross_entropy`] and [`adamw`]. Other devices take the plain form. [`attention`]
//! has such a form for the CPU backend, and one for software adapters, which [`matmul`] is for.
//!
//! Results do not depend on the number of threads: sums are taken in fixed lanes. Nor do they depend on what vectors the
//! processor has, but for products of matrices: in [`attention`], as in the framework, a processor that can fuses them with
//! their sums.

#[macro_use]
mod vectors;

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cross_entropy;
mod host;
pub mod matmul;
mod node;
pub mod norm;
pub mod rotary;
pub mod wgsl;

use burn::tensor::{DType, Device, Tensor};

/// Where the functions of a tensor are computed.
enum Place {
    /// On the tensor's own memory.
    Host,
    /// By kernels of `shaders/`.
    Wgpu(wgsl::Ability),
    /// By the framework's operations.
    Elsewhere,
}

/// Where the functions of `tensor` are computed, whether it is differentiated or not.
fn place<const D: usize>(tensor: &Tensor<D>) -> Place {
    if tensor.dtype() == DType::F32 && tensor.device().inner() == Device::flex() {
        return Place::Host;
    }
    wgsl::ability(tensor).map_or(Place::Elsewhere, Place::Wgpu)
}
