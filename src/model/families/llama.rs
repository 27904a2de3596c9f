//! LLaMA 1, 2 and 3 (arXiv 2302.13971, 2307.09288, 2407.21783), and the layers of the families that differ from it by a
//! few switches.
//!
//! Follows `modeling_llama.py` of transformers: RMS norm before each part, rotary positions, grouped key/value
//! heads, SwiGLU, no biases unless the configuration asks for them, head tied or not. A cousin has a file of its own, which
//! says what its `config.json` means as a [`LlamaConfig`].

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Decoder, Family, Names, ROTARY, Sizes, linears};
use super::super::layers::{Embedding, Linear, RmsNorm, Stage, causal_attention, split_heads};
use super::super::rotary::Rotary;
use super::super::weights::WeightSource;
use super::windows::Windows;
use crate::error::Result;
use crate::kernels::activation::swiglu;
use crate::kernels::attention::{Attention as Attending, CausalAttention};
use crate::kernels::head::Head;
use crate::kernels::matmul::Held;

/// LLaMA, and models with the same `model_type`.
#[derive(Debug)]
pub struct LlamaFamily;

/// Names in checkpoints of LLaMA and its cousins.
pub const NAMES: Names = Names {
    body: "model.",
    table: "model.embed_tokens.weight",
    head: "lm_head.weight",
    residual: &["o_proj.weight", "down_proj.weight"],
    buffers: &[],
    adapted: &["q_proj", "v_proj"],
    conv1d: false,
};

/// The keys that LLaMA and its cousins read.
pub const KEYS: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "hidden_act",
    "rms_norm_eps",
    "rope_theta",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
];

/// What is special in LLaMA: scaled rotations, and a list of layers that are all alike.
pub const SPECIAL: &[&str] = &["rope_scaling", "rope_parameters", "partial_rotary_factor", "layer_types"];

impl Family for LlamaFamily {
    const ABOUT: About = About {
        model_type: "llama",
        models: "LLaMA 1, 2, 3, SmolLM, TinyLlama, Yi, …",
        reads: "grouped key/value heads; biases where the configuration has them",
        names: NAMES,
        keys: &[KEYS],
        special: SPECIAL,
        positions: ROTARY,
        token_ids: [Some(1), Some(2)],
    };
    type Config = LlamaConfig;
    type Model = Llama;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        let config = LlamaConfig::read(file, vec![])?;
        Windows::none(file)?;
        Ok(config)
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Llama> {
        Llama::load(config, sizes, source, device)
    }

    fn tiny() -> Value {
        tiny()
    }
}

/// The tiny model that checks make of LLaMA and its cousins.
pub fn tiny() -> Value {
    json!({
        "max_position_embeddings": 32, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "intermediate_size": 100, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": false,
    })
}

/// The keys of `config.json`, under their published names.
#[derive(Deserialize)]
struct Keys {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    #[serde(default = "default_epsilon")]
    rms_norm_eps: f64,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    clip_qkv: Option<f64>,
}

fn default_epsilon() -> f64 {
    1e-6
}

/// What LLaMA and its cousins differ by, beside the sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Added to the mean square in every norm.
    pub epsilon: f64,
    /// Whether the projections of queries, keys and values have biases, and whether the output projection has one.
    pub biases: [bool; 2],
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// The channels that the norms of queries and of keys run over, where there are such norms.
    pub qk_norms: Option<[usize; 2]>,
    /// Queries, keys and values are cut off at ± this.
    pub clip: Option<f64>,
    /// Rotation frequencies, radians per position.
    pub frequencies: Vec<f64>,
    /// How many of the latest tokens each layer sees, where it has a window.
    pub windows: Vec<Option<usize>>,
    /// Whether each layer rotates queries and keys by their positions.
    pub rotates: Vec<bool>,
}

impl LlamaConfig {
    /// Reads and checks the keys, in the spelling of transformers 4 or 5, with these values for those that the file
    /// lacks. All layers see all tokens and rotate.
    pub fn read(file: &ConfigFile, defaults: Vec<(&str, Value)>) -> Result<(Self, Sizes)> {
        // Two names of one function.
        if file.get("hidden_act").is_none_or(|name| name != "swish") {
            file.refuse_unless("hidden_act", "silu")?;
        }
        let theta = defaults.iter().find(|(key, _)| *key == "rope_theta").and_then(|(_, theta)| theta.as_f64());
        let keys: Keys = file.parse_with(defaults)?;
        let (theta, scaling) = file.rope(theta.unwrap_or(10_000.0))?;
        let heads = keys.num_attention_heads;
        let kv_heads = keys.num_key_value_heads.unwrap_or(heads);
        file.require_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads)?;
        if keys.head_dim.is_none() {
            file.require_multiple("hidden_size", keys.hidden_size, "num_attention_heads", heads)?;
        }
        let head_dim = keys.head_dim.unwrap_or(keys.hidden_size / heads.max(1));
        file.require_multiple("head_dim", head_dim, "the two halves of a rotation", 2)?;
        let sizes = Sizes {
            vocabulary: keys.vocab_size,
            context: keys.max_position_embeddings,
            width: keys.hidden_size,
            layers: keys.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            rotated: head_dim,
            inner: keys.intermediate_size,
            gated: true,
            tied: keys.tie_word_embeddings,
        };
        let config = Self {
            epsilon: keys.rms_norm_eps,
            biases: [keys.attention_bias; 2],
            mlp_bias: keys.mlp_bias,
            qk_norms: None,
            clip: keys.clip_qkv,
            frequencies: scaling.frequencies(theta, head_dim),
            windows: vec![None; sizes.layers],
            rotates: vec![true; sizes.layers],
        };
        Ok((config, sizes))
    }

    /// The rotations of queries and keys.
    pub fn rotary(&self) -> Rotary {
        Rotary::new(self.frequencies.clone())
    }
}

/// The model, `model.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
    rotary: Rotary,
}

impl Llama {
    /// Builds the model from its weights.
    pub fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let Sizes { vocabulary, width, .. } = *sizes;
        Ok(Self {
            embed_tokens: Embedding::load(source, "model.embed_tokens", [vocabulary, width], device)?,
            layers: (0..sizes.layers)
                .map(|i| Layer::load(config, sizes, i, source, &format!("model.layers.{i}"), device))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(source, "model.norm", width, config.epsilon, device)?,
            lm_head: Embedding::untied(source, "lm_head", [vocabulary, width], sizes.tied, device)?,
            rotary: config.rotary(),
        })
    }
}

impl Decoder for Llama {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        // One mask for all layers with the same window.
        let mut made: Vec<(Option<usize>, CausalAttention)> = Vec::new();
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for layer in &self.layers {
            let known = made.iter().find(|(window, _)| *window == layer.window).map(|(_, attention)| attention.clone());
            let attention = known.unwrap_or_else(|| {
                let settings = Attending { window: layer.window, ..Attending::default() };
                let attention = CausalAttention::with(settings, time, device);
                made.push((layer.window, attention.clone()));
                attention
            });
            let rotary = layer.rotates.then_some(&self.rotary);
            stages.push(Box::new(move |x| layer.forward(x, rotary, &attention)));
        }
        stages.push(Box::new(|x| self.norm.forward(x)));
        stages
    }

    fn head(&self) -> Head {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).table().into()
    }

    linears!(
        layers at "model.layers":
        self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    );
}

#[derive(Module, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
    #[module(skip)]
    window: Option<usize>,
    #[module(skip)]
    rotates: bool,
}

impl Layer {
    fn load(
        config: &LlamaConfig,
        sizes: &Sizes,
        layer: usize,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let post = format!("{path}.post_attention_layernorm");
        let input = format!("{path}.input_layernorm");
        Ok(Self {
            input_layernorm: RmsNorm::load(source, &input, sizes.width, config.epsilon, device)?,
            self_attn: Attention::load(config, sizes, source, &format!("{path}.self_attn"), device)?,
            post_attention_layernorm: RmsNorm::load(source, &post, sizes.width, config.epsilon, device)?,
            mlp: Mlp::load(config, sizes, source, &format!("{path}.mlp"), device)?,
            window: config.windows[layer],
            rotates: config.rotates[layer],
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: Option<&Rotary>, attention: &CausalAttention) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), rotary, attention);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

/// Attention with rotary positions and grouped key/value heads.
#[derive(Module, Debug)]
pub struct Attention {
    pub(super) q_proj: Linear,
    pub(super) k_proj: Linear,
    pub(super) v_proj: Linear,
    pub(super) o_proj: Linear,
    /// Norms of queries and keys: Qwen 3 of each head, OLMo 2 of all heads together.
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    #[module(skip)]
    clip: Option<f64>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    kv_heads: usize,
}

impl Attention {
    /// Reads the weights below `path`.
    pub fn load(
        config: &LlamaConfig,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let Sizes { width: channels, heads, kv_heads, head_dim, .. } = *sizes;
        let [qkv_bias, o_bias] = config.biases;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let mut linear = |name: &str, shape, bias| {
            Linear::load(source, &format!("{path}.{name}"), shape, bias, Held::Transposed, device)
        };
        let q_proj = linear("q_proj", [channels, q], qkv_bias)?;
        let k_proj = linear("k_proj", [channels, kv], qkv_bias)?;
        let v_proj = linear("v_proj", [channels, kv], qkv_bias)?;
        let o_proj = linear("o_proj", [q, channels], o_bias)?;
        let mut norm =
            |name: &str, width| RmsNorm::load(source, &format!("{path}.{name}"), width, config.epsilon, device);
        let (q_norm, k_norm) = match config.qk_norms {
            Some([q, k]) => (Some(norm("q_norm", q)?), Some(norm("k_norm", k)?)),
            None => (None, None),
        };
        Ok(Self { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm, clip: config.clip, heads, kv_heads })
    }

    /// `x` is `[B, T, C]`, and so is the result; without `rotary` positions do not count.
    pub fn forward(&self, x: Tensor<3>, rotary: Option<&Rotary>, attention: &CausalAttention) -> Tensor<3> {
        let q = self.clipped(self.q_proj.forward(x.clone()));
        let k = self.clipped(self.k_proj.forward(x.clone()));
        let v = self.clipped(self.v_proj.forward(x));
        let normed = |x, norm: &Option<RmsNorm>| match norm {
            Some(norm) => norm.forward_runs(x),
            None => x,
        };
        let q = split_heads(normed(q, &self.q_norm), self.heads); // [B, H, T, D]
        let k = split_heads(normed(k, &self.k_norm), self.kv_heads); // [B, K, T, D]
        let v = split_heads(v, self.kv_heads);
        let (q, k) = match rotary {
            Some(rotary) => (rotary.forward(q), rotary.forward(k)),
            None => (q, k),
        };
        self.o_proj.forward(causal_attention(q, k, v, attention, self.o_proj.compute()))
    }

    fn clipped(&self, x: Tensor<3>) -> Tensor<3> {
        match self.clip {
            Some(limit) => x.clamp(-limit, limit),
            None => x,
        }
    }
}

/// SwiGLU (arXiv 2002.05202): `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    pub(super) gate_proj: Linear,
    pub(super) up_proj: Linear,
    pub(super) down_proj: Linear,
}

impl Mlp {
    /// Reads the weights below `path`.
    pub fn load(
        config: &LlamaConfig,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, inner, bias) = (sizes.width, sizes.inner, config.mlp_bias);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Held::Transposed, device);
        Ok(Self {
            gate_proj: linear("gate_proj", [channels, inner])?,
            up_proj: linear("up_proj", [channels, inner])?,
            down_proj: linear("down_proj", [inner, channels])?,
        })
    }

    /// `x` is `[B, T, C]`, and so is the result.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x)))
    }
}
