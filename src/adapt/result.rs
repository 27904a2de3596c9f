//! What a run comes to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::micro_batch::Smaller;
use super::stopping::Stopped;
use crate::model::{LanguageModel, LoraSettings};

/// `adapt --json`, and `adapt.json` beside the adapted weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdaptResult {
    /// "odyssey.adapt/1".
    pub schema: String,
    /// The folder written.
    pub out: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Targets trained on.
    pub tokens: u64,
    /// Loss of training steps and of validations.
    #[serde(flatten)]
    pub curves: Curves,
    /// The best validation; its weights are in `best/` where they are not the last ones.
    pub best: Best,
    /// The step at which it ended early, and the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The steps from which fewer windows were computed at once than asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smaller_micro_batches: Vec<Smaller>,
    /// Seconds of training, validations included.
    pub seconds: f64,
    /// Training targets per second.
    pub tokens_per_second: f64,
    /// Largest resident memory of the process, bytes.
    pub peak_memory_bytes: u64,
    /// What each of the strategies did, by its key; those that have nothing to say are not there.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub strategies: Map<String, Value>,
    /// Everything that determined the run.
    pub determined_by: Value,
}

/// Losses by step, nats per target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// `(step, loss before that step's update)`.
    pub train_loss: Vec<(u64, f64)>,
    /// `(steps done, loss on the validation text)`.
    pub valid_loss: Vec<(u64, f64)>,
}

/// The best validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done at that validation.
    pub step: u64,
    /// Loss on the validation text, nats per token.
    pub loss: f64,
}

/// The form in which a model with adapters is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// The adapters alone, as a PEFT folder.
    #[default]
    Adapter,
    /// A whole model that has them merged, and the PEFT folder in `adapter/`.
    Merged,
}

/// An adapted model.
pub struct Adaptation {
    /// The weights after the last step.
    pub last: LanguageModel,
    /// The weights with the best validation loss.
    pub best: LanguageModel,
    /// The settings of the adapters, if adapters were trained.
    pub lora: Option<LoraSettings>,
    /// The form in which a model with adapters is written.
    pub form: Form,
    /// The result: curves, times, memory.
    pub result: AdaptResult,
}
