//! The parts that every family is made of.
//!
//! `B` batch, `T` time (tokens of a window), `C` channels, `H` heads, `K` key/value heads, `D` channels of a head.
//! Weights keep the layout of the published checkpoint, so loading and saving never transpose.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, module};
use serde::Deserialize;

use super::lora_layer::Lora;
use super::weights::WeightSource;
use crate::device::precision::Precision;
use crate::error::Result;
pub use crate::kernels::attention::{CausalAttention, causal as causal_attention};
use crate::kernels::matmul::{self, Held};
use crate::kernels::table::{Table, within};
use crate::kernels::{activation, norm};

/// A part of a model that maps hidden states `[B, T, C]` to new ones: a layer, or the last norm.
pub type Stage<'a> = Box<dyn Fn(Tensor<3>) -> Tensor<3> + 'a>;

/// The stages of a model whose `layers` are alike, with its `last` norm.
pub fn stages_of<'a, L>(
    layers: &'a [L],
    forward: impl Fn(&L, Tensor<3>) -> Tensor<3> + Clone + 'a,
    last: impl Fn(Tensor<3>) -> Tensor<3> + 'a,
) -> Vec<Stage<'a>> {
    let mut stages: Vec<Stage<'a>> = Vec::with_capacity(layers.len() + 1);
    for layer in layers {
        let forward = forward.clone();
        stages.push(Box::new(move |x| forward(layer, x)));
    }
    stages.push(Box::new(last));
    stages
}

/// `y = x W + b`, plus the output of an adapter if there is one.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    adapter: Option<Lora>,
    /// Whether the weight is `[in, out]` (GPT-2's `Conv1D`) or its transpose (`torch.nn.Linear`).
    #[module(skip)]
    held: Held,
    /// The precision in which `x W` is computed; everything around it is in f32.
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
        held: Held,
        device: &Device,
    ) -> Result<Self> {
        let shape = match held {
            Held::Plain => [input, output],
            Held::Transposed => [output, input],
        };
        Ok(Self {
            weight: source.parameter(&format!("{path}.weight"), shape, device)?,
            bias: if bias { Some(source.parameter(&format!("{path}.bias"), [output], device)?) } else { None },
            adapter: None,
            held,
            compute: Precision::F32,
        })
    }

    /// `x` is `[B, T, in]`, the result `[B, T, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, input] = x.dims();
        let weight = self.weight.val().cast(self.compute.float());
        let held = self.held;
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

    pub(super) fn held(&self) -> Held {
        self.held
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

/// Rows of a piece of a token table at most. A softmax sums over them, and llvmpipe, the usual software card, ends
/// every loop of a kernel after 65,532 rounds: the rest would be left out silently.
const MOST_ROWS: usize = 65_024;

/// A table of one row per token or position, cut by rows so that no piece exceeds the largest binding of a kernel (128
/// MiB on many cards). The pieces appear under one name in checkpoints.
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

    /// The table of an output head of its own, at `path`; `None` where the token table is the head.
    pub fn untied(
        source: &mut dyn WeightSource,
        path: &str,
        sizes: [usize; 2],
        tied: bool,
        device: &Device,
    ) -> Result<Option<Self>> {
        if tied { Ok(None) } else { Self::load(source, path, sizes, device).map(Some) }
    }

    /// The rows named by `ids`: `[B, T]` to `[B, T, C]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let table = self.table();
        // Rows are looked up as they are held, and only they are converted.
        let rows = |piece: &Tensor<2>, ids| module::embedding(piece.clone(), ids).cast(FloatDType::F32);
        if let [whole] = table.held() {
            return rows(whole, ids);
        }
        let parts = table.held().iter().zip(table.starts()).map(|(piece, start)| {
            let (local, inside) = within(ids.clone(), start, piece.dims()[0]);
            rows(piece, local) * inside.unsqueeze_dim(2)
        });
        parts.reduce(|sum, part| sum + part).unwrap_or_else(|| Tensor::empty([0, 0, 0], &ids.device()))
    }

    /// The table itself.
    pub fn table(&self) -> Table {
        self.weight.iter().map(Param::val).collect::<Vec<_>>().into()
    }
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
