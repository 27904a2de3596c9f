//! What a study's texts, models and tokenizers held when it was planned. A result is kept under the hashes of these, so that
//! what is read later must be the same.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::ModelEntry;
use crate::error::{Error, Result};
use crate::model::weights::{Stamps, hash_folder};
use crate::text::{Corpus, Split, Tokenizer};

/// The hashes of all that a study reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// Of its texts.
    texts: Vec<Text>,
    /// Of its models.
    models: Vec<Model>,
    /// Of the sentence encoder that corpora are compared by, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoder: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    path: PathBuf,
    /// The split of a domain; `None` for a reference corpus.
    split: Option<Split>,
    hash: String,
}

/// What a model's folder held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Model {
    name: String,
    /// Of its configuration and weights.
    pub hash: String,
    /// Of its tokenizer, where it has one.
    pub tokenizer: Option<String>,
    /// Of these files when they were hashed.
    #[serde(skip)]
    stamps: Stamps,
}

impl Contents {
    /// Nothing yet but the sentence encoder.
    pub(super) fn new(encoder: Option<String>) -> Self {
        Self { encoder, ..Self::default() }
    }

    pub(super) fn add_model(&mut self, ModelEntry { name, path, .. }: &ModelEntry) -> Result<()> {
        let stamps = Stamps::of(path)?; // before the hash, so that a change meanwhile is noticed
        let tokenizer = Tokenizer::find(path)?.map(|tokenizer| tokenizer.hash().to_owned());
        self.models.push(Model { name: name.clone(), hash: hash_folder(path)?, tokenizer, stamps });
        Ok(())
    }

    pub(super) fn add_texts<'a>(&mut self, texts: impl Iterator<Item = (&'a PathBuf, Option<Split>, &'a String)>) {
        let text = |(path, split, hash): (&PathBuf, _, &String)| Text { path: path.clone(), split, hash: hash.clone() };
        self.texts.extend(texts.map(text));
    }

    /// What is known of a model.
    pub(super) fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Refuses a corpus that is not what was planned with: the `split` of the domain at `path`, or a reference corpus.
    ///
    /// # Errors
    /// [`Error::Input`] that names it.
    pub(super) fn check_text(&self, path: &Path, split: Option<Split>, read: &Corpus) -> Result<()> {
        match self.texts.iter().find(|text| text.path == path && text.split == split) {
            Some(text) if text.hash != read.hash => Err(changed(read)),
            _ => Ok(()),
        }
    }

    /// Refuses a model that was not read as it was planned with.
    ///
    /// # Errors
    /// [`Error::Input`] that names its folder.
    pub(super) fn check_model(&self, entry: &ModelEntry, tokenizer: Option<&Tokenizer>) -> Result<()> {
        let Some(planned) = self.model(&entry.name) else { return Ok(()) };
        if planned.tokenizer.as_deref() != tokenizer.map(Tokenizer::hash) {
            return Err(changed(&format!("{}: its tokenizer", entry.path.display())));
        }
        if planned.stamps != Stamps::of(&entry.path)? && planned.hash != hash_folder(&entry.path)? {
            return Err(changed(&entry.path.display()));
        }
        Ok(())
    }

    /// Refuses a sentence encoder that was not read as it was planned with: `hash` is that of what was read from `folder`.
    ///
    /// # Errors
    /// [`Error::Input`] that names its folder.
    pub(super) fn check_encoder(&self, folder: &Path, hash: &str) -> Result<()> {
        match &self.encoder {
            Some(planned) if planned != hash => Err(changed(&folder.display())),
            _ => Ok(()),
        }
    }
}

fn changed(what: &dyn std::fmt::Display) -> Error {
    Error::input(
        what,
        "was changed after the study was planned with it; nothing is kept of the task that read it",
        "run the study again, which plans with it as it is now",
    )
}
