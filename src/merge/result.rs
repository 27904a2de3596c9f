//! What a merge comes to.

use serde::{Deserialize, Serialize};

use super::choice::Select;
use super::method::Method;
use super::point::Point;
use crate::evaluate::ProtocolResult;
use crate::model::Precision;

/// `merge --json`, and `merge.json` beside the merged weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergeResult {
    /// "odyssey.merge/1".
    pub schema: String,
    /// The folder written, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// The model before adaptation.
    pub base: String,
    /// The models that were adapted from it.
    pub adapted: Vec<String>,
    /// The model at α = 0, where that is not the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub general: Option<String>,
    /// How they are merged.
    pub method: Method,
    /// Of TIES, the share of each model's changes that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// The share that is written, or that would be.
    pub alpha: f64,
    /// How it was chosen, where there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Select>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// The text of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TextOfCurve>,
    /// The text that should not be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<TextOfCurve>,
    /// Losses by share, in ascending order; empty where no text is given.
    pub curve: Vec<Point>,
    /// How the texts were scored, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolResult>,
    /// How the matrices of the models were held while they were scored. Weights are written in f32.
    pub dtype: Precision,
    /// Seconds of all this.
    pub seconds: f64,
    /// Largest resident memory of the process, bytes.
    pub peak_memory_bytes: u64,
}

/// A text of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextOfCurve {
    /// Its name, as it was given.
    pub text: String,
    /// Tokens that are scored.
    pub scored: usize,
    /// The loss of the base, nats per token.
    pub base_loss: f64,
    /// What the intervals resample: "documents" or "windows".
    pub ci_over: String,
}
