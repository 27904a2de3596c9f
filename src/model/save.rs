//! Writing a model as a Hugging Face folder that transformers loads unchanged.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{LanguageModel, LoadedModel};
use crate::error::{Error, Result};
use crate::files;

/// Files beside configuration and weights that belong to a model: its tokenizer, and what travels with an adapted one.
pub const COMPANIONS: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "encoder.json",
    "vocab.bpe",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
];

/// Writes `model` into the folder `into`, which exists, with the configuration and tokenizer files of `base`.
///
/// Weights are written in f32, whatever the base was stored in, and the configuration says so.
pub fn save(model: &LanguageModel, base: &LoadedModel, into: &Path) -> Result<()> {
    write_weights(model, &into.join("model.safetensors"))?;

    let mut json = base.config.json.clone();
    // transformers 4 reads `torch_dtype`, transformers 5 `dtype` first.
    for key in ["dtype", "torch_dtype"] {
        json.insert(key.into(), Value::from("float32"));
    }
    files::write_json(&into.join("config.json"), &json)?;

    for name in COMPANIONS {
        let from = base.folder.join(name);
        if from.is_file() {
            let bytes = fs::read(&from).map_err(|e| Error::reading(&from, e))?;
            files::write_whole(&into.join(name), |out| std::io::Write::write_all(out, &bytes))?;
        }
    }
    Ok(())
}

/// Every weight under its published name, f32, in one safetensors file, whole.
fn write_weights(model: &LanguageModel, path: &Path) -> Result<()> {
    let arrays = model.published().into_iter().map(|tensor| {
        let name = tensor.name.clone();
        tensor.array(name)
    });
    // transformers asks for this metadata before it reads a file.
    files::write_safetensors(path, arrays, ("format", "pt".to_owned()))
}
