//! GPT-2 (Radford et al. 2019).
//!
//! Follows `modeling_gpt2.py` of transformers: learned positions, layer norm before each part, one fused projection
//! for queries, keys and values, `Conv1D` weights stored `[in, out]`, tanh-approximated GELU, and the token table
//! used again as output head. Dropout is never applied: additional pretraining here is deterministic.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::Deserialize;

use super::config::ConfigFile;
use super::layers::{CausalMask, Embedding, Gelu, LayerNorm, Layout, Linear, Stage, Table};
use super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::attention;

/// `config.json` of the family, under its published names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gpt2Config {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Longest window.
    pub n_positions: usize,
    /// Channels.
    pub n_embd: usize,
    /// Blocks.
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

impl Gpt2Config {
    /// Reads and checks the family's keys.
    pub fn read(file: &ConfigFile) -> Result<Self> {
        file.refuse_unless("scale_attn_weights", true)?;
        file.refuse_unless("scale_attn_by_inverse_layer_idx", false)?;
        file.refuse_unless("add_cross_attention", false)?;
        let config: Self = file.with_aliases(ALIASES).parse()?;
        file.require_multiple("n_embd", config.n_embd, "n_head", config.n_head)?;
        Ok(config)
    }

    /// Channels inside the MLP.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }
}

/// The model, `transformer.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
}

impl Gpt2 {
    /// Builds the model from its weights.
    pub fn load(config: &Gpt2Config, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let Gpt2Config { vocab_size, n_positions, n_embd, .. } = *config;
        Ok(Self {
            wte: Embedding::load(source, "transformer.wte", [vocab_size, n_embd], device)?,
            wpe: Embedding::load(source, "transformer.wpe", [n_positions, n_embd], device)?,
            h: (0..config.n_layer)
                .map(|i| Block::load(config, source, &format!("transformer.h.{i}"), device))
                .collect::<Result<_>>()?,
            ln_f: LayerNorm::load(source, "transformer.ln_f", n_embd, config.layer_norm_epsilon, device)?,
            lm_head: if config.tie_word_embeddings {
                None
            } else {
                Some(Embedding::load(source, "lm_head", [vocab_size, n_embd], device)?)
            },
        })
    }

    /// What the blocks begin with: `ids` `[B, T]` to `[B, T, C]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, time] = ids.dims();
        let positions = Tensor::<1, Int>::arange(0..time as i64, &ids.device()).unsqueeze::<2>();
        self.wte.forward(ids) + self.wpe.forward(positions) // [B, T, C] + [1, T, C]
    }

    /// The blocks for windows of `time` tokens, and the last norm.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let mask = CausalMask::new(time, None, device);
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for block in &self.h {
            let mask = mask.clone();
            stages.push(Box::new(move |x| block.forward(x, &mask)));
        }
        stages.push(Box::new(|x| self.ln_f.forward(x)));
        stages
    }

    /// The output head, `[vocab, C]`: logits are `hidden · headᵀ`.
    pub fn head(&self) -> Table {
        self.lm_head.as_ref().unwrap_or(&self.wte).table()
    }

    /// The linear layers of the blocks by their paths.
    pub(super) fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        let blocks = self.h.iter_mut().enumerate();
        let linears = blocks.flat_map(|(i, Block { attn, mlp, .. })| {
            [
                ("attn.c_attn", &mut attn.c_attn),
                ("attn.c_proj", &mut attn.c_proj),
                ("mlp.c_fc", &mut mlp.c_fc),
                ("mlp.c_proj", &mut mlp.c_proj),
            ]
            .map(|(name, linear)| (format!("transformer.h.{i}.{name}"), linear))
        });
        linears.collect()
    }
}

#[derive(Module, Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn load(config: &Gpt2Config, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, epsilon) = (config.n_embd, config.layer_norm_epsilon);
        Ok(Self {
            ln_1: LayerNorm::load(source, &format!("{path}.ln_1"), channels, epsilon, device)?,
            attn: Attention::load(config, source, &format!("{path}.attn"), device)?,
            ln_2: LayerNorm::load(source, &format!("{path}.ln_2"), channels, epsilon, device)?,
            mlp: Mlp::load(config, source, &format!("{path}.mlp"), device)?,
        })
    }

    fn forward(&self, x: Tensor<3>, mask: &CausalMask) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.ln_1.forward(x), mask);
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
    fn load(config: &Gpt2Config, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let channels = config.n_embd;
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Layout::InOut, device);
        Ok(Self {
            c_attn: linear("c_attn", [channels, 3 * channels])?,
            c_proj: linear("c_proj", [channels, channels])?,
            heads: config.n_head,
        })
    }

    fn forward(&self, x: Tensor<3>, mask: &CausalMask) -> Tensor<3> {
        let qkv = self.c_attn.forward(x); // [B, T, 3C]
        self.c_proj.forward(attention::side_by_side(qkv, self.heads, mask, self.c_attn.compute()))
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
    fn load(config: &Gpt2Config, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let (channels, inner) = (config.n_embd, config.inner());
        let mut linear =
            |name: &str, shape| Linear::load(source, &format!("{path}.{name}"), shape, true, Layout::InOut, device);
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
