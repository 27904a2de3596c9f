//! The files of a task's result, and what they hold.

use serde::{Deserialize, Serialize};

use crate::adapt::AdaptResult;
use crate::compare::{Comparison, LineBreakParts, LossProfile, PairedChanges, PartChanges};
use crate::evaluate::EvalResult;
use crate::rank::RankChange;
use crate::similarity::Distances;
use crate::text::{Overlap, StreamOptions};

/// The files of tasks.
pub(super) const REFERENCE: &str = "reference.json";
pub(super) const SAMPLE: &str = "sample.safetensors";
pub(super) const EVAL: &str = "eval.json";
pub(super) const PER_TOKEN: &str = "per_token.safetensors";
pub(super) const SIMILARITY: &str = "similarity.json";
pub(super) const ADAPT: &str = "adapt.json";
pub(super) const RANKS: &str = "ranks.json";
/// The prompts of a zero-shot task, where the study measures prediction rank.
pub(super) const PROMPTS: &str = "prompts.jsonl";

/// Token types kept in results, from each end of the list.
pub(super) const TYPES_KEPT: usize = 50;

/// `adapt.json` of an adapt task: its course and its results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AdaptTaskResult {
    pub adapt: AdaptResult,
    pub after: EvalResult,
    pub comparison: Comparison,
    pub test_newline_rate: f64,
    /// Absent in results written by older versions.
    #[serde(default)]
    pub overlap: Option<Overlap>,
    /// Where the study measures prediction rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankChange>,
    /// The change of every document; absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<PairedChanges>,
    /// The parts that line breaks and ends of documents carry; absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_changes: Option<PartChanges>,
    /// The same model under the other ways to evaluate of the ablation grid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<OtherEvaluation>,
    /// Whether the restart control's held-out text was divided from the reference corpus by document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub divided: bool,
    /// The loss of the base on the test text, by parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_loss: Option<LossProfile>,
    /// Tokens of the training text, trained on or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_tokens: Option<u64>,
    /// The base's weights and the entries of its vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_size: Option<(u64, usize)>,
    /// The change on held-out text of the reference corpus, if there is a restart control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgetting: Option<Forgetting>,
}

/// The change by an adaptation on held-out text of the reference corpus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forgetting {
    pub delta: f64,
    pub delta_ci95: [f64; 2],
    pub changes: PairedChanges,
}

/// The result of an adaptation with another way to evaluate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OtherEvaluation {
    pub text: StreamOptions,
    pub delta: f64,
    pub delta_ci95: [f64; 2],
    pub parts: LineBreakParts,
    pub changes: PairedChanges,
    /// Absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_changes: Option<PartChanges>,
}

/// `reference.json` of a reference task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReferenceResult {
    pub reference: String,
    pub null: Distances,
    /// The kernel's bandwidth on the pool of all corpora, where it has one.
    #[serde(default)]
    pub sigma: Option<f64>,
}

/// `similarity.json` of a similarity task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SimilarityTaskResult {
    pub distances: Distances,
}
