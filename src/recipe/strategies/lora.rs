//! Training low-rank adapters beside the frozen weights ([`crate::model::lora`]).

use crate::error::Result;
use crate::model::{LanguageModel, LoadedModel, LoraSettings};
use crate::recipe::strategy::Strategy;

struct Lora(LoraSettings);

/// The strategy with these adapters.
pub(super) fn start(adapters: LoraSettings) -> Box<dyn Strategy> {
    Box::new(Lora(adapters))
}

impl Strategy for Lora {
    fn trainable(&self, base: &LoadedModel, seed: u64) -> Result<Option<LanguageModel>> {
        self.0.attach(base, seed).map(Some)
    }
}
