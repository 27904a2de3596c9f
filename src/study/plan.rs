//! A study's tasks, each with a folder named by a hash of everything that determines its result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ablation::Training;
use super::config::{DomainEntry, EvaluationSettings, ModelEntry, StrategyEntry, StudyConfig};
use super::contents::Contents;
use crate::device::{ChosenDevice, DeviceName};
use crate::error::{Error, Result};
use crate::evaluate::Protocol;
use crate::files;
use crate::model::{Adapter, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::seal;
use crate::similarity::{FeatureSpec, encoder};
use crate::text::{Corpus, Domain, ReadOptions, Split, StreamOptions, Tokenizer, open_corpus};

/// Increased when the computation of a task changes, so that old results are not used as new ones.
const RESULTS_VERSION: u32 = 2;

/// The same for prediction ranks alone.
const RANK_VERSION: u32 = 1;

/// The same for distances alone.
const SIMILARITY_VERSION: u32 = 1;

/// The file in a study's folder that lists its tasks.
pub const PLAN_FILE: &str = "plan.json";

/// What a task computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The reference corpus's features, counts, and distances between its halves.
    Reference,
    /// The base model's perplexity on a domain.
    ZeroShot,
    /// A domain's distances to the reference.
    Similarity,
    /// An adaptation, the perplexity after it, and the comparison.
    Adapt,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What it computes.
    pub kind: TaskKind,
    /// The base model's name.
    pub model: String,
    /// Index of the device among the study's.
    pub device: usize,
    /// The domain's name; empty for the reference corpus.
    pub domain: String,
    /// The strategy's name; empty for all but adaptations.
    pub strategy: String,
    /// The seed; 0 for all but adaptations.
    pub seed: u64,
    /// How an adaptation of the ablation grid trains, where that is not its strategy's own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// How a zero-shot task of the ablation grid reads the test text, where that is not the study's own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<StreamOptions>,
    /// The folder of its result, relative to the study's.
    pub folder: PathBuf,
}

/// How much of a reference corpus the restart control reads, so that it is as large as the adaptations to the domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlSize {
    /// Bytes of training text: the median over the domains.
    pub train: u64,
    /// Bytes of the validation and of the test text, if they have no separate files: the maximum over the domains.
    pub held_out: u64,
}

impl ControlSize {
    /// For domains whose splits have so many bytes.
    fn of(mut domains: Vec<[u64; 3]>) -> Self {
        domains.sort_unstable(); // by training text
        let train = domains.get(domains.len().saturating_sub(1) / 2).map_or(0, |[train, ..]| *train);
        Self { train, held_out: domains.iter().flat_map(|[_, valid, test]| [*valid, *test]).max().unwrap_or(0) }
    }

    /// How much is read of a held-out split; `None` for all of it.
    fn of_held_out(&self, split: &Content) -> Option<u64> {
        split.divided.then_some(self.held_out)
    }
}

impl Task {
    /// Its name for readers.
    pub fn label(&self) -> String {
        let Self { kind, model, domain, strategy, seed, .. } = self;
        let domain = if self.is_control() { "its reference corpus" } else { domain };
        let text = |text: &StreamOptions| {
            let Ok(Value::Object(options)) = serde_json::to_value(text) else { return String::new() };
            let word = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            format!(", join {}, newlines {}", word("join"), word("newlines"))
        };
        match kind {
            TaskKind::Reference => format!("reference corpus of {model}"),
            TaskKind::ZeroShot => {
                let how = self.evaluation.as_ref().map(text).unwrap_or_default();
                format!("{model} on {domain} before adaptation{how}")
            }
            TaskKind::Similarity => format!("distance of {domain} to the reference of {model}"),
            TaskKind::Adapt => {
                let varied = |Training { text: options, lr }: &Training| format!("{}, lr {lr}", text(options));
                let how = self.training.as_ref().map(varied).unwrap_or_default();
                format!("{model} adapted to {domain} ({strategy}, seed {seed}{how})")
            }
        }
    }

    /// Whether a result of its name stands in the study's folder, whatever it is worth: see [`Plan::state`].
    pub fn is_done(&self, folder: &Path) -> bool {
        folder.join(&self.folder).exists()
    }

    /// Whether it belongs to the restart control, which adapts to the reference corpus.
    pub fn is_control(&self) -> bool {
        self.domain.is_empty()
    }
}

/// The tasks of a study, and everything needed to collect its results without the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The study, every default filled in.
    pub config: StudyConfig,
    /// The devices that were chosen.
    pub devices: Vec<DeviceName>,
    /// The tasks, in the order they run.
    pub tasks: Vec<Task>,
    /// What the restart control reads; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlSize>,
    /// Why models have no restart control, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub no_control: BTreeMap<String, String>,
    /// What the texts, models and tokenizers held when it was made; nothing in plans of older versions.
    #[serde(default)]
    pub contents: Contents,
    /// Whether results must have checksums: those of studies that an older version ran have none.
    #[serde(skip)]
    pub(super) sealed: bool,
}

impl Plan {
    /// Plans a study: hashes its models and texts, and lists its tasks in the order of their dependencies.
    pub fn new(config: StudyConfig, devices: &[ChosenDevice], monitor: &mut dyn Monitor) -> Result<Self> {
        if let Some(second) = (1..devices.len()).find(|&at| devices[..at].iter().any(|d| d.name == devices[at].name)) {
            let fault = format!("names {} by two of its choices", devices[second].name);
            return Err(Error::input("devices", fault, "leave one of them out: the same again would count as another"));
        }
        // Features of an encoder depend on the content of its folder, not on its path.
        let mut similarity = json!(config.similarity);
        let encoder = match &config.similarity.features {
            FeatureSpec::Encoder { folder } => Some(encoder::hash_of(folder)?),
            FeatureSpec::Model { .. } | FeatureSpec::Lexical => None,
        };
        if let Some(hash) = &encoder {
            similarity["features"] = json!({ "encoder": hash });
        }
        let options = config.text.read();
        let reads_texts = encoder.is_some();
        let mut hashes = Hashes { options, texts: reads_texts, known: BTreeMap::new(), monitor };
        let mut contents = Contents::new(encoder);
        for model in &config.models {
            check_sizes(&config, model)?;
            contents.add_model(model)?;
        }
        let mut domains = Vec::new();
        for DomainEntry { path, .. } in &config.domains {
            domains.push(hashes.domain(path)?);
        }
        let control = config.restart_control.then(|| {
            ControlSize::of(domains.iter().map(|splits| splits.each_ref().map(|split| split.bytes)).collect())
        });
        let mut no_control = BTreeMap::new();
        // The kernel is fixed on the pool of all corpora, so adding a domain changes the reference task.
        let pool: Vec<&String> = domains.iter().map(|[train, ..]| &train.hash).collect();
        let mut tasks = Vec::new();
        for (device, chosen) in devices.iter().enumerate() {
            for model in &config.models {
                let reference = json!({
                    "version": SIMILARITY_VERSION, "corpus": hashes.reference(&model.reference)?.hash,
                    "similarity": similarity, "pool": pool,
                });
                let hash = contents.model(&model.name).map_or("", |held| &held.hash);
                let tasks_of = ModelTasks::new(&config, model, device, &chosen.name, hash, reference);
                tasks.push(tasks_of.reference());
                let control = match control.map(|size| hashes.domain(&model.reference).map(|splits| (splits, size))) {
                    None => None,
                    Some(Ok(control)) => Some(control),
                    Some(Err(error @ Error::Input { .. })) => {
                        no_control.insert(model.name.clone(), error.to_string());
                        None
                    }
                    Some(Err(error)) => return Err(error),
                };
                let held_out = control.as_ref().map(|([_, _, test], size)| known_by(test, size.of_held_out(test)));
                for (entry, splits) in config.domains.iter().zip(&domains) {
                    tasks.extend(tasks_of.of_domain(&entry.name, splits, Reads::Domain { forgets: held_out.as_ref() }));
                }
                if let Some((splits, size)) = &control {
                    tasks.extend(tasks_of.of_domain("", splits, Reads::Control(*size)));
                }
            }
        }
        tasks.sort_by_key(|task| task.kind); // the sort is stable: cheap tasks of all models come before adaptations
        let devices = devices.iter().map(|d| d.name.clone()).collect();
        contents.add_texts(hashes.known.iter().map(|((path, split), content)| (path, *split, &content.hash)));
        Ok(Self { config, devices, tasks, control, no_control, contents, sealed: true })
    }

    /// Whether a study was planned in `folder`.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(PLAN_FILE).exists()
    }

    /// Reads the plan of the study in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN_FILE);
        if !Self::is_in(folder) {
            return Err(Error::file(
                folder,
                "is not the folder of a study",
                "run `odyssey study run STUDY.toml --out DIR` first",
            ));
        }
        let (plan, sealed) = seal::read_json::<Self>(&path)?;
        Ok(Self { sealed, ..plan })
    }

    /// Writes the plan into the study's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        seal::write_json(&folder.join(PLAN_FILE), self)
    }

    /// The task of this kind that shares a model and device with `task` and, unless it is a reference, the domain.
    pub fn sibling(&self, task: &Task, kind: TaskKind) -> Option<&Task> {
        self.tasks.iter().find(|other| {
            other.kind == kind
                && other.model == task.model
                && other.device == task.device
                && other.evaluation.is_none()
                && (kind == TaskKind::Reference || other.domain == task.domain)
        })
    }

    /// The zero-shot task that reads the test text of `task` like this.
    pub fn zero_shot(&self, task: &Task, text: &StreamOptions) -> Option<&Task> {
        let other_way = (*text != self.config.text.stream()).then_some(*text);
        self.tasks.iter().find(|other| {
            other.kind == TaskKind::ZeroShot
                && other.model == task.model
                && other.device == task.device
                && other.evaluation == other_way
                && other.domain == task.domain
        })
    }

    /// The group of a task's domain; empty for the reference corpus.
    pub fn group(&self, task: &Task) -> String {
        self.config.domains.iter().find(|d| d.name == task.domain).map_or(String::new(), |d| d.group.clone())
    }

    /// The name of a task's model in tables: its name, with the device where there are several.
    pub fn model_label(&self, task: &Task) -> String {
        match self.devices.get(task.device) {
            Some(device) if self.devices.len() > 1 => format!("{} on {}", task.model, device.backend),
            _ => task.model.clone(),
        }
    }
}

/// The common inputs of the tasks of one model on one device.
struct ModelTasks<'a> {
    config: &'a StudyConfig,
    model: &'a ModelEntry,
    device: usize,
    /// What determines the result of any of them.
    common: Value,
    /// The inputs of the reference task.
    reference: Value,
}

impl<'a> ModelTasks<'a> {
    fn new(
        config: &'a StudyConfig,
        model: &'a ModelEntry,
        device: usize,
        name: &DeviceName,
        hash: &str,
        reference: Value,
    ) -> Self {
        let common = json!({
            "version": RESULTS_VERSION, "program": env!("CARGO_PKG_VERSION"), "device": name,
            "model": hash, "text": config.text,
        });
        Self { config, model, device, common, reference }
    }

    fn task(&self, kind: TaskKind, domain: &str, strategy: &str, seed: u64, determined_by: Value) -> Task {
        let Self { model, device, common, .. } = self;
        let shown = if domain.is_empty() && kind != TaskKind::Reference { "restart-control" } else { domain };
        Task {
            kind,
            model: model.name.clone(),
            device: *device,
            domain: domain.to_owned(),
            strategy: strategy.to_owned(),
            seed,
            training: None,
            evaluation: None,
            folder: folder_of(kind, [&model.name, shown, strategy], &json!([common, determined_by])),
        }
    }

    fn reference(&self) -> Task {
        self.task(TaskKind::Reference, "", "", 0, self.reference.clone())
    }

    /// The tasks of a domain, or of the restart control.
    fn of_domain(&self, name: &str, [train, valid, test]: &[Content; 3], reads: Reads<'_>) -> Vec<Task> {
        let config = self.config;
        let (control, forgets) = match reads {
            Reads::Control(size) => (Some(size), None),
            Reads::Domain { forgets } => (None, forgets),
        };
        let train = known_by(train, control.map(|size| size.train));
        let [valid, test] =
            [valid, test].map(|split| known_by(split, control.and_then(|size| size.of_held_out(split))));
        let mut zero_shot = json!({ "test": test, "evaluation": config.evaluation });
        if config.evaluation.rank {
            zero_shot["rank"] =
                json!({ "version": RANK_VERSION, "train": train, "reference": self.reference["corpus"] });
        }
        let mut tasks = vec![self.task(TaskKind::ZeroShot, name, "", 0, zero_shot.clone())];
        let evaluations = config.other_evaluations();
        for text in &evaluations {
            let determined_by = json!([{ "test": test, "evaluation": config.evaluation }, text]);
            let task = self.task(TaskKind::ZeroShot, name, "", 0, determined_by);
            tasks.push(Task { evaluation: Some(*text), ..task });
        }
        if control.is_none() {
            tasks.push(self.task(TaskKind::Similarity, name, "", 0, json!([self.reference, train])));
        }
        for strategy in &config.strategies {
            let others = config.other_trainings(strategy).into_iter().map(Some);
            for training in std::iter::once(None).chain(others) {
                let StrategyEntry { train_text, recipe, .. } =
                    training.map_or_else(|| strategy.clone(), |training| strategy.varied(training));
                for &seed in &config.seeds {
                    let mut adapt = vec![json!(zero_shot), json!(train), json!(valid), json!(train_text)];
                    adapt.extend([json!(recipe), json!(seed)]);
                    if !evaluations.is_empty() {
                        adapt.push(json!(evaluations));
                    }
                    adapt.extend(forgets.map(|held_out| json!({ "forgets": held_out })));
                    let task = self.task(TaskKind::Adapt, name, &strategy.name, seed, json!(adapt));
                    tasks.push(Task { training, ..task });
                }
            }
        }
        tasks
    }
}

/// The inputs of the tasks of a domain.
#[derive(Clone, Copy)]
enum Reads<'a> {
    /// The domain; and, after adaptation, what of the reference corpus this determines.
    Domain { forgets: Option<&'a Value> },
    /// As much of the reference corpus.
    Control(ControlSize),
}

/// The hash inputs of a split if at most so many bytes of it are read.
fn known_by(split: &Content, at_most: Option<u64>) -> Value {
    match at_most {
        Some(bytes) => json!({ "of": split.hash, "first_bytes": bytes }),
        None => json!(split.hash),
    }
}

/// Refuses settings that do not fit the model before anything is computed.
///
/// # Errors
/// The model's folder cannot be read; a recipe or the distances ask for what the model does not have.
pub fn check_sizes(config: &StudyConfig, model: &ModelEntry) -> Result<()> {
    let base = ModelConfig::read(&model.path)?;
    Adapter::refuse_in(&model.path)?;
    let EvaluationSettings { protocol, context, stride, .. } = config.evaluation;
    let tokenizer = Tokenizer::find(&model.path)?;
    for text in std::iter::once(config.text.stream()).chain(config.other_evaluations()) {
        Protocol::for_model(protocol, context, stride, &base, tokenizer.as_ref(), &text)?;
    }
    for strategy in &config.strategies {
        strategy.check_for(&format!("model {:?}", model.name), &base)?;
    }
    match &config.similarity.features {
        FeatureSpec::Lexical | FeatureSpec::Encoder { .. } => {}
        FeatureSpec::Model { folder: None, hidden } => hidden.check(base.layers())?,
        features @ FeatureSpec::Model { .. } => {
            return Err(Error::input(
                "similarity",
                format!("features is {:?}", features.to_string()),
                "use \"model\" (each base model's own hidden states), \"minilm:DIR\" (a sentence encoder's folder) or \
                 \"lexical\"",
            ));
        }
    }
    config.similarity.check(format!("similarity, with model {:?}", model.name), base.context()).map(drop)
}

/// `tasks/adapt-wiki_sports-full-0123456789ab`: readable, and unique by what determines the result.
fn folder_of(kind: TaskKind, names: [&str; 3], determined_by: &Value) -> PathBuf {
    let kind = match kind {
        TaskKind::Reference => "reference",
        TaskKind::ZeroShot => "zero-shot",
        TaskKind::Similarity => "similarity",
        TaskKind::Adapt => "adapt",
    };
    let plain = |name: &&str| -> String {
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(40).collect()
    };
    let parts: Vec<String> = std::iter::once(kind.to_owned())
        .chain(names.iter().map(plain))
        .filter(|part| !part.is_empty())
        .chain(std::iter::once(files::hash_bytes(determined_by.to_string().as_bytes())[..12].to_owned()))
        .collect();
    Path::new("tasks").join(parts.join("-"))
}

/// What a text holds: its hash, and how long it is.
#[derive(Debug, Clone)]
struct Content {
    hash: String,
    bytes: u64,
    /// Whether it was divided from a corpus by document.
    divided: bool,
}

impl Content {
    fn of(corpus: Corpus, divided: bool) -> Self {
        Self { bytes: corpus.documents.bytes(), hash: corpus.hash, divided }
    }
}

/// The contents of corpora; each text is read once.
struct Hashes<'m> {
    options: ReadOptions,
    /// Whether corpora must be texts, which an encoder reads, and no token ids.
    texts: bool,
    known: BTreeMap<(PathBuf, Option<Split>), Content>,
    monitor: &'m mut dyn Monitor,
}

impl Hashes<'_> {
    fn content(&self, corpus: Corpus, divided: bool) -> Result<Content> {
        if self.texts {
            corpus.texts().map(drop)?;
        }
        Ok(Content::of(corpus, divided))
    }

    fn reference(&mut self, path: &Path) -> Result<Content> {
        let key = (path.to_owned(), None);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let corpus = open_corpus(path, Split::Train, Watched::by(self.options.clone(), self.monitor))?;
        let content = self.content(corpus, false)?;
        self.known.insert(key, content.clone());
        Ok(content)
    }

    fn domain(&mut self, path: &Path) -> Result<[Content; 3]> {
        let mut domain = None;
        let mut contents = Vec::new();
        for split in Split::ALL {
            let key = (path.to_owned(), Some(split));
            if !self.known.contains_key(&key) {
                let domain = match &mut domain {
                    Some(domain) => domain,
                    none => none.insert(Domain::open(path, Watched::by(self.options.clone(), self.monitor))?),
                };
                let (corpus, divided) = (domain.split(Watched::by(split, self.monitor))?, domain.is_divided());
                let content = self.content(corpus, divided)?;
                self.known.insert(key.clone(), content);
            }
            contents.push(self.known[&key].clone());
        }
        contents.try_into().map_err(|_| Error::Numeric("a domain has three splits".into()))
    }
}
