//! Attention by the framework's operations, on any device and in any precision.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, FloatDType, Tensor};

use super::settings::CausalAttention;
use crate::device::precision::Precision;
use crate::kernels::table::LARGEST_PIECE;

/// [`causal`](super::causal) by the framework's operations, the two products in `compute`, the softmax between them in f32.
///
/// The queries of one group are stacked along time, so keys and values are never copied per head. Long windows are
/// computed for a part of the queries at a time, so that the scores fit into one storage binding.
pub fn plain(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, attention: &CausalAttention, compute: Precision) -> Tensor<3> {
    let [batch, heads, time, channels] = q.dims();
    let q = q * attention.scale(channels);
    let stretch = (LARGEST_PIECE / (size_of::<f32>() * batch * heads * time).max(1)).clamp(1, time.max(1));
    let parts: Vec<Tensor<4>> = (0..time)
        .step_by(stretch)
        .map(|start| {
            let count = stretch.min(time - start);
            let end = start + count; // later keys are not needed
            let mask = attention.rows(start, count, end);
            let [k, v] = [&k, &v].map(|x| x.clone().narrow(2, 0, end));
            attend(q.clone().narrow(2, start, count), k, v, mask, attention.soft_cap(), compute)
        })
        .collect();
    Tensor::cat(parts, 2).swap_dims(1, 2).reshape([batch, time, heads * channels])
}

/// `softmax(q kᵀ) v` for queries `[B, H, T, D]`, keys and values `[B, K, S, D]` and a mask `[T, S]`: `[B, H, T, D]`.
fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Tensor<2, Bool>,
    soft_cap: Option<f64>,
    compute: Precision,
) -> Tensor<4> {
    let [batch, heads, time, channels] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    let group = heads / kv_heads;
    let q = q.reshape([batch, kv_heads, group * time, channels]);
    let [q, k, v] = [q, k, v].map(|x| x.cast(compute.float()));
    let scores = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32).reshape([batch, heads, time, keys]);
    let scores = match soft_cap {
        Some(cap) => (scores / cap).tanh() * cap,
        None => scores,
    };
    let mask = mask.unsqueeze::<4>().expand([batch, heads, time, keys]);
    // A finite floor: no row is ever wholly masked, and exp() of it is exactly 0 in f32.
    let weights = softmax(scores.mask_fill(mask, -1e30), 3);
    let weights = weights.reshape([batch, kv_heads, group * time, keys]).cast(compute.float());
    weights.matmul(v).cast(FloatDType::F32).reshape([batch, heads, time, channels])
}
