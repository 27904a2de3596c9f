//! Feature vectors of text chunks, and the sums over pairs of them that MMD and energy distance are made of.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Feature vectors, one per chunk of text: a matrix `[samples, dimension]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Number of vectors.
    pub samples: usize,
    /// Components of each.
    pub dimension: usize,
    /// All components, `[samples, dimension]`.
    pub values: Vec<f32>,
}

/// Rows worked on together: they stay in the nearest cache while the other side streams past once.
const BLOCK: usize = 16;

impl Features {
    /// Takes `values`, `[samples, dimension]` row-major.
    ///
    /// # Errors
    /// [`Error::Numeric`] where the number of values does not fit, there is nothing, or a value is not finite.
    pub fn new(samples: usize, dimension: usize, values: Vec<f32>) -> Result<Self> {
        if samples == 0 || dimension == 0 || samples.checked_mul(dimension) != Some(values.len()) {
            return Err(Error::Numeric(format!(
                "{} values do not make {samples} feature vectors of dimension {dimension}",
                values.len()
            )));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::Numeric(format!(
                "feature vector {} has {} as component {}, a finite number is needed",
                at / dimension,
                values[at],
                at % dimension
            )));
        }
        Ok(Self { samples, dimension, values })
    }

    /// Vector `i`, `[dimension]`. Panics where there is no such vector, as a slice would.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dimension..][..self.dimension]
    }

    /// All vectors in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// Mean vector, `[dimension]`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension];
        for row in self.rows() {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v));
        }
        mean.iter_mut().for_each(|m| *m /= self.samples as f64);
        mean
    }

    /// The vectors in two halves drawn at random, for what a corpus is from itself. The first takes the odd one.
    ///
    /// # Errors
    /// [`Error::Numeric`] with fewer than four vectors: a distance needs two on each side.
    pub fn split_halves(&self, seed: u64) -> Result<(Self, Self)> {
        if self.samples < 4 {
            return Err(Error::Numeric(format!(
                "{} feature vectors cannot be split in halves, at least 4 are needed",
                self.samples
            )));
        }
        let mut order: Vec<usize> = (0..self.samples).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (first, second) = order.split_at(self.samples.div_ceil(2));
        Ok((self.select(first), self.select(second)))
    }

    /// The vectors at these positions, which must exist.
    pub(super) fn select(&self, positions: &[usize]) -> Self {
        let values = positions.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { samples: positions.len(), dimension: self.dimension, values }
    }

    /// Mean of `f(|a − b|²)` over all pairs of different vectors of this set (u-statistic).
    pub(super) fn mean_within(&self, f: impl Fn(f64) -> f64 + Sync) -> f64 {
        let pairs = self.samples as f64 * (self.samples as f64 - 1.0) / 2.0;
        self.sum_over_pairs(self, |i, j| j < i, f) / pairs
    }

    /// Mean of `f(|a − b|²)` over all pairs of a vector of this set and one of `other`.
    pub(super) fn mean_between(&self, other: &Self, f: impl Fn(f64) -> f64 + Sync) -> f64 {
        self.sum_over_pairs(other, |_, _| true, f) / (self.samples as f64 * other.samples as f64)
    }

    /// Σ f(|x_i − y_j|²) over the pairs that `wanted(i, j)` names, in f64.
    ///
    /// Each block of rows is summed by one thread in a fixed order and the blocks' sums are added in order, so the
    /// result does not depend on the number of threads; no matrix of all pairs is held.
    fn sum_over_pairs(
        &self,
        other: &Self,
        wanted: impl Fn(usize, usize) -> bool + Sync,
        f: impl Fn(f64) -> f64 + Sync,
    ) -> f64 {
        let blocks: Vec<f64> = self
            .values
            .par_chunks(BLOCK * self.dimension)
            .enumerate()
            .map(|(block, rows)| {
                let mut sum = 0.0;
                for (j, b) in other.rows().enumerate() {
                    for (k, a) in rows.chunks_exact(self.dimension).enumerate() {
                        if wanted(block * BLOCK + k, j) {
                            sum += f(squared_distance(a, b));
                        }
                    }
                }
                sum
            })
            .collect();
        blocks.iter().sum()
    }
}

/// Cosine of the angle between the mean vectors of `a` and `b`.
///
/// # Errors
/// [`Error::Numeric`] where the dimensions differ or a mean vector is zero, which has no direction.
pub fn centroid_cosine(a: &Features, b: &Features) -> Result<f64> {
    same_dimension(a.dimension, b.dimension)?;
    let (a, b) = (a.mean(), b.mean());
    let product = |u: &[f64], v: &[f64]| u.iter().zip(v).map(|(u, v)| u * v).sum::<f64>();
    let lengths = product(&a, &a).sqrt() * product(&b, &b).sqrt();
    if lengths == 0.0 {
        return Err(Error::Numeric("a mean feature vector is zero and has no direction".into()));
    }
    finite(product(&a, &b) / lengths, "the centroid cosine").map(|cosine| cosine.clamp(-1.0, 1.0))
}

/// |a − b|², accumulated in f64 in eight lanes that the compiler can keep in vector registers.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            let difference = f64::from(*a) - f64::from(*b);
            *lane += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

/// Refuses two sets that no distance can compare: of different dimension, or with fewer than two vectors.
pub(super) fn comparable(x: &Features, y: &Features) -> Result<()> {
    same_dimension(x.dimension, y.dimension)?;
    if x.samples < 2 || y.samples < 2 {
        return Err(Error::Numeric(format!(
            "{} and {} feature vectors, at least 2 are needed on each side",
            x.samples, y.samples
        )));
    }
    Ok(())
}

/// Refuses vectors of different dimension.
pub(super) fn same_dimension(x: usize, y: usize) -> Result<()> {
    if x == y {
        Ok(())
    } else {
        Err(Error::Numeric(format!("feature vectors of dimension {x} cannot be compared with {y}")))
    }
}

/// Passes a finite result on; anything else is an error that names what was computed.
pub(super) fn finite(value: f64, what: &str) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::Numeric(format!("{what} is {value}, not a finite number"))) }
}
