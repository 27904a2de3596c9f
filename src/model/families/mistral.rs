//! Mistral (arXiv 2310.06825): LLaMA with a window on every layer, as `modeling_mistral.py` of transformers.

use burn::tensor::Device;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Family, ROTARY, Sizes};
use super::super::weights::WeightSource;
use super::llama::{KEYS, Llama, LlamaConfig, NAMES, tiny};
use super::windows::Windows;
use crate::error::Result;

/// The family.
#[derive(Debug)]
pub struct Mistral;

impl Family for Mistral {
    const ABOUT: About = About {
        model_type: "mistral",
        models: "Mistral",
        reads: "a sliding window on every layer, or none",
        names: NAMES,
        keys: &[KEYS],
        special: &["rope_scaling", "rope_parameters", "partial_rotary_factor", "layer_types", "sliding_window"],
        positions: ROTARY,
        token_ids: [Some(1), Some(2)],
    };
    type Config = LlamaConfig;
    type Model = Llama;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        file.refuse_unless("attention_bias", false)?;
        file.refuse_unless("mlp_bias", false)?;
        let (config, sizes) = LlamaConfig::read(file, vec![("num_key_value_heads", 8.into())])?;
        let windows = Windows::on_all(file, 4096)?;
        Ok((LlamaConfig { windows, ..config }, sizes))
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Llama> {
        Llama::load(config, sizes, source, device)
    }

    fn tiny() -> Value {
        let mut keys = tiny();
        keys["sliding_window"] = json!(7);
        keys
    }
}
