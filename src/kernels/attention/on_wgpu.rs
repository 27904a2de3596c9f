//! Attention by the kernels of `shaders/` that suit software adapters.
//!
//! Graphics cards keep the framework's operations: a lane's query with its sums is more than their registers hold.

use burn::tensor::Tensor;
use minijinja::{Value, context};

use super::Saved;
use crate::kernels::wgsl::{self, Ability, Buffer, Kernel};

/// Channels of a head at most: what a lane holds for each of them is unrolled in a kernel's text.
const MOST_CHANNELS: usize = 128;
/// Workgroups along one axis at most; also the most tokens of a window, as llvmpipe, the usual software adapter, ends every
/// loop of a kernel after 65,532 rounds, of two tokens each.
const MOST_GROUPS: usize = 65_535;

/// What can be done where these queries `[B, H, T, D]` lie; `None` where it is no software adapter that passes values
/// between lanes, or heads have another number of channels than a multiple of 4 up to 128.
pub(super) fn suits(q: &Tensor<4>) -> Option<Ability> {
    let [batch, heads, time, channels] = q.dims();
    let fits = channels.is_multiple_of(4) && channels <= MOST_CHANNELS && (batch * heads).max(time) <= MOST_GROUPS;
    if fits { wgsl::ability(q).filter(Ability::shuffles) } else { None }
}

/// Sizes of a problem as a kernel has them.
struct Sizes {
    batch: u32,
    heads: u32,
    kv_heads: u32,
    time: u32,
    window: u32,
    lanes: u32,
    values: Value,
}

impl Sizes {
    fn of(q: &Tensor<4>, k: &Tensor<4>, window: usize, ability: Ability) -> Self {
        let [[batch, heads, time, channels], [_, kv_heads, _, _]] = [q.dims(), k.dims()];
        let [batch, heads, kv_heads, time, window] = [batch, heads, kv_heads, time, window].map(|size| size as u32);
        let lanes = ability.subgroup;
        let scale = format!("{:?}", (channels as f64).powf(-0.5) as f32);
        let values = context! { lanes, vectors => channels / 4, scale };
        Self { batch, heads, kv_heads, time, window, lanes, values }
    }

    /// A subgroup for as many tokens as it has lanes, of each of so many heads.
    fn launch(&self, name: &'static str, heads: u32, buffers: &[&Buffer]) {
        let groups = [self.time.div_ceil(self.lanes), self.batch * heads, 1];
        let sizes = [self.time, self.heads, self.kv_heads, self.window];
        Kernel::new(name, self.values.clone(), [self.lanes, 1, 1]).launch(groups, buffers, &sizes);
    }
}

/// `[B, H, T, D]` as kernels have it: by time.
fn by_time(tensor: Tensor<4>) -> Buffer {
    Buffer::of(tensor.swap_dims(1, 2))
}

/// The result `[B, T, H, D]`, and ln Z of each query, `[B, T, H]`.
pub(super) fn forward([q, k, v]: [&Tensor<4>; 3], window: usize, ability: Ability) -> (Tensor<4>, Tensor<3>) {
    let sizes = Sizes::of(q, k, window, ability);
    let [batch, heads, time, channels] = q.dims();
    let [q, k, v] = [q, k, v].map(|tensor| by_time(tensor.clone()));
    let (attended, normalisers) = (q.beside([batch, time, heads, channels]), q.beside([batch, time, heads]));
    sizes.launch("attention", sizes.heads, &[&q, &k, &v, &attended, &normalisers]);
    (attended.into_tensor(), normalisers.into_tensor())
}

/// ∂L/∂q, ∂L/∂k and ∂L/∂v from ∂L/∂result, `[B, T, H, D]`.
pub(super) fn backward(saved: Saved, gradient: Tensor<4>, window: usize, ability: Ability) -> [Tensor<4>; 3] {
    let Saved { q, k, v, attended, normalisers } = saved;
    let sizes = Sizes::of(&q, &k, window, ability);
    let ([batch, heads, time, channels], [_, kv_heads, _, _]) = (q.dims(), k.dims());
    let [q, k, v] = [q, k, v].map(by_time);
    let [attended, gradient] = [attended, gradient].map(Buffer::of);
    let normalisers = Buffer::of(normalisers);
    let [of_k, of_v] = [(); 2].map(|()| q.beside([batch, time, kv_heads, channels]));
    let (of_q, delta) = (q.beside([batch, time, heads, channels]), q.beside([batch, time, heads]));
    let buffers = [&q, &k, &v, &attended, &gradient, &normalisers, &of_q, &delta];
    sizes.launch("attention_of_queries", sizes.heads, &buffers);
    let buffers = [&q, &k, &v, &gradient, &normalisers, &delta, &of_k, &of_v];
    sizes.launch("attention_of_keys", sizes.kv_heads, &buffers);
    [of_q, of_k, of_v].map(|gradient| gradient.into_tensor().swap_dims(1, 2))
}
