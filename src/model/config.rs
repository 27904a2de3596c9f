//! `config.json`: which architecture, which sizes, and whether anything in it changes the mathematics.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use super::config_file::ConfigFile;
use super::config_keys;
use super::gpt_neox::GptNeoxConfig;
use super::gpt2::Gpt2Config;
use super::llama::{Family, LlamaConfig};
use super::peft::Adapter;
use super::weight_formats::folder_within;
use crate::error::{Error, Result};

/// The `model_type`s that are implemented, in the order in which they are named.
const MODEL_TYPES: &[&str] = &["gpt2", "llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2", "gpt_neox"];

/// The architectures that can be read, with their sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// GPT-2.
    Gpt2(Gpt2Config),
    /// LLaMA 1, 2, 3, Mistral, Qwen 2 and 3.
    Llama(LlamaConfig),
    /// OLMo 1, 2.
    Olmo(LlamaConfig),
    /// GPT-NeoX, Pythia.
    GptNeox(GptNeoxConfig),
}

/// What a model folder's `config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family and its sizes.
    pub architecture: Architecture,
    /// The end-of-text token that separates documents.
    pub eos_token_id: Option<u32>,
    /// The begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// The file as it is, carried along when the model is saved.
    pub json: Map<String, Value>,
}

impl ModelConfig {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// A missing file or key, an architecture that is not implemented, or a setting that changes the mathematics.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !folder.is_dir() {
            let fault = if folder.exists() { "is a file, expected a model's folder" } else { "no such model folder" };
            return Err(Error::file(
                folder,
                fault,
                "give a folder with config.json, model.safetensors and tokenizer.json",
            ));
        }
        if !path.exists() {
            Adapter::refuse_in(folder)?;
            if let Some(within) = folder_within(folder, &["config.json"]) {
                let cure = format!("check the path; the folder {within} in it has one");
                return Err(Error::file(&path, "no such file or folder", cure));
            }
        }
        let mut config = Self::parse(ConfigFile::read(path)?)?;
        config.find_token_ids(folder)?;
        Ok(config)
    }

    /// The same from JSON that is not a file; `place` names it in errors.
    pub fn from_json(place: impl Into<PathBuf>, json: Map<String, Value>) -> Result<Self> {
        Self::parse(ConfigFile::new(place.into(), json))
    }

    fn parse(file: ConfigFile) -> Result<Self> {
        let model_type = known_type(&file)?;
        config_keys::check(&file, model_type)?;
        file.check_sizes()?;
        let llama = |family| LlamaConfig::read(&file, family).map(Architecture::Llama);
        let olmo = |family| LlamaConfig::read(&file, family).map(Architecture::Olmo);
        let architecture = match model_type {
            "gpt2" => Architecture::Gpt2(Gpt2Config::read(&file)?),
            "mistral" => llama(Family::Mistral)?,
            "qwen2" => llama(Family::Qwen2)?,
            "qwen3" => llama(Family::Qwen3)?,
            "olmo" => olmo(Family::Olmo)?,
            "olmo2" => olmo(Family::Olmo2)?,
            "gpt_neox" => Architecture::GptNeox(GptNeoxConfig::read(&file)?),
            _ => llama(Family::Llama)?,
        };
        let config = Self {
            architecture,
            eos_token_id: file.token_id("eos_token_id")?,
            bos_token_id: file.token_id("bos_token_id")?,
            json: file.json().clone(),
        };
        for (key, size) in [
            ("vocabulary", config.vocabulary()),
            ("context", config.context()),
            ("layers", config.layers()),
            ("width", config.channels()),
        ] {
            file.require_some(key, size)?;
        }
        Ok(config)
    }

    /// The ids that `config.json` does not name: from `generation_config.json` in `folder`, else what the family's
    /// configuration has by default in transformers, where the vocabulary reaches so far. What `config.json` calls null
    /// has no default.
    fn find_token_ids(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("generation_config.json");
        if (self.eos_token_id.is_none() || self.bos_token_id.is_none()) && path.is_file() {
            let generation = ConfigFile::read(path)?;
            for (key, id) in [("eos_token_id", &mut self.eos_token_id), ("bos_token_id", &mut self.bos_token_id)] {
                if id.is_none() {
                    *id = generation.token_id(key)?;
                }
            }
        }
        let vocabulary = self.vocabulary();
        let [bos, eos] = self.default_token_ids().map(|id| id.filter(|&id| (id as usize) < vocabulary));
        let absent = |key: &str| !self.json.contains_key(key);
        if self.eos_token_id.is_none() && absent("eos_token_id") {
            self.eos_token_id = eos;
        }
        if self.bos_token_id.is_none() && absent("bos_token_id") {
            self.bos_token_id = bos;
        }
        Ok(())
    }

    /// The begin-of-text and end-of-text ids of the family's configuration class in transformers 5.
    fn default_token_ids(&self) -> [Option<u32>; 2] {
        match &self.architecture {
            Architecture::Gpt2(_) => [Some(50256); 2],
            Architecture::GptNeox(_) => [Some(0), Some(2)],
            Architecture::Olmo(_) => [None, Some(50279)],
            Architecture::Llama(config) => match config.family {
                Family::Llama | Family::Mistral => [Some(1), Some(2)],
                _ => [None, None],
            },
        }
    }

    /// Says that the output head is a table of its own, whatever the file says: the weights have one.
    pub(super) fn untie_head(&mut self) {
        let tied = match &mut self.architecture {
            Architecture::Gpt2(c) => &mut c.tie_word_embeddings,
            Architecture::Llama(c) | Architecture::Olmo(c) => &mut c.tie_word_embeddings,
            Architecture::GptNeox(c) => &mut c.tie_word_embeddings,
        };
        *tied = false;
        self.json.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
    }

    /// Entries of the token table.
    pub fn vocabulary(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.vocab_size,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.vocab_size,
            Architecture::GptNeox(c) => c.vocab_size,
        }
    }

    /// The longest window the model can read, tokens.
    pub fn context(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_positions,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.max_position_embeddings,
            Architecture::GptNeox(c) => c.max_position_embeddings,
        }
    }

    /// Channels of the hidden states.
    pub fn channels(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_embd,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.hidden_size,
            Architecture::GptNeox(c) => c.hidden_size,
        }
    }

    /// Whether the token table is the output head.
    pub fn tied_head(&self) -> bool {
        match &self.architecture {
            Architecture::Gpt2(c) => c.tie_word_embeddings,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.tie_word_embeddings,
            Architecture::GptNeox(c) => c.tie_word_embeddings,
        }
    }

    /// Transformer blocks.
    pub fn layers(&self) -> usize {
        match &self.architecture {
            Architecture::Gpt2(c) => c.n_layer,
            Architecture::Llama(c) | Architecture::Olmo(c) => c.num_hidden_layers,
            Architecture::GptNeox(c) => c.num_hidden_layers,
        }
    }
}

/// The file's `model_type`, one of those that are implemented.
fn known_type(file: &ConfigFile) -> Result<&'static str> {
    let classes = file.get("architectures").and_then(Value::as_array).into_iter().flatten();
    let classes: Vec<&str> = classes.filter_map(Value::as_str).collect();
    let known = MODEL_TYPES.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let known = format!("{} and {}", known[..known.len() - 1].join(", "), known[known.len() - 1]);
    let Some(named) = file.get("model_type").and_then(Value::as_str) else {
        let classes = if classes.is_empty() { String::new() } else { format!("; `architectures` is {classes:?}") };
        let fault = format!("has no `model_type`{classes}");
        let cure = format!("write the model's architecture there, one of {known}; or restore the file");
        return Err(Error::file(file.path(), fault, cure));
    };
    MODEL_TYPES.iter().find(|name| **name == named).copied().ok_or_else(|| {
        Error::file(
            file.path(),
            format!("`model_type` is {named:?}; implemented are {known}"),
            "choose a model of one of these architectures",
        )
    })
}
