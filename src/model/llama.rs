//! LLaMA 1, 2 and 3 (arXiv 2302.13971, 2307.09288, 2407.21783).
//!
//! Follows `modeling_llama.py` of transformers: RMS norm before each part, rotary positions, grouped key/value
//! heads, SwiGLU, no biases unless the configuration asks for them, head tied or not.

use burn::module::Module;
use burn::tensor::activation::silu;
use burn::tensor::{Bool, Device, Int, Tensor};
use serde::Deserialize;

use super::config::ConfigFile;
use super::layers::{Embedding, Layout, Linear, RmsNorm, Table, causal_attention, causal_mask, split_heads};
use super::rotary::{RopeScaling, Rotary};
use super::weights::WeightSource;
use crate::error::Result;

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LlamaConfig {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Channels inside the MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    /// Longest window.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    #[serde(default = "default_epsilon")]
    pub rms_norm_eps: f64,
    /// Base of the rotation frequencies, and their scaling; not part of the JSON under these names.
    #[serde(skip, default = "default_theta")]
    pub rope_theta: f64,
    #[serde(skip, default = "default_scaling")]
    /// How the frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Whether the token table is the output head.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether the attention projections have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the MLP's projections have biases.
    #[serde(default)]
    pub mlp_bias: bool,
}

fn default_epsilon() -> f64 {
    1e-6
}

fn default_theta() -> f64 {
    10_000.0
}

fn default_scaling() -> RopeScaling {
    RopeScaling::Default
}

impl LlamaConfig {
    /// Reads and checks the family's keys, in the spelling of transformers 4 or 5.
    pub fn read(file: &ConfigFile) -> Result<Self> {
        file.refuse_unless("hidden_act", "silu")?;
        let mut config: Self = file.parse()?;
        (config.rope_theta, config.rope_scaling) = file.rope()?;
        file.require_multiple(
            "num_attention_heads",
            config.num_attention_heads,
            "num_key_value_heads",
            config.kv_heads(),
        )?;
        if config.head_dim.is_none() {
            file.require_multiple(
                "hidden_size",
                config.hidden_size,
                "num_attention_heads",
                config.num_attention_heads,
            )?;
        }
        file.require_multiple("head_dim", config.head_dim(), "the two halves of a rotation", 2)?;
        Ok(config)
    }

    /// Key/value heads; as many as query heads when absent.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Channels of a head; `hidden_size / num_attention_heads` when absent.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

/// The model, `model.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
    rotary: Rotary,
}

impl Llama {
    /// Builds the model from its weights.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let LlamaConfig { vocab_size, hidden_size, .. } = *config;
        let frequencies = config.rope_scaling.frequencies(config.rope_theta, config.head_dim());
        Ok(Self {
            embed_tokens: Embedding::load(source, "model.embed_tokens", [vocab_size, hidden_size], device)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Block::load(config, source, &format!("model.layers.{i}"), device))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(source, "model.norm", hidden_size, config.rms_norm_eps, device)?,
            lm_head: if config.tie_word_embeddings {
                None
            } else {
                Some(Embedding::load(source, "lm_head", [vocab_size, hidden_size], device)?)
            },
            rotary: Rotary::new(&frequencies, config.max_position_embeddings, device),
        })
    }

    /// Final hidden states of `ids` `[B, T]`, after the last norm: `[B, T, C]`.
    pub fn hidden_states(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, time] = ids.dims();
        let mask = causal_mask(time, &ids.device());
        let mut x = self.embed_tokens.forward(ids);
        for block in &self.layers {
            x = block.forward(x, &self.rotary, &mask);
        }
        self.norm.forward(x)
    }

    /// The output head, `[vocab, C]`: logits are `hidden · headᵀ`.
    pub fn head(&self) -> Table {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).table()
    }
}

#[derive(Module, Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Block {
    fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let post = format!("{path}.post_attention_layernorm");
        Ok(Self {
            input_layernorm: RmsNorm::load(source, &format!("{path}.input_layernorm"), channels, epsilon, device)?,
            self_attn: Attention::load(config, source, &format!("{path}.self_attn"), device)?,
            post_attention_layernorm: RmsNorm::load(source, &post, channels, epsilon, device)?,
            mlp: Mlp::load(config, source, &format!("{path}.mlp"), device)?,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), rotary, mask);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    kv_heads: usize,
}

impl Attention {
    fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, bias) = (config.hidden_size, config.attention_bias);
        let (heads, kv_heads) = (config.num_attention_heads, config.kv_heads());
        let (q, kv) = (heads * config.head_dim(), kv_heads * config.head_dim());
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Layout::OutIn, device);
        Ok(Self {
            q_proj: linear("q_proj", [channels, q])?,
            k_proj: linear("k_proj", [channels, kv])?,
            v_proj: linear("v_proj", [channels, kv])?,
            o_proj: linear("o_proj", [q, channels])?,
            heads,
            kv_heads,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let q = split_heads(self.q_proj.forward(x.clone()), self.heads); // [B, H, T, D]
        let k = split_heads(self.k_proj.forward(x.clone()), self.kv_heads); // [B, K, T, D]
        let v = split_heads(self.v_proj.forward(x), self.kv_heads);
        self.o_proj.forward(causal_attention(rotary.forward(q), rotary.forward(k), v, mask))
    }
}

/// SwiGLU (arXiv 2002.05202): `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Layout::OutIn, device);
        Ok(Self {
            gate_proj: linear("gate_proj", [channels, inner])?,
            up_proj: linear("up_proj", [channels, inner])?,
            down_proj: linear("down_proj", [inner, channels])?,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}
