//! The one table of measures. Everything that computes, tests, stores or shows a distance reads it: a new measure is its
//! computation in [`super::reference`] and one line here.

/// What a measure measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// A larger value means farther from the reference.
    Distance,
    /// A larger value means closer to the reference.
    Similarity,
    /// Not a distance, but another explanation of a change.
    Rival,
}

/// What a measure compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compares {
    /// Feature vectors of chunks.
    Features,
    /// Token counts.
    Words,
}

/// The smallest place in which a measure is shown. Places that come later show it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// The main table in the terminal.
    Terminal,
    /// The main table of the page.
    Page,
    /// Figures, correlations, CSV, and the tables of distances.
    Study,
    /// JSON alone.
    Json,
}

/// Everything that is known of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Its key in JSON and CSV.
    pub key: &'static str,
    /// Its name on axes and in tables, with its unit.
    pub label: &'static str,
    /// What it measures.
    pub sense: Sense,
    /// What it compares.
    pub compares: Compares,
    /// Whether it has a p-value.
    pub tested: bool,
    /// The name of its effect size; empty if it has none.
    pub effect: &'static str,
    /// Where it is shown.
    pub shown: Shown,
    /// Whether JSON has `null` if the value is missing; otherwise the key is left out.
    pub null: bool,
}

macro_rules! measures {
    ($($(#[doc = $doc:literal])* $name:ident $key:literal $label:literal $sense:ident $compares:ident $tested:literal
        $effect:literal $shown:ident $null:literal;)*) => {
        /// A way to compare a domain with the reference corpus.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Measure {
            $($(#[doc = $doc])* $name,)*
        }

        impl Measure {
            /// All measures, in the order of tables.
            pub const ALL: [Self; [$($key),*].len()] = [$(Self::$name),*];

            /// Everything that is known of it.
            pub const fn about(self) -> About {
                match self {
                    $(Self::$name => About {
                        key: $key, label: $label, sense: Sense::$sense, compares: Compares::$compares,
                        tested: $tested, effect: $effect, shown: Shown::$shown, null: $null,
                    },)*
                }
            }
        }
    };
}

measures! {
// name, key, label, sense, compares, tested, effect, shown, null
/// Unbiased squared maximum mean discrepancy; may be slightly negative. Its effect is in standard deviations of its
/// permutations from their mean.
Mmd2 "mmd2" "MMD²" Distance Features true "MMD² effect (z)" Terminal true;
/// Fréchet distance between Gaussian fits (squared form, as FID). It is tested in the leading principal components of the
/// pool; the effect is that of this test.
Frechet "frechet" "Fréchet distance" Distance Features true "Fréchet effect (z)" Page true;
/// Energy distance, u-statistic; may be slightly negative. Its effect is the value over twice the mean distance between the
/// two, 0 to 1.
Energy "energy" "energy distance" Distance Features true "energy effect (0–1)" Study true;
/// Cosine of the angle between the mean feature vectors; 1 is the same direction.
CentroidCosine "centroid_cosine" "centroid cosine" Similarity Features false "" Study true;
/// Area under the ROC curve of a classifier that tells the two apart; 0.5 is chance, 1 is always right.
Auc "auc" "classifier AUC" Distance Features true "" Study false;
/// Jensen–Shannon divergence of token unigrams, bits.
UnigramJs "unigram_js" "unigram Jensen–Shannon (bits)" Distance Words false "" Terminal true;
/// Cross-entropy of the domain's tokens under the reference's add-one smoothed unigrams, nats per token.
UnigramCrossEntropy "unigram_cross_entropy" "unigram cross-entropy (nats)" Distance Words false "" Study true;
/// Share of the most frequent token types that the two have in common, 0 to 1: of the first 10,000, or of a quarter of a
/// smaller vocabulary.
VocabularyOverlap "vocabulary_overlap" "vocabulary overlap" Similarity Words false "" Page true;
/// Share of the domain's sequences of two tokens that the reference has too.
BigramOverlap "bigram_overlap" "bigram overlap" Similarity Words false "" Study false;
/// The same of different sequences: each is counted once.
BigramTypeOverlap "bigram_type_overlap" "bigram type overlap" Similarity Words false "" Json false;
/// Share of the domain's sequences of three tokens that the reference has too.
TrigramOverlap "trigram_overlap" "trigram overlap" Similarity Words false "" Json false;
/// The same of different sequences: each is counted once.
TrigramTypeOverlap "trigram_type_overlap" "trigram type overlap" Similarity Words false "" Json false;
/// Share of the domain's tokens that contain a line break.
NewlineRate "newline_rate" "newline rate" Rival Words false "" Study true;
}

impl Measure {
    /// The measures of figures, correlations and tables, in their order.
    pub fn shown() -> impl Iterator<Item = Self> + Clone {
        Self::shown_in(Shown::Study)
    }

    /// The measures that a place shows, in their order.
    pub fn shown_in(place: Shown) -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(move |measure| measure.about().shown <= place)
    }

    /// The measures that have a p-value.
    pub fn tested() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(|measure| measure.about().tested)
    }

    /// The measures that compare feature vectors, or words.
    pub fn comparing(what: Compares) -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(move |measure| measure.about().compares == what)
    }

    /// The measure with this key.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.key() == key)
    }

    /// Its key in JSON and CSV.
    pub const fn key(self) -> &'static str {
        self.about().key
    }

    /// Its name on axes and in tables.
    pub const fn label(self) -> &'static str {
        self.about().label
    }

    /// Whether a larger value means closer to the reference.
    pub fn is_similarity(self) -> bool {
        self.about().sense == Sense::Similarity
    }

    /// Whether it is another explanation of a change, not a distance.
    pub fn is_rival(self) -> bool {
        self.about().sense == Sense::Rival
    }
}
