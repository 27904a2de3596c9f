//! Paired tests: is the mean of differences 0? Each takes differences `[n]`, one for each document, never one for each
//! token.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::function::{beta::checked_beta_reg, erf::erfc};

use super::correlation::ranks;

/// Default number of random sign flips for a p-value; the smallest p-value is then 1e-4.
pub const DEFAULT_FLIPS: usize = 9999;

/// With at most so many differences that are not 0, all 2^n sign flips are computed.
const EXACT_FLIPS: usize = 12;

/// With at most so many differences, the null distribution of Wilcoxon's test is computed exactly; scipy has the same
/// limit.
const EXACT_WILCOXON: usize = 50;

/// A test statistic and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedTest {
    /// The statistic.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p_two_sided: f64,
}

/// Two-sided p-value of the sign-flip permutation test: without an effect each difference has either sign with equal
/// chance.
///
/// The statistic is |Σ differences|, so that differences summed over documents test the mean over tokens. Exact for at
/// most 12 differences other than 0, otherwise (k + 1) / (flips + 1), where k of the random flips reach the statistic.
/// `None` without a difference, or where one is not finite. 1 where all are 0.
pub fn sign_flip_p(differences: &[f64], flips: usize, seed: u64) -> Option<f64> {
    if differences.is_empty() || !differences.iter().all(|d| d.is_finite()) {
        return None;
    }
    let moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let size: f64 = moved.iter().map(|d| d.abs()).sum();
    // A flip whose sum differs only by rounding counts as reaching it.
    let reached = moved.iter().sum::<f64>().abs() - 1e-12 * size;
    let sum = |positive: &dyn Fn(usize) -> bool| -> f64 {
        moved.iter().enumerate().map(|(i, d)| if positive(i) { *d } else { -d }).sum()
    };
    if moved.len() <= EXACT_FLIPS {
        let all = 1_u32 << moved.len();
        let extreme = (0..all).filter(|signs| sum(&|i| signs >> i & 1 == 1).abs() >= reached).count();
        return Some(extreme as f64 / f64::from(all));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut signs = vec![0_u64; moved.len().div_ceil(64)];
    let extreme = (0..flips)
        .filter(|_| {
            signs.fill_with(|| rng.random());
            sum(&|i| signs[i / 64] >> (i % 64) & 1 == 1).abs() >= reached
        })
        .count();
    Some((extreme + 1) as f64 / (flips + 1) as f64)
}

/// The paired t test: exact for normal differences. `None` with fewer than two, or where they do not vary.
pub fn paired_t(differences: &[f64]) -> Option<PairedTest> {
    let n = differences.len() as f64;
    if differences.len() < 2 || !differences.iter().all(|d| d.is_finite()) {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let statistic = mean / (variance / n).sqrt();
    if !(variance > 0.0 && statistic.is_finite()) {
        return None;
    }
    let freedom = n - 1.0;
    // P(|T| > t) = I_x(ν/2, 1/2) at x = ν / (ν + t²)
    let p_two_sided = checked_beta_reg(freedom / 2.0, 0.5, freedom / (freedom + statistic * statistic)).ok()?;
    Some(PairedTest { statistic, p_two_sided })
}

/// Wilcoxon's signed-rank test, as `scipy.stats.wilcoxon` does it by default: differences of 0 are dropped, and the
/// statistic is the smaller of the two sums of ranks.
///
/// Exact for at most 50 differences without ties, otherwise the normal approximation with the variance corrected for
/// ties. `None` where no difference is left, or one is not finite.
pub fn wilcoxon(differences: &[f64]) -> Option<PairedTest> {
    if !differences.iter().all(|d| d.is_finite()) {
        return None;
    }
    let moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let sizes: Vec<f64> = moved.iter().map(|d| d.abs()).collect();
    let n = moved.len();
    if n == 0 {
        return None;
    }
    let ranks = ranks(&sizes);
    let positive: f64 = ranks.iter().zip(&moved).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let count = n as f64;
    let statistic = positive.min(count * (count + 1.0) / 2.0 - positive);
    let mut sorted = sizes;
    sorted.sort_by(f64::total_cmp);
    let ties: f64 =
        sorted.chunk_by(|a, b| a == b).map(|run| (run.len() as f64).powi(3) - run.len() as f64).sum::<f64>();
    let p_two_sided = if n <= EXACT_WILCOXON && ties == 0.0 {
        (2.0 * at_most(n, statistic as usize)).min(1.0)
    } else {
        let variance = (count * (count + 1.0) * (2.0 * count + 1.0) - ties / 2.0) / 24.0;
        let z = (statistic - count * (count + 1.0) / 4.0) / variance.sqrt();
        erfc(z.abs() / std::f64::consts::SQRT_2)
    };
    Some(PairedTest { statistic, p_two_sided })
}

/// The share of the 2^n choices of ranks 1 … n whose sum is at most `most`; n ≤ 50.
fn at_most(n: usize, most: usize) -> f64 {
    let mut ways = vec![0_u64; n * (n + 1) / 2 + 1];
    ways[0] = 1;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways.iter().take(most + 1).map(|&w| w as f64).sum::<f64>() / 2_f64.powi(n as i32)
}
