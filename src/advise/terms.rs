//! The terms of the regression, made from the features, and the combinations that it may choose from.

use super::features::{Feature, Features};

/// The scale of the transformation `asinh(δ / SCALE)`: it is linear for changes below this many nats, which may be
/// noise, and logarithmic above, because the error of a prediction grows with the change.
pub const SCALE: f64 = 0.1;

/// Transforms nats for the regression.
pub fn shrink(nats: f64) -> f64 {
    (nats / SCALE).asinh()
}

/// The inverse of [`shrink`].
pub fn stretch(shrunk: f64) -> f64 {
    SCALE * shrunk.sinh()
}

/// A predictor, made of one or two features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// The loss gap, shrunk.
    Gap,
    /// ln of the learning rate.
    LnLr,
    /// The shrunk loss gap times ln of the learning rate over 1e-3: the effect of a rate depends on how much there is
    /// to learn.
    GapLr,
    /// Adapters or not.
    Lora,
    /// Whether texts are joined otherwise in training.
    Join,
    /// √JS, which is a metric.
    RootJs,
    /// JS.
    Js,
    /// MMD, the root of MMD² where that is positive.
    Mmd,
    /// Cross-entropy excess, shrunk.
    Excess,
    /// Vocabulary overlap.
    Overlap,
    /// Spread of the loss between documents.
    Spread,
    /// Excess of line breaks.
    Newlines,
    /// Excess of formatting.
    Formatting,
    /// Parts of the loss gap by class of token.
    NewlineGap,
    /// Of punctuation.
    PunctuationGap,
    /// Of word starts.
    WordStartGap,
    /// ln of the tokens trained on.
    LnTokens,
    /// ln of the steps.
    LnSteps,
    /// ln of the tokens trained on over the weights.
    LnTokensPerWeight,
    /// The pilot's change, shrunk.
    Pilot,
    /// ln of the tokens trained on over the pilot's.
    PilotShare,
}

impl Term {
    /// Its value; `None` if one of its features is not known.
    pub fn of(self, features: &Features) -> Option<f64> {
        let get = |feature| features.get(feature);
        let ln = |feature| get(feature).filter(|value| *value > 0.0).map(f64::ln);
        let js = || get(Feature::UnigramJs).map(|js| js.max(0.0));
        match self {
            Self::Gap => get(Feature::LossGap).map(shrink),
            Self::LnLr => ln(Feature::Lr),
            Self::GapLr => Some(shrink(get(Feature::LossGap)?) * (ln(Feature::Lr)? - 1e-3_f64.ln())),
            Self::Lora => get(Feature::Lora),
            Self::Join => get(Feature::JoinDiffers),
            Self::RootJs => js().map(f64::sqrt),
            Self::Js => js(),
            Self::Mmd => get(Feature::Mmd2).map(|mmd2| mmd2.max(0.0).sqrt()),
            Self::Excess => get(Feature::CrossEntropyExcess).map(shrink),
            Self::Overlap => get(Feature::VocabularyOverlap),
            Self::Spread => get(Feature::DocumentSd),
            Self::Newlines => get(Feature::NewlineRateExcess),
            Self::Formatting => get(Feature::FormattingRateExcess),
            Self::NewlineGap => get(Feature::NewlineGap),
            Self::PunctuationGap => get(Feature::PunctuationGap),
            Self::WordStartGap => get(Feature::WordStartGap),
            Self::LnTokens => ln(Feature::Tokens),
            Self::LnSteps => ln(Feature::Steps),
            Self::LnTokensPerWeight => Some(ln(Feature::Tokens)? - ln(Feature::Parameters)?),
            Self::Pilot => get(Feature::PilotDelta).map(shrink),
            Self::PilotShare => Some(ln(Feature::Tokens)? - ln(Feature::PilotTokens)?),
        }
    }

    /// Its name for readers.
    pub fn words(self) -> &'static str {
        match self {
            Self::Gap => "loss gap",
            Self::LnLr => "learning rate",
            Self::GapLr => "loss gap × learning rate",
            Self::Lora => "adapters",
            Self::Join => "another join in training",
            Self::RootJs => "√JS",
            Self::Js => "JS",
            Self::Mmd => "MMD",
            Self::Excess => "cross-entropy excess",
            Self::Overlap => "vocabulary overlap",
            Self::Spread => "spread between documents",
            Self::Newlines => "excess of line breaks",
            Self::Formatting => "excess of formatting",
            Self::NewlineGap => "line breaks' part of the gap",
            Self::PunctuationGap => "punctuation's part of the gap",
            Self::WordStartGap => "word starts' part of the gap",
            Self::LnTokens => "tokens",
            Self::LnSteps => "steps",
            Self::LnTokensPerWeight => "tokens per weight",
            Self::Pilot => "pilot",
            Self::PilotShare => "tokens per pilot's token",
        }
    }
}

/// The terms of every choice: how much there is to learn, and the recipe.
pub const CORE: [Term; 5] = [Term::Gap, Term::LnLr, Term::GapLr, Term::Lora, Term::Join];

/// The further terms that a choice may have. They are few, because there are about 20 domains.
const BESIDE: [&[Term]; 10] = [
    &[],
    &[Term::RootJs],
    &[Term::RootJs, Term::Js],
    &[Term::RootJs, Term::Mmd],
    &[Term::RootJs, Term::Js, Term::LnTokensPerWeight],
    &[Term::RootJs, Term::Js, Term::LnTokens, Term::LnTokensPerWeight],
    &[Term::Excess, Term::Overlap],
    &[Term::RootJs, Term::Js, Term::Spread],
    &[Term::RootJs, Term::Js, Term::Newlines, Term::Formatting],
    &[Term::RootJs, Term::NewlineGap, Term::PunctuationGap, Term::WordStartGap],
];

/// The choices with a pilot: its measured change replaces the terms that only estimate it.
const WITH_PILOT: [&[Term]; 4] = [
    &[Term::Pilot, Term::PilotShare, Term::LnLr],
    &[Term::Pilot, Term::PilotShare, Term::LnLr, Term::Gap],
    &[Term::Pilot, Term::PilotShare, Term::LnLr, Term::Gap, Term::GapLr],
    &[Term::Pilot, Term::PilotShare, Term::LnLr, Term::Gap, Term::GapLr, Term::RootJs],
];

/// The combinations of terms that may be chosen.
pub fn choices(with_pilot: bool) -> Vec<Vec<Term>> {
    match with_pilot {
        true => WITH_PILOT.iter().map(|terms| terms.to_vec()).collect(),
        false => BESIDE.iter().map(|terms| CORE.iter().chain(*terms).copied().collect()).collect(),
    }
}
