//! The tokens of two scorings of one text, side by side.

use crate::error::{Error, Result};
use crate::evaluate::ScoredStream;

/// A scored position of both streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) position: usize,
    pub(super) id: u32,
    pub(super) cluster: usize,
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Pair {
    /// What changed, nats.
    pub(super) fn change(&self) -> f64 {
        self.after - self.before
    }
}

/// The positions that both streams score; `names` are those of the models.
///
/// # Errors
/// The streams differ in tokens or in which of them are scored.
pub(super) fn pair(before: &ScoredStream, after: &ScoredStream, names: [&str; 2]) -> Result<Vec<Pair>> {
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
