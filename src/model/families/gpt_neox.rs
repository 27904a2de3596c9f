//! GPT-NeoX and Pythia (arXiv 2204.06745, 2304.01373).
//!
//! Follows `modeling_gpt_neox.py` of transformers: layer norm before each part, both parts reading the same input where
//! the residual is parallel, rotary positions on the first channels of each head, one fused projection whose output
//! holds query, key and value of one head after the other, exact GELU, a head of its own.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Decoder, Family, Names, ROTARY, Sizes, linears};
use super::super::layers::{Embedding, Gelu, LayerNorm, Linear, Stage, causal_attention, split_heads, stages_of};
use super::super::rotary::Rotary;
use super::super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::attention::CausalAttention;
use crate::kernels::head::Head;
use crate::kernels::matmul::Held;

/// The family.
#[derive(Debug)]
pub struct GptNeoxFamily;

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GptNeoxConfig {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Channels inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
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

const KEYS: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "rotary_emb_base",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "attention_bias",
];

impl Family for GptNeoxFamily {
    const ABOUT: About = About {
        model_type: "gpt_neox",
        models: "Pythia, GPT-NeoX",
        reads: "parallel residual or not; partial rotation",
        names: Names {
            body: "gpt_neox.",
            table: "gpt_neox.embed_in.weight",
            head: "embed_out.weight",
            residual: &["attention.dense.weight", "dense_4h_to_h.weight"],
            // Causal masks in old files.
            buffers: &[".attention.bias", ".attention.masked_bias"],
            adapted: &["query_key_value"],
            conv1d: false,
        },
        keys: &[KEYS],
        special: &["rope_scaling", "rope_parameters", "partial_rotary_factor", "rotary_pct", "use_parallel_residual"],
        positions: ROTARY,
        token_ids: [Some(0), Some(2)],
    };
    type Config = GptNeoxConfig;
    type Model = GptNeox;

    /// In the spelling of transformers 4 or 5.
    fn config(file: &ConfigFile) -> Result<(GptNeoxConfig, Sizes)> {
        let mut config: GptNeoxConfig = file.parse()?;
        file.require_multiple("hidden_size", config.hidden_size, "num_attention_heads", config.num_attention_heads)?;
        let (theta, scaling, share) = file.partial_rope(("rotary_emb_base", 10_000.0), ("rotary_pct", 0.25))?;
        let head = config.hidden_size / config.num_attention_heads;
        let rotated = (share * head as f64) as usize;
        if rotated > head {
            return Err(file.fault(format!("rotates {rotated} of the {head} channels of a head")));
        }
        file.require_multiple("rotated channels of a head", rotated, "the two halves of a rotation", 2)?;
        config.frequencies = scaling.frequencies(theta, rotated);
        let sizes = Sizes {
            vocabulary: config.vocab_size,
            context: config.max_position_embeddings,
            width: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            kv_heads: config.num_attention_heads,
            head_dim: head,
            rotated: 2 * config.frequencies.len(),
            inner: config.intermediate_size,
            gated: false,
            tied: config.tie_word_embeddings,
        };
        Ok((config, sizes))
    }

    fn load(config: &GptNeoxConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<GptNeox> {
        let Sizes { vocabulary, width, .. } = *sizes;
        let last_norm = "gpt_neox.final_layer_norm";
        Ok(GptNeox {
            embed_in: Embedding::load(source, "gpt_neox.embed_in", [vocabulary, width], device)?,
            layers: (0..sizes.layers)
                .map(|i| Layer::load(config, sizes, source, &format!("gpt_neox.layers.{i}"), device))
                .collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::load(source, last_norm, width, config.layer_norm_eps, device)?,
            embed_out: Embedding::untied(source, "embed_out", [vocabulary, width], sizes.tied, device)?,
            rotary: Rotary::new(config.frequencies.clone()),
        })
    }

    fn tiny() -> Value {
        json!({
            "max_position_embeddings": 32, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 100, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "rotary_pct": 0.5,
            "rotary_emb_base": 10_000, "use_parallel_residual": true,
        })
    }
}

/// The model, `gpt_neox.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct GptNeox {
    embed_in: Embedding,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    /// Only where the head is not tied.
    embed_out: Option<Embedding>,
    rotary: Rotary,
}

impl Decoder for GptNeox {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_in.forward(ids)
    }

    fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let attention = CausalAttention::new(time, None, device);
        let forward = move |layer: &Layer, x| layer.forward(x, &self.rotary, &attention);
        stages_of(&self.layers, forward, |x| self.final_layer_norm.forward(x))
    }

    fn head(&self) -> Head {
        self.embed_out.as_ref().unwrap_or(&self.embed_in).table().into()
    }

    linears!(
        layers at "gpt_neox.layers":
        attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h,
    );
}

#[derive(Module, Debug)]
struct Layer {
    input_layernorm: LayerNorm,
    attention: Attention,
    post_attention_layernorm: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    parallel: bool,
}

impl Layer {
    fn load(
        config: &GptNeoxConfig,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, epsilon) = (sizes.width, config.layer_norm_eps);
        let post = format!("{path}.post_attention_layernorm");
        Ok(Self {
            input_layernorm: LayerNorm::load(source, &format!("{path}.input_layernorm"), channels, epsilon, device)?,
            attention: Attention::load(config, sizes, source, &format!("{path}.attention"), device)?,
            post_attention_layernorm: LayerNorm::load(source, &post, channels, epsilon, device)?,
            mlp: Mlp::load(config, sizes, source, &format!("{path}.mlp"), device)?,
            parallel: config.use_parallel_residual,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, attention: &CausalAttention) -> Tensor<3> {
        let attended = x.clone() + self.attention.forward(self.input_layernorm.forward(x.clone()), rotary, attention);
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
    fn load(
        config: &GptNeoxConfig,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, bias) = (sizes.width, config.attention_bias);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Held::Transposed, device);
        Ok(Self {
            query_key_value: linear("query_key_value", [channels, 3 * channels])?,
            dense: linear("dense", [channels, channels])?,
            heads: sizes.heads,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, attention: &CausalAttention) -> Tensor<3> {
        let qkv = split_heads(self.query_key_value.forward(x), self.heads); // [B, H, T, 3D]
        let channels = qkv.dims()[3] / 3;
        let part = |i| qkv.clone().narrow(3, i * channels, channels);
        let (q, k) = (rotary.forward(part(0)), rotary.forward(part(1)));
        self.dense.forward(causal_attention(q, k, part(2), attention, self.dense.compute()))
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
    fn load(
        config: &GptNeoxConfig,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, inner) = (sizes.width, sizes.inner);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Held::Transposed, device);
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
