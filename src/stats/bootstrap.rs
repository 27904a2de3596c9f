//! The cluster bootstrap: intervals for a ratio Σs/Σn over documents or windows.
//!
//! Tokens of one document are not independent, so whole documents (or, with a single document, whole windows of the
//! context length) are drawn with replacement, never tokens. Intervals are percentile intervals at 95 %.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// Default number of resamples of an interval.
pub const RESAMPLES: usize = 2000;
/// Seed of every bootstrap interval: the same numbers give the same interval.
pub const BOOTSTRAP_SEED: u64 = 42;

/// 95 % interval of `Σ sums / Σ counts`, resampling clusters; `sums` and `counts` are `[clusters]`.
///
/// For one statistic; several on the same clusters share their draws through [`Resamples`]. With one cluster nothing
/// varies and both ends equal the ratio, so callers then pass windows.
///
/// # Errors
/// As [`Resamples::over`] and [`Ratio::interval`].
pub fn ratio_interval(sums: &[f64], counts: &[f64], resamples: usize, seed: u64) -> Result<[f64; 2]> {
    Resamples::new(counts.len(), resamples, seed).ratio_interval(sums, counts)
}

/// Bootstrap draws of clusters, made once and used for many statistics.
///
/// Holds how often each draw took each cluster: 2 bytes × clusters × resamples (1,000 documents and 2,000 resamples:
/// 4 MB). The same seed gives the same draws on every machine.
#[derive(Debug, Clone)]
pub struct Resamples {
    clusters: usize,
    resamples: usize,
    /// `[clusters, resamples]`, so that a statistic living in a few clusters touches only their rows.
    multiplicities: Vec<u16>,
}

impl Resamples {
    /// Draws `clusters` clusters with replacement, `resamples` times.
    pub fn new(clusters: usize, resamples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut multiplicities = vec![0_u16; clusters * resamples];
        for resample in 0..resamples {
            for _ in 0..clusters {
                let taken = &mut multiplicities[rng.random_range(0..clusters) * resamples + resample];
                // one cluster 65,535 times in one draw: less likely than 1 in 65,535!
                *taken = taken.saturating_add(1);
            }
        }
        Self { clusters, resamples, multiplicities }
    }

    /// How often a draw takes a cluster.
    pub fn taken(&self, cluster: usize, resample: usize) -> u16 {
        self.multiplicities[cluster * self.resamples + resample]
    }

    /// 95 % interval of `Σ sums / Σ counts`; both are `[clusters]`.
    ///
    /// # Errors
    /// As [`Resamples::over`] and [`Ratio::interval`].
    pub fn ratio_interval(&self, sums: &[f64], counts: &[f64]) -> Result<[f64; 2]> {
        if sums.len() != self.clusters {
            return Err(Error::numeric(format!("{} sums for {} clusters", sums.len(), self.clusters)));
        }
        self.over(counts)?.interval(sums.iter().copied().enumerate())
    }

    /// Fixes the denominator Σ counts, `[clusters]`, for any number of numerators: every token type's contribution
    /// has the same one, the scored tokens.
    ///
    /// # Errors
    /// [`Error::Numeric`] where the number of counts is not that of the clusters, a count is negative or not finite, or
    /// no draw has a positive total.
    pub fn over(&self, counts: &[f64]) -> Result<Ratio<'_>> {
        if counts.len() != self.clusters {
            return Err(Error::numeric(format!("{} counts for {} clusters", counts.len(), self.clusters)));
        }
        if !counts.iter().all(|n| n.is_finite() && *n >= 0.0) {
            return Err(Error::numeric("a bootstrap needs counts that are finite and not negative"));
        }
        let denominators = self.totals(counts.iter().copied().enumerate());
        if !denominators.iter().any(|total| *total > 0.0) {
            return Err(Error::numeric("nothing to resample: every cluster is empty"));
        }
        Ok(Ratio { resamples: self, denominators })
    }

    /// Σ value over each draw, `[resamples]`, of `(cluster, value)` pairs; clusters that do not exist count as 0.
    fn totals(&self, values: impl IntoIterator<Item = (usize, f64)>) -> Vec<f64> {
        let mut totals = vec![0.0; self.resamples];
        for (cluster, value) in values.into_iter().filter(|(cluster, _)| *cluster < self.clusters) {
            let row = &self.multiplicities[cluster * self.resamples..][..self.resamples];
            for (total, taken) in totals.iter_mut().zip(row) {
                *total += value * f64::from(*taken);
            }
        }
        totals
    }
}

/// Ratios with a common denominator under the same draws, see [`Resamples::over`].
#[derive(Debug, Clone)]
pub struct Ratio<'a> {
    resamples: &'a Resamples,
    /// Σ counts of each draw, `[resamples]`.
    denominators: Vec<f64>,
}

impl Ratio<'_> {
    /// 95 % interval of the ratio whose numerator is the sum of `(cluster, sum)` pairs.
    ///
    /// Clusters that are not named add nothing and take no time, so a token type in three documents costs three rows.
    /// Draws without a single counted token have no ratio and are left out.
    ///
    /// # Errors
    /// [`Error::Numeric`] where a sum is not finite.
    pub fn interval(&self, sums: impl IntoIterator<Item = (usize, f64)>) -> Result<[f64; 2]> {
        percentile_interval(self.draws(sums))
            .ok_or_else(|| Error::numeric("a bootstrap needs sums that are finite numbers"))
    }

    /// The ratio of each draw, for intervals at other levels and of functions of several ratios.
    pub fn draws(&self, sums: impl IntoIterator<Item = (usize, f64)>) -> Vec<f64> {
        let numerators = self.resamples.totals(sums);
        numerators
            .iter()
            .zip(&self.denominators)
            .filter(|(_, denominator)| **denominator > 0.0)
            .map(|(numerator, denominator)| numerator / denominator)
            .collect()
    }
}

/// The 2.5th and 97.5th percentiles of `draws`, linear between order statistics (Hyndman and Fan's type 7, as numpy's
/// default). `None` for no draws or one that is not finite.
pub fn percentile_interval(draws: Vec<f64>) -> Option<[f64; 2]> {
    percentile_interval_at(draws, 0.05)
}

/// The same for the share `outside` of the draws outside the interval, half of it on each side.
pub fn percentile_interval_at(mut draws: Vec<f64>, outside: f64) -> Option<[f64; 2]> {
    if draws.is_empty() || !draws.iter().all(|v| v.is_finite()) {
        return None;
    }
    draws.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let position = share * (draws.len() - 1) as f64;
        let below = position.floor() as usize;
        let above = (below + 1).min(draws.len() - 1);
        draws[below] + (position - below as f64) * (draws[above] - draws[below])
    };
    Some([at(outside / 2.0), at(1.0 - outside / 2.0)])
}
