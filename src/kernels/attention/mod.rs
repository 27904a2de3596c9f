//! Causal attention (arXiv 2205.14135): scores are never held for more than a tile of queries and keys.
//!
//! The result keeps ln Z of every query, from which the gradient makes the probabilities again.

mod on_host;
mod plain;
mod product;

use burn::tensor::Tensor;

use super::host;
use super::node::{self, Function};
use crate::model::Precision;
pub use plain::{CausalMask, plain};

/// Causal attention with grouped queries (arXiv 2305.13245): `softmax(q kᵀ / √D) v` over the keys that `mask` allows.
///
/// `q` is `[B, H, T, D]`; `k` and `v` are `[B, K, T, D]` with `H` a multiple of `K`; the result is `[B, T, H·D]`. Products
/// in 16 bits (`compute`) are taken by the framework, and so is everything on devices other than the CPU backend.
pub fn causal(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &CausalMask, compute: Precision) -> Tensor<3> {
    let [batch, heads, time, channels] = q.dims();
    let empty = q.shape().num_elements() == 0;
    if empty || compute != Precision::F32 || ![&q, &k, &v].into_iter().all(lies_on_host) {
        return plain(q, k, v, mask, compute);
    }
    let attended = node::apply(Attention { window: mask.window() }, [q, k, v]); // [B, T, H, D]
    attended.reshape([batch, time, heads * channels])
}

fn lies_on_host(tensor: &Tensor<4>) -> bool {
    match tensor.is_autodiff() {
        true => host::holds(&tensor.clone().inner()),
        false => host::holds(tensor),
    }
}

/// Of queries, keys and values: `[B, T, H, D]`.
#[derive(Debug)]
struct Attention {
    /// How many of the latest tokens a query sees, itself among them.
    window: usize,
}

/// What the gradient needs.
#[derive(Debug, Clone)]
struct Saved {
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    /// `[B, T, H, D]`.
    attended: Tensor<4>,
    /// ln Z of each query: `[B, T, H]`.
    normalisers: Tensor<3>,
}

impl Function<3, 4> for Attention {
    type Saved = Saved;

    fn forward(&self, [q, k, v]: [Tensor<4>; 3]) -> (Tensor<4>, Saved) {
        let (attended, normalisers) = on_host::forward([&q, &k, &v], self.window);
        (attended.clone(), Saved { q, k, v, attended, normalisers })
    }

    fn backward(&self, saved: Saved, gradient: Tensor<4>, _: [bool; 3]) -> [Option<Tensor<4>>; 3] {
        on_host::backward(saved, gradient, self.window).map(Some)
    }
}
