//! A corpus as the measures see it.

use super::counts::Counts;
use super::features::Features;

/// A corpus as the measures see it.
#[derive(Debug, Clone)]
pub struct CorpusSample {
    /// Feature vectors of its chunks, or why there are none.
    pub features: Result<Features, String>,
    /// Its token counts.
    pub counts: Counts,
}

/// The size of a part of the reference that is compared like a domain: the median of the domains' sizes.
pub fn usual(sizes: &[u64]) -> u64 {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or(0)
}
