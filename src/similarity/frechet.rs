//! Fréchet distance between Gaussian fits of two sets of feature vectors, squared form (as FID).
//!
//! `|μ1 − μ2|² + tr(S1 + S2) − 2 Σ √λ`, with λ the eigenvalues of `√S1 S2 √S1`. Dowson and Landau, The Fréchet distance
//! between multivariate normal distributions, Journal of Multivariate Analysis 12, 1982.

use std::sync::OnceLock;

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::features::{Features, finite, same_dimension};
use crate::error::{Error, Result};

/// Added to both diagonals where a covariance cannot have full rank.
const RIDGE: f64 = 1e-6;

/// Rows of features turned to f64 at a time while the covariance is summed.
const BLOCK: usize = 512;

/// A Gaussian fitted to feature vectors. The reference corpus is fitted once and compared with every domain.
#[derive(Debug, Clone)]
pub struct Gaussian {
    /// Vectors it was fitted to.
    pub samples: usize,
    /// Mean, `[dimension]`.
    pub mean: DVector<f64>,
    /// Covariance with divisor n − 1, `[dimension, dimension]`, symmetric.
    pub covariance: DMatrix<f64>,
    /// Eigenvalues and eigenvectors of the covariance, made on first use as the first argument of [`frechet`].
    eigen: OnceLock<(DVector<f64>, DMatrix<f64>)>,
}

/// A Fréchet distance and how it was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frechet {
    /// The squared distance, never negative except by rounding.
    pub distance: f64,
    /// True where a side has no more samples than dimensions: its covariance is singular, 1e-6 was added to both
    /// diagonals, and the distance depends more on the sample size than on the texts.
    pub regularised: bool,
}

impl Gaussian {
    /// Fits mean and covariance, in f64.
    ///
    /// # Errors
    /// [`Error::Numeric`] with fewer than two vectors or values that are not finite.
    pub fn fit(features: &Features) -> Result<Self> {
        let (samples, dimension) = (features.samples, features.dimension);
        if samples < 2 {
            return Err(too_few(samples));
        }
        let mean = DVector::from_vec(features.mean());
        let mut covariance = DMatrix::zeros(dimension, dimension);
        for rows in features.values.chunks(BLOCK * dimension) {
            // row-major [rows, dimension] read as column-major [dimension, rows]
            let mut centred =
                DMatrix::from_iterator(dimension, rows.len() / dimension, rows.iter().map(|v| f64::from(*v)));
            centred.column_iter_mut().for_each(|mut column| column -= &mean);
            covariance.gemm(1.0, &centred, &centred.transpose(), 1.0);
        }
        covariance /= samples as f64 - 1.0;
        Self::of_moments(samples, mean, symmetric(covariance))
    }

    /// Takes the mean and covariance of so many vectors.
    ///
    /// # Errors
    /// [`Error::Numeric`] with fewer than two vectors or values that are not finite.
    pub(super) fn of_moments(samples: usize, mean: DVector<f64>, covariance: DMatrix<f64>) -> Result<Self> {
        if samples < 2 {
            return Err(too_few(samples));
        }
        // the eigenvalue iteration below would never end on NaN
        if !covariance.iter().all(|v: &f64| v.is_finite()) {
            return Err(Error::numeric("the covariance of the feature vectors is not finite"));
        }
        Ok(Self { samples, mean, covariance, eigen: OnceLock::new() })
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }
}

/// Squared Fréchet distance. Pass the reference first: its costly part is kept for the next domain.
///
/// # Errors
/// [`Error::Numeric`] where the dimensions differ.
pub fn frechet(reference: &Gaussian, domain: &Gaussian) -> Result<Frechet> {
    let dimension = reference.dimension();
    same_dimension(dimension, domain.dimension())?;
    let regularised = reference.samples.min(domain.samples) <= dimension;
    let ridge = if regularised { RIDGE } else { 0.0 };

    let (values, vectors) = reference.eigen.get_or_init(|| {
        let eigen = SymmetricEigen::new(reference.covariance.clone());
        (eigen.eigenvalues, eigen.eigenvectors)
    });
    // With S1 = V Λ Vᵀ, √S1 S2 √S1 has the eigenvalues of √Λ Vᵀ S2 V √Λ, one product less; the ridge shifts Λ.
    let roots = values.map(|value| (value.max(0.0) + ridge).sqrt());
    let mut second = domain.covariance.clone();
    second.iter_mut().step_by(dimension + 1).for_each(|v| *v += ridge);
    let mut product = vectors.transpose() * (second * vectors);
    product.column_iter_mut().zip(roots.iter()).for_each(|(mut column, root)| {
        column.component_mul_assign(&roots);
        column *= *root;
    });
    let trace_of_root: f64 = symmetric(product).symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).sum();

    let means = (&reference.mean - &domain.mean).norm_squared();
    let traces = reference.covariance.trace() + domain.covariance.trace() + 2.0 * ridge * dimension as f64;
    let distance = finite(means + traces - 2.0 * trace_of_root, "the Fréchet distance")?;
    Ok(Frechet { distance, regularised })
}

fn too_few(samples: usize) -> Error {
    Error::numeric(format!("a covariance cannot be fitted to {samples} vectors, at least 2 are needed"))
}

/// Removes the asymmetry from rounding, because a symmetric eigenvalue routine reads only one half.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}
