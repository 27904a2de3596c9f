//! Partial correlation: the correlation of two values after removing the effect of others.

use super::correlation::{Coefficient, Undefined, check, product_moment, product_moment_p};

/// A control that keeps less than this share of its length after removing the others is redundant.
const INDEPENDENT: f64 = 1e-8;

/// Deviations from the mean of this share of the largest value are rounding.
const ROUNDING: f64 = 1e-14;

/// A partial correlation, and how many controls it allows for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partial {
    /// Pearson's r between the residuals, and its two-sided p-value with n − 2 − `controls` degrees of freedom.
    pub coefficient: Coefficient,
    /// The controls that vary and are not sums of others; the others take no degree of freedom.
    pub controls: usize,
}

/// Pearson's r between the residuals of `x` and of `y` after least squares on `controls` (each `[n]`, and a constant).
///
/// # Errors
/// As [`super::pearson`]; [`Undefined::TooFew`] where no degree of freedom is left, [`Undefined::Explained`] where the
/// controls leave nothing of `x` or of `y`.
pub fn partial_pearson(x: &[f64], y: &[f64], controls: &[Vec<f64>]) -> Result<Partial, Undefined> {
    check(x, y)?;
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for control in controls {
        match check(x, control) {
            Err(Undefined::Constant) => continue, // its mean may be off by rounding, and that would vary
            found => found?,
        }
        if let Some(direction) = residual(control, &basis).and_then(unit) {
            basis.push(direction);
        }
    }
    let kept = basis.len();
    if x.len() < kept + 3 {
        return Err(Undefined::TooFewForControls { n: x.len(), controls: kept });
    }
    let left = |values: &[f64]| residual(values, &basis).ok_or(Undefined::Explained);
    let statistic = product_moment(&left(x)?, &left(y)?).ok_or(Undefined::Explained)?;
    let p_two_sided = product_moment_p(statistic, x.len() - kept);
    Ok(Partial { coefficient: Coefficient { statistic, p_two_sided }, controls: kept })
}

/// The residuals of `values` after the constant and the orthonormal `basis`; `None` if only rounding is left.
fn residual(values: &[f64], basis: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let mut left: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let length = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let before = length(&left);
    // The mean of equal values is not always that value to the last bit.
    let largest = values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    if before <= ROUNDING * largest * (values.len() as f64).sqrt() {
        return None;
    }
    // Gram and Schmidt, twice: a single pass loses digits if a control is almost a sum of others.
    for direction in basis.iter().chain(basis) {
        let along: f64 = left.iter().zip(direction).map(|(v, d)| v * d).sum();
        left.iter_mut().zip(direction).for_each(|(v, d)| *v -= along * d);
    }
    (length(&left) > INDEPENDENT * before).then_some(left)
}

fn unit(values: Vec<f64>) -> Option<Vec<f64>> {
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    (length > 0.0).then(|| values.iter().map(|v| v / length).collect())
}
