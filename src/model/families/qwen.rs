//! Qwen 2 and 3: LLaMA with a window on some layers, where the configuration asks for it.
//!
//! Follows `modeling_qwen2.py` (arXiv 2407.10671: biases on queries, keys and values) and `modeling_qwen3.py` (arXiv
//! 2505.09388: a norm of every query and key head) of transformers.

use burn::tensor::Device;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::family::{About, Family, ROTARY, Sizes};
use super::super::weights::WeightSource;
use super::llama::{self, Llama, LlamaConfig, NAMES};
use super::windows::Windows;
use crate::error::Result;

const KEYS: &[&[&str]] = &[llama::KEYS, &["use_sliding_window", "max_window_layers"]];
const SPECIAL: &[&str] = &["rope_scaling", "rope_parameters", "partial_rotary_factor", "layer_types", "sliding_window"];

/// Qwen 1.5, 2 and 2.5.
#[derive(Debug)]
pub struct Qwen2;

impl Family for Qwen2 {
    const ABOUT: About = About {
        model_type: "qwen2",
        models: "Qwen 1.5, 2, 2.5",
        reads: "biases of queries, keys and values; windows for single layers",
        names: NAMES,
        keys: KEYS,
        special: SPECIAL,
        positions: ROTARY,
        token_ids: [None, None],
    };
    type Config = LlamaConfig;
    type Model = Llama;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        let (config, sizes) = config(file, vec![("num_key_value_heads", 32.into())])?;
        Ok((LlamaConfig { biases: [true, false], ..config }, sizes))
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Llama> {
        Llama::load(config, sizes, source, device)
    }

    fn tiny() -> Value {
        let mut keys = llama::tiny();
        keys["tie_word_embeddings"] = json!(true);
        keys
    }
}

/// Qwen 3.
#[derive(Debug)]
pub struct Qwen3;

impl Family for Qwen3 {
    const ABOUT: About = About {
        model_type: "qwen3",
        models: "Qwen 3",
        reads: "norms of queries and keys; windows for single layers",
        ..Qwen2::ABOUT
    };
    type Config = LlamaConfig;
    type Model = Llama;

    fn config(file: &ConfigFile) -> Result<(LlamaConfig, Sizes)> {
        let (config, sizes) = config(file, vec![("num_key_value_heads", 32.into()), ("head_dim", 128.into())])?;
        Ok((LlamaConfig { qk_norms: Some([sizes.head_dim; 2]), ..config }, sizes))
    }

    fn load(config: &LlamaConfig, sizes: &Sizes, source: &mut dyn WeightSource, device: &Device) -> Result<Llama> {
        Llama::load(config, sizes, source, device)
    }

    fn tiny() -> Value {
        llama::tiny()
    }
}

/// What both have in common.
fn config(file: &ConfigFile, defaults: Vec<(&str, Value)>) -> Result<(LlamaConfig, Sizes)> {
    file.refuse_unless("mlp_bias", false)?;
    let (config, sizes) = LlamaConfig::read(file, defaults)?;
    let windows = Windows::by_layer(file, Some(4096), |windows, layer| layer >= windows.max_window_layers)?;
    Ok((LlamaConfig { windows, ..config }, sizes))
}
