//! The parts that every family is made of.
//!
//! `B` batch, `T` time (tokens of a window), `C` channels, `H` heads, `K` key/value heads, `D` channels of a head.
//! Weights keep the layout of the published checkpoint, so loading and saving never transpose.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, module};
use serde::Deserialize;

use super::lora::Lora;
use super::weights::{Precision, WeightSource};
use crate::error::Result;
pub use crate::kernels::attention::{CausalMask, causal as causal_attention};
use crate::kernels::matmul::{self, Held};
use crate::kernels::{activation, norm};

/// A part of a model that turns hidden states `[B, T, C]` into others: a block, or the last norm.
pub type Stage<'a> = Box<dyn Fn(Tensor<3>) -> Tensor<3> + 'a>;

/// How a linear layer's weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[in, out]`: GPT-2's `Conv1D`.
    InOut,
    /// `[out, in]`: `torch.nn.Linear`.
    OutIn,
}

/// `y = x W + b`, and what an adapter adds to it.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    adapter: Option<Lora>,
    #[module(skip)]
    layout: Layout,
    /// What `x W` is computed in; everything around it is in f32.
    #[module(skip)]
    compute: Precision,
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
            adapter: None,
            layout,
            compute: Precision::F32,
        })
    }

    /// `x` is `[B, T, in]`, the result `[B, T, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, input] = x.dims();
        let weight = self.weight.val().cast(self.compute.float());
        let held = match self.layout {
            Layout::InOut => Held::Plain,
            Layout::OutIn => Held::Transposed,
        };
        // One flat product instead of a batch of them: the weight is read once.
        let x = x.reshape([batch * time, input]);
        let bias = self.bias.as_ref().map(Param::val);
        let y = match self.compute.is_f32() {
            true => matmul::linear(x.clone(), weight, held, bias),
            false => {
                let y = matmul::linear(x.clone().cast(self.compute.float()), weight, held, None).cast(FloatDType::F32);
                bias.into_iter().fold(y, |y, bias| y + bias.unsqueeze())
            }
        };
        let [_, output] = y.dims();
        let y = match &self.adapter {
            Some(adapter) => y + adapter.forward(x, batch),
            None => y,
        };
        y.reshape([batch, time, output])
    }

    /// Whether its weight is held in fewer bits than it is computed with.
    pub(super) fn is_narrow(&self) -> bool {
        self.weight.val().dtype().size() < self.compute.bytes()
    }

    /// What its product is computed in, and so its model's attention.
    pub(super) fn compute(&self) -> Precision {
        self.compute
    }

    pub(super) fn set_compute(&mut self, precision: Precision) {
        self.compute = precision;
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn adapter(&self) -> Option<&Lora> {
        self.adapter.as_ref()
    }

    pub(super) fn adapter_mut(&mut self) -> Option<&mut Lora> {
        self.adapter.as_mut()
    }

    pub(super) fn set_adapter(&mut self, adapter: Option<Lora>) {
        self.adapter = adapter;
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
        // Files that came from TensorFlow, as the first BERTs did, keep its names.
        let greek = source.has(&format!("{path}.gamma"));
        let [weight, bias] = if greek { ["gamma", "beta"] } else { ["weight", "bias"] };
        Ok(Self {
            weight: source.parameter(&format!("{path}.{weight}"), [channels], device)?,
            bias: source.parameter(&format!("{path}.{bias}"), [channels], device)?,
            epsilon,
        })
    }

    /// Normalises the last dimension of `x`, `[B, T, C]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        norm::layer_norm(x, Some([self.weight.val(), self.bias.val()]), self.epsilon)
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
        norm::rms_norm(x, self.weight.val(), self.epsilon)
    }

    /// Normalises `x`, `[B, T, n·C]`, in runs of the `C` channels that this norm has weights for: every head alone.
    pub fn forward_runs(&self, x: Tensor<3>) -> Tensor<3> {
        let ([batch, time, all], [channels]) = (x.dims(), self.weight.dims());
        self.forward(x.reshape([batch, time * all / channels, channels])).reshape([batch, time, all])
    }
}

/// Rows of a piece of a token table at most. A softmax sums over them, and llvmpipe, the usual software adapter, ends every
/// loop of a kernel after 65,532 rounds: what lies beyond would be left out silently.
const MOST_ROWS: usize = 65_024;

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
        let name = format!("{path}.weight");
        let piece = (source.largest_piece() / (size_of::<f32>() * channels.max(1))).clamp(1, MOST_ROWS);
        let weight = (0..rows)
            .step_by(piece)
            .map(|start| source.rows(&name, [rows, channels], start..rows.min(start + piece), device))
            .collect::<Result<_>>()?;
        Ok(Self { weight })
    }

    /// The rows named by `ids`: `[B, T]` to `[B, T, C]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let table = self.table();
        // Rows are looked up as they are held, and only they are converted.
        let rows = |piece: &Tensor<2>, ids| module::embedding(piece.clone(), ids).cast(FloatDType::F32);
        if let [whole] = table.held.as_slice() {
            return rows(whole, ids);
        }
        let parts = table.held.iter().zip(table.starts()).map(|(piece, start)| {
            let (local, inside) = within(ids.clone(), start, piece.dims()[0]);
            rows(piece, local) * inside.unsqueeze_dim(2)
        });
        parts.reduce(|sum, part| sum + part).unwrap_or_else(|| Tensor::empty([0, 0, 0], &ids.device()))
    }

    /// The table itself.
    pub fn table(&self) -> Table {
        Table { held: self.weight.iter().map(Param::val).collect() }
    }
}

/// An embedding's rows `[rows, channels]`, as pieces of consecutive rows. As output head: logits are `hidden · rowsᵀ`.
#[derive(Debug, Clone)]
pub struct Table {
    /// `[rows of the piece, channels]` each, in order, in the precision they are held in.
    held: Vec<Tensor<2>>,
}

impl From<Vec<Tensor<2>>> for Table {
    /// Of pieces of consecutive rows, in order.
    fn from(held: Vec<Tensor<2>>) -> Self {
        Self { held }
    }
}

impl Table {
    /// The pieces in order, in f32: `[rows of the piece, channels]` each. A piece held in 16 bits is converted when its
    /// turn comes and lives as long as it is used.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = Tensor<2>> + '_ {
        self.held.iter().map(|piece| piece.clone().cast(FloatDType::F32))
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        self.held.iter().map(|piece| piece.dims()[0]).sum()
    }

    /// The first row of each piece.
    pub fn starts(&self) -> Vec<usize> {
        let ends = self.held.iter().scan(0, |end, piece| {
            *end += piece.dims()[0];
            Some(*end)
        });
        std::iter::once(0).chain(ends).take(self.held.len()).collect()
    }

    /// Where it is; a model without tokens is refused when it is read.
    pub fn device(&self) -> Device {
        self.held[0].device()
    }

    /// Whether it is trained; it may be frozen below adapters.
    pub fn is_trained(&self) -> bool {
        self.held.iter().any(Tensor::is_require_grad)
    }

    /// The same rows without autodiff.
    pub fn inner(&self) -> Self {
        Self { held: self.held.iter().map(|piece| piece.clone().inner()).collect() }
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

/// The two forms of GELU (arXiv 1606.08415) that checkpoints name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gelu {
    /// The tanh approximation, GPT-2's choice.
    #[default]
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast", alias = "gelu_accurate", alias = "gelu_python_tanh")]
    GeluNew,
    /// The exact form with erf, GPT-NeoX's choice.
    #[serde(alias = "gelu_python")]
    Gelu,
}

impl Gelu {
    /// The function of every element.
    pub fn forward(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => activation::gelu_by_erf(x),
            Self::GeluNew => activation::gelu_by_tanh(x),
        }
    }
}

/// Splits `[B, T, H·D]` into heads, `[B, H, T, D]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, time, channels] = x.dims();
    x.reshape([batch, time, heads, channels / heads]).swap_dims(1, 2)
}
