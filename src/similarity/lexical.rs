//! Distances between the token frequencies of two texts.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Most frequent types compared by [`vocabulary_overlap`] unless asked otherwise.
pub const TOP_TYPES: usize = 10_000;

/// How often each token id occurs in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unigrams {
    /// Ids that occur, in order, and how often.
    counts: Vec<(u32, u64)>,
    total: u64,
}

impl FromIterator<(u32, u64)> for Unigrams {
    /// From token ids with their counts; counts of one id add up.
    fn from_iter<I: IntoIterator<Item = (u32, u64)>>(pairs: I) -> Self {
        let mut counts: Vec<(u32, u64)> = pairs.into_iter().filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable_by_key(|(id, _)| *id);
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Self { total: counts.iter().map(|(_, count)| count).sum(), counts }
    }
}

impl Unigrams {
    /// Counts tokens.
    pub fn count(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut counts = HashMap::<u32, u64>::new();
        ids.into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
        counts.into_iter().collect()
    }

    /// Tokens counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Different tokens counted.
    pub fn types(&self) -> usize {
        self.counts.len()
    }

    /// Occurrences of one token.
    pub fn get(&self, id: u32) -> u64 {
        self.counts.binary_search_by_key(&id, |(id, _)| *id).map_or(0, |at| self.counts[at].1)
    }

    /// Every token that occurs with its count, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.counts.iter().copied()
    }

    /// The `k` most frequent tokens, or all if there are fewer; of equally frequent ones the smaller ids. Most frequent
    /// first.
    pub fn top(&self, k: usize) -> Vec<u32> {
        let mut ids: Vec<(u32, u64)> = self.iter().collect();
        ids.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); // stable: ties stay in order of id
        ids.into_iter().take(k).map(|(id, _)| id).collect()
    }
}

/// Jensen–Shannon divergence of the two unigram distributions, bits: 0 for equal ones, 1 for no token in common.
///
/// `½ KL(p|m) + ½ KL(q|m)` with `m = (p + q) / 2`, no smoothing. Lin, IEEE Transactions on Information Theory 37, 1991.
///
/// # Errors
/// [`Error::Numeric`] where a side has no tokens.
pub fn jensen_shannon(p: &Unigrams, q: &Unigrams) -> Result<f64> {
    not_empty(p, q)?;
    let half = |own: &Unigrams, other: &Unigrams| {
        let terms = own.iter().map(|(id, count)| {
            let own = count as f64 / own.total as f64;
            let other = other.get(id) as f64 / other.total as f64;
            own * (2.0 * own / (own + other)).log2()
        });
        0.5 * terms.sum::<f64>()
    };
    Ok((half(p, q) + half(q, p)).clamp(0.0, 1.0))
}

/// Cross-entropy of `domain` under the unigrams of `reference`, nats per token.
///
/// Add-one smoothing over the tokenizer's whole vocabulary: `p(v) = (count(v) + 1) / (total + vocabulary)`.
///
/// # Errors
/// [`Error::Numeric`] where a side has no tokens, or holds an id that a vocabulary of that size does not have.
pub fn cross_entropy(domain: &Unigrams, reference: &Unigrams, vocabulary: usize) -> Result<f64> {
    not_empty(domain, reference)?;
    let largest = [domain, reference].iter().filter_map(|side| side.counts.last()).map(|(id, _)| id).max();
    if let Some(id) = largest.filter(|id| **id as usize >= vocabulary) {
        return Err(Error::numeric(format!("token {id} lies outside a vocabulary of {vocabulary}")));
    }
    let mass = reference.total as f64 + vocabulary as f64;
    let nats = domain.iter().map(|(id, count)| count as f64 * (mass / (reference.get(id) as f64 + 1.0)).ln());
    Ok(nats.sum::<f64>() / domain.total as f64)
}

/// Share of the `k` most frequent types that `a` and `b` have in common: `|A ∩ B| / min(|A|, |B|)`, 0 to 1.
///
/// # Errors
/// [`Error::Numeric`] where a side has no tokens or `k` is 0.
pub fn vocabulary_overlap(a: &Unigrams, b: &Unigrams, k: usize) -> Result<f64> {
    not_empty(a, b)?;
    if k == 0 {
        return Err(Error::numeric("vocabulary overlap of 0 types has no value"));
    }
    let (mut a, b) = (a.top(k), b.top(k));
    a.sort_unstable();
    let common = b.iter().filter(|id| a.binary_search(id).is_ok()).count();
    Ok(common as f64 / a.len().min(b.len()) as f64)
}

fn not_empty(a: &Unigrams, b: &Unigrams) -> Result<()> {
    if a.total == 0 || b.total == 0 {
        return Err(Error::numeric("a text without tokens has no token frequencies to compare"));
    }
    Ok(())
}
