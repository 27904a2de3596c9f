//! OLMo and OLMo 2 (arXiv 2402.00838, 2501.00656).
//!
//! Follows `modeling_olmo.py` and `modeling_olmo2.py` of transformers: LLaMA's attention and MLP, with other norms.
//! OLMo normalises before each part, by layer norms without weights, and may cut queries, keys and values off
//! (`clip_qkv`). OLMo 2 uses RMS norms on the output of each part, and on queries and keys before their rotation.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde_json::Value;

use super::super::config_file::ConfigFile;
use super::super::family::{About, Decoder, Family, ROTARY, Sizes, linears};
use super::super::layers::{Embedding, Linear, RmsNorm, Stage, stages_of};
use super::super::rotary::Rotary;
use super::super::weights::WeightSource;
use super::llama::{self, Attention, LlamaConfig, Mlp, NAMES};
use super::windows::Windows;
use crate::error::Result;
use crate::kernels::attention::CausalAttention;
use crate::kernels::head::Head;
use crate::kernels::norm::layer_norm;

/// Added to the variance in OLMo's layer norms; no key of the configuration.
const EPSILON: f64 = 1e-5;

/// OLMo.
#[derive(Debug)]
pub struct OlmoFamily;

impl Family for OlmoFamily {
    const ABOUT: About = About {
        model_type: "olmo",
        models: "OLMo 1",
        reads: "norms without weights; `clip_qkv`",
        names: NAMES,
        keys: &[llama::KEYS],
        special: &["rope_scaling", "rope_parameters", "partial_rotary_factor", "layer_types", "clip_qkv"],
        positions: ROTARY,
        token_ids: [None, Some(50279)],
    };
    type Config = LlamaConfig;
    type Model = Olmo;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        file.refuse_unless("mlp_bias", false)?;
        let config = LlamaConfig::read(file, vec![])?;
        Windows::none(file)?;
        Ok(config)
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Olmo> {
        Olmo::load(config, sizes, false, source, device)
    }

    fn tiny() -> Value {
        llama::tiny()
    }
}

/// OLMo 2.
#[derive(Debug)]
pub struct Olmo2Family;

impl Family for Olmo2Family {
    const ABOUT: About = About {
        model_type: "olmo2",
        models: "OLMo 2",
        reads: "norms after each part; norms of queries and keys",
        special: llama::SPECIAL,
        ..OlmoFamily::ABOUT
    };
    type Config = LlamaConfig;
    type Model = Olmo;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        file.refuse_unless("mlp_bias", false)?;
        let (config, sizes) = LlamaConfig::read(file, vec![("rms_norm_eps", 1e-5.into())])?;
        Windows::none(file)?;
        let qk_norms = Some([sizes.heads, sizes.kv_heads].map(|heads| heads * sizes.head_dim));
        Ok((LlamaConfig { qk_norms, ..config }, sizes))
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Olmo> {
        Olmo::load(config, sizes, true, source, device)
    }

    fn tiny() -> Value {
        llama::tiny()
    }
}

/// The model, `model.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Olmo {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    /// OLMo 2 only; OLMo's last norm has no weights.
    norm: Option<RmsNorm>,
    /// Only where the head is not tied.
    lm_head: Option<Embedding>,
    rotary: Rotary,
}

impl Olmo {
    /// Builds the model from its weights, OLMo 2 `with_norms` that have weights.
    fn load(
        config: &LlamaConfig,
        sizes: &Sizes,
        with_norms: bool,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self> {
        let Sizes { vocabulary, width, .. } = *sizes;
        // A norm that OLMo 2 has weights for, and OLMo has not.
        let norm = |source: &mut dyn WeightSource, path: &str| match with_norms {
            true => RmsNorm::load(source, path, width, config.epsilon, device).map(Some),
            false => Ok(None),
        };
        let mut layers = Vec::new();
        let embed_tokens = Embedding::load(source, "model.embed_tokens", [vocabulary, width], device)?;
        for i in 0..sizes.layers {
            let path = format!("model.layers.{i}");
            layers.push(Layer {
                self_attn: Attention::load(config, sizes, source, &format!("{path}.self_attn"), device)?,
                post_attention_layernorm: norm(source, &format!("{path}.post_attention_layernorm"))?,
                mlp: Mlp::load(config, sizes, source, &format!("{path}.mlp"), device)?,
                post_feedforward_layernorm: norm(source, &format!("{path}.post_feedforward_layernorm"))?,
            });
        }
        Ok(Self {
            embed_tokens,
            layers,
            norm: norm(source, "model.norm")?,
            lm_head: Embedding::untied(source, "lm_head", [vocabulary, width], sizes.tied, device)?,
            rotary: config.rotary(),
        })
    }
}

impl Decoder for Olmo {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        let attention = CausalAttention::new(time, None, device);
        let forward = move |layer: &Layer, x| layer.forward(x, &self.rotary, &attention);
        stages_of(&self.layers, forward, |x| match &self.norm {
            Some(norm) => norm.forward(x),
            None => layer_norm(x, None, EPSILON),
        })
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
    self_attn: Attention,
    /// OLMo 2 only, as the other norm.
    post_attention_layernorm: Option<RmsNorm>,
    mlp: Mlp,
    post_feedforward_layernorm: Option<RmsNorm>,
}

impl Layer {
    fn forward(&self, x: Tensor<3>, rotary: &Rotary, attention: &CausalAttention) -> Tensor<3> {
        match (&self.post_attention_layernorm, &self.post_feedforward_layernorm) {
            (Some(post_attention), Some(post_feedforward)) => {
                let x = x.clone() + post_attention.forward(self.self_attn.forward(x, Some(rotary), attention));
                x.clone() + post_feedforward.forward(self.mlp.forward(x))
            }
            _ => {
                let x = x.clone() + self.self_attn.forward(layer_norm(x, None, EPSILON), Some(rotary), attention);
                x.clone() + self.mlp.forward(layer_norm(x, None, EPSILON))
            }
        }
    }
}
