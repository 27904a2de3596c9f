//! Statistics of the experiment: correlation coefficients, plain and partial, bootstrap intervals over clusters of tokens,
//! paired tests, many tests at once, and predictions with intervals.

mod bootstrap;
mod conformal;
mod correlation;
mod estimate;
mod multiple;
mod paired;
mod partial;
mod ridge;

pub use bootstrap::{
    BOOTSTRAP_SEED, RESAMPLES, Ratio, Resamples, percentile_interval, percentile_interval_at, ratio_interval,
};
pub use conformal::{LeftOut, fewest_groups, jackknife_plus};
pub use correlation::{
    Coefficient, Undefined, kendall, least_squares, most_influential, pearson, pearson_ci95, pearson_ci95_by_group,
    pearson_within_groups, spearman, spearman_ci95_by_group,
};
pub use estimate::Estimate;
pub(crate) use estimate::flat_keys;
pub use multiple::benjamini_hochberg;
pub use paired::{DEFAULT_FLIPS, PairedTest, paired_t, sign_flip_p, wilcoxon};
pub use partial::{Partial, partial_pearson};
pub use ridge::{Moments, Ridge};
