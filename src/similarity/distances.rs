//! The distances between a domain and the reference corpus, as all results store them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::benjamini_hochberg;

/// How far a domain lies from the reference corpus, by several measures side by side.
///
/// A measure that could not be computed is `None`, and `reasons` says why under the measure's name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Feature vectors compared on the domain's side.
    pub samples: usize,
    /// Unbiased squared maximum mean discrepancy; may be slightly negative.
    pub mmd2: Option<f64>,
    /// Fréchet distance between Gaussian fits (squared form, as FID).
    pub frechet: Option<f64>,
    /// Cosine of the angle between the mean feature vectors; 1 is the same direction.
    pub centroid_cosine: Option<f64>,
    /// Energy distance, u-statistic; may be slightly negative.
    pub energy: Option<f64>,
    /// Area under the ROC curve of a classifier that tells the two apart; 0.5 is chance, 1 is always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// Jensen–Shannon divergence of token unigrams, bits.
    pub unigram_js: Option<f64>,
    /// Cross-entropy of the domain's tokens under the reference's add-one smoothed unigrams, nats per token.
    pub unigram_cross_entropy: Option<f64>,
    /// Share of the most frequent token types the two have in common, 0 to 1: of the first 10,000, or a quarter of a
    /// smaller vocabulary.
    pub vocabulary_overlap: Option<f64>,
    /// Share of the domain's sequences of two tokens that the reference has too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bigram_overlap: Option<f64>,
    /// The same of different sequences, each counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bigram_type_overlap: Option<f64>,
    /// Share of the domain's sequences of three tokens that the reference has too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigram_overlap: Option<f64>,
    /// The same of different sequences, each counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigram_type_overlap: Option<f64>,
    /// Share of the domain's tokens that hold a line break.
    pub newline_rate: Option<f64>,
    /// Tests of the distances against chance.
    #[serde(flatten)]
    pub tests: Tests,
    /// Intervals of the values.
    #[serde(flatten)]
    pub intervals: Intervals,
    /// Why a measure is missing, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
    /// Cautions about the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
}

/// Tests of "the domain's documents are drawn as the reference's are", and effect sizes. Absent where nothing was tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tests {
    /// p-value of `mmd2`, documents permuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmd2_p: Option<f64>,
    /// The same corrected for the domains of the run (Benjamini and Hochberg).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmd2_q: Option<f64>,
    /// p-value of the Fréchet distance in the pool's leading principal components, documents permuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frechet_p: Option<f64>,
    /// The same corrected for the domains of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frechet_q: Option<f64>,
    /// p-value of `energy`, documents permuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_p: Option<f64>,
    /// The same corrected for the domains of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_q: Option<f64>,
    /// p-value of the classifier: of one half of the documents on the other, documents permuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_p: Option<f64>,
    /// The same corrected for the domains of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_q: Option<f64>,
    /// `mmd2` in standard deviations of its permutations from their mean: comparable across kernels and features, for
    /// samples of one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_mmd2: Option<f64>,
    /// The same of the Fréchet distance that `frechet_p` tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_frechet: Option<f64>,
    /// `energy` over twice the mean distance between the two, 0 to 1: independent of the scale of the features and of
    /// sample sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_energy: Option<f64>,
}

/// 95 % intervals by bootstrap over documents: percentiles of the resampled values, moved so that their mean is the
/// value, since resampling pushes distances up. For the reference against itself: the range of the values of 95 of 100
/// parts of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Of `mmd2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmd2_ci95: Option<[f64; 2]>,
    /// Of `frechet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frechet_ci95: Option<[f64; 2]>,
    /// Of `centroid_cosine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centroid_cosine_ci95: Option<[f64; 2]>,
    /// Of `energy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_ci95: Option<[f64; 2]>,
    /// Of `auc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_ci95: Option<[f64; 2]>,
    /// Of `unigram_js`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unigram_js_ci95: Option<[f64; 2]>,
    /// Of `unigram_cross_entropy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unigram_cross_entropy_ci95: Option<[f64; 2]>,
    /// Of `vocabulary_overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary_overlap_ci95: Option<[f64; 2]>,
    /// Of `bigram_overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bigram_overlap_ci95: Option<[f64; 2]>,
    /// Of `trigram_overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigram_overlap_ci95: Option<[f64; 2]>,
    /// Of `newline_rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newline_rate_ci95: Option<[f64; 2]>,
}

/// One measure: its key in results, its label, and its direction.
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
    pub const MEASURES: [Measure; 10] = [
        Measure { key: "mmd2", label: "MMD²", similarity: false },
        Measure { key: "frechet", label: "Fréchet distance", similarity: false },
        Measure { key: "energy", label: "energy distance", similarity: false },
        Measure { key: "centroid_cosine", label: "centroid cosine", similarity: true },
        Measure { key: "auc", label: "classifier AUC", similarity: false },
        Measure { key: "unigram_js", label: "unigram Jensen–Shannon (bits)", similarity: false },
        Measure { key: "unigram_cross_entropy", label: "unigram cross-entropy (nats)", similarity: false },
        Measure { key: "vocabulary_overlap", label: "vocabulary overlap", similarity: true },
        Measure { key: "bigram_overlap", label: "bigram overlap", similarity: true },
        Measure { key: "newline_rate", label: "newline rate", similarity: false },
    ];

    /// The measures that are tested, by key.
    pub const TESTED: [&'static str; 4] = ["mmd2", "frechet", "energy", "auc"];

    /// The value of the measure with this key; `None` where it is missing or there is no such measure.
    pub fn get(&self, key: &str) -> Option<f64> {
        match key {
            "mmd2" => self.mmd2,
            "frechet" => self.frechet,
            "energy" => self.energy,
            "centroid_cosine" => self.centroid_cosine,
            "auc" => self.auc,
            "unigram_js" => self.unigram_js,
            "unigram_cross_entropy" => self.unigram_cross_entropy,
            "vocabulary_overlap" => self.vocabulary_overlap,
            "bigram_overlap" => self.bigram_overlap,
            "trigram_overlap" => self.trigram_overlap,
            "newline_rate" => self.newline_rate,
            _ => None,
        }
    }

    /// The p-value of the measure with this key; `None` where it is not tested.
    pub fn p(&self, key: &str) -> Option<f64> {
        match key {
            "mmd2" => self.tests.mmd2_p,
            "frechet" => self.tests.frechet_p,
            "energy" => self.tests.energy_p,
            "auc" => self.tests.auc_p,
            _ => None,
        }
    }

    /// The same corrected for the domains of the run.
    pub fn q(&self, key: &str) -> Option<f64> {
        match key {
            "mmd2" => self.tests.mmd2_q,
            "frechet" => self.tests.frechet_q,
            "energy" => self.tests.energy_q,
            "auc" => self.tests.auc_q,
            _ => None,
        }
    }

    /// The 95 % interval of the measure with this key.
    pub fn interval(&self, key: &str) -> Option<[f64; 2]> {
        match key {
            "mmd2" => self.intervals.mmd2_ci95,
            "frechet" => self.intervals.frechet_ci95,
            "centroid_cosine" => self.intervals.centroid_cosine_ci95,
            "energy" => self.intervals.energy_ci95,
            "auc" => self.intervals.auc_ci95,
            "unigram_js" => self.intervals.unigram_js_ci95,
            "unigram_cross_entropy" => self.intervals.unigram_cross_entropy_ci95,
            "vocabulary_overlap" => self.intervals.vocabulary_overlap_ci95,
            "bigram_overlap" => self.intervals.bigram_overlap_ci95,
            "trigram_overlap" => self.intervals.trigram_overlap_ci95,
            "newline_rate" => self.intervals.newline_rate_ci95,
            _ => None,
        }
    }
}

/// Corrects the p-values of the domains of one run for their number, measure by measure: fills the q-values.
pub fn adjust(domains: &mut [&mut Distances]) {
    type Read = fn(&Tests) -> Option<f64>;
    type Write = fn(&mut Tests, Option<f64>);
    let columns: [(Read, Write); 4] = [
        (|t| t.mmd2_p, |t, q| t.mmd2_q = q),
        (|t| t.frechet_p, |t, q| t.frechet_q = q),
        (|t| t.energy_p, |t, q| t.energy_q = q),
        (|t| t.auc_p, |t, q| t.auc_q = q),
    ];
    for (p, set) in columns {
        let values: Vec<f64> = domains.iter().map(|domain| p(&domain.tests).unwrap_or(f64::NAN)).collect();
        for (domain, q) in domains.iter_mut().zip(benjamini_hochberg(&values)) {
            set(&mut domain.tests, q.is_finite().then_some(q));
        }
    }
}
