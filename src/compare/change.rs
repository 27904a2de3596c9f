//! The result of comparing two evaluations of the same text, as `compare --json` and every study hold it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluate::divergence::Divergence;
use crate::rank::RankChange;
use crate::text::TokenClass;

/// What adaptation changed, overall and by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// "odyssey.compare/1".
    pub schema: String,
    /// The model before.
    pub before: Side,
    /// The model after.
    pub after: Side,
    /// Change in mean negative log-likelihood, nats per token, after minus before; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta` by a paired block bootstrap over documents (or windows).
    pub delta_ci95: [f64; 2],
    /// Tokens compared.
    pub scored: usize,
    /// Every token type, the largest contribution to a worsening first. Contributions sum to `delta`.
    pub types: Vec<TypeChange>,
    /// The same by class of token; contributions sum to `delta`.
    pub classes: Vec<ClassChange>,
    /// The same by how likely the token was before and after; contributions sum to `delta`. Absent in results of older
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loss_classes: Vec<LossClassChange>,
    /// How few types carry the worsening.
    pub handful: Handful,
    /// Perplexity with some targets left out (the model still reads them), by name: a class, "after_newline",
    /// "newline_and_after", "handful".
    pub without: BTreeMap<String, Without>,
    /// How far apart the two models predict over the whole vocabulary; absent if only stored scores were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// Why `divergence` is missing, where both models were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence_reason: Option<String>,
    /// Prediction rank of the domain's terms before and after, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankChange>,
    /// The passages that changed most, worst first and then best.
    pub passages: Vec<Passage>,
}

/// How much of δ the line breaks and the ends of documents carry: the parts sum to δ, nats per token of the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LineBreakParts {
    /// Of the tokens that hold a line break.
    pub newline: f64,
    /// Of the tokens right after a line break that belong to no other part.
    pub after_newline: f64,
    /// Of the end-of-text tokens between documents, and of the tokens right after one that hold no line break. Null in
    /// results of older versions, which counted it with the other parts.
    #[serde(default)]
    pub boundary: Option<f64>,
    /// Of all others.
    pub rest: f64,
}

impl Comparison {
    /// Splits δ into the parts of line breaks, of the tokens after them, and the rest, which includes the ends of
    /// documents. For results of older versions, which have no [`super::PartChanges`].
    pub fn line_break_parts(&self) -> LineBreakParts {
        let newline = self.classes.iter().filter(|c| c.class == TokenClass::Newline).map(|c| c.contribution).sum();
        let scored = self.scored.max(1) as f64;
        let rest = match self.without.get("newline_and_after") {
            Some(Without { scored: left, delta, .. }) => *left as f64 / scored * delta.unwrap_or(0.0),
            None => self.delta - newline,
        };
        LineBreakParts { newline, after_newline: self.delta - newline - rest, boundary: None, rest }
    }

    /// Keeps this many token types from each end of the list.
    pub fn shorten(&mut self, types: usize) {
        if self.types.len() > 2 * types {
            self.types.drain(types..self.types.len() - types);
        }
    }
}

/// One of the two models on the common text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Its name or folder.
    pub model: String,
    /// Mean negative log-likelihood, nats per token.
    pub nll: f64,
    /// exp of `nll`.
    #[serde(deserialize_with = "crate::evaluate::null_as_infinite")]
    pub ppl: f64,
    /// Why `ppl` is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One token type's part in the change: `contribution = share · (after − before)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeChange {
    /// Token id.
    pub id: u32,
    /// The token as text, as it would be printed (a line break is a line break).
    pub token: String,
    /// Its class.
    pub class: TokenClass,
    /// Scored occurrences.
    pub count: usize,
    /// `count` over all scored tokens.
    pub share: f64,
    /// Mean negative log-likelihood before, nats.
    pub before: f64,
    /// Mean negative log-likelihood after, nats.
    pub after: f64,
    /// Its part of `delta`, nats per token of the text.
    pub contribution: f64,
    /// 95 % bootstrap interval of the contribution.
    pub contribution_ci95: [f64; 2],
}

/// One class's part in the change. Classes are those of the tokens, or others ([`LossClassChange`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassChange<C = TokenClass> {
    /// The class.
    pub class: C,
    /// Scored occurrences.
    pub count: usize,
    /// `count` over all scored tokens.
    pub share: f64,
    /// Mean negative log-likelihood before, nats.
    pub before: f64,
    /// Mean negative log-likelihood after, nats.
    pub after: f64,
    /// Its part of `delta`.
    pub contribution: f64,
}

/// How likely a token was before and after: its loss was above (high) or at most (low) the mean loss before (after arXiv
/// 2404.07965, which has these four classes for the beginning and the end of a training).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossClass {
    /// Unlikely before and after: noise, or not learned.
    HighHigh,
    /// Learned.
    HighLow,
    /// Unlearned.
    LowHigh,
    /// Likely before and after: known.
    LowLow,
}

impl LossClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HighHigh, Self::HighLow, Self::LowHigh, Self::LowLow];

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::HighHigh => "unlikely before and after",
            Self::HighLow => "learned: unlikely, then likely",
            Self::LowHigh => "unlearned: likely, then unlikely",
            Self::LowLow => "likely before and after",
        }
    }
}

/// The part of such tokens in the change.
pub type LossClassChange = ClassChange<LossClass>;

/// The fewest token types that carry at least nine tenths of the worsening (the sum of positive contributions).
///
/// Ranked on one half of the documents and measured on the other, so that noise does not look concentrated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Handful {
    /// Smallest k whose top k contributions reach 0.9 of all positive ones, on all documents.
    pub types: usize,
    /// The share of the worsening those `types` carry.
    pub share_of_worsening: f64,
    /// The ten worst types of one half of the documents, measured on the other half: their part of the worsening
    /// there. `None` with a single document or window, or where nothing got worse there.
    pub held_out_share_of_top_10: Option<f64>,
    /// The same for ten types drawn at random, mean over draws.
    pub held_out_share_of_random_10: Option<f64>,
    /// Why the held-out shares are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Perplexity over the targets that remain when some are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Without {
    /// Targets that remain.
    pub scored: usize,
    /// Perplexity before; `None` when nothing remains or it is beyond the range of f64.
    pub before: Option<f64>,
    /// Perplexity after.
    pub after: Option<f64>,
    /// Change in mean negative log-likelihood, nats per remaining token.
    pub delta: Option<f64>,
    /// Why a number is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A stretch of consecutive tokens, for the heat view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Index of the document it comes from.
    pub document: u32,
    /// Offset of the first token in its document, bytes.
    pub byte: u64,
    /// Mean change over its scored tokens, nats per token.
    pub delta: f64,
    /// The tokens in order.
    pub tokens: Vec<PassageToken>,
}

/// A token of a passage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassageToken {
    /// The token as text; bytes that are not a whole character are shown by the replacement character.
    pub text: String,
    /// Negative log-likelihood before, nats; absent where the protocol does not score the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f32>,
    /// Negative log-likelihood after, nats; absent with `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f32>,
}
