//! Causal attention as one node of the autodiff graph, wherever it is computed.

use burn::tensor::Tensor;

use super::on_host;
use super::on_wgpu::{self, Form};
use super::plain::plain;
use super::saved::Saved;
use super::settings::{CausalAttention, Scores};
use crate::device::precision::Precision;
use crate::kernels;
use crate::kernels::node::{self, Function};
use crate::kernels::place::place;

/// Causal attention with grouped queries (arXiv 2305.13245): `softmax(q kᵀ / √D) v` over the keys that `attention` allows,
/// with its scale in place of 1 / √D and its cap on the scores where it has them.
///
/// `q` is `[B, H, T, D]`; `k` and `v` are `[B, K, T, D]` with `H` a multiple of `K`; the result is `[B, T, H·D]`.
/// [`plain()`] computes everything that is not in f32, and on wgpu also heads with more than 128 channels or with a
/// number of channels that is not a multiple of 4.
pub fn causal(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, attention: &CausalAttention, compute: Precision) -> Tensor<3> {
    let [batch, heads, time, channels] = q.dims();
    let empty = q.shape().num_elements() == 0;
    let place = if empty || compute != Precision::F32 { None } else { Place::of([&q, &k, &v]) };
    let Some(place) = place else { return plain(q, k, v, attention, compute) };
    let attended = node::apply(Attend { scores: attention.scores(channels), place }, [q, k, v]); // [B, T, H, D]
    attended.reshape([batch, time, heads * channels])
}

/// [`causal`] of queries, keys and values side by side, `[B, T, 3·H·D]`: each token has those of all heads, one after
/// the other.
pub fn side_by_side(qkv: Tensor<3>, heads: usize, attention: &CausalAttention, compute: Precision) -> Tensor<3> {
    let [batch, time, width] = qkv.dims();
    let by_time = qkv.clone().reshape([batch, time, 3 * heads, width / (3 * heads)]);
    let empty = qkv.shape().num_elements() == 0;
    let place = if empty || compute != Precision::F32 { None } else { Place::of([&by_time.swap_dims(1, 2)]) };
    let Some(place) = place else {
        let [q, k, v] = apart(qkv, heads);
        return plain(q, k, v, attention, compute);
    };
    let scores = attention.scores(width / (3 * heads));
    node::apply(SideBySide { heads, attend: Attend { scores, place } }, [qkv])
}

/// `[B, T, 3·H·D]` as three times `[B, H, T, D]`.
fn apart(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [batch, time, width] = qkv.dims();
    let all = qkv.reshape([batch, time, 3 * heads, width / (3 * heads)]);
    [0, 1, 2].map(|i| all.clone().narrow(2, i * heads, heads).swap_dims(1, 2))
}

/// The places where our own form is used instead of the framework's.
#[derive(Debug, Clone, Copy)]
enum Place {
    Host,
    Wgpu(Form),
}

impl Place {
    /// For attention among tensors `[.., .., T, D]`, if they all lie there.
    fn of<const N: usize>(inputs: [&Tensor<4>; N]) -> Option<Self> {
        if inputs.into_iter().all(|tensor| matches!(place(tensor), kernels::place::Place::Host)) {
            return Some(Self::Host);
        }
        let forms = inputs.map(Form::of);
        forms.into_iter().reduce(Option::and).flatten().map(Self::Wgpu)
    }
}

/// Of queries, keys and values, `[B, H, T, D]` and twice `[B, K, T, D]`: `[B, T, H, D]`.
#[derive(Debug)]
struct Attend {
    scores: Scores,
    place: Place,
}

impl Function<3, 4> for Attend {
    type Saved = Saved;

    fn forward(&self, [q, k, v]: [Tensor<4>; 3]) -> (Tensor<4>, Saved) {
        let (attended, normalisers) = match self.place {
            Place::Host => on_host::forward([&q, &k, &v], self.scores),
            Place::Wgpu(form) => on_wgpu::forward([&q, &k, &v], self.scores, form),
        };
        (attended.clone(), Saved { q, k, v, attended, normalisers })
    }

    fn backward(&self, saved: Saved, gradient: Tensor<4>, _: [bool; 3]) -> [Option<Tensor<4>>; 3] {
        let gradients = match self.place {
            Place::Host => on_host::Gradients::of(saved, gradient, self.scores).apart(),
            Place::Wgpu(form) => on_wgpu::backward(saved, gradient, self.scores, form),
        };
        gradients.map(Some)
    }
}

/// The same of queries, keys and values side by side: `[B, T, 3·H·D]` to `[B, T, H·D]`.
#[derive(Debug)]
struct SideBySide {
    heads: usize,
    attend: Attend,
}

impl Function<1> for SideBySide {
    type Saved = Saved;

    fn forward(&self, [qkv]: [Tensor<3>; 1]) -> (Tensor<3>, Saved) {
        let [batch, time, width] = qkv.dims();
        let (attended, saved) = self.attend.forward(apart(qkv, self.heads));
        (attended.reshape([batch, time, width / 3]), saved)
    }

    fn backward(&self, saved: Saved, gradient: Tensor<3>, _: [bool; 1]) -> [Option<Tensor<3>>; 1] {
        let gradient = gradient.reshape(saved.attended.dims());
        let Attend { scores, place } = self.attend;
        let gradient = match place {
            Place::Host => on_host::Gradients::of(saved, gradient, scores).side_by_side(),
            Place::Wgpu(form) => on_wgpu::backward_side_by_side(saved, gradient, scores, form),
        };
        [Some(gradient)]
    }
}
