//! SmolLM 3: LLaMA in which some layers do not rotate queries and keys (NoPE, arXiv 2501.18795).
//!
//! Follows `modeling_smollm3.py` of transformers. Windows, where they are switched on, are on the layers without rotations
//! unless `layer_types` says otherwise.

use burn::tensor::Device;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Family, ROTARY, Sizes};
use super::super::weights::WeightSource;
use super::llama::{self, Llama, LlamaConfig, NAMES};
use super::windows::Windows;
use crate::error::Result;

/// The family.
#[derive(Debug)]
pub struct SmolLm3;

impl Family for SmolLm3 {
    const ABOUT: About = About {
        model_type: "smollm3",
        models: "SmolLM 3",
        reads: "layers without rotations; windows for single layers",
        names: NAMES,
        keys: &[llama::KEYS, &["use_sliding_window"]],
        special: &[
            "rope_scaling",
            "rope_parameters",
            "partial_rotary_factor",
            "layer_types",
            "sliding_window",
            "no_rope_layers",
            "no_rope_layer_interval",
        ],
        positions: ROTARY,
        token_ids: [Some(128_000), Some(128_001)],
    };
    type Config = LlamaConfig;
    type Model = Llama;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        let defaults = vec![
            ("num_key_value_heads", 4.into()),
            ("rope_theta", 2_000_000.0.into()),
            ("tie_word_embeddings", true.into()),
        ];
        let (config, sizes) = LlamaConfig::read(file, defaults)?;
        let rotates = rotating_layers(file, sizes.layers)?;
        let windows =
            Windows::by_layer(file, None, |windows, layer| windows.sliding_window.is_some() && !rotates[layer])?;
        Ok((LlamaConfig { windows, rotates, ..config }, sizes))
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Llama> {
        Llama::load(config, sizes, source, device)
    }

    fn tiny() -> Value {
        let mut keys = llama::tiny();
        keys["no_rope_layers"] = json!([1, 0]);
        keys
    }
}

/// Whether each layer rotates: as `no_rope_layers` lists it (1 where it does), else all but every n-th.
fn rotating_layers(file: &ConfigFile, layers: usize) -> Result<Vec<bool>> {
    let key = "no_rope_layers";
    if let Some(list) = file.get(key) {
        let switch = |value: &Value| match value.as_u64() {
            Some(number) if number <= 1 => Some(number == 1),
            _ => value.as_bool(),
        };
        let listed: Option<Vec<bool>> = list.as_array().and_then(|list| list.iter().map(switch).collect());
        return match listed {
            Some(listed) if listed.len() >= layers => Ok(listed[..layers].to_vec()),
            _ => Err(file.refusal(key, "a list of 0 and 1 is needed, one for each of `num_hidden_layers`")),
        };
    }
    let key = "no_rope_layer_interval";
    let interval = file.get(key).map_or(Some(4), Value::as_u64);
    match interval {
        Some(interval) if interval > 0 => Ok((1..=layers as u64).map(|layer| layer % interval != 0).collect()),
        _ => Err(file.refusal(key, "a whole number above 0 is needed")),
    }
}
