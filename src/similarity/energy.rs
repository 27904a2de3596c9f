//! Energy distance `2 E|x − y| − E|x − x'| − E|y − y'|`, not square-rooted.
//!
//! Székely and Rizzo, Energy statistics, Journal of Statistical Planning and Inference 143, 2013.

use super::features::{Features, comparable, finite, squared_distance};
use crate::error::Result;
use crate::progress::Silent;

/// Energy distance, u-statistic: a vector is never paired with itself. Unbiased, may be slightly negative.
///
/// Sums are in f64 and the same to the bit for any number of threads.
///
/// # Errors
/// [`crate::error::Error::Numeric`] with fewer than two vectors on a side or different dimensions.
pub fn energy_distance(x: &Features, y: &Features) -> Result<f64> {
    let [between, within_x, within_y] = mean_distances(x, y)?;
    finite(2.0 * between - within_x - within_y, "the energy distance")
}

/// Energy distance, v-statistic: the pairs of a vector with itself count too. Never negative, biased upwards.
///
/// # Errors
/// As [`energy_distance`].
pub fn energy_distance_v(x: &Features, y: &Features) -> Result<f64> {
    let [between, within_x, within_y] = mean_distances(x, y)?;
    // the n pairs of a vector with itself add nothing to the sum and n to the n(n − 1) pairs
    let with_self = |mean: f64, n: usize| mean * (n as f64 - 1.0) / n as f64;
    let value = 2.0 * between - with_self(within_x, x.samples) - with_self(within_y, y.samples);
    finite(value, "the energy distance")
}

/// Mean distance between the sets and within each, over pairs of different vectors.
fn mean_distances(x: &Features, y: &Features) -> Result<[f64; 3]> {
    comparable(x, y)?;
    let means = x.pair_means(y, |a, b| [squared_distance(a, b).sqrt()], &mut Silent)?;
    Ok([means.between[0], means.within[0], means.within_other[0]])
}
