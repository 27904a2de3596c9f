//! Training all weights.

use crate::error::{Error, Result};
use crate::message::Message;
use crate::model::{LanguageModel, LoadedModel, Precision};
use crate::recipe::strategy::Strategy;

struct Full;

/// The strategy; it has no settings.
pub(super) fn start() -> Box<dyn Strategy> {
    Box::new(Full)
}

impl Strategy for Full {
    fn trainable(&self, base: &LoadedModel, _seed: u64) -> Result<Option<LanguageModel>> {
        if base.precision != Precision::F32 {
            return Err(Error::input(
                format!("a base held in {}", base.precision),
                "training its weights needs them in f32",
                Message::new("use ").set("dtype", "f32").then(", or ").set("strategy", "lora"),
            ));
        }
        Ok(Some(base.model.clone()))
    }
}
