//! Permutations and bootstrap resamples of two samples: which units are on which side, or how many times each is taken.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::features::{Features, Units};
use crate::error::{Error, Result};

/// Two samples as one pool, x before y, with the units that move as a whole, and what was drawn of them.
#[derive(Debug, Clone)]
pub struct Draws {
    /// Vectors of x.
    pub first: usize,
    /// The unit of each pooled vector, `[m + n]`; those of x come first.
    units: Vec<u32>,
    /// Units of x.
    first_units: usize,
    /// For each permutation which units fall to x, `[permutations][units]`. The observed one comes first.
    permutations: Vec<Vec<u8>>,
    /// For each resample how often it takes each unit, `[resamples][units]`; both sides keep their number of units.
    resamples: Vec<Vec<u8>>,
    rng: ChaCha8Rng,
}

impl Draws {
    /// Only the observed samples, without any draws.
    pub fn new(x: &Features, y: &Features, seed: u64) -> Self {
        let [a, b] = [x.units(), y.units()];
        let first_units = a.count;
        let units = a.of.iter().copied().chain(b.of.iter().map(|unit| unit + first_units as u32)).collect();
        let observed = (0..a.count + b.count).map(|unit| u8::from(unit < first_units)).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { first: x.samples, units, first_units, permutations: vec![observed], resamples: Vec::new(), rng }
    }

    /// Of one sample: parts of about `part` vectors, whole units drawn at random, against the rest. The first,
    /// "observed" one is also such a part.
    ///
    /// # Errors
    /// [`Error::Numeric`] with fewer than four units.
    pub fn parts(x: &Features, part: usize, count: usize, seed: u64) -> Result<Self> {
        let Units { of, count: units, .. } = x.units();
        if units < 4 {
            return Err(Error::numeric(format!("{units} documents or vectors cannot be split, at least 4 are needed")));
        }
        let mut sizes = vec![0; units];
        of.iter().for_each(|unit| sizes[*unit as usize] += 1);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..units).collect();
        let parts = (0..count).map(|_| {
            order.shuffle(&mut rng);
            let mut taken = vec![0; units];
            let mut vectors = 0;
            // at least two units on either side
            for (turn, unit) in order[..units - 2].iter().enumerate() {
                if turn >= 2 && vectors >= part.min(x.samples / 2) {
                    break;
                }
                taken[*unit] = 1;
                vectors += sizes[*unit];
            }
            taken
        });
        let permutations = parts.collect();
        Ok(Self { first: x.samples, units: of, first_units: units, permutations, resamples: Vec::new(), rng })
    }

    /// Permutations with given sets of vectors as x, after the observed one; for comparison with another program.
    ///
    /// # Errors
    /// [`Error::Numeric`] for a vector that is not there, or where vectors do not move one by one.
    pub fn with_sets(mut self, sets: &[Vec<usize>]) -> Result<Self> {
        let single = self.units.iter().enumerate().all(|(at, unit)| at == *unit as usize);
        for set in sets {
            if !single || set.iter().any(|at| *at >= self.units.len()) {
                return Err(Error::numeric("a permutation names vectors that cannot be permuted"));
            }
            let mut taken = vec![0; self.units.len()];
            set.iter().for_each(|at| taken[*at] = 1);
            self.permutations.push(taken);
        }
        Ok(self)
    }

    /// Draws permutations: x gets a random set of units of the same size as its own.
    pub fn permuted(mut self, count: usize) -> Self {
        let mut labels = self.permutations[0].clone();
        for _ in 0..count {
            labels.shuffle(&mut self.rng);
            self.permutations.push(labels.clone());
        }
        self
    }

    /// Draws bootstrap resamples: on each side as many units as it has, with replacement.
    pub fn resampled(mut self, count: usize) -> Self {
        let (first, all) = (self.first_units, self.permutations[0].len());
        for _ in 0..count {
            let mut taken = vec![0_u8; all];
            for (from, to) in [(0, first), (first, all)] {
                for _ in from..to {
                    let unit = &mut taken[self.rng.random_range(from..to)];
                    *unit = unit.saturating_add(1); // 256 times one unit: never in practice
                }
            }
            self.resamples.push(taken);
        }
        self
    }

    /// Fewer of both, the first ones.
    pub fn limited(&self, permutations: usize, resamples: usize) -> Self {
        let mut fewer = self.clone();
        fewer.permutations.truncate(permutations + 1);
        fewer.resamples.truncate(resamples);
        fewer
    }

    /// Pooled vectors.
    pub fn vectors(&self) -> usize {
        self.units.len()
    }

    /// Permutations, the observed one included.
    pub fn permutations(&self) -> usize {
        self.permutations.len()
    }

    /// Resamples.
    pub fn resamples(&self) -> usize {
        self.resamples.len()
    }

    /// Whether a pooled vector falls to x (1) or y (0) in a permutation.
    pub fn falls_to_first(&self, permutation: usize, vector: usize) -> u8 {
        self.permutations[permutation][self.units[vector] as usize]
    }

    /// How often a resample takes a pooled vector.
    pub fn taken(&self, resample: usize, vector: usize) -> u8 {
        self.resamples[resample][self.units[vector] as usize]
    }

    /// Vectors that fall to x in a permutation.
    pub fn size_of_first(&self, permutation: usize) -> usize {
        (0..self.vectors()).map(|vector| usize::from(self.falls_to_first(permutation, vector))).sum()
    }
}

/// `(k + 1) / (B + 1)`: the share of B permuted statistics that reach the observed one, itself counted. Those that are
/// not finite count as reaching it, and so do those below it by less than a ten-thousandth of their spread, because
/// rounding may make an equal value slightly smaller. Phipson and Smyth, Statistical Applications in Genetics and
/// Molecular Biology 9, 2010.
pub fn permutation_p(observed: f64, permuted: &[f64]) -> f64 {
    let tolerance = 1e-4 * spread(permuted).1;
    let below = permuted.iter().filter(|value| **value < observed - tolerance).count();
    (permuted.len() - below + 1) as f64 / (permuted.len() + 1) as f64
}

/// Mean and standard deviation of the finite ones among `values`; 0 where there is none.
pub(super) fn spread(values: &[f64]) -> (f64, f64) {
    let finite = || values.iter().filter(|value| value.is_finite());
    let n = finite().count() as f64;
    let mean = finite().sum::<f64>() / n.max(1.0);
    let variance = finite().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, variance.sqrt())
}
