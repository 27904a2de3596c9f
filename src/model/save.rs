//! Writing a model as a Hugging Face folder that transformers loads unchanged.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loaded::LoadedModel;
use crate::error::{Error, Result};
use crate::files::{self, Array};

/// Files beside configuration and weights that belong to a model: its tokenizer, and the files that are copied to an
/// adapted model.
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
/// Weights are written in f32, for any format of the base, and the configuration says so.
pub fn save(model: &LanguageModel, base: &LoadedModel, into: &Path) -> Result<()> {
    let arrays = model.published().into_iter().map(|tensor| {
        let name = tensor.name.clone();
        tensor.array(name)
    });
    save_arrays(arrays, &base.config, &base.folder, into)
}

/// The same of weights by their published names, f32, with this configuration and the tokenizer files of the folder `from`.
pub fn save_arrays<'a>(
    weights: impl IntoIterator<Item = Array<'a>>,
    config: &ModelConfig,
    from: &Path,
    into: &Path,
) -> Result<()> {
    // transformers asks for this metadata before it reads a file.
    files::write_safetensors(&into.join("model.safetensors"), weights, ("format", "pt".to_owned()))?;

    let mut json = config.json.clone();
    // transformers 4 reads `torch_dtype`, transformers 5 `dtype` first.
    for key in ["dtype", "torch_dtype"] {
        json.insert(key.into(), Value::from("float32"));
    }
    files::write_json(&into.join("config.json"), &json)?;

    for name in COMPANIONS {
        let from = from.join(name);
        if from.is_file() {
            let bytes = fs::read(&from).map_err(|e| Error::reading(&from, e))?;
            files::write_whole(&into.join(name), |out| std::io::Write::write_all(out, &bytes))?;
        }
    }
    Ok(())
}
