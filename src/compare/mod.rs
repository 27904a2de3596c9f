//! What adaptation changed, token by token, from two scored streams of the same text.
//!
//! `δ = Σ_v c_v` with `c_v = f_v (ℓ_v^after − ℓ_v^before)`: an exact attribution of the change in log-perplexity to token
//! types v of share f_v and mean negative log-likelihood ℓ_v.

mod attribution;
mod change;
mod comparable;
mod loss_profile;
mod paired;
mod parts;
mod passages;
pub mod token_class;

use std::borrow::Cow;

pub use change::{ClassChange, Comparison, Handful, LineBreakParts, Passage, PassageToken, Side, TypeChange, Without};
pub use comparable::{Scoring, check_comparable};
pub use loss_profile::{ClassLoss, LossProfile};
pub use paired::PairedChanges;
pub use parts::PartChanges;
pub use token_class::TokenClass;

use crate::error::{Error, Result};
use crate::evaluate::{BOOTSTRAP_SEED, RESAMPLES, ScoredStream, beyond_f64};
use crate::stats::Resamples;
use crate::text::Tokenizer;

/// Names and classes of the tokens of one vocabulary.
pub struct Vocabulary {
    size: usize,
    /// Text and class of every token; `None` without a tokenizer.
    known: Option<(Vec<String>, Vec<TokenClass>)>,
}

impl Vocabulary {
    /// For a model of `size` entries; without a tokenizer tokens are called by their id.
    pub fn new(tokenizer: Option<&Tokenizer>, size: usize) -> Self {
        let known = tokenizer.map(|tokenizer| {
            let texts = (0..u32::MAX).take(size).map(|id| tokenizer.token_shown(id)).collect();
            (texts, token_class::classes(tokenizer, size))
        });
        Self { size, known }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The token as people read it, see [`Tokenizer::token_shown`]; empty for an id beyond the vocabulary.
    pub fn text(&self, id: u32) -> Cow<'_, str> {
        match &self.known {
            Some((texts, _)) => texts.get(id as usize).map_or("", String::as_str).into(),
            None if (id as usize) < self.size => format!("#{id}").into(),
            None => "".into(),
        }
    }

    /// Its class.
    pub fn class(&self, id: u32) -> TokenClass {
        let known = self.known.as_ref().and_then(|(_, classes)| classes.get(id as usize));
        known.copied().unwrap_or(TokenClass::Other)
    }

    /// The share of `ids` that hold a line break.
    pub fn newline_rate(&self, ids: &[u32]) -> f64 {
        let newlines = ids.iter().filter(|&&id| self.class(id) == TokenClass::Newline).count();
        newlines as f64 / ids.len().max(1) as f64
    }
}

/// A scored position of both streams.
#[derive(Debug, Clone, Copy)]
struct Pair {
    position: usize,
    id: u32,
    cluster: usize,
    before: f64,
    after: f64,
}

impl Pair {
    fn change(&self) -> f64 {
        self.after - self.before
    }
}

/// Compares two scorings of one text; `names` are those of the models.
///
/// # Errors
/// The streams differ in their tokens or in the scored positions, so they are not the same text under the same
/// protocol.
pub fn compare(
    before: &ScoredStream,
    after: &ScoredStream,
    names: [&str; 2],
    vocabulary: &Vocabulary,
) -> Result<Comparison> {
    let pairs = pair(before, after, names)?;
    let clusters = before.clusters();
    let PairedChanges { changes, tokens: counts, .. } = PairedChanges::new(&pairs, &clusters);
    let resamples = Resamples::new(clusters.count, RESAMPLES, BOOTSTRAP_SEED);
    let ratio = resamples.over(&counts)?;

    let types = attribution::types(&pairs, vocabulary, &ratio)?;
    let handful = attribution::handful(&pairs, &types, clusters.count);
    let side = |name: &str, nll: fn(&Pair) -> f64| {
        let nll = pairs.iter().map(nll).sum::<f64>() / pairs.len() as f64;
        Side { model: name.to_owned(), nll, ppl: nll.exp(), reason: beyond_f64([nll.exp()]) }
    };
    let (before_side, after_side) = (side(names[0], |p| p.before), side(names[1], |p| p.after));
    Ok(Comparison {
        schema: "odyssey.compare/1".into(),
        delta: after_side.nll - before_side.nll,
        before: before_side,
        after: after_side,
        delta_ci95: ratio.interval(changes.iter().copied().enumerate())?,
        scored: pairs.len(),
        classes: attribution::classes(&pairs, vocabulary),
        without: attribution::without(&pairs, &before.ids, vocabulary, &types[..handful.types]),
        types,
        handful,
        divergence: None,
        divergence_reason: None,
        rank: None,
        passages: passages::most_changed(before, after, vocabulary),
    })
}

fn pair(before: &ScoredStream, after: &ScoredStream, names: [&str; 2]) -> Result<Vec<Pair>> {
    let place = || format!("{} and {}", names[0], names[1]);
    let cure = "score one text with both models under one protocol";
    if before.ids != after.ids {
        return Err(Error::input(place(), "their texts differ in tokens", cure));
    }
    if before.nll.iter().zip(&after.nll).any(|(b, a)| b.is_nan() != a.is_nan()) {
        return Err(Error::input(place(), "they score different tokens", cure));
    }
    let clusters = before.clusters();
    let pairs: Vec<Pair> = before
        .scored()
        .map(|position| Pair {
            position,
            id: before.ids[position],
            cluster: clusters.of[position] as usize,
            before: f64::from(before.nll[position]),
            after: f64::from(after.nll[position]),
        })
        .collect();
    if pairs.is_empty() {
        return Err(Error::input(place(), "no token is scored", "give more text"));
    }
    Ok(pairs)
}
