//! What the framework's own operations are too slow for, each beside the plain form that it is tested against.
//!
//! A function composed of the framework's operations is a dozen passes over memory and a dozen nodes of the autodiff
//! graph. Here it is one node ([`node`]) and a pass or two: on the CPU backend by all threads on the tensors' own memory
//! ([`host`], loops of [`vectors`]), on wgpu devices by a kernel in WGSL ([`wgsl`], the templates of `shaders/`). What
//! has neither (16 bits, other devices) takes the plain form.
//!
//! Results of the CPU backend do not depend on the number of threads: sums are taken in fixed lanes and parts. Nor do they
//! depend on what vectors the processor has, as products are not fused with sums; only the products inside attention are,
//! where the processor can.
//!
//! # How kernels are launched, and by which compiler
//!
//! cubecl runs a kernel that brings its text ([`wgsl::Kernel`]) in the queue of burn's own, on the same buffers. The other
//! way, wgpu pipelines of our own on the buffers behind burn's tensors, has to flush that queue before each kernel and submit
//! its own work after it: on llvmpipe an operation of burn's and a small kernel of ours took 36 µs in one queue and 168 µs
//! that way (medians of seven rounds of 500 pairs). It has one advantage: it would also work beside burn's compilers to
//! SPIR-V and MSL, which do not take text in WGSL. We build burn without these (features `vulkan` and `metal`): all kernels,
//! burn's and ours, then go through WGSL and naga, and one binary is the same everywhere. The price is paid on graphics
//! cards with tensor cores, which burn reaches only through SPIR-V; naga's cooperative matrices are experimental in wgpu 30.
//! Where a card's own matrix units decide, that choice has to be made again: the kernels' templates stay, [`wgsl`] alone
//! launches.
//!
//! Kernels are compiled when they are first needed. Drivers keep what they compiled from run to run (Mesa, Metal and
//! DirectX do of themselves); cubecl keeps WGSL pipelines for the life of the process only. Fusion and autotune are off,
//! since on a software adapter the first step with them takes minutes; what they would gain on a graphics card is not known
//! to us, for none was at hand to measure it on.

#[macro_use]
mod vectors;

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod gram;
mod host;
pub mod matmul;
mod node;
pub mod norm;
pub mod rotary;
pub mod squares;
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
