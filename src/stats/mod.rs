//! Statistics of the experiment: correlation coefficients, bootstrap intervals over clusters of tokens, and many tests at
//! once.

mod bootstrap;
mod correlation;
mod multiple;

pub use bootstrap::{DEFAULT_RESAMPLES, Ratio, Resamples, percentile_interval, ratio_interval};
pub use correlation::{Coefficient, Undefined, kendall, pearson, pearson_ci95, spearman};
pub use multiple::benjamini_hochberg;
