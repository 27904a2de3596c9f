//! The results of a study: the content of `results.json`, from which the table, the plots and the report are drawn.

use serde::{Deserialize, Serialize};

use crate::compare::{
    ClassChange, Handful, LineBreakParts, LossClassChange, LossProfile, Passage, TypeChange, Without,
};
use crate::rank::RankChange;
use crate::similarity::Distances;
use crate::stats::{Estimate, flat_keys};
use crate::text::{Join, Newlines, Overlap};

/// `results.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StudyResults {
    /// "odyssey.study/1".
    pub schema: String,
    /// The study's name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The settings the study ran with, as TOML, every default filled in.
    pub settings: String,
    /// One row per model, domain, strategy and seed.
    pub rows: Vec<Row>,
    /// The reference corpus against another half of itself, by model: the values when there is no distance.
    pub null: Vec<NullDistance>,
    /// The change of each domain over its seeds: the call, and its uncertainty.
    #[serde(default)]
    pub domains: Vec<DomainChange>,
    /// Change in perplexity against every distance.
    pub correlations: Vec<Correlation>,
    /// What each recipe does to the reference corpus itself: the cost of restarting the optimiser.
    #[serde(default)]
    pub restart_control: Vec<RestartControl>,
    /// The ablation grid, where the study has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ablation: Vec<AblationRow>,
    /// The base models and their loss on their own reference corpus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
    /// Tasks that are not done: what a later `study run` would do.
    pub missing: Vec<String>,
}

/// One adaptation and its results.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The base model.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// The group the study puts the domain in.
    pub group: String,
    /// The strategy's name.
    pub strategy: String,
    /// Seed of everything random in this row.
    pub seed: u64,
    /// The device it ran on, as printed by `devices`.
    pub device: String,
    /// Fingerprint of the evaluation protocol; rows with different ones are not comparable.
    pub fingerprint: String,
    /// Test perplexity of the base.
    #[serde(deserialize_with = "crate::evaluate::null_as_infinite")]
    pub zero_shot_ppl: f64,
    /// Test perplexity of the adapted model.
    #[serde(deserialize_with = "crate::evaluate::null_as_infinite")]
    pub adapted_ppl: f64,
    /// Why a perplexity is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Change in log-perplexity, nats per token, adapted minus base: positive is worse.
    pub delta: f64,
    /// 95 % paired bootstrap interval of `delta`.
    pub delta_ci95: [f64; 2],
    /// Distances to the reference corpus.
    pub similarity: Distances,
    /// Share of test tokens that hold a line break.
    pub newline_rate: f64,
    /// How much of the test text stands in the training text; `None` in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Prediction rank, where the study measures it.
    #[serde(flatten)]
    pub rank: Option<RowRank>,
    /// The change on the reference corpus, and the evidence from before training.
    #[serde(flatten)]
    pub evidence: RowEvidence,
    /// Tokens the adaptation trained on.
    pub train_tokens: u64,
    /// Test tokens scored.
    pub test_tokens: usize,
    /// Training loss, `(step, nats per token)`.
    pub train_loss: Vec<(u64, f64)>,
    /// Validation loss, `(step, nats per token)`.
    pub valid_loss: Vec<(u64, f64)>,
    /// The token types that got worse and better the most: the head and the tail of the full list, worst first.
    pub top_types: Vec<TypeChange>,
    /// By class of token.
    pub classes: Vec<ClassChange>,
    /// By how likely the token was before and after; absent in results of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loss_classes: Vec<LossClassChange>,
    /// How few types carry the worsening.
    pub handful: Handful,
    /// Perplexity without chosen targets.
    pub without: std::collections::BTreeMap<String, Without>,
    /// The worst and best passages.
    pub passages: Vec<Passage>,
    /// Seconds of training.
    pub seconds: f64,
}

/// The change on the reference corpus, and the evidence about domain and base from before training. Advice about other
/// domains learns from these. All are absent in results written by older versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowEvidence {
    /// Change in log-perplexity on held-out text of the reference corpus, nats per token: positive is forgotten. The interval
    /// is a paired bootstrap interval. Keys: `forgetting`, `forgetting_ci95`, `forgetting_reason`.
    #[serde(flatten, with = "forgetting")]
    pub forgetting: Estimate,
    /// The loss of the base on the test text of the domain, by parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_loss: Option<LossProfile>,
    /// Tokens of the domain's training text, trained on or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_tokens: Option<u64>,
}

flat_keys!(forgetting, "forgetting", ci95: [f64; 2] = "forgetting_ci95"; reason = "forgetting_reason");

/// A base model and its loss on its reference corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// The model.
    pub model: String,
    /// Its weights.
    pub parameters: u64,
    /// Entries of its vocabulary.
    pub vocabulary: usize,
    /// On the held-out text of the restart control; null where there is none.
    pub reference_loss: Option<LossProfile>,
}

/// Prediction rank before and after an adaptation, on the same prompts. Numbers that could not be computed are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowRank {
    /// 20 % trimmed mean of the base's ranks.
    pub rank_before: Option<f64>,
    /// That of the adapted model's.
    pub rank_after: Option<f64>,
    /// Change in mean ln rank, nats, adapted minus base: positive is worse.
    pub rank_change: Option<f64>,
    /// 95 % paired bootstrap interval of `rank_change`, keywords resampled.
    pub rank_change_ci95: Option<[f64; 2]>,
    /// Keywords.
    #[serde(default)]
    pub rank_keywords: usize,
    /// Prompts.
    pub rank_prompts: usize,
    /// Why numbers are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_reason: Option<String>,
}

impl From<RankChange> for RowRank {
    fn from(change: RankChange) -> Self {
        Self {
            rank_before: change.before.trimmed_mean,
            rank_after: change.after.trimmed_mean,
            rank_change: change.change,
            rank_change_ci95: change.change_ci95,
            rank_keywords: change.before.keywords,
            rank_prompts: change.before.prompts,
            rank_reason: change.reason,
        }
    }
}

/// The reference corpus against another half of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NullDistance {
    /// The model whose features and tokenizer were used.
    pub model: String,
    /// The reference corpus.
    pub reference: String,
    /// The distances between its two halves.
    pub distances: Distances,
}

/// The call about a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Perplexity fell.
    #[serde(rename = "better")]
    Better,
    /// Perplexity rose.
    #[serde(rename = "worse")]
    Worse,
    /// The test shows no change.
    #[default]
    #[serde(rename = "no difference")]
    NoDifference,
}

impl Call {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no difference",
        }
    }
}

/// A domain under one model and strategy, all seeds together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainChange {
    /// The base model.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// Its group.
    pub group: String,
    /// The strategy's name.
    pub strategy: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Change in log-perplexity, nats per token, mean over seeds; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta`: documents are resampled for all seeds at once.
    pub delta_ci95: [f64; 2],
    /// Standard deviation of the change between seeds; null with one seed.
    pub seed_sd: Option<f64>,
    /// What is resampled and flipped: "documents", or "windows" where documents are few.
    pub over: String,
    /// How many of them are scored.
    pub clusters: usize,
    /// Two-sided p-value of the sign-flip permutation test over them.
    pub p: Option<f64>,
    /// `p` corrected over the domains of this model and strategy, after Benjamini and Hochberg.
    pub q: Option<f64>,
    /// Two-sided p-value of the paired t test of their mean changes, each counting once.
    pub t_p: Option<f64>,
    /// The same of Wilcoxon's signed-rank test.
    pub wilcoxon_p: Option<f64>,
    /// Better or worse where `q` is at most `error_rate`.
    pub call: Call,
    /// The share of calls that may be false.
    pub error_rate: f64,
    /// The smallest change that could be detected with this much text: half the width of the interval at `error_rate`.
    pub smallest_effect: f64,
    /// `delta` of the restart control with the same recipe; null where there is none.
    pub restart_delta: Option<f64>,
    /// `delta` beyond that; for its interval the documents of both are resampled. Keys: `beyond_restart`,
    /// `beyond_restart_ci95`.
    #[serde(flatten, with = "beyond_restart")]
    pub beyond_restart: Estimate,
    /// Why a number is missing or a call cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

flat_keys!(beyond_restart, "beyond_restart", ci95: [f64; 2] = "beyond_restart_ci95");

/// A model adapted to the corpus it was pretrained on. Nothing there is new, so the change is the cost of restarting
/// the optimiser. The rest of a domain's change comes from the domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestartControl {
    /// The base model.
    pub model: String,
    /// The reference corpus.
    pub reference: String,
    /// The strategy's name.
    pub strategy: String,
    /// The seeds over which the mean is taken.
    pub seeds: Vec<u64>,
    /// Change in log-perplexity on held-out text of the reference corpus, nats per token, mean over seeds; for its interval
    /// documents are resampled for all seeds at once. Keys: `delta`, `delta_ci95`, `reason`.
    #[serde(flatten, with = "restart_delta")]
    pub delta: Estimate,
    /// Standard deviation of the change between seeds.
    pub seed_sd: Option<f64>,
    /// What it was tested on.
    pub held_out: String,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Test tokens scored.
    pub test_tokens: usize,
}

flat_keys!(restart_delta, "delta", ci95: [f64; 2] = "delta_ci95"; reason = "reason");

/// A cell of the ablation grid: one domain adapted to and evaluated in one way, seeds averaged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AblationRow {
    /// The base model.
    pub model: String,
    /// The domain; "reference corpus" for the restart control.
    pub domain: String,
    /// Its group; empty for the restart control.
    pub group: String,
    /// Whether it is the restart control.
    #[serde(default)]
    pub control: bool,
    /// The strategy's name.
    pub strategy: String,
    /// What stood between documents in training.
    pub train_join: Join,
    /// What became of line breaks inside documents in training.
    pub newlines: Newlines,
    /// What stood between documents in evaluation.
    pub eval_join: Join,
    /// What became of line breaks inside documents in evaluation.
    pub eval_newlines: Newlines,
    /// The peak learning rate.
    pub lr: f64,
    /// The seeds over which the mean is taken.
    pub seeds: Vec<u64>,
    /// Change in log-perplexity, nats per token, mean over seeds.
    pub delta: f64,
    /// 95 % interval of `delta`, documents resampled for all seeds at once.
    pub delta_ci95: [f64; 2],
    /// Standard deviation of the change between seeds; null with one seed.
    pub seed_sd: Option<f64>,
    /// The parts of `delta` carried by line breaks, the tokens after them, the ends of documents, and all others.
    pub parts: LineBreakParts,
    /// 95 % intervals of `parts`, documents resampled for all seeds at once; null in results written by older versions.
    #[serde(default)]
    pub parts_ci95: Option<PartIntervals>,
    /// Change on held-out text of the reference corpus, nats per token, mean over seeds, under the study's own way to
    /// evaluate; null in other cells, in the restart control's, and where there is none.
    #[serde(default)]
    pub forgetting: Option<f64>,
    /// `delta` of the restart control in the same cell; null where there is none.
    pub restart_delta: Option<f64>,
}

/// 95 % intervals of the parts of a change, nats per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartIntervals {
    /// Of tokens that hold a line break.
    pub newline: [f64; 2],
    /// Of the tokens after them.
    pub after_newline: [f64; 2],
    /// Of the ends of documents.
    pub boundary: [f64; 2],
    /// Of all others.
    pub rest: [f64; 2],
}

/// The name of what belongs to one model and strategy, as in [`Correlation::of`].
pub fn arm(model: &str, strategy: &str) -> String {
    format!("{model} / {strategy}")
}

/// The correlation of the change in log-perplexity with one distance, over domains.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// The measure's key.
    pub x: String,
    /// "pooled", or "within:GROUP".
    pub scope: String,
    /// The base model and strategy the rows belong to, as "model / strategy"; correlations never mix them.
    pub of: String,
    /// Domains, after averaging over seeds.
    pub n: usize,
    /// Pearson's r, missing with fewer than three domains or constant values; the interval by a bootstrap over domains,
    /// within groups where there are several. Keys: `pearson`, `pearson_p`, `ci95`, `reason`.
    #[serde(flatten, with = "pearson")]
    pub pearson: Estimate,
    /// Spearman's ρ in the same way; it is missing for the same reason. Keys: `spearman`, `spearman_p`, `spearman_ci95`.
    #[serde(flatten, with = "spearman")]
    pub spearman: Estimate,
    /// Kendall's τ-b; it is missing for the same reason. Keys: `kendall`, `kendall_p`.
    #[serde(flatten, with = "kendall")]
    pub kendall: Estimate,
    /// Pearson's r once each group's means are taken off, where there are several groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_groups: Option<f64>,
    /// Two-sided p-value from permutations inside groups, of `within_groups`; of `pearson` where there is one group.
    #[serde(default)]
    pub permutation_p: Option<f64>,
    /// Pearson's r after allowing for rival explanations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<PartialCorrelation>,
    /// The domain with the largest influence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence: Option<Influence>,
    /// A warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

flat_keys!(pearson, "pearson", p: f64 = "pearson_p", ci95: [f64; 2] = "ci95"; reason = "reason");
flat_keys!(spearman, "spearman", p: f64 = "spearman_p", ci95: [f64; 2] = "spearman_ci95");
flat_keys!(kendall, "kendall", p: f64 = "kendall_p");

/// Pearson's r between the residuals of both sides after a regression on other values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialCorrelation {
    /// The controls: "newline_rate" (of the test text), "ln_domain_tokens", "ln_zero_shot_ppl".
    pub controls: Vec<String>,
    /// Pearson's r of the residuals. Keys: `pearson`, `pearson_p`, `reason`.
    #[serde(flatten, with = "partial_pearson")]
    pub pearson: Estimate,
}

flat_keys!(partial_pearson, "pearson", p: f64 = "pearson_p"; reason = "reason");

/// The domain without which r changes most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Influence {
    /// The domain.
    pub domain: String,
    /// Pearson's r without it.
    pub pearson: f64,
}
