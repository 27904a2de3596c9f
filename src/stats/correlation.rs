//! Pearson's r, Spearman's ρ and Kendall's τ-b with two-sided p-values, equal to those of `scipy.stats` 1.17.
//!
//! Every function takes paired values `x` and `y`, both `[n]`. If there is no result, it is an [`Undefined`], never
//! NaN.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::function::{beta::checked_beta_reg, erf::erfc};

use super::bootstrap::percentile_interval;

/// A correlation coefficient and how surprising it would be if `x` and `y` were unrelated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// The coefficient, −1 to 1.
    pub statistic: f64,
    /// Two-sided p-value under independence.
    pub p_two_sided: f64,
}

/// Why a correlation has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// `x` and `y` do not pair up.
    #[error("{x} values cannot be paired with {y}")]
    Unpaired {
        /// Length of `x`.
        x: usize,
        /// Length of `y`.
        y: usize,
    },
    /// Fewer than three points.
    #[error("{0} points, at least 3 are needed")]
    TooFew(usize),
    /// A value is infinite or not a number.
    #[error("a value is not finite")]
    NotFinite,
    /// One of the two does not vary.
    #[error("all values are equal")]
    Constant,
    /// Too few points for so many controls.
    #[error("{n} points are too few to allow for {controls} other values")]
    TooFewForControls {
        /// Points.
        n: usize,
        /// Controls.
        controls: usize,
    },
    /// The controls explain one of the two completely.
    #[error("other values account for all of it")]
    Explained,
}

/// Pearson's r.
///
/// Its p-value is exact for normal data: `(r + 1) / 2` is then Beta(n/2 − 1, n/2 − 1).
pub fn pearson(x: &[f64], y: &[f64]) -> Result<Coefficient, Undefined> {
    check(x, y)?;
    let statistic = product_moment(x, y).ok_or(Undefined::Constant)?;
    Ok(Coefficient { statistic, p_two_sided: product_moment_p(statistic, x.len()) })
}

/// Spearman's ρ: Pearson's r of the ranks, ties sharing their mean rank.
///
/// The p-value is the t approximation with n − 2 degrees of freedom, which equals the Beta distribution of [`pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Coefficient, Undefined> {
    check(x, y)?;
    let statistic = product_moment(&ranks(x), &ranks(y)).ok_or(Undefined::Constant)?;
    Ok(Coefficient { statistic, p_two_sided: product_moment_p(statistic, x.len()) })
}

/// Kendall's τ-b.
///
/// The p-value is exact where nothing is tied and n ≤ 33 (or at most one pair is out of order, or all but one); otherwise
/// the normal approximation with the variance corrected for ties. Time grows with n², meant for domains and not tokens.
pub fn kendall(x: &[f64], y: &[f64]) -> Result<Coefficient, Undefined> {
    check(x, y)?;
    let n = x.len();
    let points: Vec<_> = x.iter().zip(y).collect();
    let mut surplus = 0_i64; // concordant minus discordant pairs
    for (i, (x_i, y_i)) in points.iter().enumerate() {
        for (x_j, y_j) in &points[..i] {
            surplus += sign(x_i, x_j) * sign(y_i, y_j);
        }
    }
    let (x_ties, y_ties) = (Ties::count(x), Ties::count(y));
    let pairs = (n * (n - 1) / 2) as f64;
    let statistic = (surplus as f64 / (pairs - x_ties.pairs).sqrt() / (pairs - y_ties.pairs).sqrt()).clamp(-1.0, 1.0);

    let untied = x_ties.pairs == 0.0 && y_ties.pairs == 0.0;
    let rarer = (n * (n - 1) / 2 - surplus.unsigned_abs() as usize) / 2; // min(discordant, concordant) where untied
    let p_two_sided = if untied && (n <= EXACT_KENDALL || rarer <= 1) {
        kendall_exact_p(n, rarer)
    } else {
        let n = n as f64;
        let m = n * (n - 1.0);
        let variance = (m * (2.0 * n + 5.0) - x_ties.fives - y_ties.fives) / 18.0
            + 2.0 * x_ties.pairs * y_ties.pairs / m
            + x_ties.triples * y_ties.triples / (9.0 * m * (n - 2.0));
        erfc(surplus.unsigned_abs() as f64 / variance.sqrt() / std::f64::consts::SQRT_2)
    };
    Ok(Coefficient { statistic, p_two_sided })
}

/// 95 % percentile interval of Pearson's r, from `resamples` bootstrap draws over points.
///
/// A draw that leaves `x` or `y` constant has no r and is left out. `None` where r itself is undefined or nothing was
/// drawn. With few points the interval is coarse: three points allow only a handful of different values.
pub fn pearson_ci95(x: &[f64], y: &[f64], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    stratified_ci95(product_moment, x, y, &vec![0; x.len()], resamples, seed)
}

/// The same for points that come from groups: every draw takes as many of each group as there are. `groups` is `[n]`.
pub fn pearson_ci95_by_group(x: &[f64], y: &[f64], groups: &[usize], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    stratified_ci95(product_moment, x, y, groups, resamples, seed)
}

/// The same of Spearman's ρ.
pub fn spearman_ci95_by_group(x: &[f64], y: &[f64], groups: &[usize], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    stratified_ci95(|x, y| product_moment(&ranks(x), &ranks(y)), x, y, groups, resamples, seed)
}

fn stratified_ci95(
    statistic: impl Fn(&[f64], &[f64]) -> Option<f64>,
    x: &[f64],
    y: &[f64],
    groups: &[usize],
    resamples: usize,
    seed: u64,
) -> Option<[f64; 2]> {
    pearson(x, y).ok()?;
    let members = members(groups, x.len())?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = [vec![0.0; x.len()], vec![0.0; x.len()]];
    let draws = (0..resamples).filter_map(|_| {
        let [x_drawn, y_drawn] = &mut drawn;
        let places = x_drawn.iter_mut().zip(y_drawn);
        let taken = members.iter().flat_map(|group| group.iter().map(move |_| group));
        for ((x_k, y_k), group) in places.zip(taken) {
            let i = group[rng.random_range(0..group.len())];
            (*x_k, *y_k) = (x[i], y[i]);
        }
        statistic(&drawn[0], &drawn[1])
    });
    percentile_interval(draws.collect())
}

/// Pearson's r after subtracting the means of each group: the correlation of `x` and `y` inside groups. Its p-value
/// comes from `permutations` of `y` inside the groups, (k + 1) / (permutations + 1), so that no contrast between groups
/// can make it small. With one group these are Pearson's r and its ordinary permutation test.
///
/// # Errors
/// As [`pearson`]; [`Undefined::Constant`] where nothing varies inside groups.
pub fn pearson_within_groups(
    x: &[f64],
    y: &[f64],
    groups: &[usize],
    permutations: usize,
    seed: u64,
) -> Result<Coefficient, Undefined> {
    check(x, y)?;
    let members = members(groups, x.len()).ok_or(Undefined::Unpaired { x: x.len(), y: groups.len() })?;
    let centred = |values: &[f64]| {
        let mut left = values.to_vec();
        for group in &members {
            let mean = group.iter().map(|&i| values[i]).sum::<f64>() / group.len() as f64;
            let constant = group.iter().all(|&i| values[i] == values[group[0]]);
            group.iter().for_each(|&i| left[i] = if constant { 0.0 } else { values[i] - mean });
        }
        left
    };
    let (x, mut y) = (centred(x), centred(y));
    let statistic = product_moment(&x, &y).ok_or(Undefined::Constant)?;
    // Permuting inside groups changes neither side's length: the sum of products orders permutations as r does.
    let products = |y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>().abs();
    let reached = products(&y) * (1.0 - 1e-12);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let extreme = (0..permutations)
        .filter(|_| {
            for group in &members {
                for last in (1..group.len()).rev() {
                    y.swap(group[last], group[rng.random_range(0..=last)]);
                }
            }
            products(&y) >= reached
        })
        .count();
    Ok(Coefficient { statistic, p_two_sided: (extreme + 1) as f64 / (permutations + 1) as f64 })
}

/// Indices of the points of each group, groups in order; `None` where `groups` is not `[n]`.
fn members(groups: &[usize], n: usize) -> Option<Vec<Vec<usize>>> {
    let mut members = BTreeMap::<usize, Vec<usize>>::new();
    groups.iter().enumerate().for_each(|(i, &group)| members.entry(group).or_default().push(i));
    (groups.len() == n).then(|| members.into_values().collect())
}

/// The point without which Pearson's r changes most, and r without it. `None` with fewer than four points, or where r is
/// undefined; points without which nothing varies are passed over.
pub fn most_influential(x: &[f64], y: &[f64]) -> Option<(usize, f64)> {
    let all = pearson(x, y).ok()?.statistic;
    let without = |values: &[f64], i: usize| [&values[..i], &values[i + 1..]].concat();
    let found = (0..x.len()).filter_map(|i| Some((i, pearson(&without(x, i), &without(y, i)).ok()?.statistic)));
    found.max_by(|(_, a), (_, b)| (a - all).abs().total_cmp(&(b - all).abs()))
}

/// Largest n for which every count of permutations (33! ≈ 2^123) fits a `u128`; scipy's limit too.
const EXACT_KENDALL: usize = 33;

pub(super) fn check(x: &[f64], y: &[f64]) -> Result<(), Undefined> {
    match (x, y) {
        _ if x.len() != y.len() => Err(Undefined::Unpaired { x: x.len(), y: y.len() }),
        _ if x.len() < 3 => Err(Undefined::TooFew(x.len())),
        _ if !x.iter().chain(y).all(|v| v.is_finite()) => Err(Undefined::NotFinite),
        _ if is_constant(x) || is_constant(y) => Err(Undefined::Constant),
        _ => Ok(()),
    }
}

fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// r of finite values; `None` where one side is constant.
pub(super) fn product_moment(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = (unit_deviations(x)?, unit_deviations(y)?);
    Some(x.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0))
}

/// Deviations from the mean, scaled to length 1; `None` for constant values.
///
/// Values are first divided by the largest, so that neither their sum nor their squares overflow. The mean of equal
/// values is not always that value to the last bit, hence the separate test.
fn unit_deviations(values: &[f64]) -> Option<Vec<f64>> {
    if is_constant(values) {
        return None;
    }
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let mean = values.iter().map(|v| v / largest).sum::<f64>() / values.len() as f64;
    let deviations: Vec<f64> = values.iter().map(|v| v / largest - mean).collect();
    let length = deviations.iter().map(|d| d * d).sum::<f64>().sqrt();
    (length > 0.0).then(|| deviations.iter().map(|d| d / length).collect())
}

/// Two-sided p-value of a product-moment correlation of n points. `(1 − |r|) / 2` is exact where |r| is near 1.
pub(super) fn product_moment_p(r: f64, n: usize) -> f64 {
    let half = n as f64 / 2.0 - 1.0; // > 0, as n ≥ 3
    let share = (1.0 - r.abs()) / 2.0;
    let share = if share < 0.0 { 0.0 } else { share }; // rounding may carry |r| past 1
    checked_beta_reg(half, half, share).map_or(f64::NAN, |p| (2.0 * p).min(1.0))
}

/// Ranks from 1; equal values share the mean of theirs.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for run in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = before as f64 + (run.len() as f64 + 1.0) / 2.0;
        run.iter().for_each(|&i| ranks[i] = shared);
        before += run.len();
    }
    ranks
}

fn sign(a: &f64, b: &f64) -> i64 {
    a.partial_cmp(b).map_or(0, |order| order as i64)
}

/// Sums over runs of t equal values, as Kendall's variance needs them.
struct Ties {
    /// Σ t(t−1)/2: tied pairs.
    pairs: f64,
    /// Σ t(t−1)(t−2).
    triples: f64,
    /// Σ t(t−1)(2t+5).
    fives: f64,
}

impl Ties {
    fn count(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut ties = Self { pairs: 0.0, triples: 0.0, fives: 0.0 };
        for run in sorted.chunk_by(|a, b| a == b) {
            let t = run.len() as f64;
            ties.pairs += t * (t - 1.0) / 2.0;
            ties.triples += t * (t - 1.0) * (t - 2.0);
            ties.fives += t * (t - 1.0) * (2.0 * t + 5.0);
        }
        ties
    }
}

/// Two-sided p-value of τ without ties: the share of all n! orders with at most `rarer` pairs out of order, doubled.
///
/// Kendall, Rank Correlation Methods, 1970; the counts of permutations by inversions follow from those of one item less.
/// Needs n ≤ 33 or `rarer` ≤ 1.
fn kendall_exact_p(n: usize, rarer: usize) -> f64 {
    let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
    match rarer {
        0 => 2.0 / factorial(n), // an infinite factorial rightly gives 0
        1 => (2.0 / factorial(n - 1)).min(1.0),
        _ if 4 * rarer == n * (n - 1) => 1.0, // as many in order as out of order
        _ => {
            // ways[c]: orders of j items with c inversions, for c ≤ rarer
            let mut ways = vec![0_u128; rarer + 1];
            ways[0] = 1;
            for j in 2..=n {
                let fewer = ways.clone();
                let mut window = 0; // inserting the j-th item adds 0 to j − 1 inversions
                for c in 0..=rarer {
                    window += fewer[c];
                    if c >= j {
                        window -= fewer[c - j];
                    }
                    ways[c] = window;
                }
            }
            (2.0 * ways.iter().sum::<u128>() as f64 / factorial(n)).min(1.0)
        }
    }
}

/// Intercept and slope of the least-squares line through `(x, y)`; `None` with fewer than three points or one x.
pub fn least_squares(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    (points.len() >= 3 && slope.is_finite()).then_some((y - slope * x, slope))
}
