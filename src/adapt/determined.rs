//! What determines a training.

use serde_json::{Value, json};

use super::data::TrainingWindows;
use super::needs;
use super::training::Training;
use crate::error::Result;
use crate::files;
use crate::model::Precision;
use crate::progress::Monitor;
use crate::recipe::{AdaptSettings, Stack, Strategies};
use crate::text::TokenStream;

impl Training<'_> {
    /// Everything that determines the run. Only a run with the same goes on from its checkpoint.
    ///
    /// # Errors
    /// The base, or what a strategy reads, cannot be read.
    pub fn determined_by(&self, train: &TokenStream, valid: &TokenStream, monitor: &mut dyn Monitor) -> Result<Value> {
        let windows = needs::all_windows(self, train, monitor)?;
        self.determined_by_windows(train, valid, &windows)
    }

    /// The same where all windows that it reads are at hand.
    pub(super) fn determined_by_windows(
        &self,
        train: &TokenStream,
        valid: &TokenStream,
        windows: &TrainingWindows,
    ) -> Result<Value> {
        let Self { base, settings, seed, .. } = *self;
        let context = settings.window_length(base.config.context());
        // `outlier` decides whether a run goes on; it does not change where it leads.
        let outlier = AdaptSettings::default().outlier;
        let mut strategies = Strategies { lora: settings.adapters(), ..settings.strategies.clone() };
        // The content of what strategies read is what counts, not its place.
        strategies.places().iter_mut().for_each(|place| place.path().clear());
        let written = AdaptSettings { strategies, outlier, ..settings.clone() };
        let mut determined_by = json!({
            "settings": written, "seed": seed, "context": context, "base": base.hash()?,
            "train": train.corpus_hash, "train_tokens": train.ids.len(), "train_ids": hash_ids(&train.ids),
            "valid": valid.corpus_hash, "valid_tokens": valid.ids.len(), "valid_ids": hash_ids(&valid.ids),
        });
        if base.precision != Precision::F32 {
            determined_by["dtype"] = json!(base.precision);
        }
        if let Some(before_stream) = &base.before_stream {
            determined_by["before_stream"] = json!(before_stream.hash()?);
        }
        if let Some(needs) = needs::identity(&Stack::new(settings), windows)? {
            determined_by["needs"] = needs;
        }
        Ok(determined_by)
    }
}

/// A hash of token ids. It also differs if the same texts were joined in another way.
fn hash_ids(ids: &[u32]) -> String {
    files::hash_bytes(bytemuck::cast_slice(ids))
}
