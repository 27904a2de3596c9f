//! The weights of a model's folder, read one by one without a model.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

use super::adapter_folder::refuse_in;
use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loading::{Source, find};
use super::weights::{WeightFiles, WeightSource};
use crate::device::precision::Precision;
use crate::error::Result;

/// The weights of a model's folder under their published names, each read when it is asked for.
pub struct FolderWeights {
    folder: PathBuf,
    config: ModelConfig,
    /// Name and shape of every weight.
    shapes: Vec<(String, Vec<usize>)>,
    source: Source,
}

impl FolderWeights {
    /// Opens the files of `folder` and finds every weight in them; those whose names fit one of the patterns `ignored` are
    /// left out.
    ///
    /// # Errors
    /// As [`super::LoadedModel::open_without`], but for what only the numbers themselves can show.
    pub fn open(folder: &Path, ignored: &[String]) -> Result<Self> {
        refuse_in(folder)?;
        let mut config = ModelConfig::read(folder)?;
        let mut source = find(&mut config, WeightFiles::open(folder)?.ignoring(ignored))?;
        let shapes = LanguageModel::shapes(&config)?;
        let called: BTreeSet<String> = shapes.iter().map(|(name, _)| source.stored(name)).collect();
        let buffers = config.names().buffers;
        source.files.pass_over(|name| called.contains(name) || buffers.iter().any(|end| name.ends_with(end)));
        source.files.check_nothing_left(config.tied_head())?;
        Ok(Self { folder: folder.to_owned(), config, shapes, source })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its `config.json` says, the head as the weights have it.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Name and shape of every weight, tied ones once.
    pub fn shapes(&self) -> &[(String, Vec<usize>)] {
        &self.shapes
    }

    /// Asked for when all is read: whether the files are still what they were.
    ///
    /// # Errors
    /// Somebody wrote to them meanwhile.
    pub fn check_unchanged(&self) -> Result<()> {
        self.source.files.check_unchanged()
    }
}

impl WeightSource for FolderWeights {
    fn has(&self, name: &str) -> bool {
        self.source.has(name)
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        self.source.read(name, shape, rows, precision)
    }
}
