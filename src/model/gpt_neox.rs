//! GPT-NeoX and Pythia (arXiv 2204.06745, 2304.01373).
//!
//! Follows `modeling_gpt_neox.py` of transformers: layer norm before each part, both parts reading the same input where
//! the residual is parallel, rotary positions on the first channels of each head, one fused projection whose output
//! holds query, key and value of one head after the other, exact GELU, a head of its own.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;

use super::config::ConfigFile;
use super::layers::{
    CausalMask, Embedding, Gelu, LayerNorm, Layout, Linear, Stage, Table, causal_attention, split_heads,
};
use super::rotary::Rotary;
use super::weights::WeightSource;
use crate::error::Result;

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GptNeoxConfig {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Channels inside the MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Longest window.
    pub max_position_embeddings: usize,
    /// The MLP's nonlinearity.
    #[serde(default = "default_activation")]
    pub hidden_act: Gelu,
    /// Added to the variance in every layer norm.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Whether attention and MLP read the same input, and not one after the other.
    #[serde(default = "default_true")]
    pub use_parallel_residual: bool,
    /// Whether the attention's projections have biases.
    #[serde(default = "default_true")]
    pub attention_bias: bool,
    /// Whether the token table is the output head.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Rotation frequencies, radians per position; not part of the JSON under this name.
    #[serde(skip)]
    pub frequencies: Vec<f64>,
}

fn default_activation() -> Gelu {
    Gelu::Gelu
}

fn default_epsilon() -> f64 {
    1e-5
}

fn default_true() -> bool {
    true
}

impl GptNeoxConfig {
    /// Reads and checks the family's keys, in the spelling of transformers 4 or 5.
    pub fn read(file: &ConfigFile) -> Result<Self> {
        let mut config: Self = file.parse()?;
        file.require_multiple("hidden_size", config.hidden_size, "num_attention_heads", config.num_attention_heads)?;
        let (theta, scaling, share) = file.partial_rope("rotary_emb_base", "rotary_pct", 0.25)?;
        let head = config.hidden_size / config.num_attention_heads;
        let rotated = (share * head as f64) as usize;
        if rotated > head {
            return Err(file.fault(format!("rotates {rotated} of the {head} channels of a head")));
        }
        file.require_multiple("rotated channels of a head", rotated, "the two halves of a rotation", 2)?;
        config.frequencies = scaling.frequencies(theta, rotated);
        Ok(config)
    }
}

/// The model, `gpt_neox.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct GptNeox {
    embed_in: Embedding,
    layers: Vec<Block>,
    final_layer_norm: LayerNorm,
    /// Only where the head is not tied.
    embed_out: Option<Embedding>,
    rotary: Rotary,
}

impl GptNeox {
    /// Builds the model from its weights.
    pub fn load(config: &GptNeoxConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let GptNeoxConfig { vocab_size, hidden_size, layer_norm_eps, .. } = *config;
        let last_norm = "gpt_neox.final_layer_norm";
        Ok(Self {
            embed_in: Embedding::load(source, "gpt_neox.embed_in", [vocab_size, hidden_size], device)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Block::load(config, source, &format!("gpt_neox.layers.{i}"), device))
                .collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::load(source, last_norm, hidden_size, layer_norm_eps, device)?,
            embed_out: if config.tie_word_embeddings {
                None
            } else {
                Some(Embedding::load(source, "embed_out", [vocab_size, hidden_size], device)?)
            },
            rotary: Rotary::new(config.frequencies.clone()),
        })
    }

    /// What the blocks begin with: `ids` `[B, T]` to `[B, T, C]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_in.forward(ids)
    }

    /// The blocks for windows of `time` tokens, and the last norm.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let mask = CausalMask::new(time, None, device);
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for block in &self.layers {
            let mask = mask.clone();
            stages.push(Box::new(move |x| block.forward(x, &self.rotary, &mask)));
        }
        stages.push(Box::new(|x| self.final_layer_norm.forward(x)));
        stages
    }

    /// The output head, `[vocab, C]`: logits are `hidden · headᵀ`.
    pub fn head(&self) -> Table {
        self.embed_out.as_ref().unwrap_or(&self.embed_in).table()
    }

    /// The linear layers of the blocks by their paths.
    pub(super) fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        let blocks = self.layers.iter_mut().enumerate();
        let linears = blocks.flat_map(|(i, Block { attention, mlp, .. })| {
            [
                ("attention.query_key_value", &mut attention.query_key_value),
                ("attention.dense", &mut attention.dense),
                ("mlp.dense_h_to_4h", &mut mlp.dense_h_to_4h),
                ("mlp.dense_4h_to_h", &mut mlp.dense_4h_to_h),
            ]
            .map(|(name, linear)| (format!("gpt_neox.layers.{i}.{name}"), linear))
        });
        linears.collect()
    }
}

#[derive(Module, Debug)]
struct Block {
    input_layernorm: LayerNorm,
    attention: Attention,
    post_attention_layernorm: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    parallel: bool,
}

impl Block {
    fn load(config: &GptNeoxConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let post = format!("{path}.post_attention_layernorm");
        Ok(Self {
            input_layernorm: LayerNorm::load(source, &format!("{path}.input_layernorm"), channels, epsilon, device)?,
            attention: Attention::load(config, source, &format!("{path}.attention"), device)?,
            post_attention_layernorm: LayerNorm::load(source, &post, channels, epsilon, device)?,
            mlp: Mlp::load(config, source, &format!("{path}.mlp"), device)?,
            parallel: config.use_parallel_residual,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &CausalMask) -> Tensor<3> {
        let attended = x.clone() + self.attention.forward(self.input_layernorm.forward(x.clone()), rotary, mask);
        let read = if self.parallel { x } else { attended.clone() };
        attended + self.mlp.forward(self.post_attention_layernorm.forward(read))
    }
}

#[derive(Module, Debug)]
struct Attention {
    query_key_value: Linear,
    dense: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn load(config: &GptNeoxConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, bias) = (config.hidden_size, config.attention_bias);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Layout::OutIn, device);
        Ok(Self {
            query_key_value: linear("query_key_value", [channels, 3 * channels])?,
            dense: linear("dense", [channels, channels])?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &CausalMask) -> Tensor<3> {
        let qkv = split_heads(self.query_key_value.forward(x), self.heads); // [B, H, T, 3D]
        let channels = qkv.dims()[3] / 3;
        let part = |i| qkv.clone().narrow(3, i * channels, channels);
        let (q, k) = (rotary.forward(part(0)), rotary.forward(part(1)));
        self.dense.forward(causal_attention(q, k, part(2), mask, self.dense.compute()))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    #[module(skip)]
    activation: Gelu,
}

impl Mlp {
    fn load(config: &GptNeoxConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, inner) = (config.hidden_size, config.intermediate_size);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Layout::OutIn, device);
        Ok(Self {
            dense_h_to_4h: linear("dense_h_to_4h", [channels, inner])?,
            dense_4h_to_h: linear("dense_4h_to_h", [inner, channels])?,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.dense_4h_to_h.forward(self.activation.forward(self.dense_h_to_4h.forward(x)))
    }
}
