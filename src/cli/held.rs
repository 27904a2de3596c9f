//! How a model that is read is held.

use odyssey::model::Precision;

/// How a model is held.
#[derive(Debug, Clone, clap::Args)]
pub struct HeldArgs {
    /// How matrices are held; they are converted for computing.
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Tensors of the model's files that are for another use and left out: names, in which * stands for anything.
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',')]
    pub ignore_tensors: Vec<String>,
}
