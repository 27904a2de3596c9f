//! Attention by the framework's operations, on any device and in any precision.

use std::sync::{Arc, OnceLock};

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, FloatDType, Tensor};

use crate::model::Precision;
use crate::model::weights::LARGEST_PIECE;

/// Windows up to this length have their mask made once and kept; for longer windows only the rows in use exist.
const WHOLE_MASK: usize = 4096;

/// Which keys a query may see: its own and all before it, or only the last so many of these.
#[derive(Debug, Clone)]
pub struct CausalMask {
    time: usize,
    window: Option<usize>,
    device: Device,
    /// `[T, T]`, for short windows; made at the first use.
    whole: Arc<OnceLock<Tensor<2, Bool>>>,
}

impl CausalMask {
    /// For inputs of `time` tokens; with a `window`, a query sees the last `window` tokens only, itself among them.
    pub fn new(time: usize, window: Option<usize>, device: &Device) -> Self {
        let window = window.filter(|&window| window < time);
        Self { time, window, device: device.clone().inner(), whole: Arc::default() }
    }

    /// How many of the latest tokens a query sees, including its own; all if there is no limit.
    pub(super) fn window(&self) -> usize {
        self.window.unwrap_or(self.time)
    }

    /// True where query `start + i` may not look at key `j`: `[count, end]`.
    fn rows(&self, start: usize, count: usize, end: usize) -> Tensor<2, Bool> {
        if self.time > WHOLE_MASK {
            return self.made(start, count, end);
        }
        let whole = self.whole.get_or_init(|| self.made(0, self.time, self.time));
        whole.clone().narrow(0, start, count).narrow(1, 0, end)
    }

    fn made(&self, start: usize, count: usize, end: usize) -> Tensor<2, Bool> {
        let start = start as i64;
        let later = Tensor::<2, Bool>::tril_mask([count, end], start, &self.device);
        match self.window {
            None => later,
            // True where the key lies `window` or more tokens back.
            Some(window) => later.bool_or(Tensor::triu_mask([count, end], start + 1 - window as i64, &self.device)),
        }
    }
}

/// [`causal`](super::causal) by the framework's operations, the two products in `compute`, the softmax between them in f32.
///
/// The queries of one group are stacked along time, so keys and values are never copied per head. Long windows are
/// computed for a part of the queries at a time, so that the scores fit into one storage binding.
pub fn plain(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &CausalMask, compute: Precision) -> Tensor<3> {
    let [batch, heads, time, channels] = q.dims();
    let q = q * (channels as f64).powf(-0.5);
    let stretch = (LARGEST_PIECE / (size_of::<f32>() * batch * heads * time).max(1)).clamp(1, time.max(1));
    let parts: Vec<Tensor<4>> = (0..time)
        .step_by(stretch)
        .map(|start| {
            let count = stretch.min(time - start);
            let end = start + count; // later keys are not needed
            let mask = mask.rows(start, count, end);
            let [k, v] = [&k, &v].map(|x| x.clone().narrow(2, 0, end));
            attend(q.clone().narrow(2, start, count), k, v, mask, compute)
        })
        .collect();
    Tensor::cat(parts, 2).swap_dims(1, 2).reshape([batch, time, heads * channels])
}

/// `softmax(q kᵀ) v` for queries `[B, H, T, D]`, keys and values `[B, K, S, D]` and a mask `[T, S]`: `[B, H, T, D]`.
fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Tensor<2, Bool>, compute: Precision) -> Tensor<4> {
    let [batch, heads, time, channels] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    let group = heads / kv_heads;
    let q = q.reshape([batch, kv_heads, group * time, channels]);
    let [q, k, v] = [q, k, v].map(|x| x.cast(compute.float()));
    let scores = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32).reshape([batch, heads, time, keys]);
    let mask = mask.unsqueeze::<4>().expand([batch, heads, time, keys]);
    // A finite floor: no row is ever wholly masked, and exp() of it is exactly 0 in f32.
    let weights = softmax(scores.mask_fill(mask, -1e30), 3);
    let weights = weights.reshape([batch, kv_heads, group * time, keys]).cast(compute.float());
    weights.matmul(v).cast(FloatDType::F32).reshape([batch, heads, time, channels])
}
