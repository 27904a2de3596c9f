//! How far a domain lies from the corpus a model was pretrained on.
//!
//! Two kinds of measure stand side by side: distances between samples of features ([`extract`] says which, [`embed`]
//! takes them from a model, [`encoder`] from a sentence encoder; [`mmd`], [`frechet`], [`energy`], [`classifier`]) and
//! lexical ones ([`lexical`], [`counts`]). Everything that can be fixed once for a run is fixed (above all the
//! bandwidth of [`kernel`]). Documents are permuted and resampled ([`draws`], [`tiles`], [`principal`]) for p-values
//! and intervals ([`mod@reference`]), and the reference against parts of itself ([`null`]) shows what "no distance"
//! looks like.

pub mod cache;
pub mod classifier;
pub mod counts;
mod distances;
pub mod draws;
pub mod embed;
pub mod encoder;
pub mod energy;
pub mod extract;
pub mod features;
pub mod frechet;
pub mod kernel;
pub mod lexical;
pub mod mmd;
pub mod null;
pub mod principal;
pub mod reference;
pub mod stored;
pub mod tiles;
pub mod words;

use serde::{Deserialize, Serialize};

use kernel::Kernel;

pub use counts::Counts;
pub use distances::{Distances, Intervals, Measure, Tests, adjust};
pub use extract::FeatureSpec;
pub use features::Features;
pub use kernel::KernelKind;
pub use reference::Reference;

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

/// How distances are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSettings {
    /// The kernel of MMD.
    pub kernel: KernelKind,
    /// Permutations for MMD and energy distance; for the Fréchet distance at most [`reference::COSTLY_DRAWS`]. 0: no tests.
    pub permutations: usize,
    /// Bootstrap resamples; again fewer for costly measures. 0: no intervals.
    pub resamples: usize,
    /// Seed of all that is drawn.
    pub seed: u64,
}

impl Default for TestSettings {
    fn default() -> Self {
        Self { kernel: KernelKind::default(), permutations: 1000, resamples: 500, seed: 42 }
    }
}

impl TestSettings {
    /// The kernel with its constants fixed on the pool of the reference and all domains of the run.
    pub fn fit<'a>(
        &self,
        reference: &'a CorpusSample,
        domains: impl IntoIterator<Item = &'a Features>,
    ) -> Result<Kernel, String> {
        let reference = reference.features.as_ref().map_err(String::clone)?;
        let alike = domains.into_iter().filter(|features| features.dimension == reference.dimension);
        let pool: Vec<&Features> = std::iter::once(reference).chain(alike).collect();
        self.kernel.fit(&pool, self.seed).map_err(|e| e.to_string())
    }
}

/// The size of a part of the reference that is compared like a domain: the median of the domains' sizes.
pub fn usual(sizes: &[u64]) -> u64 {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or(0)
}

/// A corpus as the measures see it.
#[derive(Debug, Clone)]
pub struct CorpusSample {
    /// Feature vectors of its chunks, or why there are none.
    pub features: Result<Features, String>,
    /// Its token counts.
    pub counts: Counts,
}
