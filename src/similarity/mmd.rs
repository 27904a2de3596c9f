//! Maximum mean discrepancy. Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012, Lemma 6.

use super::features::{Features, comparable, finite};
use super::kernel::Kernel;
use crate::error::Result;
use crate::progress::Silent;

/// Unbiased squared maximum mean discrepancy of `x` and `y`; may be slightly negative.
///
/// `kernel` is fixed once per run (see [`super::kernel::KernelKind::fit`]); a number is the bandwidth of an RBF kernel.
/// Sums are in f64 and the same to the bit for any number of threads.
///
/// # Errors
/// [`crate::error::Error::Numeric`] with fewer than two vectors on a side, different dimensions, or a bandwidth that is not positive.
pub fn mmd2(x: &Features, y: &Features, kernel: impl Into<Kernel>) -> Result<f64> {
    let kernel = kernel.into();
    comparable(x, y)?;
    kernel.check()?;
    let means = x.pair_means(y, |a, b| [kernel.of(a, b)], &mut Silent)?;
    finite(means.within[0] + means.within_other[0] - 2.0 * means.between[0], "MMD²")
}
