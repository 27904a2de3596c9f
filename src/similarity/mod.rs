//! How far a domain lies from the corpus a model was pretrained on.
//!
//! Two kinds of measure stand side by side: distances between samples of the model's own features ([`embed`], [`mmd`],
//! [`frechet`], [`energy`]) and lexical ones ([`lexical`]). A sentence encoder ([`encoder`]) gives features of another kind. Everything that belongs to the reference, the kernel's
//! bandwidth above all, is fixed once, and the reference against another half of itself shows what "no distance" looks
//! like.

mod distances;
pub mod embed;
pub mod encoder;
pub mod energy;
pub mod features;
pub mod frechet;
pub mod lexical;
pub mod mmd;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use distances::{Distances, Measure};
pub use features::Features;

use crate::error::Result;
use frechet::Gaussian;
use lexical::Unigrams;

/// `similarity --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityResult {
    /// "odyssey.similarity/1".
    pub schema: String,
    /// The reference corpus.
    pub reference: String,
    /// What was compared, as given to `--features`.
    pub features: String,
    /// One entry per domain.
    pub domains: Vec<DomainDistances>,
    /// The reference against another half of itself.
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

/// A corpus as the measures see it.
#[derive(Debug, Clone)]
pub struct CorpusSample {
    /// Feature vectors of its chunks, or why there are none.
    pub features: Result<Features, String>,
    /// Its token counts.
    pub unigrams: Unigrams,
    /// Share of its tokens that hold a line break.
    pub newline_rate: f64,
}

/// The reference corpus with everything that is fixed once.
pub struct Reference {
    sample: CorpusSample,
    vocabulary: usize,
    /// The kernel's bandwidth: the median distance between the reference's feature vectors.
    sigma: Result<f64, String>,
    gaussian: Result<Gaussian, String>,
}

impl Reference {
    /// Fixes bandwidth and Gaussian fit. `vocabulary` is the size of the tokenizer's.
    pub fn new(sample: CorpusSample, vocabulary: usize, seed: u64) -> Self {
        let features = sample.features.as_ref().map_err(String::clone);
        let sigma = features.clone().and_then(|f| text(mmd::median_distance(&[f], seed)));
        let gaussian = features.and_then(|f| text(Gaussian::fit(f)));
        Self { sample, vocabulary, sigma, gaussian }
    }

    /// The distances of `domain` to this corpus. What cannot be computed is missing, with its reason.
    pub fn distances(&self, domain: &CorpusSample) -> Distances {
        let mut reasons = BTreeMap::new();
        let mut keep = |measure: &str, value: Result<f64, String>| match value {
            Ok(value) => Some(value),
            Err(reason) => {
                reasons.insert(measure.to_owned(), reason);
                None
            }
        };
        let both = || Ok((self.sample.features.as_ref()?, domain.features.as_ref()?));
        let both = both().map_err(|reason: &String| reason.clone());
        let mmd2 = both.clone().and_then(|(x, y)| text(mmd::mmd2(x, y, self.sigma.clone()?)));
        let frechet = both.clone().and_then(|(_, y)| {
            let reference = self.gaussian.as_ref().map_err(String::clone)?;
            Ok(text(frechet::frechet(reference, &text(Gaussian::fit(y))?))?.distance)
        });
        // Any two corpora share all of a small vocabulary, so only its more frequent part is compared.
        let top_types = lexical::TOP_TYPES.min(self.vocabulary / 4);
        Distances {
            samples: domain.features.as_ref().map_or(0, |f| f.samples),
            mmd2: keep("mmd2", mmd2),
            frechet: keep("frechet", frechet),
            centroid_cosine: keep(
                "centroid_cosine",
                both.clone().and_then(|(x, y)| text(features::centroid_cosine(x, y))),
            ),
            energy: keep("energy", both.and_then(|(x, y)| text(energy::energy_distance(x, y)))),
            unigram_js: keep("unigram_js", text(lexical::jensen_shannon(&domain.unigrams, &self.sample.unigrams))),
            unigram_cross_entropy: keep(
                "unigram_cross_entropy",
                text(lexical::cross_entropy(&domain.unigrams, &self.sample.unigrams, self.vocabulary)),
            ),
            vocabulary_overlap: keep(
                "vocabulary_overlap",
                text(lexical::vocabulary_overlap(&domain.unigrams, &self.sample.unigrams, top_types)),
            ),
            newline_rate: Some(domain.newline_rate),
            reasons,
        }
    }
}

fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}
