//! A folder that holds an adapter: the names of its files, and the refusal where a whole model is needed.

use std::path::Path;

use super::weights::WeightFiles;
use crate::error::{Error, Result};
use crate::message::{Message, Setting};

/// The file that makes a folder an adapter's.
pub const CONFIG: &str = "adapter_config.json";
/// The file with an adapter's weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of a causal language model's layers.
pub(super) const PREFIX: &str = "base_model.model.";

/// Whether `folder` holds an adapter.
pub fn is_in(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Refuses a `folder` that holds an adapter, for uses that need a model without one.
pub fn refuse_in(folder: &Path) -> Result<()> {
    if !is_in(folder) {
        return Ok(());
    }
    if WeightFiles::are_in(folder) {
        let fault =
            format!("holds an adapter ({CONFIG}) beside the model's weights, and only eval and compare put it on");
        let cure = "merge it with peft's merge_and_unload, or move the adapter's files to a folder of their own";
        return Err(Error::file(folder, fault, cure));
    }
    Err(Error::file(
        folder,
        "holds an adapter, no whole model",
        Message::new("name its base, or a folder that ")
            .command("adapt", [Setting::new("merge", true)])
            .then(" or peft's merge_and_unload made"),
    ))
}
