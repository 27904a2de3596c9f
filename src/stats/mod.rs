//! Statistics of the experiment: correlation coefficients, bootstrap intervals over clusters of tokens, many tests at once,
//! and predictions with intervals.

mod bootstrap;
mod conformal;
mod correlation;
mod multiple;
mod ridge;

pub use bootstrap::{DEFAULT_RESAMPLES, Ratio, Resamples, percentile_interval, ratio_interval};
pub use conformal::{LeftOut, fewest_groups, jackknife_plus};
pub use correlation::{Coefficient, Undefined, kendall, pearson, pearson_ci95, spearman};
pub use multiple::benjamini_hochberg;
pub use ridge::{Moments, Ridge};
