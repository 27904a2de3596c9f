//! A small base model from scratch, when the pretraining corpus must be known.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::adapt::events::Recorded;
use crate::adapt::{self, AdaptResult, AdaptSettings, adapt};
use crate::error::{Error, Result};
use crate::files;
use crate::hub;
use crate::model::{LoadedModel, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::text::{DocumentRule, Domain, ReadOptions, Split, StreamOptions};

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

/// Far more than can be trained here; what is larger is a slip of the pen, and would take all memory before it fails.
const MOST_PARAMETERS: usize = 1 << 32;

fn default_seed() -> u64 {
    42
}

impl PretrainConfig {
    /// Reads the TOML at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let mut config: Self = files::read_toml(path, "a pretraining configuration", "see examples/pretrain.toml")?;
        // Here and not later, so that a message names this file.
        let place = format!("{}: [model]", path.display());
        let model = ModelConfig::from_json(&place, config.model.clone())?;
        // At the least: the token table, and one square matrix a block.
        let parameters =
            (model.vocabulary() + model.layers().saturating_mul(model.channels())).saturating_mul(model.channels());
        if parameters > MOST_PARAMETERS {
            let fault = format!("asks for a model of {parameters} parameters or more, expected a small one");
            return Err(Error::input(place, fault, "choose a smaller vocabulary, width or number of layers"));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        config.corpus = hub::name::beside(folder, &config.corpus);
        config.tokenizer = folder.join(&config.tokenizer);
        Ok(config)
    }
}

/// Where a run keeps what it tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Diary<'a> {
    /// A new file of JSON lines.
    pub metrics: Option<&'a Path>,
    /// A folder of TensorBoard's event files.
    pub tensorboard: Option<&'a Path>,
    /// Whether the file may be there, of an attempt that failed.
    pub again: bool,
}

/// Trains a model from random weights on `config.corpus` and writes it to the new folder `out`.
///
/// # Errors
/// As [`adapt()`]; a configuration that is no model's; a diary that cannot be written.
pub fn pretrain(
    config: &PretrainConfig,
    out: &Path,
    diary: Diary<'_>,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<AdaptResult> {
    files::check_new_folder(out)?;
    if let (Some(metrics), false) = (diary.metrics, diary.again) {
        files::refuse_existing(metrics)?; // before the texts are read
    }
    // The base's configuration and tokenizer wait in a folder of their own until there are weights to go with them.
    let start = tempfile::tempdir().map_err(|e| Error::writing(Path::new("the temporary folder"), e))?;
    let tokenizer = crate::files::read(&config.tokenizer)?;
    files::write_whole(&start.path().join("tokenizer.json"), |file| std::io::Write::write_all(file, &tokenizer))?;
    files::write_json(&start.path().join("config.json"), &config.model)?;

    let model_config = ModelConfig::from_json(config.tokenizer.with_file_name("[model]"), config.model.clone())?;
    let base = LoadedModel::random(model_config, start.path(), config.seed, device)?;
    let tokenizer = base.tokenizer()?;
    let domain = {
        let options = ReadOptions { document: config.document, text_field: config.text_field.clone() };
        Domain::open(&config.corpus, Watched::by(options, monitor))?
    };
    let mut stream = |split| {
        let corpus = domain.split(Watched::by(split, monitor))?;
        base.stream(&corpus, tokenizer.as_ref(), Watched::by(&config.text, monitor))
    };
    let (train, valid) = (stream(Split::Train)?, stream(Split::Valid)?);
    let mut recorded = Recorded::by(monitor, diary.metrics, diary.tensorboard, diary.again)?;
    let mut trained = adapt(&base, train, &valid, &config.recipe, config.seed, None, &mut recorded)?;
    adapt::write(&mut trained, &base, out)?;
    Ok(trained.result)
}
