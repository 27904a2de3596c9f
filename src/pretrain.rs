//! Trains a small base model from random weights, for experiments with a known pretraining corpus.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::adapt::{AdaptResult, AdaptSettings, Resumable, RunPlace, Training};
use crate::disk::{paths, scratch};
use crate::error::{Error, Result};
use crate::files;
use crate::hub;
use crate::model::{LoadedModel, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::text::{DocumentRule, Domain, ReadOptions, Split, StreamOptions, TextOptions, TokenStream};

/// `pretrain`'s TOML. Paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The corpus: a folder with splits, or one corpus that is split by document. `hub:OWNER/NAME/FILE` is on the hub.
    pub corpus: PathBuf,
    /// A `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Seed of weights and order.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What a document is in a `.txt` file.
    #[serde(default)]
    pub document: DocumentRule,
    /// The field of `.jsonl` and column of `.parquet` that holds the text; `text` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
    /// How texts become tokens.
    #[serde(default)]
    pub text: StreamOptions,
    /// The architecture, as in a Hugging Face `config.json`.
    pub model: Map<String, Value>,
    /// The recipe.
    #[serde(default)]
    pub recipe: AdaptSettings,
}

/// Far more than can be trained here. A larger number is a typing error and would take all memory before it fails.
const MOST_PARAMETERS: usize = 1 << 32;

fn default_seed() -> u64 {
    42
}

impl PretrainConfig {
    /// Reads the TOML at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let mut config: Self = files::read_toml(path, "a pretraining configuration", "see examples/pretrain.toml")?;
        // Checked here, so that a message names this file.
        let place = format!("{}: [model]", path.display());
        let model = ModelConfig::from_json(&place, config.model.clone())?;
        // A lower bound: the token table, and one square matrix for each layer.
        let parameters =
            (model.vocabulary() + model.layers().saturating_mul(model.channels())).saturating_mul(model.channels());
        if parameters > MOST_PARAMETERS {
            let fault = format!("asks for a model of {parameters} parameters or more, expected a small one");
            return Err(Error::input(place, fault, "choose a smaller vocabulary, width or number of layers"));
        }
        let in_recipe = |error: Error| error.within(format!("{}: [recipe]", path.display()));
        config.recipe.check(model.context()).map_err(in_recipe)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.corpus = hub::name::beside(folder, &config.corpus);
        config.tokenizer = paths::normal(&folder.join(&config.tokenizer));
        Ok(config)
    }
}

/// A run that is ready to begin: a base with random weights, and its texts.
pub struct Pretraining<'a> {
    config: &'a PretrainConfig,
    base: LoadedModel,
    train: TokenStream,
    valid: TokenStream,
    texts: TextOptions,
    /// The base's configuration and tokenizer, until there are weights to go with them.
    _start: TempDir,
}

impl<'a> Pretraining<'a> {
    /// Reads the texts of `config`, for a run whose result will be at `place`.
    ///
    /// # Errors
    /// A configuration that is no model's; texts that cannot be read.
    pub fn prepare(
        config: &'a PretrainConfig,
        place: &RunPlace,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<Self> {
        // Beside the result, where the next run finds and removes what a killed one leaves.
        let start = scratch::folder_for(&place.out).map_err(|e| Error::writing(&place.out, e))?;
        let tokenizer = files::read(&config.tokenizer)?;
        files::write_whole(&start.path().join("tokenizer.json"), |file| std::io::Write::write_all(file, &tokenizer))?;
        files::write_json(&start.path().join("config.json"), &config.model)?;

        let model_config = ModelConfig::from_json(config.tokenizer.with_file_name("[model]"), config.model.clone())?;
        let base = LoadedModel::random(model_config, start.path(), config.seed, device)?;
        let tokenizer = base.tokenizer()?;
        let options = ReadOptions { document: config.document, text_field: config.text_field.clone() };
        let domain = Domain::open(&config.corpus, Watched::by(options.clone(), monitor))?;
        let mut stream = |split| {
            let corpus = domain.split(Watched::by(split, monitor))?;
            base.stream(&corpus, tokenizer.as_ref(), Watched::by(&config.text, monitor))
        };
        let (train, valid) = (stream(Split::Train)?, stream(Split::Valid)?);
        let texts = TextOptions { read: options, stream: config.text, divide: false };
        Ok(Self { config, base, train, valid, texts, _start: start })
    }

    fn training<'b>(&'b self, resumable: Option<Resumable<'b>>) -> Training<'b> {
        let Self { base, config, texts, .. } = self;
        Training { base, settings: &config.recipe, seed: config.seed, resumable, texts, keep: None }
    }

    /// The result at `place` where this run was done before.
    ///
    /// # Errors
    /// As [`RunPlace::result_of`].
    pub fn done_before(&self, place: &RunPlace, monitor: &mut dyn Monitor) -> Result<Option<AdaptResult>> {
        match place.is_filled() {
            true => place.result_of(&self.training(None).determined_by(&self.train, &self.valid, monitor)?),
            false => Ok(None),
        }
    }

    /// Trains, keeping the state as `resumable` says, and writes the model to `place`.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn run(self, place: &RunPlace, resumable: Resumable<'_>, monitor: &mut dyn Monitor) -> Result<AdaptResult> {
        let mut trained = self.training(Some(resumable)).run(self.train.clone(), &self.valid, monitor)?;
        place.write(&mut trained, &self.base)?;
        Ok(trained.result)
    }
}

/// Trains a model from random weights on `config.corpus` and writes it to `place`, unless that has it already.
///
/// # Errors
/// As [`Pretraining::prepare`], [`Pretraining::done_before`] and [`Pretraining::run`].
pub fn pretrain(
    config: &PretrainConfig,
    place: &RunPlace,
    resumable: Resumable<'_>,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<AdaptResult> {
    let ready = Pretraining::prepare(config, place, device, monitor)?;
    match ready.done_before(place, monitor)? {
        Some(result) => Ok(result),
        None => ready.run(place, resumable, monitor),
    }
}
