//! The families of models. Each is a file here and a line of the table.

pub mod gpt2;
pub mod gpt_neox;
pub mod llama;
pub mod mistral;
pub mod olmo;
pub mod qwen;
pub mod smollm3;
mod windows;

use burn::module::Module;
use burn::tensor::Device;

use super::config_file::ConfigFile;
use super::family::{About, Decoder, Entry, Family, Sizes, families};
use super::weights::WeightSource;
use crate::error::Result;

families! {
    Gpt2: gpt2::Gpt2Family,
    Llama: llama::LlamaFamily,
    Mistral: mistral::Mistral,
    Qwen2: qwen::Qwen2,
    Qwen3: qwen::Qwen3,
    SmolLm3: smollm3::SmolLm3,
    Olmo: olmo::OlmoFamily,
    Olmo2: olmo::Olmo2Family,
    GptNeox: gpt_neox::GptNeoxFamily,
}
