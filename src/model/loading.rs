//! Reading a model's weights: each by the name its file has, every number checked, a head of its own noticed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use half::{bf16, f16};

use super::weight_names::{Misfit, WeightNames, fit};
use super::weights::{Precision, WeightFiles, WeightSource};
use super::{LanguageModel, ModelConfig};
use crate::error::{Error, Result};
use crate::notice::warn_once;

/// Rows of two tables that are compared at once.
const ROWS: usize = 1024;

/// Builds the model of `config` from `files`, of which nothing may be left over.
///
/// Where `config` calls the head tied and the files hold another one, that is used and `config` corrected, as transformers
/// does.
///
/// # Errors
/// Names that do not fit, with what stands before them; shapes that differ; numbers that are none; tensors left over.
pub(super) fn load(config: &mut ModelConfig, files: WeightFiles, device: &Device) -> Result<LanguageModel> {
    let parts = WeightNames::of(&config.architecture);
    let called: Vec<String> = LanguageModel::shapes(config)?.into_iter().map(|(name, _)| name).collect();
    let found = fit(&called, parts, &files.names()).map_err(|misfit| refusal(&files, misfit))?;
    if let Some(prefix) = &found.prefix {
        tracing::info!("{}: names begin with {prefix:?} instead of {:?}", files.folder().display(), parts.body);
    }
    let mut source = Source { files, names: found.names };
    if let Some(head) = found.head.filter(|_| config.tied_head()) {
        if source.same_tables(config, parts.table, &head)? {
            source.files.pass_over(|name| name == head);
        } else {
            warn_once(format!(
                "{}: `tie_word_embeddings` says that the token table is the output head, but the weights hold another one, \
                 {head:?}: it is used, as transformers does",
                source.files.folder().display()
            ));
            config.untie_head();
            source.names.insert(parts.head.to_owned(), head);
        }
    }
    let model = LanguageModel::build(config, &mut source, device)?;
    source.files.finish(config.tied_head())?;
    Ok(model)
}

/// The files' weights under the names that models ask for, every number checked.
pub(super) struct Source {
    pub(super) files: WeightFiles,
    /// The file's name of each weight that has another one there.
    names: BTreeMap<String, String>,
}

impl Source {
    /// Weights whose names are the files'.
    pub(super) fn of(files: WeightFiles) -> Self {
        Self { files, names: BTreeMap::new() }
    }

    fn stored(&self, name: &str) -> String {
        self.names.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Whether the output head `head` is the token table once more.
    fn same_tables(&mut self, config: &ModelConfig, table: &str, head: &str) -> Result<bool> {
        let shape = [config.vocabulary(), config.channels()];
        let table = self.stored(table);
        for start in (0..shape[0]).step_by(ROWS) {
            let rows = start..shape[0].min(start + ROWS);
            let mut read = |name: &str| self.files.read(name, &shape, rows.clone(), Precision::F32);
            if read(&table)? != read(head)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl WeightSource for Source {
    fn has(&self, name: &str) -> bool {
        self.files.has(&self.stored(name))
    }

    fn precision(&self) -> Precision {
        self.files.precision()
    }

    fn largest_piece(&self) -> usize {
        self.files.largest_piece()
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        let stored = self.stored(name);
        let data = self.files.read(&stored, shape, rows, precision)?;
        check_finite(self.files.file_of(&stored), &stored, &data)?;
        Ok(data)
    }
}

fn refusal(files: &WeightFiles, misfit: Misfit) -> Error {
    let saved_with = "use the config.json these weights were saved with";
    let (fault, cure) = match misfit {
        Misfit::Missing { weight, more, prefix } => {
            let others = if more == 0 { String::new() } else { format!(", nor {more} others") };
            let missing = format!("has no tensor {weight:?}, which config.json calls for{others}");
            match prefix {
                Some(prefix) => {
                    let fault = format!("{missing}; those that it has begin with {prefix:?} there");
                    (fault, format!("{saved_with}, and save the model itself, not what wraps it"))
                }
                None => (missing, saved_with.to_owned()),
            }
        }
        Misfit::Several(prefixes) => {
            let one = prefixes.last().cloned().unwrap_or_default();
            let fault = format!("holds several models, whose names begin with {}", prefixes.join(" and "));
            (fault, format!("leave all but one of them out, for example --ignore-tensors '{one}*'"))
        }
        Misfit::Nothing(first) => {
            let has = first.map_or("it holds no tensor".to_owned(), |first| format!("its first is {first:?}"));
            let fault = format!("has none of the tensors that config.json calls for; {has}");
            (fault, format!("{saved_with}, or save the model again with transformers"))
        }
    };
    Error::file(files.folder(), fault, cure)
}

/// Refuses numbers of a tensor that are none: a model with them computes nothing.
///
/// `path` is the tensor's file.
pub(super) fn check_finite(path: &Path, name: &str, data: &TensorData) -> Result<()> {
    let broken = match data.dtype() {
        DType::F32 => data.as_slice::<f32>().ok().and_then(|values| first_broken(values, |value| *value)),
        DType::BF16 => data.as_slice::<bf16>().ok().and_then(|values| first_broken(values, |value| value.to_f32())),
        DType::F16 => data.as_slice::<f16>().ok().and_then(|values| first_broken(values, |value| value.to_f32())),
        _ => None,
    };
    let Some(value) = broken else { return Ok(()) };
    Err(Error::file(
        path,
        format!("tensor {name:?} holds {value}, which is no number to compute with"),
        "fetch the file again, or take a checkpoint from before the training failed",
    ))
}

fn first_broken<T>(values: &[T], number: impl Fn(&T) -> f32) -> Option<f32> {
    values.iter().map(number).find(|value| !value.is_finite())
}
