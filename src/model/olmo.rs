//! OLMo and OLMo 2 (arXiv 2402.00838, 2501.00656).
//!
//! Follows `modeling_olmo.py` and `modeling_olmo2.py` of transformers: LLaMA's attention and MLP, with other norms.
//! OLMo normalises before each part, by layer norms without weights, and may cut queries, keys and values off
//! (`clip_qkv`). OLMo 2 normalises what each part adds, and queries and keys before they are rotated, by RMS norms.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use super::layers::{CausalMask, Embedding, Linear, RmsNorm, Stage, Table};
use super::llama::{Attention, Family, LlamaConfig, Mlp, linears};
use super::rotary::Rotary;
use super::weights::WeightSource;
use crate::error::Result;
use crate::kernels::norm::layer_norm;

/// Added to the variance in OLMo's layer norms; no key of the configuration.
const EPSILON: f64 = 1e-5;

/// The model, `model.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Olmo {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    /// OLMo 2 only; OLMo's last norm has no weights.
    norm: Option<RmsNorm>,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
    rotary: Rotary,
}

impl Olmo {
    /// Builds the model from its weights.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        let LlamaConfig { vocab_size, hidden_size, .. } = *config;
        Ok(Self {
            embed_tokens: Embedding::load(source, "model.embed_tokens", [vocab_size, hidden_size], device)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Block::load(config, source, &format!("model.layers.{i}"), device))
                .collect::<Result<_>>()?,
            norm: olmo2_norm(config, source, "model.norm", device)?,
            lm_head: if config.tie_word_embeddings {
                None
            } else {
                Some(Embedding::load(source, "lm_head", [vocab_size, hidden_size], device)?)
            },
            rotary: config.rotary(),
        })
    }

    /// What the blocks begin with: `ids` `[B, T]` to `[B, T, C]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    /// The blocks for windows of `time` tokens, and the last norm.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let mask = CausalMask::new(time, None, device);
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for block in &self.layers {
            let mask = mask.clone();
            stages.push(Box::new(move |x| block.forward(x, &self.rotary, &mask)));
        }
        stages.push(Box::new(|x| match &self.norm {
            Some(norm) => norm.forward(x),
            None => layer_norm(x, None, EPSILON),
        }));
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

/// A norm that OLMo 2 has weights for, and OLMo has not.
fn olmo2_norm(
    config: &LlamaConfig,
    source: &mut dyn WeightSource,
    path: &str,
    device: &Device,
) -> Result<Option<RmsNorm>> {
    match config.family {
        Family::Olmo2 => RmsNorm::load(source, path, config.hidden_size, config.rms_norm_eps, device).map(Some),
        _ => Ok(None),
    }
}

#[derive(Module, Debug)]
struct Block {
    self_attn: Attention,
    /// OLMo 2 only, as the other norm.
    post_attention_layernorm: Option<RmsNorm>,
    mlp: Mlp,
    post_feedforward_layernorm: Option<RmsNorm>,
}

impl Block {
    fn load(config: &LlamaConfig, source: &mut dyn WeightSource, path: &str, device: &Device) -> Result<Self> {
        let post_attention = format!("{path}.post_attention_layernorm");
        let post_feedforward = format!("{path}.post_feedforward_layernorm");
        Ok(Self {
            self_attn: Attention::load(config, source, &format!("{path}.self_attn"), device)?,
            post_attention_layernorm: olmo2_norm(config, source, &post_attention, device)?,
            mlp: Mlp::load(config, source, &format!("{path}.mlp"), device)?,
            post_feedforward_layernorm: olmo2_norm(config, source, &post_feedforward, device)?,
        })
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, mask: &CausalMask) -> Tensor<3> {
        match (&self.post_attention_layernorm, &self.post_feedforward_layernorm) {
            (Some(post_attention), Some(post_feedforward)) => {
                let x = x.clone() + post_attention.forward(self.self_attn.forward(x, rotary, mask));
                x.clone() + post_feedforward.forward(self.mlp.forward(x))
            }
            _ => {
                let x = x.clone() + self.self_attn.forward(layer_norm(x, None, EPSILON), rotary, mask);
                x.clone() + self.mlp.forward(layer_norm(x, None, EPSILON))
            }
        }
    }
}
