//! LLaMA 1, 2 and 3 (arXiv 2302.13971, 2307.09288, 2407.21783), and the families that are LLaMA with a switch.
//!
//! Follows `modeling_llama.py` of transformers: RMS norm before each part, rotary positions, grouped key/value
//! heads, SwiGLU, no biases unless the configuration asks for them, head tied or not. Beside it `modeling_mistral.py`
//! (arXiv 2310.06825: a sliding window), `modeling_qwen2.py` (arXiv 2407.10671: biases on queries, keys and values)
//! and `modeling_qwen3.py` (arXiv 2505.09388: a norm of every query and key head).

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::config::ConfigFile;
use super::layers::{CausalMask, Embedding, Layout, Linear, RmsNorm, Stage, Table, causal_attention, split_heads};
use super::rope_scaling::RopeScaling;
use super::rotary::Rotary;
use super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::activation::swiglu;

/// The families that share LLaMA's `config.json`, attention and MLP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// LLaMA, and what calls itself so: SmolLM, TinyLlama, Yi, …
    #[default]
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 1.5, 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// OLMo, which [`super::olmo`] builds.
    Olmo,
    /// OLMo 2, which [`super::olmo`] builds.
    Olmo2,
}

impl Family {
    /// What transformers takes where the file lacks a key, if not LLaMA's value.
    fn defaults(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Mistral => vec![("num_key_value_heads", 8.into()), ("sliding_window", 4096.into())],
            Self::Qwen2 => vec![("num_key_value_heads", 32.into()), ("sliding_window", 4096.into())],
            Self::Qwen3 => {
                vec![("num_key_value_heads", 32.into()), ("sliding_window", 4096.into()), ("head_dim", 128.into())]
            }
            Self::Olmo2 => vec![("rms_norm_eps", 1e-5.into())],
            Self::Llama | Self::Olmo => vec![],
        }
    }
}

/// `config.json` of the families, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LlamaConfig {
    /// Not part of the JSON under this name.
    #[serde(skip)]
    pub family: Family,
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
    /// OLMo: queries, keys and values are cut off at ± this.
    pub clip_qkv: Option<f64>,
    /// Mistral and Qwen: how many of the latest tokens a layer with a window sees.
    sliding_window: Option<usize>,
    /// Qwen: whether any layer has a window.
    #[serde(default)]
    use_sliding_window: bool,
    /// Qwen: the first layer with a window, where `layer_types` does not say it.
    #[serde(default = "default_max_window_layers")]
    max_window_layers: usize,
    layer_types: Option<Vec<LayerType>>,
}

/// What a layer's queries see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    FullAttention,
    SlidingAttention,
}

fn default_max_window_layers() -> usize {
    28
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
    pub fn read(file: &ConfigFile, family: Family) -> Result<Self> {
        // Two names of one function.
        if file.get("hidden_act").is_none_or(|name| name != "swish") {
            file.refuse_unless("hidden_act", "silu")?;
        }
        if family == Family::Mistral {
            file.refuse_unless("attention_bias", false)?;
        }
        if family != Family::Llama {
            file.refuse_unless("mlp_bias", false)?;
        }
        let mut config: Self = file.parse_with(family.defaults())?;
        config.family = family;
        config.check_windows(file)?;
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

    fn check_windows(&self, file: &ConfigFile) -> Result<()> {
        let qwen = matches!(self.family, Family::Qwen2 | Family::Qwen3);
        if let Some(types) = &self.layer_types {
            if types.len() != self.num_hidden_layers {
                return Err(file.refusal("layer_types", "as many as `num_hidden_layers` are needed"));
            }
            if types.contains(&LayerType::SlidingAttention) && !(qwen && self.use_sliding_window) {
                return Err(file.refusal("layer_types", "only \"full_attention\" is implemented here"));
            }
        }
        let has_window = (0..self.num_hidden_layers).any(|layer| self.has_window(layer));
        if has_window && self.sliding_window.unwrap_or(0) == 0 {
            return Err(file.refusal("sliding_window", "layers with a window need its length"));
        }
        Ok(())
    }

    /// Whether the queries of `layer` see only the latest tokens.
    fn has_window(&self, layer: usize) -> bool {
        match (self.family, &self.layer_types) {
            (Family::Mistral, _) => self.sliding_window.is_some(),
            (Family::Qwen2 | Family::Qwen3, Some(types)) => types[layer] == LayerType::SlidingAttention,
            (Family::Qwen2 | Family::Qwen3, None) => self.use_sliding_window && layer >= self.max_window_layers,
            _ => false,
        }
    }

    /// Whether the projections of queries, keys and values have biases, and whether the output projection has one.
    fn biases(&self) -> [bool; 2] {
        match self.family {
            Family::Qwen2 => [true, false],
            _ => [self.attention_bias; 2],
        }
    }

    /// The channels that the norms of queries and of keys run over, where the family has such norms.
    fn qk_norms(&self) -> Option<[usize; 2]> {
        match self.family {
            Family::Qwen3 => Some([self.head_dim(); 2]),
            Family::Olmo2 => Some([self.num_attention_heads, self.kv_heads()].map(|heads| heads * self.head_dim())),
            _ => None,
        }
    }

    /// The rotations of queries and keys.
    pub fn rotary(&self) -> Rotary {
        Rotary::new(self.rope_scaling.frequencies(self.rope_theta, self.head_dim()))
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
    /// How many of the latest tokens the layers with a window see.
    #[module(skip)]
    window: Option<usize>,
}

impl Llama {
    /// Builds the model from its weights.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let LlamaConfig { vocab_size, hidden_size, .. } = *config;
        Ok(Self {
            embed_tokens: Embedding::load(source, "model.embed_tokens", [vocab_size, hidden_size], device)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Block::load(config, i, source, &format!("model.layers.{i}"), device))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(source, "model.norm", hidden_size, config.rms_norm_eps, device)?,
            lm_head: if config.tie_word_embeddings {
                None
            } else {
                Some(Embedding::load(source, "lm_head", [vocab_size, hidden_size], device)?)
            },
            rotary: config.rotary(),
            window: config.sliding_window,
        })
    }

    /// What the blocks begin with: `ids` `[B, T]` to `[B, T, C]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    /// The blocks for windows of `time` tokens, and the last norm.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let mask = CausalMask::new(time, None, device);
        let windowed = CausalMask::new(time, self.window, device);
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for block in &self.layers {
            let mask = if block.has_window { windowed.clone() } else { mask.clone() };
            stages.push(Box::new(move |x| block.forward(x, &self.rotary, &mask)));
        }
        stages.push(Box::new(|x| self.norm.forward(x)));
        stages
    }

    /// The output head, `[vocab, C]`: logits are `hidden · headᵀ`.
    pub fn head(&self) -> Table {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).table()
    }

    /// The linear layers of the blocks by their paths.
    pub(super) fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        let blocks = self.layers.iter_mut().enumerate();
        blocks.flat_map(|(i, block)| linears(i, &mut block.self_attn, &mut block.mlp)).collect()
    }
}

/// The linear layers of block `i` by their paths.
pub(super) fn linears<'a>(i: usize, attention: &'a mut Attention, mlp: &'a mut Mlp) -> [(String, &'a mut Linear); 7] {
    let Attention { q_proj, k_proj, v_proj, o_proj, .. } = attention;
    let Mlp { gate_proj, up_proj, down_proj } = mlp;
    [
        ("self_attn.q_proj", q_proj),
        ("self_attn.k_proj", k_proj),
        ("self_attn.v_proj", v_proj),
        ("self_attn.o_proj", o_proj),
        ("mlp.gate_proj", gate_proj),
        ("mlp.up_proj", up_proj),
        ("mlp.down_proj", down_proj),
    ]
    .map(|(name, linear)| (format!("model.layers.{i}.{name}"), linear))
}

#[derive(Module, Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
    #[module(skip)]
    has_window: bool,
}

impl Block {
    fn load(
        config: &LlamaConfig,
        layer: usize,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let post = format!("{path}.post_attention_layernorm");
        Ok(Self {
            input_layernorm: RmsNorm::load(source, &format!("{path}.input_layernorm"), channels, epsilon, device)?,
            self_attn: Attention::load(config, source, &format!("{path}.self_attn"), device)?,
            post_attention_layernorm: RmsNorm::load(source, &post, channels, epsilon, device)?,
            mlp: Mlp::load(config, source, &format!("{path}.mlp"), device)?,
            has_window: config.has_window(layer),
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &CausalMask) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), rotary, mask);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

/// Attention with rotary positions and grouped key/value heads.
#[derive(Module, Debug)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
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
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, [qkv_bias, o_bias]) = (config.hidden_size, config.biases());
        let (heads, kv_heads) = (config.num_attention_heads, config.kv_heads());
        let (q, kv) = (heads * config.head_dim(), kv_heads * config.head_dim());
        let mut linear = |name: &str, shape, bias| {
            Linear::load(source, &format!("{path}.{name}"), shape, bias, Layout::OutIn, device)
        };
        let q_proj = linear("q_proj", [channels, q], qkv_bias)?;
        let k_proj = linear("k_proj", [channels, kv], qkv_bias)?;
        let v_proj = linear("v_proj", [channels, kv], qkv_bias)?;
        let o_proj = linear("o_proj", [q, channels], o_bias)?;
        let mut norm =
            |name: &str, width| RmsNorm::load(source, &format!("{path}.{name}"), width, config.rms_norm_eps, device);
        let (q_norm, k_norm) = match config.qk_norms() {
            Some([q, k]) => (Some(norm("q_norm", q)?), Some(norm("k_norm", k)?)),
            None => (None, None),
        };
        Ok(Self { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm, clip: config.clip_qkv, heads, kv_heads })
    }

    /// `x` is `[B, T, C]`, and so is the result; `mask` says where queries may look.
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &CausalMask) -> Tensor<3> {
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
        let (q, k) = (rotary.forward(q), rotary.forward(k));
        self.o_proj.forward(causal_attention(q, k, v, mask, self.o_proj.compute()))
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
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    /// Reads the weights below `path`.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, bias, Layout::OutIn, device);
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
