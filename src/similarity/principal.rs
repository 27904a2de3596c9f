//! Fréchet distances of many permutations and resamples, in the space of the pool's leading principal components.
//!
//! Each draw has a covariance of its own, so each draw costs two eigenvalue problems; in the full space of a large
//! model each takes minutes. The pool's principal components do not depend on which vector belongs to which side, so
//! the permutation test in their space is as exact as in the full one; it cannot find a difference in the directions
//! left out, in which the pool hardly varies.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;

use super::draws::Draws;
use super::features::{Features, comparable};
use super::frechet::{Gaussian, frechet};
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// Principal components kept.
pub const COMPONENTS: usize = 32;
/// Draws between two looks at the monitor.
const AT_ONCE: usize = 16;

/// Fréchet distances in the space of the leading principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnFrechet {
    /// For the samples as they are.
    pub observed: f64,
    /// For each permutation after the observed one.
    pub permuted: Vec<f64>,
    /// For each resample.
    pub resampled: Vec<f64>,
    /// Components kept.
    pub components: usize,
    /// Their share of the pool's variance.
    pub variance_kept: f64,
}

/// The distances of all of `draws`.
///
/// # Errors
/// [`Error::Numeric`] for samples that cannot be compared, an interruption.
pub fn frechet_distances(x: &Features, y: &Features, draws: &Draws, monitor: &mut dyn Monitor) -> Result<DrawnFrechet> {
    comparable(x, y)?;
    let (rows, variance_kept) = leading(x, y)?;
    let all = Moments::of(&rows, |_| 1.0);
    let permuted = |p: usize| {
        let first = Moments::of(&rows, |i| f64::from(draws.falls_to_first(p, i)));
        distance(&first, &all.without(&first))
    };
    let resampled = |r: usize| {
        let side = |first: bool| {
            Moments::of(&rows, |i| if (i < draws.first) == first { f64::from(draws.taken(r, i)) } else { 0.0 })
        };
        distance(&side(true), &side(false))
    };
    monitor.begin("Fréchet distances", (draws.permutations() + draws.resamples()) as u64);
    let mut distances = Vec::new();
    let draw = |d: usize| if d < draws.permutations() { permuted(d) } else { resampled(d - draws.permutations()) };
    let turns: Vec<usize> = (0..draws.permutations() + draws.resamples()).collect();
    for turn in turns.chunks(AT_ONCE) {
        let found: Vec<Result<f64>> = turn.par_iter().map(|d| draw(*d)).collect();
        distances.extend(found.into_iter().collect::<Result<Vec<f64>>>()?);
        monitor.advance(turn.len() as u64, "");
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while permuting; the next run starts from the beginning".into()));
        }
    }
    monitor.end();
    let resampled = distances.split_off(draws.permutations());
    let permuted = distances.split_off(1);
    Ok(DrawnFrechet { observed: distances[0], permuted, resampled, components: rows.nrows(), variance_kept })
}

/// The pool in its leading principal components, `[components, m + n]`, and their share of its variance.
fn leading(x: &Features, y: &Features) -> Result<(DMatrix<f64>, f64)> {
    let dimension = x.dimension;
    let values = [x.values.as_slice(), y.values.as_slice()].concat();
    let pool = Features::new(x.samples + y.samples, dimension, values)?;
    let Gaussian { mean, covariance, .. } = Gaussian::fit(&pool)?;
    let centred = |rows: &[f32]| {
        let mut rows = DMatrix::from_iterator(dimension, rows.len() / dimension, rows.iter().map(|v| f64::from(*v)));
        rows.column_iter_mut().for_each(|mut column| column -= &mean);
        rows
    };
    if dimension <= COMPONENTS {
        return Ok((centred(&pool.values), 1.0));
    }
    let total = covariance.trace();
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..dimension).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    order.truncate(COMPONENTS);
    let kept: f64 = order.iter().map(|i| eigen.eigenvalues[*i].max(0.0)).sum();
    let basis = eigen.eigenvectors.select_columns(&order).transpose(); // [components, dimension]
    // a part of the pool at a time, so that it is not held in f64
    let parts: Vec<DMatrix<f64>> = pool.values.chunks(1024 * dimension).map(|rows| &basis * centred(rows)).collect();
    let columns: Vec<f64> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    let share = if total > 0.0 { kept / total } else { 1.0 };
    Ok((DMatrix::from_vec(COMPONENTS, pool.samples, columns), share))
}

/// Σw, Σwz and Σwzzᵀ over vectors z.
struct Moments {
    count: f64,
    sum: DVector<f64>,
    /// The upper triangle alone is right.
    square: DMatrix<f64>,
}

impl Moments {
    fn of(rows: &DMatrix<f64>, weight: impl Fn(usize) -> f64) -> Self {
        let k = rows.nrows();
        let mut moments = Self { count: 0.0, sum: DVector::zeros(k), square: DMatrix::zeros(k, k) };
        for (i, row) in rows.as_slice().chunks_exact(k).enumerate() {
            let weight = weight(i);
            if weight == 0.0 {
                continue;
            }
            moments.count += weight;
            for (b, (sum, column)) in
                moments.sum.iter_mut().zip(moments.square.as_mut_slice().chunks_exact_mut(k)).enumerate()
            {
                let weighted = weight * row[b];
                *sum += weighted;
                column[..=b].iter_mut().zip(row).for_each(|(entry, value)| *entry += weighted * value);
            }
        }
        moments
    }

    fn without(&self, part: &Self) -> Self {
        Self { count: self.count - part.count, sum: &self.sum - &part.sum, square: &self.square - &part.square }
    }

    fn gaussian(&self) -> Result<Gaussian> {
        let mean = &self.sum / self.count;
        let mut covariance = &self.square - &mean * &self.sum.transpose();
        covariance.fill_lower_triangle_with_upper_triangle();
        Gaussian::of_moments(self.count as usize, mean, covariance / (self.count - 1.0))
    }
}

fn distance(first: &Moments, second: &Moments) -> Result<f64> {
    Ok(frechet(&first.gaussian()?, &second.gaussian()?)?.distance)
}
