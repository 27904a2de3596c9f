//! Plans a study: lists its tasks, each with a folder whose name has a hash of everything that determines its result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{DomainEntry, EvaluationSettings, ModelEntry, REFERENCE, StrategyEntry, StudyConfig};
use super::contents::Contents;
use super::plan::{ControlSize, Plan};
use super::task::{Adaptation, Task, TaskKind, TaskText, TaskWork};
use crate::device::{ChosenDevice, DeviceName};
use crate::error::{Error, Result};
use crate::evaluate::Protocol;
use crate::files;
use crate::model::weights::hash_folder;
use crate::model::{Adapter, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::recipe::NamedPlace;
use crate::similarity::{FeatureSpec, encoder};
use crate::text::{Corpus, Domain, ReadOptions, Split, Tokenizer, open_corpus};

/// Increased when the computation of a task changes, so that old results are not used as new ones.
const RESULTS_VERSION: u32 = 2;

/// The same for prediction ranks alone.
const RANK_VERSION: u32 = 1;

/// The same for distances alone.
const SIMILARITY_VERSION: u32 = 1;

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
                let needs = config.strategies.iter().map(|entry| needs_of(entry, model, &mut hashes));
                let needs = needs.collect::<Result<Vec<_>>>()?;
                let tasks_of =
                    ModelTasks { needs, ..ModelTasks::new(&config, model, device, &chosen.name, hash, reference) };
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
                let held_out =
                    control.as_ref().map(|([_, _, test], size)| known_by(test, size.of_held_out(test.divided)));
                for (entry, splits) in config.domains.iter().zip(&domains) {
                    tasks.extend(tasks_of.of_text(
                        &TaskText::Domain(entry.name.clone()),
                        splits,
                        Reads::Domain { forgets: held_out.as_ref() },
                    ));
                }
                if let Some((splits, size)) = &control {
                    tasks.extend(tasks_of.of_text(&TaskText::Control, splits, Reads::Control(*size)));
                }
            }
        }
        tasks.sort_by_key(|task| task.kind()); // the sort is stable: cheap tasks of all models come before adaptations
        let devices = devices.iter().map(|d| d.name.clone()).collect();
        contents.add_texts(hashes.known.iter().map(|((path, split), content)| (path, *split, &content.hash)));
        Ok(Self { config, devices, tasks, control, no_control, contents, sealed: true })
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
    /// The content of what each strategy reads beside base and texts; null where it reads nothing.
    needs: Vec<Value>,
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
        Self { config, model, device, common, reference, needs: Vec::new() }
    }

    fn task(&self, work: TaskWork, determined_by: Value) -> Task {
        let Self { model, device, common, .. } = self;
        let names = match &work {
            TaskWork::Reference => ["", ""],
            TaskWork::ZeroShot { text, .. } => [in_folder(text), ""],
            TaskWork::Similarity { domain } => [domain, ""],
            TaskWork::Adapt(Adaptation { text, strategy, .. }) => [in_folder(text), strategy],
        };
        let folder = folder_of(work.kind(), [&model.name, names[0], names[1]], &json!([common, determined_by]));
        Task { model: model.name.clone(), device: *device, work, folder }
    }

    fn reference(&self) -> Task {
        self.task(TaskWork::Reference, self.reference.clone())
    }

    /// The tasks of a domain, or of the restart control.
    fn of_text(&self, text: &TaskText, [train, valid, test]: &[Content; 3], reads: Reads<'_>) -> Vec<Task> {
        let config = self.config;
        let (control, forgets) = match reads {
            Reads::Control(size) => (Some(size), None),
            Reads::Domain { forgets } => (None, forgets),
        };
        let train = known_by(train, control.map(|size| size.train));
        let [valid, test] =
            [valid, test].map(|split| known_by(split, control.and_then(|size| size.of_held_out(split.divided))));
        let mut zero_shot = json!({ "test": test, "evaluation": config.evaluation });
        if config.evaluation.rank {
            zero_shot["rank"] =
                json!({ "version": RANK_VERSION, "train": train, "reference": self.reference["corpus"] });
        }
        let before = |evaluation| TaskWork::ZeroShot { text: text.clone(), evaluation };
        let mut tasks = vec![self.task(before(None), zero_shot.clone())];
        let evaluations = config.other_evaluations();
        for read in &evaluations {
            let determined_by = json!([{ "test": test, "evaluation": config.evaluation }, read]);
            tasks.push(self.task(before(Some(*read)), determined_by));
        }
        if let TaskText::Domain(domain) = text {
            let work = TaskWork::Similarity { domain: domain.clone() };
            tasks.push(self.task(work, json!([self.reference, train])));
        }
        for (strategy, needs) in config.strategies.iter().zip(&self.needs) {
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
                    adapt.extend((!needs.is_null()).then(|| json!({ "needs": needs })));
                    let strategy = strategy.name.clone();
                    let work = TaskWork::Adapt(Adaptation { text: text.clone(), strategy, seed, training });
                    tasks.push(self.task(work, json!(adapt)));
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

/// What identifies the content of the corpora and models that a strategy reads; null where it reads none.
fn needs_of(entry: &StrategyEntry, model: &ModelEntry, hashes: &mut Hashes<'_>) -> Result<Value> {
    let mut strategies = entry.recipe.strategies.clone();
    let mut needs = Vec::new();
    for place in strategies.places() {
        needs.push(match place {
            NamedPlace::Corpus(path) if path == Path::new(REFERENCE) => {
                hashes.domain(&model.reference)?[0].hash.clone()
            }
            NamedPlace::Corpus(path) => hashes.domain(path)?[0].hash.clone(),
            NamedPlace::Model(path) => hash_folder(path)?,
        });
    }
    Ok(if needs.is_empty() { Value::Null } else { json!(needs) })
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
    let in_model = |error: Error| error.within(format!("similarity, with model {:?}", model.name));
    config.similarity.check(base.context()).map(drop).map_err(in_model)
}

/// The name of a text in the folders of tasks.
fn in_folder(text: &TaskText) -> &str {
    text.domain().unwrap_or("restart-control")
}

/// `tasks/adapt-wiki_sports-full-0123456789ab`: readable, and unique by what determines the result.
fn folder_of(kind: TaskKind, names: [&str; 3], determined_by: &Value) -> PathBuf {
    let plain = |name: &&str| -> String {
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(40).collect()
    };
    let parts: Vec<String> = std::iter::once(kind.name().to_owned())
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
        contents.try_into().map_err(|_| Error::numeric("a domain has three splits"))
    }
}
