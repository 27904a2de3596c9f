//! Prediction intervals that are valid for any regression: the jackknife+ over groups.

/// The result of a regression that was fitted without one group.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// Its prediction of the new row.
    pub prediction: f64,
    /// The absolute errors on the rows of the group; at least one.
    pub residuals: Vec<f64>,
}

/// The fewest groups with which an interval of this level is finite: `⌈(1 − α)(K + 1)⌉ ≤ K`.
pub fn fewest_groups(level: f64) -> usize {
    (1..).find(|&groups| level * (groups + 1) as f64 <= groups as f64 + ROUNDING).unwrap_or(usize::MAX)
}

/// Sums of weights that differ by this much are equal.
const ROUNDING: f64 = 1e-9;

/// The jackknife+ interval of a new group's row at `level` = 1 − α.
///
/// With one row a group it is that of Barber, Candès, Ramdas and Tibshirani (Annals of Statistics 49, 2021): the
/// ⌊α(K+1)⌋-th smallest `μ₋ₖ − R` to the ⌈(1−α)(K+1)⌉-th smallest `μ₋ₖ + R`. With several, each group weighs the same,
/// as in the hierarchical jackknife+ of Lee, Barber and Willett ("Distribution-free inference with hierarchical data",
/// 2023): rows of a group are alike, groups are exchangeable. Coverage is at least 1 − 2α by proof, and about 1 − α in
/// practice. `None` with too few groups.
pub fn jackknife_plus(groups: &[LeftOut], level: f64) -> Option<[f64; 2]> {
    if groups.len() < fewest_groups(level) {
        return None;
    }
    let upper = |sign: f64| {
        let mut ends: Vec<(f64, f64)> = groups
            .iter()
            .flat_map(|LeftOut { prediction, residuals }| {
                let weight = 1.0 / ((groups.len() + 1) as f64 * residuals.len() as f64);
                residuals.iter().map(move |residual| (sign * prediction + residual, weight))
            })
            .collect();
        ends.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut mass = 0.0;
        let found = ends.iter().find(|(_, weight)| {
            mass += weight;
            mass + ROUNDING >= level
        });
        found.map(|(end, _)| *end).filter(|end| end.is_finite())
    };
    Some([-upper(-1.0)?, upper(1.0)?])
}
