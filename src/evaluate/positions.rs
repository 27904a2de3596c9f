//! Loss by position: how many tokens stand before a token in its window and in its document.

use serde::{Deserialize, Serialize};

use super::protocol::Protocol;
use super::scored::ScoredStream;

/// Mean loss by distance, in bins that double: 0, 1, 2–3, 4–7, … Bins without a scored token are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Positions {
    /// By the number of tokens that were read before in the same window, its prefix included.
    pub window: Vec<Bin>,
    /// By the number of tokens before in the same document, read or not.
    pub document: Vec<Bin>,
}

/// The scored tokens at distances `from..=to`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Smallest distance, tokens.
    pub from: usize,
    /// Largest distance, tokens.
    pub to: usize,
    /// Scored tokens.
    pub count: usize,
    /// Their mean negative log-likelihood, nats.
    pub nll: f64,
}

impl Positions {
    /// Computes it for a stream that was scored under `protocol`.
    pub fn of(scored: &ScoredStream, protocol: &Protocol) -> Self {
        let windows = protocol.windows(&scored.document);
        let in_window =
            windows.iter().flat_map(|w| (w.scored..w.end).map(|token| (w.distance(token), scored.nll[token])));
        let documents = scored.document.chunk_by(|a, b| a == b);
        let in_document = documents.flat_map(|document| 0..document.len()).zip(scored.nll.iter().copied());
        Self { window: bins(in_window), document: bins(in_document) }
    }
}

/// Bins of `(distance, loss)`; a loss that is NaN belongs to a token that is not scored.
fn bins(tokens: impl Iterator<Item = (usize, f32)>) -> Vec<Bin> {
    let mut sums = [(0, 0.0); usize::BITS as usize + 1];
    for (distance, nll) in tokens.filter(|(_, nll)| !nll.is_nan()) {
        // Bin 0 holds distance 0, bin k the distances of k binary digits.
        let (count, sum) = &mut sums[(usize::BITS - distance.leading_zeros()) as usize];
        *count += 1;
        *sum += f64::from(nll);
    }
    let bin = |(digits, (count, sum)): (u32, (usize, f64))| Bin {
        from: if digits == 0 { 0 } else { 1 << (digits - 1) },
        to: usize::MAX.checked_shr(usize::BITS - digits).unwrap_or(0),
        count,
        nll: sum / count as f64,
    };
    (0..).zip(sums).filter(|(_, (count, _))| *count > 0).map(bin).collect()
}
