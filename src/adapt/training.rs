//! What a training consists of, and what determines it.

use serde_json::{Value, json};

use super::state::Resumable;
use crate::error::Result;
use crate::files;
use crate::model::weights::hash_folder;
use crate::model::{LoadedModel, Precision};
use crate::recipe::{AdaptSettings, Need, Stack, Strategies};
use crate::text::{DocumentRule, Split, TokenStream, open_corpus};

/// A training, without its texts.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// The model that is trained.
    pub base: &'a LoadedModel,
    /// How it is trained.
    pub settings: &'a AdaptSettings,
    /// The seed of the order of windows, of adapters and of dropout.
    pub seed: u64,
    /// Where it is saved.
    pub resumable: Option<Resumable<'a>>,
}

impl Training<'_> {
    /// Everything that determines the run. Only a run with the same goes on from its checkpoint.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn determined_by(&self, train: &TokenStream, valid: &TokenStream) -> Result<Value> {
        let Self { base, settings, seed, .. } = *self;
        let context = settings.window_length(base.config.context());
        // `outlier` decides whether a run goes on; it does not change where it leads.
        let outlier = AdaptSettings::default().outlier;
        let strategies = Strategies { lora: settings.adapters(), ..settings.strategies.clone() };
        let written = AdaptSettings { strategies, outlier, ..settings.clone() };
        let mut determined_by = json!({
            "settings": written, "seed": seed, "context": context, "base": base.hash()?,
            "train": train.corpus_hash, "train_tokens": train.ids.len(), "train_ids": hash_ids(&train.ids),
            "valid": valid.corpus_hash, "valid_tokens": valid.ids.len(), "valid_ids": hash_ids(&valid.ids),
        });
        if base.precision != Precision::F32 {
            determined_by["dtype"] = json!(base.precision);
        }
        let needs = Stack::new(settings).needs().iter().map(hash_need).collect::<Result<Vec<_>>>()?;
        if !needs.is_empty() {
            determined_by["needs"] = json!(needs);
        }
        Ok(determined_by)
    }
}

/// A hash of token ids. It also differs if the same texts were joined in another way.
fn hash_ids(ids: &[u32]) -> String {
    files::hash_bytes(bytemuck::cast_slice(ids))
}

/// What identifies the content of something that a strategy reads.
fn hash_need(need: &Need) -> Result<Value> {
    Ok(match need {
        Need::Corpus(path) => json!({ "corpus": open_corpus(path, Split::Train, DocumentRule::BlankLine)?.hash }),
        Need::Model(path) => json!({ "model": hash_folder(path)? }),
    })
}
