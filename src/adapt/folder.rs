//! What an adaptation leaves: a Hugging Face folder, or a PEFT folder of adapters.

use std::path::Path;

use super::{AdaptResult, Adaptation};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{LanguageModel, LoadedModel, peft, save};

/// What is written of a model with adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// The adapters alone, as a PEFT folder.
    #[default]
    Adapter,
    /// A whole model that has them merged, and the PEFT folder in `adapter/`.
    Merged,
}

/// What says how the run went.
const RESULT: &str = "adapt.json";

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
    files::folder_whole(out, |folder| {
        put(&adaptation.last, folder)?;
        if adaptation.result.best.step != adaptation.result.steps {
            let best = folder.join("best");
            new_folder(&best)?;
            put(&adaptation.best, &best)?;
        }
        files::write_json(&folder.join(RESULT), &adaptation.result)
    })
}

/// The result in a folder that [`write`] filled, with all that belongs to it; `None` where anything is missing or it has
/// another form.
pub(super) fn result_in(folder: &Path, form: Form) -> Option<AdaptResult> {
    let file = folder.join(RESULT);
    let result: AdaptResult = file.is_file().then(|| files::read_json(&file).ok())??;
    let is_whole = |at: &Path| ["config.json", "model.safetensors"].iter().all(|name| at.join(name).is_file());
    let is_adapter = |at: &Path| [peft::CONFIG, peft::WEIGHTS].iter().all(|name| at.join(name).is_file());
    let has_adapters = |at: &Path| is_adapter(at) || is_adapter(&at.join("adapter"));
    let is_complete = |at: &Path| match (has_adapters(at), form) {
        (false, _) => is_whole(at),
        (true, Form::Adapter) => is_adapter(at),
        (true, Form::Merged) => is_whole(at) && is_adapter(&at.join("adapter")),
    };
    let has_best = result.best.step != result.steps;
    (is_complete(folder) && (!has_best || is_complete(&folder.join("best")))).then_some(result)
}
