//! The result of `odyssey similarity`.

use serde::{Deserialize, Serialize};

use super::distances::Distances;
use super::settings::TestSettings;

/// `similarity --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityResult {
    /// "odyssey.similarity/1".
    pub schema: String,
    /// The reference corpus.
    pub reference: String,
    /// What was compared, as given to `--features`.
    pub features: String,
    /// How it was tested.
    pub settings: TestSettings,
    /// The bandwidth of the kernel, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// One entry per domain.
    pub domains: Vec<DomainDistances>,
    /// The reference against parts of itself as large as a domain.
    pub null: Distances,
}

/// A domain's distances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainDistances {
    /// The domain's name.
    pub domain: String,
    /// Its distances to the reference.
    #[serde(flatten)]
    pub distances: Distances,
}
