//! The passages that changed most, for the heat view.

use super::change::{Passage, PassageToken};
use crate::evaluate::ScoredStream;
use crate::text::Vocabulary;

/// Tokens of a passage: a few lines of text.
const LENGTH: usize = 60;
/// Passages with fewer scored tokens are left out.
const FEWEST_SCORED: usize = 30;
/// Passages shown from each end.
const SHOWN: usize = 5;

/// The worst passages, worst first, then the best, best last. Passages lie side by side within documents.
pub fn most_changed(before: &ScoredStream, after: &ScoredStream, vocabulary: &Vocabulary) -> Vec<Passage> {
    let mut ranked: Vec<(f64, std::ops::Range<usize>)> = Vec::new();
    let mut start = 0;
    for document in before.document.chunk_by(|a, b| a == b) {
        let end = start + document.len();
        for from in (start..end).step_by(LENGTH) {
            let range = from..(from + LENGTH).min(end);
            let changes: Vec<f64> = range
                .clone()
                .filter(|&i| !before.nll[i].is_nan())
                .map(|i| f64::from(after.nll[i]) - f64::from(before.nll[i]))
                .collect();
            if changes.len() >= FEWEST_SCORED.min(before.ids.len() / 2).max(1) {
                ranked.push((changes.iter().sum::<f64>() / changes.len() as f64, range));
            }
        }
        start = end;
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.start.cmp(&b.1.start)));
    let shown = SHOWN.min(ranked.len() / 2).max(usize::from(!ranked.is_empty()));
    let (worst, rest) = ranked.split_at(shown);
    let best = &rest[rest.len().saturating_sub(shown)..];
    worst.iter().chain(best).map(|(delta, range)| passage(*delta, range.clone(), before, after, vocabulary)).collect()
}

fn passage(
    delta: f64,
    range: std::ops::Range<usize>,
    before: &ScoredStream,
    after: &ScoredStream,
    vocabulary: &Vocabulary,
) -> Passage {
    let scored = |nll: f32| (!nll.is_nan()).then_some(nll);
    Passage {
        document: before.document[range.start],
        byte: before.byte[range.start].into(),
        delta,
        tokens: range
            .map(|i| PassageToken {
                text: vocabulary.text(before.ids[i]).into_owned(),
                before: scored(before.nll[i]),
                after: scored(after.nll[i]),
            })
            .collect(),
    }
}
