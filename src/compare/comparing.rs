//! Compares two scorings of one text.

use super::attribution;
use super::change::{Comparison, Side};
use super::pair::{Pair, pair};
use super::paired::PairedChanges;
use super::passages;
use crate::error::Result;
use crate::evaluate::{ScoredStream, beyond_f64};
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::text::Vocabulary;

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
        loss_classes: attribution::loss_classes(&pairs),
        without: attribution::without(&pairs, &before.ids, vocabulary, &types[..handful.types]),
        types,
        handful,
        divergence: None,
        divergence_reason: None,
        rank: None,
        passages: passages::most_changed(before, after, vocabulary),
    })
}
