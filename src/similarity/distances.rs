//! The distances between a domain and the reference corpus, as every result holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a domain lies from the reference corpus, by several measures side by side.
///
/// A measure that could not be computed is `None`, and `reasons` says why under the measure's name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Feature vectors compared on the domain's side.
    pub samples: usize,
    /// Unbiased squared maximum mean discrepancy, RBF kernel; may be slightly negative.
    pub mmd2: Option<f64>,
    /// Fréchet distance between Gaussian fits (squared form, as FID).
    pub frechet: Option<f64>,
    /// Cosine of the angle between the mean feature vectors; 1 is the same direction.
    pub centroid_cosine: Option<f64>,
    /// Energy distance, u-statistic; may be slightly negative.
    pub energy: Option<f64>,
    /// Jensen–Shannon divergence of token unigrams, bits.
    pub unigram_js: Option<f64>,
    /// Cross-entropy of the domain's tokens under the reference's add-one smoothed unigrams, nats per token.
    pub unigram_cross_entropy: Option<f64>,
    /// Share of the most frequent token types the two have in common, 0 to 1: of the first 10,000, or a quarter of a
    /// smaller vocabulary.
    pub vocabulary_overlap: Option<f64>,
    /// Share of the domain's tokens that hold a line break.
    pub newline_rate: Option<f64>,
    /// Why a measure is missing, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
}

/// One measure: its key in results, its name for people, and which way it points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The key in JSON and CSV.
    pub key: &'static str,
    /// What axes and tables call it.
    pub label: &'static str,
    /// True where a larger value means "more like the reference".
    pub similarity: bool,
}

impl Distances {
    /// Every measure that a change in perplexity is plotted and correlated against.
    pub const MEASURES: [Measure; 8] = [
        Measure { key: "mmd2", label: "MMD²", similarity: false },
        Measure { key: "frechet", label: "Fréchet distance", similarity: false },
        Measure { key: "energy", label: "energy distance", similarity: false },
        Measure { key: "centroid_cosine", label: "centroid cosine", similarity: true },
        Measure { key: "unigram_js", label: "unigram Jensen–Shannon (bits)", similarity: false },
        Measure { key: "unigram_cross_entropy", label: "unigram cross-entropy (nats)", similarity: false },
        Measure { key: "vocabulary_overlap", label: "vocabulary overlap", similarity: true },
        Measure { key: "newline_rate", label: "newline rate", similarity: false },
    ];

    /// The value of the measure with this key; `None` where it is missing or there is no such measure.
    pub fn get(&self, key: &str) -> Option<f64> {
        match key {
            "mmd2" => self.mmd2,
            "frechet" => self.frechet,
            "energy" => self.energy,
            "centroid_cosine" => self.centroid_cosine,
            "unigram_js" => self.unigram_js,
            "unigram_cross_entropy" => self.unigram_cross_entropy,
            "vocabulary_overlap" => self.vocabulary_overlap,
            "newline_rate" => self.newline_rate,
            _ => None,
        }
    }
}
