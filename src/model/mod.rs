//! Language models: reading them from Hugging Face folders, computing with them, writing them back.
//!
//! A model is read from `config.json` ([`config`]) and safetensors files ([`weights`]), built of the parts in
//! [`layers`] by one short file per family ([`gpt2`], [`llama`], [`olmo`], [`gpt_neox`]), and saved so that transformers
//! loads it unchanged ([`save`]). [`lora`] adds small trained parts to a frozen model; [`peft`] reads those that others
//! made. [`bert`] is no language model but the body of sentence encoders.

pub mod bert;
pub mod config;
mod config_file;
mod config_keys;
pub mod gpt2;
pub mod gpt_neox;
pub mod layers;
pub mod llama;
mod loading;
pub mod lora;
mod numbers;
pub mod olmo;
pub mod parameters;
pub mod peft;
mod reading;
pub mod rope_scaling;
pub mod rotary;
mod save;
mod weight_formats;
mod weight_names;
pub mod weights;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

pub use config::{Architecture, ModelConfig};
use layers::Stage;
pub use layers::Table;
pub use lora::LoraSettings;
pub use peft::Adapter;
pub use save::{COMPANIONS, save};
pub use weights::Precision;

use crate::error::Result;
use crate::progress::Watched;
use crate::text::{Corpus, StreamOptions, TokenStream, Tokenizer};
use gpt_neox::GptNeox;
use gpt2::Gpt2;
use llama::Llama;
use olmo::Olmo;
use weights::{RandomWeights, Shapes, Stamps, WeightFiles, WeightSource};

/// A causal language model of any family.
// One exists at a time, so the families' different sizes on the stack do not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum LanguageModel {
    /// GPT-2.
    Gpt2(Gpt2),
    /// LLaMA 1, 2, 3, Mistral, Qwen 2 and 3.
    Llama(Llama),
    /// OLMo 1, 2.
    Olmo(Olmo),
    /// GPT-NeoX, Pythia.
    GptNeox(GptNeox),
}

impl LanguageModel {
    fn build(config: &ModelConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        Ok(match &config.architecture {
            Architecture::Gpt2(c) => Self::Gpt2(Gpt2::load(c, source, device)?),
            Architecture::Llama(c) => Self::Llama(Llama::load(c, source, device)?),
            Architecture::Olmo(c) => Self::Olmo(Olmo::load(c, source, device)?),
            Architecture::GptNeox(c) => Self::GptNeox(GptNeox::load(c, source, device)?),
        })
    }

    /// Name and shape of every weight that `config` calls for, without any of them.
    pub fn shapes(config: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>> {
        let mut shapes = Shapes::default();
        Self::build(config, &mut shapes, &Device::flex())?;
        Ok(shapes.found)
    }

    /// How many weights `config` calls for.
    ///
    /// # Errors
    /// As [`Self::shapes`].
    pub fn weight_count(config: &ModelConfig) -> Result<u64> {
        let shapes = Self::shapes(config)?;
        Ok(shapes.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum())
    }

    /// Final hidden states of `ids` `[batch, time]`, after the last norm: `[batch, time, channels]`.
    pub fn hidden_states(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let stages = self.stages(ids.dims()[1], &ids.device());
        stages.iter().fold(self.embed(ids), |x, stage| stage(x))
    }

    /// What the blocks begin with: `ids` `[batch, time]` to `[batch, time, channels]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match self {
            Self::Gpt2(model) => model.embed(ids),
            Self::Llama(model) => model.embed(ids),
            Self::Olmo(model) => model.embed(ids),
            Self::GptNeox(model) => model.embed(ids),
        }
    }

    /// The blocks for windows of `time` tokens, and the last norm: hidden states go through them in order.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        match self {
            Self::Gpt2(model) => model.stages(time, device),
            Self::Llama(model) => model.stages(time, device),
            Self::Olmo(model) => model.stages(time, device),
            Self::GptNeox(model) => model.stages(time, device),
        }
    }

    /// The output head, `[vocab, channels]`.
    pub fn head(&self) -> Table {
        match self {
            Self::Gpt2(model) => model.head(),
            Self::Llama(model) => model.head(),
            Self::Olmo(model) => model.head(),
            Self::GptNeox(model) => model.head(),
        }
    }

    /// Logits of every position, `[batch, time, vocab]`. They are large: for scoring and training use
    /// [`crate::evaluate`] and [`crate::adapt`], which never hold them whole.
    pub fn logits(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden_states(ids);
        Tensor::cat(self.head().pieces().map(|piece| hidden.clone().matmul(piece.transpose().unsqueeze())).collect(), 2)
    }

    /// Continues `prompt` greedily by `count` tokens, reading at most `context` of the latest tokens at a time.
    ///
    /// # Errors
    /// The device's failure.
    pub fn greedy(&self, prompt: &[u32], count: usize, context: usize, device: &Device) -> Result<Vec<u32>> {
        let mut ids = prompt.to_vec();
        for _ in 0..count {
            let window = &ids[ids.len().saturating_sub(context)..];
            let hidden = self.hidden_states(token_ids(&[window], device));
            let [_, time, channels] = hidden.dims();
            let last = hidden.narrow(1, time - 1, 1).reshape([1, channels]);
            let logits: Vec<Tensor<1>> =
                self.head().pieces().map(|piece| last.clone().matmul(piece.transpose()).flatten(0, 1)).collect();
            let logits = parameters::to_host(Tensor::cat(logits, 0))?;
            let best = logits
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (id, &logit)| if logit > best.1 { (id, logit) } else { best });
            ids.push(best.0 as u32);
        }
        Ok(ids)
    }
}

/// A model with its configuration and where it came from.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// The weights.
    pub model: LanguageModel,
    /// What `config.json` says.
    pub config: ModelConfig,
    /// The folder it was read from; its other files travel with a saved model.
    pub folder: PathBuf,
    /// What an adapter upon it calls it: its path, or its name on the hub.
    pub name: String,
    /// Its revision, where it is on the hub.
    pub revision: Option<String>,
    /// What its matrices are held in.
    pub precision: Precision,
    /// The device it lives on.
    pub device: Device,
    /// Its files when they were read; `None` where it was not read.
    pub stamps: Option<Stamps>,
}

impl LoadedModel {
    /// Reads the model in `folder` onto `device`.
    ///
    /// # Errors
    /// Whatever is missing, unreadable, of another shape or left over, by file and name.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_in(folder, Precision::F32, device)
    }

    /// The same with its matrices held in `precision`.
    pub fn open_in(folder: &Path, precision: Precision, device: &Device) -> Result<Self> {
        Self::open_without(folder, &[], precision, device)
    }

    /// The same without the tensors whose names fit one of the patterns `ignored`: they are for another use.
    pub fn open_without(folder: &Path, ignored: &[String], precision: Precision, device: &Device) -> Result<Self> {
        Adapter::refuse_in(folder)?;
        Self::open_base(folder, ignored, precision, device)
    }

    /// The same where an adapter beside the weights is expected and put on afterwards.
    pub fn open_base(folder: &Path, ignored: &[String], precision: Precision, device: &Device) -> Result<Self> {
        // The configuration first: its absence says best that this is no model's folder.
        let config = ModelConfig::read(folder)?;
        precision.check("--dtype", device)?;
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
        // A tokenizer that is there in another form has its own cure.
        if tokenizer.is_none() && self.folder.join("tokenizer.model").exists() && corpus.documents.are_texts() {
            Tokenizer::load(&self.folder)?;
        }
        let ModelConfig { eos_token_id, bos_token_id, .. } = self.config;
        TokenStream::build(corpus, tokenizer, eos_token_id, bos_token_id, self.config.vocabulary(), options)
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
        let mut source = RandomWeights::new(seed, config.layers());
        let model = LanguageModel::build(&config, &mut source, device)?;
        Ok(Self::new(model, config, folder, Precision::F32, device))
    }

    fn new(model: LanguageModel, config: ModelConfig, folder: &Path, precision: Precision, device: &Device) -> Self {
        // Absolute, so that an adapter finds its base from wherever it is read.
        let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let (name, folder, device) = (path.display().to_string(), folder.to_owned(), device.clone());
        Self { model, config, folder, name, revision: None, precision, device, stamps: None }
    }
}

/// Token ids of equally long windows as a tensor, `[batch, time]`, without autodiff.
pub fn token_ids(windows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let time = windows.first().map_or(0, |window| window.len());
    let ids: Vec<i32> = windows.iter().flat_map(|window| window.iter().map(|&id| id as i32)).collect();
    Tensor::from_data(TensorData::new(ids, [windows.len(), time]), &device.clone().inner())
}
