//! `config.json`: which architecture, which sizes, and whether anything in it changes the mathematics.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::adapter_folder::refuse_in;
pub use super::config_file::ConfigFile;
use super::config_keys;
use super::families::{Architecture, FAMILIES};
use super::family::{About, Names, Sizes};
use super::weight_formats::folder_within;
use crate::error::{Error, Result};

/// The content of `config.json` in a model folder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family, and what it says beside the sizes.
    pub architecture: Architecture,
    /// The sizes.
    pub sizes: Sizes,
    /// The end-of-text token that separates documents.
    pub eos_token_id: Option<u32>,
    /// The begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// The file as it is, which is saved again with the model.
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
            refuse_in(folder)?;
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
        let about = known_type(&file)?;
        config_keys::check(&file, about)?;
        file.check_sizes()?;
        let Some((architecture, sizes)) = Architecture::read(&file, about.model_type)? else {
            return Err(unknown_type(&file, about.model_type));
        };
        let config = Self {
            architecture,
            sizes,
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
        let [bos, eos] = self.about().token_ids.map(|id| id.filter(|&id| (id as usize) < vocabulary));
        let absent = |key: &str| !self.json.contains_key(key);
        if self.eos_token_id.is_none() && absent("eos_token_id") {
            self.eos_token_id = eos;
        }
        if self.bos_token_id.is_none() && absent("bos_token_id") {
            self.bos_token_id = bos;
        }
        Ok(())
    }

    /// Says that the output head is a table of its own, whatever the file says: the weights have one.
    pub(super) fn untie_head(&mut self) {
        self.sizes.tied = false;
        self.json.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
    }

    /// What is known of its family.
    pub fn about(&self) -> &'static About {
        self.architecture.about()
    }

    /// What its family calls the parts of a model.
    pub(super) fn names(&self) -> &'static Names {
        &self.about().names
    }

    /// Entries of the token table.
    pub fn vocabulary(&self) -> usize {
        self.sizes.vocabulary
    }

    /// The longest window the model can read, tokens.
    pub fn context(&self) -> usize {
        self.sizes.context
    }

    /// Channels of the hidden states.
    pub fn channels(&self) -> usize {
        self.sizes.width
    }

    /// Whether the token table is the output head.
    pub fn tied_head(&self) -> bool {
        self.sizes.tied
    }

    /// Transformer layers.
    pub fn layers(&self) -> usize {
        self.sizes.layers
    }
}

/// The family of the file's `model_type`.
fn known_type(file: &ConfigFile) -> Result<&'static About> {
    let Some(named) = file.get("model_type").and_then(Value::as_str) else {
        let classes = file.get("architectures").and_then(Value::as_array).into_iter().flatten();
        let classes: Vec<&str> = classes.filter_map(Value::as_str).collect();
        let classes = if classes.is_empty() { String::new() } else { format!("; `architectures` is {classes:?}") };
        let fault = format!("has no `model_type`{classes}");
        let cure = format!("write the model's architecture there, one of {}; or restore the file", known());
        return Err(Error::file(file.path(), fault, cure));
    };
    let family = FAMILIES.iter().find(|family| family.about.model_type == named);
    family.map(|family| family.about).ok_or_else(|| unknown_type(file, named))
}

fn unknown_type(file: &ConfigFile, named: &str) -> Error {
    let fault = format!("`model_type` is {named:?}; implemented are {}", known());
    Error::file(file.path(), fault, "choose a model of one of these architectures")
}

/// All `model_type`s, as a message lists them.
fn known() -> String {
    let known: Vec<String> = FAMILIES.iter().map(|family| format!("{:?}", family.about.model_type)).collect();
    format!("{} and {}", known[..known.len() - 1].join(", "), known[known.len() - 1])
}
