//! Reading a model's weights: each by the name its file has, every number checked, a head of its own noticed.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, TensorData};

use super::config::ModelConfig;
use super::families::LanguageModel;
use super::numbers::check_finite;
use super::weight_names::{Misfit, fit};
use super::weights::{WeightFiles, WeightSource};
use crate::device::precision::Precision;
use crate::error::{Error, Result};
use crate::message::Message;
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
    let mut source = find(config, files)?;
    let model = LanguageModel::build(config, &mut source, device)?;
    let parts = *config.names();
    source.files.pass_over(|name| parts.buffers.iter().any(|end| name.ends_with(end)));
    source.files.finish(config.tied_head())?;
    Ok(model)
}

/// The weights that `config` calls for, found among those of `files`; a head of its own is noticed as in [`load`].
///
/// # Errors
/// Names that do not fit, with what stands before them.
pub(super) fn find(config: &mut ModelConfig, files: WeightFiles) -> Result<Source> {
    let parts = *config.names();
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
    Ok(source)
}

/// The files' weights under the names that models ask for, every number checked.
pub(crate) struct Source {
    pub(crate) files: WeightFiles,
    /// The file's name of each weight that has another one there.
    names: BTreeMap<String, String>,
}

impl Source {
    /// Weights whose names are the files'.
    pub(crate) fn of(files: WeightFiles) -> Self {
        Self { files, names: BTreeMap::new() }
    }

    pub(super) fn stored(&self, name: &str) -> String {
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
    let (fault, cure): (String, Message) = match misfit {
        Misfit::Missing { weight, more, prefix } => {
            let others = if more == 0 { String::new() } else { format!(", nor {more} others") };
            let missing = format!("has no tensor {weight:?}, which config.json calls for{others}");
            match prefix {
                Some(prefix) => {
                    let fault = format!("{missing}; those that it has begin with {prefix:?} there");
                    (fault, format!("{saved_with}, and save the model itself, not what wraps it").into())
                }
                None => (missing, saved_with.into()),
            }
        }
        Misfit::Several(prefixes) => {
            let one = prefixes.last().cloned().unwrap_or_default();
            let fault = format!("holds several models, whose names begin with {}", prefixes.join(" and "));
            let cure = Message::new("leave all but one of them out, for example ");
            (fault, cure.set("ignore_tensors", format!("{one}*")))
        }
        Misfit::Nothing(first) => {
            let has = first.map_or("it holds no tensor".to_owned(), |first| format!("its first is {first:?}"));
            let fault = format!("has none of the tensors that config.json calls for; {has}");
            (fault, format!("{saved_with}, or save the model again with transformers").into())
        }
    };
    Error::file(files.folder(), fault, cure)
}
