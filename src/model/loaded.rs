//! A model with its configuration and where it came from.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::adapter_folder::refuse_in;
use super::config::ModelConfig;
use super::families::LanguageModel;
use super::loading;
use super::weights::{self, RandomWeights, Stamps, WeightFiles, WeightSource};
use crate::device::precision::Precision;
use crate::error::Result;
use crate::progress::Watched;
use crate::text::{Corpus, StreamOptions, TokenStream, Tokenizer};

/// A model with its configuration and where it came from.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// The weights.
    pub model: LanguageModel,
    /// What `config.json` says.
    pub config: ModelConfig,
    /// The folder it was read from; its other files travel with a saved model.
    pub folder: PathBuf,
    /// The base's name in the file of an adapter: its path, or its name on the hub.
    pub name: String,
    /// Its revision, where it is on the hub.
    pub revision: Option<String>,
    /// What its matrices are held in.
    pub precision: Precision,
    /// The device it lives on.
    pub device: Device,
    /// Its files when they were read; `None` where it was not read.
    pub stamps: Option<Stamps>,
    /// Of a stage of a stream of domains, the model before the whole stream, if strategies compare with it.
    pub before_stream: Option<Box<LoadedModel>>,
}

impl LoadedModel {
    /// Reads the model in `folder` onto `device`.
    ///
    /// # Errors
    /// A file or tensor that is missing, unreadable, of another shape or left over; the message names it.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_in(folder, Precision::F32, device)
    }

    /// The same with its matrices held in `precision`.
    pub fn open_in(folder: &Path, precision: Precision, device: &Device) -> Result<Self> {
        Self::open_without(folder, &[], precision, device)
    }

    /// The same without the tensors whose names fit one of the patterns `ignored`: they are for another use.
    pub fn open_without(folder: &Path, ignored: &[String], precision: Precision, device: &Device) -> Result<Self> {
        refuse_in(folder)?;
        Self::open_base(folder, ignored, precision, device)
    }

    /// The same where an adapter beside the weights is expected and put on afterwards.
    pub fn open_base(folder: &Path, ignored: &[String], precision: Precision, device: &Device) -> Result<Self> {
        // The configuration is read first: if it is missing, the folder is not a model.
        let config = ModelConfig::read(folder)?;
        precision.check("dtype", device)?;
        let files = WeightFiles::open(folder)?.ignoring(ignored);
        Self::from_files(config, folder, files.held_in(precision), device)
    }

    /// The same from a configuration and files that are open already.
    pub fn from_files(mut config: ModelConfig, folder: &Path, files: WeightFiles, device: &Device) -> Result<Self> {
        let stamps = Some(Stamps::of(folder)?);
        let precision = files.precision();
        let model = loading::load(&mut config, files, device)?;
        Ok(Self { stamps, ..Self::new(model, config, folder, precision, device) })
    }

    /// A model whose weights `source` gives, with the configuration of `folder`, whose other files are its own too.
    ///
    /// # Errors
    /// What the source has to say.
    pub fn from_source(
        config: ModelConfig,
        folder: &Path,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self> {
        let precision = source.precision();
        precision.check("dtype", device)?;
        let model = LanguageModel::build(&config, source, device)?;
        Ok(Self::new(model, config, folder, precision, device))
    }

    /// Its tokenizer; `None` where the folder has none that can be read, which is enough for corpora of token ids.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        Tokenizer::find(&self.folder)
    }

    /// `corpus` as this model reads it.
    pub fn stream<'a>(
        &self,
        corpus: &Corpus,
        tokenizer: Option<&Tokenizer>,
        options: impl Into<Watched<'a, &'a StreamOptions>>,
    ) -> Result<TokenStream> {
        // A tokenizer in another format has its own message.
        if tokenizer.is_none() && self.folder.join("tokenizer.model").exists() && corpus.documents.are_texts() {
            Tokenizer::load(&self.folder)?;
        }
        let ModelConfig { eos_token_id, bos_token_id, .. } = self.config;
        TokenStream::build(corpus, tokenizer, eos_token_id, bos_token_id, self.config.vocabulary(), options)
    }

    /// The model before the stream of domains that this one is a stage of; itself where it is none.
    pub fn origin(&self) -> &Self {
        self.before_stream.as_deref().unwrap_or(self)
    }

    /// What identifies the model: a hash of its configuration and weight files.
    ///
    /// # Errors
    /// [`crate::error::Error::Input`] where they were changed since they were read; a file that cannot be read.
    pub fn hash(&self) -> Result<String> {
        match &self.stamps {
            Some(stamps) => stamps.hash(&self.folder),
            None => weights::hash_folder(&self.folder),
        }
    }

    /// A model with random weights, to be trained from scratch.
    pub fn random(config: ModelConfig, folder: &Path, seed: u64, device: &Device) -> Result<Self> {
        let mut source = RandomWeights::new(seed, config.layers(), config.names().residual);
        let model = LanguageModel::build(&config, &mut source, device)?;
        Ok(Self::new(model, config, folder, Precision::F32, device))
    }

    fn new(model: LanguageModel, config: ModelConfig, folder: &Path, precision: Precision, device: &Device) -> Self {
        // Absolute, so that an adapter finds its base from any folder.
        let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let (name, folder, device) = (path.display().to_string(), folder.to_owned(), device.clone());
        Self { model, config, folder, name, revision: None, precision, device, stamps: None, before_stream: None }
    }
}
