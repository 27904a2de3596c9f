//! Which models go together: one family, one vocabulary, one shape, one tokenizer, adapters of the base.

use std::path::{Path, PathBuf};

use super::part::Part;
use super::side::Side;
use crate::disk::paths::is_same;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::weights::hash_folder;
use crate::model::{Adapter, ModelConfig};
use crate::notice::warn_once;
use crate::text::Tokenizer;

const CURE: &str = "merge models that were adapted from one base";

/// Refuses a whole model that is not of the base's kind.
///
/// # Errors
/// The first difference.
pub(super) fn check(base: &Part, base_side: &Side, other: &Part, other_side: &Side) -> Result<()> {
    let refused = |fault: String| Err(Error::input(&other.name, fault, CURE));
    let (a, b) = (base_side.config(), other_side.config());
    let base_name = &base.name;
    let [ours, theirs] = [a, b].map(|config| config.about().model_type);
    if ours != theirs {
        return refused(format!("is of the family {theirs:?}, and {base_name} of {ours:?}"));
    }
    let [ours, theirs] = [a, b].map(ModelConfig::vocabulary);
    if ours != theirs {
        return refused(format!("has a vocabulary of {theirs} tokens, and {base_name} one of {ours}"));
    }
    let shapes = base_side.shapes().iter().zip(other_side.shapes());
    if let Some(((ours, our_shape), (theirs, their_shape))) = shapes.into_iter().find(|(ours, theirs)| ours != theirs) {
        return refused(match ours == theirs {
            true => format!("has another shape: {ours} is {their_shape:?}, and {our_shape:?} in {base_name}"),
            false => format!("has another shape: it has {theirs} where {base_name} has {ours}"),
        });
    }
    let [ours, theirs] = [base_side, other_side].map(|side| side.shapes().len());
    if ours != theirs {
        return refused(format!("has another shape: {theirs} weights, and {ours} in {base_name}"));
    }
    if a.architecture != b.architecture {
        let keys = a.about().keys.iter().copied().flatten();
        let differs = keys.copied().find(|key| a.json.get(*key) != b.json.get(*key));
        return refused(match differs {
            Some(key) => {
                let [ours, theirs] = [a, b].map(|config| config.json.get(key).cloned().unwrap_or_default());
                format!(
                    "computes in another way: `{key}` is {theirs} in its config.json, and {ours} in that of {base_name}"
                )
            }
            None => format!("computes in another way than {base_name}"),
        });
    }
    let [ours, theirs] = [Tokenizer::find(base_side.folder())?, Tokenizer::find(other_side.folder())?];
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.hash() != theirs.hash() => match ours.difference(&theirs) {
            Some(difference) => refused(format!("has another tokenizer than {base_name}: {difference}")),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Refuses an adapter that was trained upon another base, where that can be told.
///
/// # Errors
/// The base that it names is here, and is another model.
pub(super) fn check_adapter(base: &Part, other: &Part, adapter: &Adapter) -> Result<()> {
    let Some(named) = &adapter.base else {
        warn_once(format!("{} does not say which base it was trained upon: {} is taken", other.name, base.name));
        return Ok(());
    };
    match base_here(adapter, named) {
        Some(folder) if is_same(&folder, &base.folder) || hash_folder(&folder)? == hash_folder(&base.folder)? => Ok(()),
        Some(_) => {
            let fault =
                format!("is an adapter of {named}, whose configuration or weights are not those of {}", base.name);
            Err(Error::input(&other.name, fault, format!("name {named} as the base")))
        }
        None => {
            warn_once(format!(
                "{} is an adapter of {named}, which is not here: {} is taken for it",
                other.name, base.name
            ));
            Ok(())
        }
    }
}

/// The folder of the base that an adapter names, if it is on this machine.
fn base_here(adapter: &Adapter, named: &str) -> Option<PathBuf> {
    let beside = adapter.folder.join(named);
    if beside.is_dir() {
        return Some(beside);
    }
    let name = match &adapter.revision {
        Some(revision) if !Path::new(named).exists() => format!("{named}@{revision}"),
        _ => named.to_owned(),
    };
    Hub::new().model_here(Path::new(&name)).filter(|folder| folder.is_dir())
}
