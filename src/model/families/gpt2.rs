//! GPT-2 (Radford et al. 2019).
//!
//! Follows `modeling_gpt2.py` of transformers: learned positions, layer norm before each part, one fused projection
//! for queries, keys and values, `Conv1D` weights stored `[in, out]`, tanh-approximated GELU, and the token table
//! used again as output head. Dropout is never applied: additional pretraining here is deterministic.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Decoder, Family, Names, Sizes, linears};
use super::super::layers::{Embedding, Gelu, LayerNorm, Linear, Stage, stages_of};
use super::super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::attention::{self, CausalAttention};
use crate::kernels::head::Head;
use crate::kernels::matmul::Held;

/// The family.
#[derive(Debug)]
pub struct Gpt2Family;

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gpt2Config {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Longest window.
    pub n_positions: usize,
    /// Channels.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Channels inside the MLP; 4 × `n_embd` when absent.
    pub n_inner: Option<usize>,
    /// The MLP's nonlinearity.
    #[serde(default)]
    pub activation_function: Gelu,
    /// Added to the variance in every layer norm.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    /// Whether the token table is the output head.
    #[serde(default = "default_true")]
    pub tie_word_embeddings: bool,
}

/// What transformers calls these sizes in every family; a file may use either name, and the second one wins.
const ALIASES: &[(&str, &str)] = &[
    ("n_embd", "hidden_size"),
    ("n_positions", "max_position_embeddings"),
    ("n_head", "num_attention_heads"),
    ("n_layer", "num_hidden_layers"),
];

fn default_epsilon() -> f64 {
    1e-5
}

fn default_true() -> bool {
    true
}

const KEYS: &[&str] = &[
    "vocab_size",
    "n_positions",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "activation_function",
    "layer_norm_epsilon",
    "tie_word_embeddings",
    // Its names in all other families, which transformers understands here too.
    "hidden_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
];

impl Family for Gpt2Family {
    const ABOUT: About = About {
        model_type: "gpt2",
        models: "GPT-2, all sizes",
        reads: "learned positions; `gelu_new`, `gelu_pytorch_tanh`, `gelu`",
        names: Names {
            body: "transformer.",
            table: "transformer.wte.weight",
            head: "lm_head.weight",
            residual: &["c_proj.weight"],
            // Causal masks in old files.
            buffers: &[".attn.bias", ".attn.masked_bias"],
            adapted: &["c_attn"],
            conv1d: true,
        },
        keys: &[KEYS],
        special: &["scale_attn_weights", "scale_attn_by_inverse_layer_idx"],
        positions: &["absolute", "learned"],
        token_ids: [Some(50256); 2],
    };
    type Config = Gpt2Config;
    type Model = Gpt2;

    fn config(file: &ConfigFile) -> Result<(Gpt2Config, Sizes)> {
        file.refuse_unless("scale_attn_weights", true)?;
        file.refuse_unless("scale_attn_by_inverse_layer_idx", false)?;
        file.refuse_unless("add_cross_attention", false)?;
        let config: Gpt2Config = file.with_aliases(ALIASES).parse()?;
        file.require_multiple("n_embd", config.n_embd, "n_head", config.n_head)?;
        let sizes = Sizes {
            vocabulary: config.vocab_size,
            context: config.n_positions,
            width: config.n_embd,
            layers: config.n_layer,
            heads: config.n_head,
            kv_heads: config.n_head,
            head_dim: config.n_embd / config.n_head,
            rotated: 0,
            inner: config.n_inner.unwrap_or(4 * config.n_embd),
            gated: false,
            tied: config.tie_word_embeddings,
        };
        Ok((config, sizes))
    }

    fn load(config: &Gpt2Config, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Gpt2> {
        let Sizes { vocabulary, context, width, .. } = *sizes;
        Ok(Gpt2 {
            wte: Embedding::load(source, "transformer.wte", [vocabulary, width], device)?,
            wpe: Embedding::load(source, "transformer.wpe", [context, width], device)?,
            h: (0..sizes.layers)
                .map(|i| Layer::load(config, sizes, source, &format!("transformer.h.{i}"), device))
                .collect::<Result<_>>()?,
            ln_f: LayerNorm::load(source, "transformer.ln_f", width, config.layer_norm_epsilon, device)?,
            lm_head: Embedding::untied(source, "lm_head", [vocabulary, width], sizes.tied, device)?,
        })
    }

    fn tiny() -> Value {
        json!({ "n_positions": 32, "n_embd": 48, "n_layer": 2, "n_head": 4, "layer_norm_epsilon": 1e-5 })
    }
}

/// The model, `transformer.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Layer>,
    ln_f: LayerNorm,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
}

impl Decoder for Gpt2 {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, time] = ids.dims();
        let positions = Tensor::<1, Int>::arange(0..time as i64, &ids.device()).unsqueeze::<2>();
        self.wte.forward(ids) + self.wpe.forward(positions) // [B, T, C] + [1, T, C]
    }

    fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let attention = CausalAttention::new(time, None, device);
        stages_of(&self.h, move |layer, x| layer.forward(x, &attention), |x| self.ln_f.forward(x))
    }

    fn head(&self) -> Head {
        self.lm_head.as_ref().unwrap_or(&self.wte).table().into()
    }

    linears!(h at "transformer.h": attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj);
}

#[derive(Module, Debug)]
struct Layer {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Layer {
    fn load(
        config: &Gpt2Config,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, epsilon) = (config.n_embd, config.layer_norm_epsilon);
        Ok(Self {
            ln_1: LayerNorm::load(source, &format!("{path}.ln_1"), channels, epsilon, device)?,
            attn: Attention::load(sizes, source, &format!("{path}.attn"), device)?,
            ln_2: LayerNorm::load(source, &format!("{path}.ln_2"), channels, epsilon, device)?,
            mlp: Mlp::load(config, sizes, source, &format!("{path}.mlp"), device)?,
        })
    }

    fn forward(&self, x: Tensor<3>, attention: &CausalAttention) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.ln_1.forward(x), attention);
        x.clone() + self.mlp.forward(self.ln_2.forward(x))
    }
}

#[derive(Module, Debug)]
struct Attention {
    c_attn: Linear,
    c_proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn load(sizes: &Sizes, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let channels = sizes.width;
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Held::Plain, device);
        Ok(Self {
            c_attn: linear("c_attn", [channels, 3 * channels])?,
            c_proj: linear("c_proj", [channels, channels])?,
            heads: sizes.heads,
        })
    }

    fn forward(&self, x: Tensor<3>, attention: &CausalAttention) -> Tensor<3> {
        let qkv = self.c_attn.forward(x); // [B, T, 3C]
        self.c_proj.forward(attention::side_by_side(qkv, self.heads, attention, self.c_attn.compute()))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
    #[module(skip)]
    activation: Gelu,
}

impl Mlp {
    fn load(
        config: &Gpt2Config,
        sizes: &Sizes,
        source: &mut dyn WeightSource,
        path: &str,
        device: &Device,
    ) -> Result<Self> {
        let (channels, inner) = (sizes.width, sizes.inner);
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Held::Plain, device);
        Ok(Self {
            c_fc: linear("c_fc", [channels, inner])?,
            c_proj: linear("c_proj", [inner, channels])?,
            activation: config.activation_function,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.c_proj.forward(self.activation.forward(self.c_fc.forward(x)))
    }
}
