//! The experiment on one model and one domain in a few calls: perplexity, adaptation, comparison.
//!
//! Everything not named has the default of the command line. What is beneath these calls can do more: [`crate::evaluate`],
//! [`crate::adapt`] and [`crate::compare`].

use std::fmt;
use std::path::Path;

use burn::tensor::Device;

use crate::adapt::{self, AdaptResult, AdaptSettings, Adaptation};
use crate::compare::{Comparison, TypeChange, compare};
use crate::device::DeviceChoice;
use crate::error::Result;
use crate::evaluate::{ProtocolName, ProtocolResult, ScoredStream, TextResult};
use crate::hub::Hub;
use crate::model::{LanguageModel, LoadedModel};
use crate::perplexity::Evaluation;
use crate::progress::Silent;
use crate::text::{DocumentRule, Domain, Split, StreamOptions, Tokenizer, Vocabulary};

/// The seed where none is given, as on the command line.
const SEED: u64 = 42;

/// A pretrained model with its tokenizer.
pub struct Model {
    loaded: LoadedModel,
    tokenizer: Option<Tokenizer>,
}

impl Model {
    /// Opens a model on the best device: its folder, or its name on the Hugging Face hub.
    ///
    /// # Errors
    /// As [`Model::open_on`]; no device.
    pub fn open(name: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(name, &DeviceChoice::Auto.open()?.device)
    }

    /// Opens a model on this device.
    ///
    /// # Errors
    /// A folder or name that is not there; files that are missing, damaged or not understood.
    pub fn open_on(name: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = Hub::new().model(name.as_ref(), &mut Silent)?;
        let loaded = LoadedModel::open(&folder, device)?;
        let tokenizer = loaded.tokenizer()?;
        Ok(Self { loaded, tokenizer })
    }

    /// The perplexity on a domain's test text, under the protocol `disjoint`.
    ///
    /// # Errors
    /// A text that cannot be read, or is too short; a failure of the device.
    pub fn perplexity(&self, domain: &Domain) -> Result<Perplexity> {
        self.score(&self.loaded.model, domain).map(|(_, row)| Perplexity { row })
    }

    /// An adaptation to a domain's training text, which [`Adapting::run`] runs.
    pub fn adapt<'a>(&'a self, domain: &'a Domain) -> Adapting<'a> {
        Adapting { base: self, domain, settings: AdaptSettings::default(), seed: SEED }
    }

    fn score(&self, model: &LanguageModel, domain: &Domain) -> Result<(ScoredStream, TextResult)> {
        let (config, tokenizer) = (&self.loaded.config, self.tokenizer.as_ref());
        let (rule, options) = (DocumentRule::default(), StreamOptions::default());
        let protocol =
            ProtocolResult::for_model(ProtocolName::Disjoint, [None, None], config, tokenizer, rule, &options)?;
        let evaluation = Evaluation::new(&self.loaded, tokenizer, protocol);
        evaluation.with(model, &domain.name, &domain.split(Split::Test)?, &mut Silent)
    }
}

/// A perplexity. Displayed with its 95 % interval: `31.20 [30.10, 32.40]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Perplexity {
    /// All numbers, as `odyssey eval --json` gives them.
    pub row: TextResult,
}

impl Perplexity {
    /// The perplexity.
    pub fn value(&self) -> f64 {
        self.row.ppl
    }

    /// Its 95 % interval.
    pub fn interval(&self) -> [f64; 2] {
        self.row.ppl_ci95
    }

    /// Tokens that it is over.
    pub fn scored(&self) -> usize {
        self.row.scored
    }
}

impl fmt::Display for Perplexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval();
        write!(f, "{:.2} [{low:.2}, {high:.2}]", self.value())
    }
}

/// An adaptation that is being described.
#[must_use = "nothing is trained before `run`"]
pub struct Adapting<'a> {
    base: &'a Model,
    domain: &'a Domain,
    settings: AdaptSettings,
    seed: u64,
}

impl<'a> Adapting<'a> {
    /// The peak learning rate.
    pub fn lr(mut self, lr: f64) -> Self {
        self.settings.lr = lr;
        self
    }

    /// Optimiser steps, in place of one epoch.
    pub fn steps(mut self, steps: u64) -> Self {
        self.settings.steps = Some(steps);
        self
    }

    /// The seed of everything random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: AdaptSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Trains.
    ///
    /// # Errors
    /// Texts that cannot be read or are too short; settings that do not fit; a failure of the device; a loss that is not
    /// finite.
    pub fn run(self) -> Result<Adapted<'a>> {
        let Self { base: Model { loaded, tokenizer }, domain, settings, seed } = self;
        let stream = |split| loaded.stream(&domain.split(split)?, tokenizer.as_ref(), &StreamOptions::default());
        let (train, valid) = (stream(Split::Train)?, stream(Split::Valid)?);
        let done = adapt::adapt(loaded, train, &valid, &settings, seed, None, &mut Silent)?;
        Ok(Adapted { base: self.base, done })
    }
}

/// A model that was adapted, with the base that it comes from.
pub struct Adapted<'a> {
    base: &'a Model,
    done: Adaptation,
}

impl Adapted<'_> {
    /// How the training went.
    pub fn result(&self) -> &AdaptResult {
        &self.done.result
    }

    /// The perplexity on a domain's test text.
    ///
    /// # Errors
    /// As [`Model::perplexity`].
    pub fn perplexity(&self, domain: &Domain) -> Result<Perplexity> {
        self.base.score(&self.done.last, domain).map(|(_, row)| Perplexity { row })
    }

    /// What the adaptation changed on a domain's test text, token by token.
    ///
    /// # Errors
    /// As [`Model::perplexity`].
    pub fn compare(&self, domain: &Domain) -> Result<Change> {
        let (before, base_row) = self.base.score(&self.base.loaded.model, domain)?;
        let (after, row) = self.base.score(&self.done.last, domain)?;
        let vocabulary = Vocabulary::new(self.base.tokenizer.as_ref(), self.base.loaded.config.vocabulary());
        let comparison = compare(&before, &after, ["base", "adapted"], &vocabulary)?;
        Ok(Change { before: Perplexity { row: base_row }, after: Perplexity { row }, comparison })
    }

    /// Writes it as a new folder that transformers and this program read.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&mut self, folder: impl AsRef<Path>) -> Result<()> {
        adapt::write(&mut self.done, &self.base.loaded, folder.as_ref())
    }
}

/// What an adaptation changed. Displayed as δ with its 95 % interval, nats per token: `-0.1234 [-0.1300, -0.1100]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The base's perplexity.
    pub before: Perplexity,
    /// That of the adapted model.
    pub after: Perplexity,
    /// All numbers, as `odyssey compare --json` gives them.
    pub comparison: Comparison,
}

impl Change {
    /// Change in log-perplexity, nats per token; positive is worse.
    pub fn delta(&self) -> f64 {
        self.comparison.delta
    }

    /// The token types that got worse the most, worst first.
    pub fn worst(&self, count: usize) -> &[TypeChange] {
        &self.comparison.types[..count.min(self.comparison.types.len())]
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.comparison.delta_ci95;
        write!(f, "{:+.4} [{low:+.4}, {high:+.4}]", self.delta())
    }
}
