//! How distances are tested.

use serde::{Deserialize, Serialize};

use super::features::Features;
use super::kernel::{Kernel, KernelKind};
use super::sample::CorpusSample;

/// How distances are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSettings {
    /// The kernel of MMD.
    pub kernel: KernelKind,
    /// Permutations for MMD and energy distance; for the Fréchet distance at most [`super::reference::COSTLY_DRAWS`]. 0: no tests.
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
