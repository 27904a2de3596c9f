//! Causal attention (arXiv 2205.14135): scores exist only for one tile of queries and keys at a time.
//!
//! ln Z of every query is kept; the gradient computes the probabilities again from it. On the CPU backend all threads
//! work on the tensors' own memory; software cards and graphics cards have kernels of `shaders/`; products in 16
//! bits use the operations of the framework, which hold all scores.

mod causal;
mod on_host;
mod on_wgpu;
mod plain;
mod product;
mod saved;
mod settings;

pub use causal::{causal, side_by_side};
pub use plain::plain;
pub use settings::{Attention, CausalAttention};
