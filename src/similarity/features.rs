//! Feature vectors of text chunks, and the means over pairs of them for MMD and energy distance.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::progress::Monitor;

/// With fewer documents permutations and resamples are not reliable.
pub const FEW_DOCUMENTS: usize = 10;

/// Feature vectors, one per chunk of text: a matrix `[samples, dimension]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Number of vectors.
    pub samples: usize,
    /// Components of each.
    pub dimension: usize,
    /// All components, `[samples, dimension]`.
    pub values: Vec<f32>,
    /// The document each vector comes from, `[samples]`. Vectors of one document are not independent.
    documents: Vec<u32>,
    /// Reasons to doubt the vectors, in words.
    pub caveats: Vec<String>,
}

/// Rows worked on together: they stay in the nearest cache while the other side is read once.
const BLOCK: usize = 16;
/// Blocks between two looks at the monitor.
const BLOCKS_AT_ONCE: usize = 32;

impl Features {
    /// Takes `values`, `[samples, dimension]` row-major. Each vector counts as a document of its own, see
    /// [`Features::of_documents`].
    ///
    /// # Errors
    /// [`Error::Numeric`] where the number of values does not fit, there is nothing, or a value is not finite.
    pub fn new(samples: usize, dimension: usize, values: Vec<f32>) -> Result<Self> {
        if samples == 0 || dimension == 0 || samples.checked_mul(dimension) != Some(values.len()) {
            return Err(Error::numeric(format!(
                "{} values do not make {samples} feature vectors of dimension {dimension}",
                values.len()
            )));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::numeric(format!(
                "feature vector {} has {} as component {}, a finite number is needed",
                at / dimension,
                values[at],
                at % dimension
            )));
        }
        Ok(Self { samples, dimension, values, documents: (0..).take(samples).collect(), caveats: Vec::new() })
    }

    /// Says which document each vector comes from, `[samples]`.
    ///
    /// # Errors
    /// [`Error::Numeric`] where there are more or fewer documents named than vectors.
    pub fn of_documents(self, documents: Vec<u32>) -> Result<Self> {
        if documents.len() != self.samples {
            return Err(Error::numeric(format!("{} documents named for {} vectors", documents.len(), self.samples)));
        }
        Ok(Self { documents, ..self })
    }

    /// The same with what makes them less trustworthy than they look.
    pub fn with_caveats(self, caveats: Vec<String>) -> Self {
        Self { caveats, ..self }
    }

    /// The document each vector comes from, `[samples]`.
    pub fn documents(&self) -> &[u32] {
        &self.documents
    }

    /// The units of permutation and resampling: documents, also if they are few; for a corpus of one document, its
    /// vectors. (With random splits of Wikipedia articles, six to nine on a side, permuting vectors finds a difference
    /// at 5 % in every second case.)
    pub fn units(&self) -> Units {
        let documents = Units::of(&self.documents);
        let single = documents.count == 1 && self.samples > 1;
        if single { Units { of: (0..).take(self.samples).collect(), count: self.samples, single } } else { documents }
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

    /// The vectors in two halves drawn at random, for the distance of a corpus from itself. The first half gets the
    /// extra one of an odd number.
    ///
    /// # Errors
    /// [`Error::Numeric`] with fewer than four vectors: a distance needs two on each side.
    pub fn split_halves(&self, seed: u64) -> Result<(Self, Self)> {
        if self.samples < 4 {
            return Err(Error::numeric(format!(
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
        let documents = positions.iter().map(|&i| self.documents[i]).collect();
        Self { samples: positions.len(), dimension: self.dimension, values, documents, caveats: self.caveats.clone() }
    }

    /// Means of `f(a, b)` over the pairs within this set, within `other` and between the two, in f64; a vector is never
    /// paired with itself.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn pair_means<const N: usize>(
        &self,
        other: &Self,
        f: impl Fn(&[f32], &[f32]) -> [f64; N] + Sync,
        monitor: &mut dyn Monitor,
    ) -> Result<PairMeans<N>> {
        let [m, n] = [self, other].map(|set| set.samples as f64);
        monitor.begin("distances of all pairs", ((m * m + n * n) / 2.0 + m * n) as u64);
        let mean = |sums: [f64; N], pairs: f64| sums.map(|sum| sum / pairs);
        let below = |i: usize, j: usize| j < i;
        let means = PairMeans {
            within: mean(self.sum_over_pairs(self, below, &f, monitor)?, m * (m - 1.0) / 2.0),
            within_other: mean(other.sum_over_pairs(other, below, &f, monitor)?, n * (n - 1.0) / 2.0),
            between: mean(self.sum_over_pairs(other, |_, _| true, &f, monitor)?, m * n),
        };
        monitor.end();
        Ok(means)
    }

    /// Σ f(x_i, y_j) over the pairs that `wanted(i, j)` names, in f64.
    ///
    /// Each block of rows is summed by one thread in a fixed order and the blocks' sums are added in order, so the
    /// result does not depend on the number of threads; no matrix of all pairs is held.
    fn sum_over_pairs<const N: usize>(
        &self,
        other: &Self,
        wanted: impl Fn(usize, usize) -> bool + Sync,
        f: &(impl Fn(&[f32], &[f32]) -> [f64; N] + Sync),
        monitor: &mut dyn Monitor,
    ) -> Result<[f64; N]> {
        let mut total = [0.0; N];
        for (turn, rows) in self.values.chunks(BLOCKS_AT_ONCE * BLOCK * self.dimension).enumerate() {
            let first = turn * BLOCKS_AT_ONCE * BLOCK;
            let blocks: Vec<([f64; N], u64)> = rows
                .par_chunks(BLOCK * self.dimension)
                .enumerate()
                .map(|(block, rows)| {
                    let (mut sums, mut pairs) = ([0.0; N], 0);
                    for (j, b) in other.rows().enumerate() {
                        for (k, a) in rows.chunks_exact(self.dimension).enumerate() {
                            if wanted(first + block * BLOCK + k, j) {
                                sums.iter_mut().zip(f(a, b)).for_each(|(sum, value)| *sum += value);
                                pairs += 1;
                            }
                        }
                    }
                    (sums, pairs)
                })
                .collect();
            blocks.iter().for_each(|(sums, _)| total.iter_mut().zip(sums).for_each(|(t, sum)| *t += sum));
            monitor.advance(blocks.iter().map(|(_, pairs)| pairs).sum(), "");
            if monitor.stopped() {
                return Err(Error::Interrupted(
                    "stopped while comparing samples; the next run starts from the beginning".into(),
                ));
            }
        }
        Ok(total)
    }
}

/// Means over pairs of vectors, of `N` functions of a pair.
pub(super) struct PairMeans<const N: usize> {
    /// Both of the first set.
    pub within: [f64; N],
    /// Both of the other set.
    pub within_other: [f64; N],
    /// One of each.
    pub between: [f64; N],
}

/// Vectors in groups that are permuted and resampled as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// The unit of each vector, `[samples]`, numbered from 0 without gaps.
    pub of: Vec<u32>,
    /// Units.
    pub count: usize,
    /// Whether single vectors stand in for documents, of which there is one.
    pub single: bool,
}

impl Units {
    /// Vectors with equal labels belong together; units are numbered as they first occur.
    fn of(labels: &[u32]) -> Self {
        let mut numbers = std::collections::HashMap::new();
        let of = labels.iter().map(|label| {
            let next = numbers.len() as u32;
            *numbers.entry(*label).or_insert(next)
        });
        let of: Vec<u32> = of.collect();
        Self { count: numbers.len(), of, single: false }
    }
}

/// Cosine of the angle between the mean vectors of `a` and `b`.
///
/// # Errors
/// [`Error::Numeric`] where the dimensions differ or a mean vector is zero, which has no direction.
pub fn centroid_cosine(a: &Features, b: &Features) -> Result<f64> {
    same_dimension(a.dimension, b.dimension)?;
    cosine(&a.mean(), &b.mean())
}

/// Cosine of the angle between two vectors.
pub(super) fn cosine(a: &[f64], b: &[f64]) -> Result<f64> {
    let product = |u: &[f64], v: &[f64]| u.iter().zip(v).map(|(u, v)| u * v).sum::<f64>();
    let lengths = product(a, a).sqrt() * product(b, b).sqrt();
    if lengths == 0.0 {
        return Err(Error::numeric("a mean feature vector is zero and has no direction"));
    }
    finite(product(a, b) / lengths, "the centroid cosine").map(|cosine| cosine.clamp(-1.0, 1.0))
}

/// a · b, accumulated in f64.
pub(super) fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
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
        return Err(Error::numeric(format!(
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
        Err(Error::numeric(format!("feature vectors of dimension {x} cannot be compared with {y}")))
    }
}

/// Passes a finite result on; anything else is an error that names what was computed.
pub(super) fn finite(value: f64, what: &str) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::numeric(format!("{what} is {value}, not a finite number"))) }
}
