//! Ridge regression from sums over rows, so that rows can be left out by subtraction.

use nalgebra::{DMatrix, DVector};

use crate::error::{Error, Result};

/// Weighted sums over rows of predictors x `[terms]` and a target y: all that a ridge regression needs of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    weight: f64,
    x: DVector<f64>,
    y: f64,
    /// Σ w x xᵀ, `[terms, terms]`.
    xx: DMatrix<f64>,
    xy: DVector<f64>,
}

/// A fitted ridge regression, `y = intercept + coefficients · x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ridge {
    /// The prediction where every x is 0.
    pub intercept: f64,
    /// Of the predictors as they were given, not standardised. `[terms]`
    pub coefficients: Vec<f64>,
    /// The effect of one weighted standard deviation of each predictor. `[terms]`
    pub standardised: Vec<f64>,
}

/// A column whose variance is this small a part of its mean square is constant except for rounding.
const CONSTANT: f64 = 1e-12;

impl Moments {
    /// Of no rows.
    pub fn none(terms: usize) -> Self {
        Self {
            weight: 0.0,
            x: DVector::zeros(terms),
            y: 0.0,
            xx: DMatrix::zeros(terms, terms),
            xy: DVector::zeros(terms),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, weight: f64, x: &[f64], y: f64) {
        let row = DVector::from_column_slice(x);
        self.weight += weight;
        self.y += weight * y;
        self.xx.ger(weight, &row, &row, 1.0);
        self.xy.axpy(weight * y, &row, 1.0);
        self.x.axpy(weight, &row, 1.0);
    }

    /// Adds what `other` sums.
    pub fn plus(&mut self, other: &Self) {
        self.scaled(other, 1.0);
    }

    /// Leaves out what `other` sums.
    pub fn minus(&mut self, other: &Self) {
        self.scaled(other, -1.0);
    }

    fn scaled(&mut self, other: &Self, sign: f64) {
        self.weight += sign * other.weight;
        self.y += sign * other.y;
        self.x.axpy(sign, &other.x, 1.0);
        self.xy.axpy(sign, &other.xy, 1.0);
        self.xx.zip_apply(&other.xx, |own, other| *own += sign * other);
    }

    /// Minimises `Σ w (y − b₀ − z·b)² + λ Σw |b|²`, where z are the predictors less their weighted mean over their
    /// weighted standard deviation (Hoerl and Kennard, Technometrics 12, 1970); the intercept is not penalised. A
    /// predictor that does not vary is ignored.
    ///
    /// # Errors
    /// [`Error::Numeric`] where there is no row or numbers are not finite.
    pub fn ridge(&self, penalty: f64) -> Result<Ridge> {
        let Self { weight, x, y, xx, xy } = self;
        let failed = || Error::numeric("a regression without rows, or on numbers that are not finite");
        if weight.is_nan() || *weight <= 0.0 {
            return Err(failed());
        }
        let terms = x.len();
        let (mean, mean_y) = (x / *weight, y / *weight);
        let covariance = |i: usize, j: usize| xx[(i, j)] / weight - mean[i] * mean[j];
        let deviation: Vec<f64> = (0..terms)
            .map(|i| match covariance(i, i) {
                variance if variance > CONSTANT * xx[(i, i)] / weight => variance.sqrt(),
                _ => 0.0,
            })
            .collect();
        let varies: Vec<usize> = (0..terms).filter(|&i| deviation[i] > 0.0).collect();
        let correlations = DMatrix::from_fn(varies.len(), varies.len(), |a, b| {
            let (i, j) = (varies[a], varies[b]);
            let correlation = covariance(i, j) / (deviation[i] * deviation[j]);
            if a == b { 1.0 + penalty } else { correlation }
        });
        let target = DVector::from_iterator(
            varies.len(),
            varies.iter().map(|&i| (xy[i] / weight - mean[i] * mean_y) / deviation[i]),
        );
        let solved = correlations.cholesky().ok_or_else(failed)?.solve(&target);
        let mut standardised = vec![0.0; terms];
        varies.iter().zip(solved.iter()).for_each(|(&i, &b)| standardised[i] = b);
        let of = |i: usize| if deviation[i] > 0.0 { standardised[i] / deviation[i] } else { 0.0 };
        let coefficients: Vec<f64> = (0..terms).map(of).collect();
        let intercept = mean_y - coefficients.iter().zip(mean.iter()).map(|(b, m)| b * m).sum::<f64>();
        match intercept.is_finite() {
            true => Ok(Ridge { intercept, coefficients, standardised }),
            false => Err(failed()),
        }
    }
}

impl Ridge {
    /// The prediction at `x`, `[terms]`.
    pub fn predict(&self, x: &[f64]) -> f64 {
        self.intercept + self.coefficients.iter().zip(x).map(|(b, x)| b * x).sum::<f64>()
    }
}
