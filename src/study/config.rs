//! A study's TOML: which models, reference corpora, domains, strategies, seeds and devices.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ablation::{Ablation, Training};
use super::results::arm;
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::evaluate::{Protocol, ProtocolName};
use crate::files;
use crate::hub::Hub;
use crate::hub::name::{Kind, beside, has_prefix};
use crate::model::ModelConfig;
use crate::progress::Monitor;
use crate::recipe::{AdaptSettings, NamedPlace};
use crate::shown::plain;
use crate::similarity::{FeatureSpec, KernelKind, TestSettings};
use crate::text::domain::name_of;
use crate::text::{Bos, DocumentRule, Join, Newlines, ReadOptions, StreamOptions};

/// The name by which a strategy means the reference corpus of the model that it adapts.
pub const REFERENCE: &str = "reference";

/// Characters of the longest name.
const LONGEST_NAME: usize = 200;
/// The most that a study may have of domains × models × strategies × seeds × devices × levels of the ablation.
const MOST_TASKS: usize = 1_000_000;
/// The most draws, and the most samples: what is more takes days or more memory than there is.
const MOST_DRAWS: usize = 1_000_000;
const MOST_SAMPLES: usize = 10_000_000;
/// The most draws times samples: a byte each.
const MOST_DRAWN: usize = 1 << 33;

/// The first that is there a second time.
fn twice<T: Ord>(all: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    all.iter().find(|one| !seen.insert(*one))
}

/// A study, every default filled in. Paths are relative to the file; `hub:gpt2` or `hub:OWNER/NAME/FILE` is on the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// What reports call it.
    pub name: String,
    /// Every adaptation runs once with each of these.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// Every task runs on each of these.
    #[serde(default = "default_devices")]
    pub devices: Vec<DeviceChoice>,
    /// Whether each recipe is also tried on the reference corpus itself: the cost of an adaptation that has nothing new
    /// to learn but restarts the optimiser.
    #[serde(default = "default_restart_control")]
    pub restart_control: bool,
    /// How texts become tokens.
    #[serde(default)]
    pub text: TextSettings,
    /// How perplexity is measured.
    #[serde(default)]
    pub evaluation: EvaluationSettings,
    /// How distances are measured.
    #[serde(default)]
    pub similarity: SimilaritySettings,
    /// The error rate of calls.
    #[serde(default)]
    pub statistics: StatisticsSettings,
    /// Other ways to train and to evaluate, tried beside the strategies' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablation: Option<Ablation>,
    /// The base models.
    pub models: Vec<ModelEntry>,
    /// The domains.
    pub domains: Vec<DomainEntry>,
    /// The ways to adapt; plain additional pretraining by default.
    #[serde(default = "default_strategies")]
    pub strategies: Vec<StrategyEntry>,
}

fn default_seeds() -> Vec<u64> {
    vec![42]
}

fn default_devices() -> Vec<DeviceChoice> {
    vec![DeviceChoice::Auto]
}

fn default_restart_control() -> bool {
    true
}

fn default_strategies() -> Vec<StrategyEntry> {
    vec![StrategyEntry::new("full", AdaptSettings::default())]
}

/// How texts become tokens, for evaluation, distances and, unless a strategy says otherwise, training.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSettings {
    /// What a document is in a `.txt` file.
    pub document: DocumentRule,
    /// The field of `.jsonl` and column of `.parquet` that holds the text; `text` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
    /// What stands between documents.
    pub join: Join,
    /// What becomes of line breaks inside documents.
    pub newlines: Newlines,
    /// Whether a begin-of-text token starts the stream.
    pub bos: Bos,
}

impl TextSettings {
    /// How files become documents.
    pub fn read(&self) -> ReadOptions {
        ReadOptions { document: self.document, text_field: self.text_field.clone() }
    }

    /// How a corpus becomes a stream.
    pub fn stream(&self) -> StreamOptions {
        StreamOptions { join: self.join, newlines: self.newlines, bos: self.bos }
    }
}

/// How perplexity is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSettings {
    /// The protocol.
    pub protocol: ProtocolName,
    /// Tokens of a window; the model's longest where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Tokens between windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Whether prediction rank is measured too, on terms of each domain that are rarer in the model's reference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rank: bool,
}

/// How distances are measured: on the train splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimilaritySettings {
    /// What is compared: `model`, the base model's hidden states (`model@6,last`: after six layers, of a chunk's last token);
    /// `minilm:DIR`, a sentence encoder's vectors of documents (`minilm:hub:OWNER/NAME`: on the hub); or `lexical`.
    pub features: FeatureSpec,
    /// Tokens per feature vector; the model's longest window where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// Chunks of a domain, evenly spaced.
    pub samples: usize,
    /// Chunks of the reference corpus.
    pub reference_samples: usize,
    /// The kernel of MMD.
    pub kernel: KernelKind,
    /// Permutations for the p-values; 0: none.
    pub permutations: usize,
    /// Bootstrap resamples for the intervals; 0: none.
    pub resamples: usize,
}

impl SimilaritySettings {
    /// The tokens of a chunk. Refuses settings that do not fit a model that reads `longest` tokens.
    ///
    /// # Errors
    /// [`Error::Input`] for a chunk that is empty or too long, fewer than two samples, or more than could be held.
    pub fn check(&self, longest: usize) -> Result<usize> {
        let Self { chunk, samples, reference_samples, permutations, resamples, .. } = *self;
        let chunk = chunk.unwrap_or(longest);
        for (key, value, most) in [
            ("permutations", permutations, MOST_DRAWS),
            ("resamples", resamples, MOST_DRAWS),
            ("samples", samples, MOST_SAMPLES),
            ("reference_samples", reference_samples, MOST_SAMPLES),
        ] {
            if value > most {
                return Err(Error::key(key, format!("is {value}"), format!("use at most {most}")));
            }
        }
        let draws = permutations.max(resamples);
        if draws.saturating_mul(samples.saturating_add(reference_samples)) > MOST_DRAWN {
            let key = if draws == permutations { "permutations" } else { "resamples" };
            let fault = format!("{draws} draws of {samples} and {reference_samples} samples take too much memory");
            return Err(Error::key(key, fault, "use fewer permutations, resamples or samples"));
        }
        for (key, value) in [("samples", samples), ("reference_samples", reference_samples)] {
            if value < 2 {
                return Err(Error::key(key, format!("is {value}"), "use at least two"));
            }
        }
        if (1..=longest).contains(&chunk) {
            return Ok(chunk);
        }
        let (chunk, chunks) = match longest {
            usize::MAX if chunk == longest => ("the model's window".to_owned(), "at least 1 token".to_owned()),
            usize::MAX => (chunk.to_string(), "at least 1 token".to_owned()),
            _ => (chunk.to_string(), format!("1 to {longest} tokens, which the model can read")),
        };
        Err(Error::key("chunk", format!("is {chunk}"), format!("use a chunk of {chunks}")))
    }

    /// How distances are tested; `seed` draws permutations and resamples.
    pub fn tests(&self, seed: u64) -> TestSettings {
        let Self { kernel, permutations, resamples, .. } = *self;
        TestSettings { kernel, permutations, resamples, seed }
    }
}

/// Seed of what the distances draw (permutations, resamples, parts); not one of the seeds of the study, which are for
/// adaptations.
pub(crate) const SIMILARITY_SEED: u64 = 42;

impl Default for SimilaritySettings {
    fn default() -> Self {
        let TestSettings { kernel, permutations, resamples, .. } = TestSettings::default();
        let features = FeatureSpec::default();
        Self { features, chunk: None, samples: 512, reference_samples: 2048, kernel, permutations, resamples }
    }
}

/// The error rate of calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatisticsSettings {
    /// The share of the domains called better or worse that may be called so by chance.
    pub error_rate: f64,
}

impl Default for StatisticsSettings {
    fn default() -> Self {
        Self { error_rate: 0.05 }
    }
}

/// A base model and the corpus it was pretrained on, or a sample of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its name in tables.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// The reference corpus: a corpus, or a domain folder whose train split is taken.
    pub reference: PathBuf,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainEntry {
    /// Its name in tables; the folder's where absent.
    #[serde(default)]
    pub name: String,
    /// A folder with splits, or one corpus.
    pub path: PathBuf,
    /// Domains of one group share a colour, and correlations are also taken within groups.
    #[serde(default = "default_group")]
    pub group: String,
}

fn default_group() -> String {
    "domain".into()
}

/// A way to adapt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyEntry {
    /// Its name in tables.
    pub name: String,
    /// How training text becomes tokens, where it differs from evaluation (joins above all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_text: Option<StreamOptions>,
    /// Whether it is the pilot of another strategy: the same recipe with a small part of its budget, from which `advise`
    /// learns. If not said, a name that is `pilot` or ends with `-pilot` makes it one, as in studies of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot: Option<bool>,
    /// The recipe.
    #[serde(default)]
    pub recipe: AdaptSettings,
}

impl StrategyEntry {
    /// A strategy that is no pilot and reads its training text as the study reads test text.
    pub fn new(name: &str, recipe: AdaptSettings) -> Self {
        Self { name: name.to_owned(), train_text: None, pilot: None, recipe }
    }

    /// Whether it is the pilot of another strategy.
    pub fn is_pilot(&self) -> bool {
        self.pilot.unwrap_or_else(|| self.name == "pilot" || self.name.ends_with("-pilot"))
    }

    /// The same strategy with this way to train.
    pub(super) fn varied(&self, Training { text, lr }: Training) -> Self {
        Self { train_text: Some(text), recipe: AdaptSettings { lr, ..self.recipe.clone() }, ..self.clone() }
    }

    /// Checks the recipe for a model that reads `longest` tokens; `place` says in errors where it stands.
    pub(super) fn check(&self, place: &dyn Display, longest: usize) -> Result<()> {
        self.recipe.check(longest).map_err(|error| self.placed(place, error))
    }

    /// The same for the model of this configuration, which may lack the layers that should be adapted.
    pub(super) fn check_for(&self, place: &dyn Display, model: &ModelConfig) -> Result<()> {
        self.check(place, model.context())?;
        let sizes = self.recipe.adapters().map(|lora| lora.size(model)).transpose();
        sizes.map(drop).map_err(|error| self.placed(place, error))
    }

    fn placed(&self, place: &dyn Display, error: Error) -> Error {
        error.within(format!("{place}: strategy {:?}", self.name))
    }
}

impl StudyConfig {
    /// Reads and checks a study; relative paths become paths from where the program runs.
    ///
    /// # Errors
    /// What is not TOML, misses a key or has an unknown one (with its line), names given twice, paths that do not exist.
    pub fn read(path: &Path) -> Result<Self> {
        let mut config: Self = files::read_toml(path, "a study", "see examples/ for studies that work")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for (_, named) in config.paths_mut() {
            *named = beside(folder, named);
        }
        for entry in config.domains.iter_mut().filter(|entry| entry.name.is_empty()) {
            entry.name = name_of(&entry.path);
        }
        config.check(path)?;
        Ok(config)
    }

    /// Each path that it names, with the kind of what is there: models with their references, domains, the encoder, and
    /// what strategies read.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = (Kind, &mut PathBuf)> {
        let models = self
            .models
            .iter_mut()
            .flat_map(|ModelEntry { path, reference, .. }| [(Kind::Model, path), (Kind::Dataset, reference)]);
        let domains = self.domains.iter_mut().map(|entry| (Kind::Dataset, &mut entry.path));
        let encoder = match &mut self.similarity.features {
            FeatureSpec::Encoder { folder } => Some((Kind::Model, folder)),
            FeatureSpec::Model { .. } | FeatureSpec::Lexical => None,
        };
        // The reference of the model that is adapted is named by a word, not by a path.
        let strategies = self.strategies.iter_mut().flat_map(|entry| entry.recipe.strategies.places());
        let strategies = strategies.map(|place| match place {
            NamedPlace::Corpus(path) => (Kind::Dataset, path),
            NamedPlace::Model(path) => (Kind::Model, path),
        });
        let strategies = strategies.filter(|(_, path)| path.as_path() != Path::new(REFERENCE));
        models.chain(domains).chain(encoder).chain(strategies)
    }

    /// The models and texts it reads.
    pub fn inputs(&self) -> Vec<PathBuf> {
        self.clone().paths_mut().map(|(_, path)| std::mem::take(path)).collect()
    }

    /// Fetches what is named on the hub (`hub:gpt2`), and replaces the names by the paths in its cache.
    ///
    /// # Errors
    /// As [`Hub::model`].
    pub fn fetch(&mut self, hub: &mut Hub, monitor: &mut dyn Monitor) -> Result<()> {
        // Models come first: a study without one of them needs no texts.
        for models in [true, false] {
            for (kind, path) in self.paths_mut().filter(|(_, path)| has_prefix(path)) {
                match kind {
                    Kind::Model if models => *path = hub.model(path, monitor)?,
                    Kind::Dataset if !models => *path = hub.corpus(path, monitor)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// How a strategy trains.
    pub fn training(&self, strategy: &StrategyEntry) -> Training {
        Training { text: strategy.train_text.unwrap_or(self.text.stream()), lr: strategy.recipe.lr }
    }

    /// The other ways that the ablation grid trains by this strategy.
    pub fn other_trainings(&self, strategy: &StrategyEntry) -> Vec<Training> {
        self.ablation.as_ref().map(|grid| grid.trainings(self.training(strategy))).unwrap_or_default()
    }

    /// The other ways that the ablation grid evaluates.
    pub fn other_evaluations(&self) -> Vec<StreamOptions> {
        self.ablation.as_ref().map(|grid| grid.evaluations(self.text.stream())).unwrap_or_default()
    }

    /// Checks a study that [`Self::read`] did not read; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn check(&self, path: &Path) -> Result<()> {
        self.check_names(path)?;
        self.check_size(path)?;
        let EvaluationSettings { protocol, context, stride, .. } = self.evaluation;
        let within = |table| move |error: Error| error.within(format!("{}: [{table}]", path.display()));
        Protocol::check_sizes(protocol, context, stride).map_err(within("evaluation"))?;
        self.similarity.check(usize::MAX).map_err(within("similarity"))?;
        let StatisticsSettings { error_rate } = self.statistics;
        if !(error_rate > 0.0 && error_rate < 1.0) {
            let fault = format!("[statistics]: error_rate is {}", plain(error_rate));
            return Err(Error::file(path, fault, "use a share between 0 and 1, such as 0.05"));
        }
        for strategy in &self.strategies {
            strategy.check(&path.display(), usize::MAX)?; // settings that depend on a model are checked during planning
            for training in self.other_trainings(strategy) {
                strategy.varied(training).check(&format!("{}: [ablation]", path.display()), usize::MAX)?;
            }
        }
        for named in self.inputs() {
            if !named.exists() && !has_prefix(&named) {
                return Err(Error::file(
                    path,
                    format!("names {}, which does not exist", named.display()),
                    "download it there, or correct the path (relative to the study's file)",
                ));
            }
        }
        // Checked with the models that are on this disk. Models on the hub, and faults of broken folders, are checked
        // during planning.
        for model in &self.models {
            if let Ok(config) = ModelConfig::read(&model.path) {
                let place = format!("{}: model {:?}", path.display(), model.name);
                self.strategies.iter().try_for_each(|strategy| strategy.check_for(&place, &config))?;
            }
        }
        Ok(())
    }

    /// Refuses names that are missing, too long or not one thing's alone.
    fn check_names(&self, path: &Path) -> Result<()> {
        let names: [(&str, Vec<&str>); 3] = [
            ("models", self.models.iter().map(|m| m.name.as_str()).collect()),
            ("domains", self.domains.iter().map(|d| d.name.as_str()).collect()),
            ("strategies", self.strategies.iter().map(|s| s.name.as_str()).collect()),
        ];
        for (what, names) in names {
            if names.is_empty() {
                return Err(Error::file(path, format!("has no {what}"), format!("add a [[{what}]] table")));
            }
            if let Some(twice) = twice(&names) {
                return Err(Error::file(
                    path,
                    format!("names {twice:?} twice among its {what}"),
                    "give each its own name",
                ));
            }
            for name in names {
                if name.trim().is_empty() {
                    let fault = format!("one of its {what} has no name");
                    return Err(Error::file(path, fault, "give it a name with a letter or digit"));
                }
                if name.chars().count() > LONGEST_NAME {
                    let shown: String = name.chars().take(40).collect();
                    let fault =
                        format!("the name {shown:?}… among its {what} is longer than {LONGEST_NAME} characters");
                    return Err(Error::file(path, fault, "give it a shorter name"));
                }
            }
        }
        let of_model =
            |model: &ModelEntry| self.strategies.iter().map(|s| arm(&model.name, &s.name)).collect::<Vec<_>>();
        let arms: Vec<String> = self.models.iter().flat_map(of_model).collect();
        match twice(&arms) {
            Some(twice) => Err(Error::file(
                path,
                format!("tables would call two pairs of a model and a strategy {twice:?}"),
                "give one of them another name",
            )),
            None => Ok(()),
        }
    }

    /// Refuses lists that are empty, name something twice, or come to more tasks than any study has.
    fn check_size(&self, path: &Path) -> Result<()> {
        let devices: Vec<String> = self.devices.iter().map(ToString::to_string).collect();
        for (what, count, same) in [
            ("seeds", self.seeds.len(), twice(&self.seeds).map(ToString::to_string)),
            ("devices", self.devices.len(), twice(&devices).cloned()),
        ] {
            if count == 0 {
                return Err(Error::file(path, format!("its list of {what} is empty"), "give one or leave the key out"));
            }
            if let Some(same) = same {
                let cure = "name each once: the same again would count as another";
                return Err(Error::file(path, format!("its list of {what} names {same} twice"), cure));
            }
        }
        let grid = self.ablation.as_ref().map_or([1, 1], Ablation::size);
        let counts =
            [self.models.len(), self.domains.len(), self.strategies.len(), self.seeds.len(), self.devices.len()];
        let tasks = counts.into_iter().chain(grid).fold(1, usize::saturating_mul);
        if tasks > MOST_TASKS {
            let fault = format!("comes to {tasks} adaptations and scores, more than {MOST_TASKS}");
            return Err(Error::file(path, fault, "use fewer domains, seeds, strategies or levels of the ablation"));
        }
        Ok(())
    }

    /// The study as TOML, every default filled in.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| format!("# could not be written as TOML: {e}"))
    }
}
