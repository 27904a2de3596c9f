//! The bandwidth of kernels: the median distance between feature vectors.

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::features::{Features, finite, same_dimension, squared_distance};
use crate::error::{Error, Result};

/// Most vectors whose pairs are all measured for the bandwidth: two million distances, 16 MB.
pub const MEDIAN_SAMPLES: usize = 2000;

/// Median Euclidean distance over all pairs of different vectors in the pool of `sets`: the usual bandwidth.
///
/// For an even number of pairs, the mean of the two middle ones. A pool of more than [`MEDIAN_SAMPLES`] vectors is
/// represented by that many of them, drawn without replacement by `seed`.
///
/// # Errors
/// [`Error::Numeric`] with fewer than two vectors, different dimensions, or a median of zero (most vectors are equal).
pub fn median_distance(sets: &[&Features], seed: u64) -> Result<f64> {
    for pair in sets.windows(2) {
        same_dimension(pair[0].dimension, pair[1].dimension)?;
    }
    let pool: Vec<&[f32]> = sets.iter().flat_map(|set| set.rows()).collect();
    let pool: Vec<&[f32]> = if pool.len() > MEDIAN_SAMPLES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        index::sample(&mut rng, pool.len(), MEDIAN_SAMPLES).iter().map(|i| pool[i]).collect()
    } else {
        pool
    };
    let mut distances: Vec<f64> = (1..pool.len())
        .into_par_iter()
        .flat_map_iter(|i| pool[..i].iter().zip(std::iter::repeat(pool[i])).map(|(a, b)| squared_distance(a, b).sqrt()))
        .collect();
    if distances.is_empty() {
        return Err(Error::numeric(format!(
            "a bandwidth cannot be chosen from {} feature vectors, at least 2 are needed",
            pool.len()
        )));
    }
    let (middle, even) = (distances.len() / 2, distances.len().is_multiple_of(2));
    let (below, &mut upper, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = finite(if even { f64::midpoint(lower, upper) } else { upper }, "the median distance")?;
    if median > 0.0 {
        Ok(median)
    } else {
        Err(Error::numeric("the median distance is 0, because most feature vectors are equal; there is no bandwidth"))
    }
}
