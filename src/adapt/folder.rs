//! What an adaptation leaves: a Hugging Face folder, or a PEFT folder of adapters.

use std::path::Path;

use super::Adaptation;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{LanguageModel, LoadedModel, save};

/// What is written of a model with adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// The adapters alone, as a PEFT folder.
    #[default]
    Adapter,
    /// A whole model that has them merged, and the PEFT folder in `adapter/`.
    Merged,
}

/// Writes an adapted model as a new folder, whole: the last weights, the best ones in `best/` where they are others,
/// and `adapt.json`. A Hugging Face folder, or of a model with adapters what its form says.
pub fn write(adaptation: &mut Adaptation, base: &LoadedModel, out: &Path) -> Result<()> {
    adaptation.result.out = out.display().to_string();
    let new_folder = |folder: &Path| std::fs::create_dir(folder).map_err(|e| Error::writing(folder, e));
    let put = |model: &LanguageModel, folder: &Path| match (&adaptation.lora, adaptation.form) {
        (None, _) => save(model, base, folder),
        (Some(lora), Form::Adapter) => lora.save(model, base, folder),
        (Some(lora), Form::Merged) => {
            save(model, base, folder)?;
            let adapter = folder.join("adapter");
            new_folder(&adapter)?;
            lora.save(model, base, &adapter)
        }
    };
    files::sweep(out);
    files::folder_whole(out, |folder| {
        put(&adaptation.last, folder)?;
        if adaptation.result.best.step != adaptation.result.steps {
            let best = folder.join("best");
            new_folder(&best)?;
            put(&adaptation.best, &best)?;
        }
        files::write_json(&folder.join("adapt.json"), &adaptation.result)
    })
}
