//! A study's tasks, each with a folder named by a hash of everything that determines its result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{DomainEntry, EvaluationSettings, ModelEntry, SimilaritySettings, StrategyEntry, StudyConfig};
use crate::device::{ChosenDevice, DeviceName};
use crate::error::{Error, Result};
use crate::evaluate::Protocol;
use crate::files;
use crate::model::ModelConfig;
use crate::model::weights::hash_folder;
use crate::progress::{Monitor, Watched};
use crate::text::{Corpus, DocumentRule, Domain, Split, Tokenizer, open_corpus};

/// Raised when a task's computation changes, so that old results are not taken for new ones.
const RESULTS_VERSION: u32 = 2;

/// The same for prediction ranks alone.
const RANK_VERSION: u32 = 1;

/// The file in a study's folder that lists its tasks.
const PLAN_FILE: &str = "plan.json";

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it computes.
    pub kind: TaskKind,
    /// The base model's name.
    pub model: String,
    /// Index of the device among the study's.
    pub device: usize,
    /// The domain's name; empty for a reference.
    pub domain: String,
    /// The strategy's name; empty for all but adaptations.
    pub strategy: String,
    /// The seed; 0 for all but adaptations.
    pub seed: u64,
    /// The folder of its result, relative to the study's.
    pub folder: PathBuf,
}

impl Task {
    /// What people call it.
    pub fn label(&self) -> String {
        let Self { kind, model, domain, strategy, seed, .. } = self;
        match kind {
            TaskKind::Reference => format!("reference corpus of {model}"),
            TaskKind::ZeroShot => format!("{model} on {domain} before adaptation"),
            TaskKind::Similarity => format!("distance of {domain} to the reference of {model}"),
            TaskKind::Adapt => format!("{model} adapted to {domain} ({strategy}, seed {seed})"),
        }
    }
}

/// A study's tasks and what its results need to be put together without the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The study, every default filled in.
    pub config: StudyConfig,
    /// The devices its choices came to.
    pub devices: Vec<DeviceName>,
    /// The tasks, in the order they run.
    pub tasks: Vec<Task>,
}

impl Plan {
    /// Plans a study: hashes its models and texts, and lists its tasks, what later ones need first.
    pub fn new(config: StudyConfig, devices: &[ChosenDevice], monitor: &mut dyn Monitor) -> Result<Self> {
        let mut hashes = Hashes { rule: config.text.document, known: BTreeMap::new(), monitor };
        let mut tasks = Vec::new();
        for (device, chosen) in devices.iter().enumerate() {
            for model in &config.models {
                tasks.extend(model_tasks(&config, model, device, &chosen.name, &mut hashes)?);
            }
        }
        tasks.sort_by_key(|task| task.kind); // a stable sort: cheap tasks of all models before any adaptation
        Ok(Self { config, devices: devices.iter().map(|d| d.name.clone()).collect(), tasks })
    }

    /// Reads the plan of the study in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN_FILE);
        if !path.exists() {
            return Err(Error::file(
                folder,
                "is not the folder of a study",
                "run `odyssey study run STUDY.toml --out DIR` first",
            ));
        }
        files::read_json(&path)
    }

    /// Writes the plan into the study's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(PLAN_FILE), self)
    }

    /// The task of this kind that shares a model and device with `task` and, unless it is a reference, the domain.
    pub fn sibling(&self, task: &Task, kind: TaskKind) -> Option<&Task> {
        self.tasks.iter().find(|other| {
            other.kind == kind
                && other.model == task.model
                && other.device == task.device
                && (kind == TaskKind::Reference || other.domain == task.domain)
        })
    }

    /// What tables call a task's model: its name, with the device where there are several.
    pub fn model_label(&self, task: &Task) -> String {
        match self.devices.get(task.device) {
            Some(device) if self.devices.len() > 1 => format!("{} on {}", task.model, device.backend),
            _ => task.model.clone(),
        }
    }
}

fn model_tasks(
    config: &StudyConfig,
    model: &ModelEntry,
    device: usize,
    name: &DeviceName,
    hashes: &mut Hashes<'_>,
) -> Result<Vec<Task>> {
    check_sizes(config, model)?;
    let common = json!({
        "version": RESULTS_VERSION, "program": env!("CARGO_PKG_VERSION"), "device": name,
        "model": hash_folder(&model.path)?, "text": config.text,
    });
    let task = |kind, domain: &str, strategy: &str, seed, determined_by: Value| Task {
        kind,
        model: model.name.clone(),
        device,
        domain: domain.to_owned(),
        strategy: strategy.to_owned(),
        seed,
        folder: folder_of(kind, [&model.name, domain, strategy], &json!([common, determined_by])),
    };
    let reference = json!({ "corpus": hashes.reference(&model.reference)?, "similarity": config.similarity });
    let mut tasks = vec![task(TaskKind::Reference, "", "", 0, reference.clone())];
    for DomainEntry { name, path, .. } in &config.domains {
        let [train, valid, test] = hashes.domain(path)?;
        let mut zero_shot = json!({ "test": test, "evaluation": config.evaluation });
        if config.evaluation.rank {
            zero_shot["rank"] = json!({ "version": RANK_VERSION, "train": train, "reference": reference["corpus"] });
        }
        tasks.push(task(TaskKind::ZeroShot, name, "", 0, zero_shot.clone()));
        tasks.push(task(TaskKind::Similarity, name, "", 0, json!([reference, train])));
        for strategy in &config.strategies {
            for &seed in &config.seeds {
                let StrategyEntry { train_text, recipe, .. } = strategy;
                let adapt = json!([zero_shot, train, valid, train_text, recipe, seed]);
                tasks.push(task(TaskKind::Adapt, name, &strategy.name, seed, adapt));
            }
        }
    }
    Ok(tasks)
}

/// Refuses what does not fit the model before anything is computed.
fn check_sizes(config: &StudyConfig, model: &ModelEntry) -> Result<()> {
    let base = ModelConfig::read(&model.path)?;
    let longest = base.context();
    let EvaluationSettings { protocol, context, stride, .. } = config.evaluation;
    let tokenizer = Tokenizer::find(&model.path)?;
    Protocol::for_model(protocol, context, stride, &base, tokenizer.as_ref(), &config.text.stream())?;
    for strategy in &config.strategies {
        strategy.check_for(&format!("model {:?}", model.name), &base)?;
    }
    let SimilaritySettings { chunk, samples, reference_samples } = config.similarity;
    if chunk.is_some_and(|chunk| chunk == 0 || chunk > longest) || samples < 2 || reference_samples < 2 {
        return Err(Error::input(
            "similarity",
            format!("chunk is {}, samples {samples}, reference_samples {reference_samples}", chunk.unwrap_or(longest)),
            format!("use a chunk of 1 to {longest} tokens, which {:?} can read, and at least two samples", model.name),
        ));
    }
    Ok(())
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

/// Content hashes of corpora, each text read once.
struct Hashes<'m> {
    rule: DocumentRule,
    known: BTreeMap<PathBuf, Vec<String>>,
    monitor: &'m mut dyn Monitor,
}

impl Hashes<'_> {
    fn reference(&mut self, path: &Path) -> Result<String> {
        if let Some(hashes) = self.known.get(path) {
            return Ok(hashes[0].clone());
        }
        let Corpus { hash, .. } = open_corpus(path, Split::Train, Watched::by(self.rule, self.monitor))?;
        self.known.insert(path.to_owned(), vec![hash.clone()]);
        Ok(hash)
    }

    fn domain(&mut self, path: &Path) -> Result<[String; 3]> {
        let domain = Domain::open(path, Watched::by(self.rule, self.monitor))?;
        let mut hashes = Split::ALL.map(|_| String::new());
        for (hash, split) in hashes.iter_mut().zip(Split::ALL) {
            let key = path.join(split.name());
            *hash = match self.known.get(&key) {
                Some(known) => known[0].clone(),
                None => domain.split(Watched::by(split, self.monitor))?.hash,
            };
            self.known.insert(key, vec![hash.clone()]);
        }
        Ok(hashes)
    }
}
