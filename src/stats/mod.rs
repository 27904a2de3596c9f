//! Statistics of the experiment: correlation coefficients, and bootstrap intervals over clusters of tokens.

mod bootstrap;
mod correlation;

pub use bootstrap::{DEFAULT_RESAMPLES, Ratio, Resamples, percentile_interval, ratio_interval};
pub use correlation::{Coefficient, Undefined, kendall, pearson, pearson_ci95, spearman};
