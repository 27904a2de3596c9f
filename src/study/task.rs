//! A study's tasks: what there is to compute, and in which folder its result lies.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ablation::Training;
use crate::text::StreamOptions;

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Task {
    /// The base model's name.
    pub model: String,
    /// Index of the device among the study's.
    pub device: usize,
    /// What is computed.
    pub work: TaskWork,
    /// The folder of its result, relative to the study's.
    pub folder: PathBuf,
}

/// What a task computes.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskWork {
    /// The reference corpus's features, counts, and distances between its halves.
    Reference,
    /// The base model's perplexity on a text.
    ZeroShot {
        /// The text.
        text: TaskText,
        /// How the ablation grid reads the test text, where that is not the study's own way.
        evaluation: Option<StreamOptions>,
    },
    /// A domain's distances to the reference.
    Similarity {
        /// The domain's name.
        domain: String,
    },
    /// An adaptation, the perplexity after it, and the comparison.
    Adapt(Adaptation),
}

/// What an adaptation is.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// The text that the model is adapted to.
    pub text: TaskText,
    /// The strategy's name.
    pub strategy: String,
    /// The seed.
    pub seed: u64,
    /// How the ablation grid trains, where that is not the strategy's own way.
    pub training: Option<Training>,
}

impl Adaptation {
    /// Whether it adapts to a domain in the strategy's own way, so that it makes a row of the study's table.
    pub fn is_row(&self) -> bool {
        self.training.is_none() && self.text != TaskText::Control
    }
}

/// The text of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskText {
    /// A domain, by its name.
    Domain(String),
    /// The reference corpus itself, on which the restart control is adapted and tested.
    Control,
}

impl TaskText {
    /// The domain's name.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Self::Domain(name) => Some(name),
            Self::Control => None,
        }
    }

    /// The name in results of tasks: that of the domain; nothing for the reference corpus.
    pub(super) fn in_results(&self) -> &str {
        self.domain().unwrap_or_default()
    }

    /// The name for people.
    pub fn label(&self) -> &str {
        self.domain().unwrap_or("its reference corpus")
    }

    fn read(name: String) -> Self {
        if name.is_empty() { Self::Control } else { Self::Domain(name) }
    }
}

/// The kinds of tasks, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// See [`TaskWork::Reference`].
    Reference,
    /// See [`TaskWork::ZeroShot`].
    ZeroShot,
    /// See [`TaskWork::Similarity`].
    Similarity,
    /// See [`TaskWork::Adapt`].
    Adapt,
}

impl TaskKind {
    /// Its name in folders.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::ZeroShot => "zero-shot",
            Self::Similarity => "similarity",
            Self::Adapt => "adapt",
        }
    }
}

impl TaskWork {
    /// Its kind.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Reference => TaskKind::Reference,
            Self::ZeroShot { .. } => TaskKind::ZeroShot,
            Self::Similarity { .. } => TaskKind::Similarity,
            Self::Adapt(_) => TaskKind::Adapt,
        }
    }
}

impl Task {
    /// The kind of its work.
    pub fn kind(&self) -> TaskKind {
        self.work.kind()
    }

    /// The adaptation, if it is one.
    pub fn adaptation(&self) -> Option<&Adaptation> {
        match &self.work {
            TaskWork::Adapt(adaptation) => Some(adaptation),
            _ => None,
        }
    }

    /// Whether it belongs to this model on this device.
    pub(super) fn is_of(&self, model: &str, device: usize) -> bool {
        self.model == model && self.device == device
    }

    /// The task in words.
    pub fn label(&self) -> String {
        let model = &self.model;
        let read = |text: &StreamOptions| {
            let Ok(Value::Object(options)) = serde_json::to_value(text) else { return String::new() };
            let word = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            format!(", join {}, newlines {}", word("join"), word("newlines"))
        };
        match &self.work {
            TaskWork::Reference => format!("reference corpus of {model}"),
            TaskWork::ZeroShot { text, evaluation } => {
                let how = evaluation.as_ref().map(read).unwrap_or_default();
                format!("{model} on {} before adaptation{how}", text.label())
            }
            TaskWork::Similarity { domain } => format!("distance of {domain} to the reference of {model}"),
            TaskWork::Adapt(Adaptation { text, strategy, seed, training }) => {
                let varied = |Training { text, lr }: &Training| format!("{}, lr {lr}", read(text));
                let how = training.as_ref().map(varied).unwrap_or_default();
                format!("{model} adapted to {} ({strategy}, seed {seed}{how})", text.label())
            }
        }
    }

    /// Whether its folder exists in the study's, whatever is in it: see [`super::Plan::state`].
    pub fn is_done(&self, folder: &Path) -> bool {
        folder.join(&self.folder).exists()
    }
}

/// A task in `plan.json`, where every kind has all fields.
#[derive(Serialize, Deserialize)]
struct Written {
    kind: TaskKind,
    model: String,
    device: usize,
    /// Empty for the reference corpus.
    domain: String,
    /// Empty for all but adaptations.
    strategy: String,
    /// 0 for all but adaptations.
    seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<Training>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evaluation: Option<StreamOptions>,
    folder: PathBuf,
}

impl From<Written> for Task {
    fn from(written: Written) -> Self {
        let Written { kind, model, device, domain, strategy, seed, training, evaluation, folder } = written;
        let work = match kind {
            TaskKind::Reference => TaskWork::Reference,
            TaskKind::ZeroShot => TaskWork::ZeroShot { text: TaskText::read(domain), evaluation },
            TaskKind::Similarity => TaskWork::Similarity { domain },
            TaskKind::Adapt => TaskWork::Adapt(Adaptation { text: TaskText::read(domain), strategy, seed, training }),
        };
        Self { model, device, work, folder }
    }
}

impl From<Task> for Written {
    fn from(Task { model, device, work, folder }: Task) -> Self {
        let kind = work.kind();
        let nothing = Self {
            kind,
            model,
            device,
            domain: String::new(),
            strategy: String::new(),
            seed: 0,
            training: None,
            evaluation: None,
            folder,
        };
        match work {
            TaskWork::Reference => nothing,
            TaskWork::ZeroShot { text, evaluation } => {
                Self { domain: text.in_results().to_owned(), evaluation, ..nothing }
            }
            TaskWork::Similarity { domain } => Self { domain, ..nothing },
            TaskWork::Adapt(Adaptation { text, strategy, seed, training }) => {
                Self { domain: text.in_results().to_owned(), strategy, seed, training, ..nothing }
            }
        }
    }
}
