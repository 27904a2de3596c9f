//! The parts that every family is made of.
//!
//! `B` batch, `T` time (tokens of a window), `C` channels, `H` heads, `K` key/value heads, `D` channels of a head.
//! Weights keep the layout of the published checkpoint, so loading and saving never transpose.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, module};

use super::weights::WeightSource;
use crate::error::Result;

/// How a linear layer's weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[in, out]`: GPT-2's `Conv1D`.
    InOut,
    /// `[out, in]`: `torch.nn.Linear`.
    OutIn,
}

/// `y = x W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    layout: Layout,
}

impl Linear {
    /// Reads `{path}.weight` and, where the architecture has one, `{path}.bias`.
    pub fn load(
        source: &mut dyn WeightSource,
        path: &str,
        [input, output]: [usize; 2],
        bias: bool,
        layout: Layout,
        device: &Device,
    ) -> Result<Self> {
        let shape = match layout {
            Layout::InOut => [input, output],
            Layout::OutIn => [output, input],
        };
        Ok(Self {
            weight: source.parameter(&format!("{path}.weight"), shape, device)?,
            bias: if bias { Some(source.parameter(&format!("{path}.bias"), [output], device)?) } else { None },
            layout,
        })
    }

    /// `x` is `[B, T, in]`, the result `[B, T, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, input] = x.dims();
        let weight = match self.layout {
            Layout::InOut => self.weight.val(),
            Layout::OutIn => self.weight.val().transpose(),
        };
        let [_, output] = weight.dims();
        // One flat product instead of a batch of them: the weight is read once.
        let y = x.reshape([batch * time, input]).matmul(weight);
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        y.reshape([batch, time, output])
    }
}

/// Layer normalisation with weight and bias, as `torch.nn.LayerNorm`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Reads `{path}.weight` and `{path}.bias`, both `[channels]`.
    pub fn load(
        source: &mut dyn WeightSource,
        path: &str,
        channels: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            weight: source.parameter(&format!("{path}.weight"), [channels], device)?,
            bias: source.parameter(&format!("{path}.bias"), [channels], device)?,
            epsilon,
        })
    }

    /// Normalises the last dimension of `x`, `[B, T, C]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        module::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}

/// Root-mean-square normalisation (arXiv 1910.07467), as `LlamaRMSNorm`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    /// Reads `{path}.weight`, `[channels]`.
    pub fn load(
        source: &mut dyn WeightSource,
        path: &str,
        channels: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self { weight: source.parameter(&format!("{path}.weight"), [channels], device)?, epsilon })
    }

    /// Normalises the last dimension of `x`, `[B, T, C]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mean_square = (x.clone() * x.clone()).mean_dim(2); // [B, T, 1]
        x * (mean_square + self.epsilon).sqrt().recip() * self.weight.val().unsqueeze()
    }
}

/// A table of one row per token or position, cut by rows so that no piece exceeds what a kernel can see at once (128
/// MiB on many adapters). The pieces appear under one name in checkpoints.
#[derive(Module, Debug)]
pub struct Embedding {
    /// The rows in order, `[rows of the piece, channels]` each.
    weight: Vec<Param<Tensor<2>>>,
}

impl Embedding {
    /// Reads `{path}.weight`, `[rows, channels]`.
    pub fn load(
        source: &mut dyn WeightSource,
        path: &str,
        [rows, channels]: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        let values = source.values(&format!("{path}.weight"), &[rows, channels])?;
        let piece = (source.largest_piece() / (size_of::<f32>() * channels.max(1))).max(1);
        let weight = values
            .chunks(piece * channels.max(1))
            .map(|rows| {
                let shape = [rows.len() / channels.max(1), channels];
                Param::from_tensor(Tensor::from_data(TensorData::new(rows.to_vec(), shape), device))
            })
            .collect();
        Ok(Self { weight })
    }

    /// The rows named by `ids`: `[B, T]` to `[B, T, C]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let table = self.table();
        if let [whole] = table.pieces.as_slice() {
            return module::embedding(whole.clone(), ids);
        }
        let parts = table.pieces.iter().zip(table.starts()).map(|(piece, start)| {
            let (local, inside) = within(ids.clone(), start, piece.dims()[0]);
            module::embedding(piece.clone(), local) * inside.unsqueeze_dim(2)
        });
        parts.reduce(|sum, part| sum + part).unwrap_or_else(|| Tensor::empty([0, 0, 0], &ids.device()))
    }

    /// The table itself.
    pub fn table(&self) -> Table {
        Table { pieces: self.weight.iter().map(Param::val).collect() }
    }
}

/// An embedding's rows `[rows, channels]`, as pieces of consecutive rows. As output head: logits are `hidden · rowsᵀ`.
#[derive(Debug, Clone)]
pub struct Table {
    /// `[rows of the piece, channels]` each, in order.
    pub pieces: Vec<Tensor<2>>,
}

impl Table {
    /// All rows.
    pub fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.dims()[0]).sum()
    }

    /// The first row of each piece.
    pub fn starts(&self) -> Vec<usize> {
        let ends = self.pieces.iter().scan(0, |end, piece| {
            *end += piece.dims()[0];
            Some(*end)
        });
        std::iter::once(0).chain(ends).take(self.pieces.len()).collect()
    }

    /// The same rows without autodiff.
    pub fn inner(&self) -> Self {
        Self { pieces: self.pieces.iter().map(|piece| piece.clone().inner()).collect() }
    }
}

/// Ids as rows of a piece that begins at row `start`, and 1 where they lie in it: `[.., ..]` each. Ids outside name the
/// nearest row, so that looking them up stays within bounds.
pub fn within<const D: usize>(ids: Tensor<D, Int>, start: usize, rows: usize) -> (Tensor<D, Int>, Tensor<D>) {
    let local = ids - start as i64;
    let nearest = local.clone().clamp(0, rows as i64 - 1);
    let inside = nearest.clone().equal(local).float();
    (nearest, inside)
}

/// Where a query may not look: `[T, T]`, true above the diagonal.
pub fn causal_mask(time: usize, device: &Device) -> Tensor<2, Bool> {
    Tensor::<2, Bool>::tril_mask([time, time], 0, &device.clone().inner())
}

/// Causal attention with grouped queries (arXiv 2305.13245): `softmax(q kᵀ / √D) v`.
///
/// `q` is `[B, H, T, D]`; `k` and `v` are `[B, K, T, D]` with `H` a multiple of `K`; the result is `[B, T, H·D]`.
/// The queries of one group are stacked along time, so keys and values are never copied per head.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Tensor<2, Bool>) -> Tensor<3> {
    let [batch, heads, time, channels] = q.dims();
    let kv_heads = k.dims()[1];
    let group = heads / kv_heads;

    let q = (q * (channels as f64).powf(-0.5)).reshape([batch, kv_heads, group * time, channels]);
    let scores = q.matmul(k.swap_dims(2, 3)).reshape([batch, heads, time, time]);
    let mask = mask.clone().unsqueeze::<4>().expand([batch, heads, time, time]);
    // A finite floor: no row is ever wholly masked, and exp() of it is exactly 0 in f32.
    let weights = softmax(scores.mask_fill(mask, -1e30), 3);
    let y = weights.reshape([batch, kv_heads, group * time, time]).matmul(v); // [B, K, group·T, D]
    y.reshape([batch, heads, time, channels]).swap_dims(1, 2).reshape([batch, time, heads * channels])
}

/// Splits `[B, T, H·D]` into heads, `[B, H, T, D]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, time, channels] = x.dims();
    x.reshape([batch, time, heads, channels / heads]).swap_dims(1, 2)
}
