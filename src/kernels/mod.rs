//! Kernels for operations that are too slow in the framework, each beside the plain form that it is tested against.
//!
//! A function made of the framework's operations takes a dozen passes over memory and a dozen nodes of the autodiff
//! graph. Here it takes one node ([`node`]) and one or two passes: on the CPU backend by all threads on the tensors'
//! own memory ([`host`], loops of [`vectors`]), on wgpu devices by a kernel in WGSL ([`wgsl`], the templates of
//! `shaders/`). Everything else (16 bits, other devices) uses the plain form.
//!
//! Results of the CPU backend do not depend on the number of threads: sums are taken in fixed lanes and parts. They
//! also do not depend on the vector width of the processor, because products are not fused with sums. Only the products
//! inside attention are fused, if the processor can.
//!
//! # How kernels are launched, and by which compiler
//!
//! cubecl runs a kernel that brings its text ([`wgsl::Kernel`]) in the queue of burn's own, on the same buffers. The
//! other way, wgpu pipelines of our own on the buffers behind burn's tensors, has to flush that queue before each
//! kernel and submit its own work after it: on llvmpipe an operation of burn's and a small kernel of ours took 36 µs in
//! one queue and 168 µs that way (medians of seven rounds of 500 pairs). It has one advantage: it would also work
//! beside burn's compilers to SPIR-V and MSL, which do not take text in WGSL. We build burn without these (features
//! `vulkan` and `metal`): all kernels, burn's and ours, then go through WGSL and naga, and one binary is the same
//! everywhere. The disadvantage is on graphics cards with tensor cores, which burn uses only through SPIR-V; naga's
//! cooperative matrices are experimental in wgpu 30. If the matrix units of a card matter, this choice must be made
//! again. The templates of the kernels would stay; only [`wgsl`], which launches them, would change.
//!
//! Kernels are compiled when they are first needed. Drivers keep what they compiled from run to run (Mesa, Metal and
//! DirectX do of themselves); cubecl keeps WGSL pipelines for the life of the process only. Fusion and autotune are
//! off, since on a software card the first step with them takes minutes; their gain on a graphics card has not been
//! measured.

#[macro_use]
mod vectors;

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod gram;
pub mod head;
mod host;
pub mod matmul;
mod node;
pub mod norm;
mod place;
pub mod rotary;
pub mod squares;
pub mod table;
pub mod wgsl;
