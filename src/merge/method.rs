//! How weights are merged.

use serde::{Deserialize, Serialize};

/// A way to merge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// (1 − α) · base + α · adapted, of one adapted model (WiSE-FT, arXiv 2109.01903)
    #[default]
    Linear,
    /// (1 − α) · base + α · the mean of several adapted models, of several seeds for instance (model soups, arXiv
    /// 2203.05482)
    Soup,
    /// base + α · what the adapted models changed most and agree on in sign (TIES, arXiv 2306.01708)
    Ties,
}

impl Method {
    /// The share of every task vector that TIES keeps, where none is given (arXiv 2306.01708).
    pub const DENSITY: f64 = 0.2;

    /// Its formula.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Linear => "(1 − α) · base + α · adapted",
            Self::Soup => "(1 − α) · base + α · mean of the adapted",
            Self::Ties => "base + α · TIES of the adapted",
        }
    }
}
