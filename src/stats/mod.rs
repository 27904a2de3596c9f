//! Statistics of the experiment: correlation coefficients, plain and partial, bootstrap intervals over clusters of tokens,
//! paired tests, and many tests at once.

mod bootstrap;
mod correlation;
mod multiple;
mod paired;
mod partial;

pub use bootstrap::{DEFAULT_RESAMPLES, Ratio, Resamples, percentile_interval, percentile_interval_at, ratio_interval};
pub use correlation::{
    Coefficient, Undefined, kendall, most_influential, pearson, pearson_ci95, pearson_ci95_by_group,
    pearson_within_groups, spearman, spearman_ci95_by_group,
};
pub use multiple::benjamini_hochberg;
pub use paired::{DEFAULT_FLIPS, PairedTest, paired_t, sign_flip_p, wilcoxon};
pub use partial::{Partial, partial_pearson};
