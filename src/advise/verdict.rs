//! Turns a prediction into an answer with its reasons.

use serde::Serialize;

use super::features::{Case, Feature, Features};
use super::pilot::Pilot;
use super::predict::{Prediction, Predictor, side};
use super::terms::SCALE;
use crate::error::Result;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The recipe in question makes perplexity better: its interval lies below zero.
    Adapt,
    /// It makes perplexity worse: its interval lies above zero, and no recipe of the table does better.
    Rely,
    /// Another recipe of the table makes perplexity better.
    AdaptWith,
    /// The interval contains zero, or there is no reliable interval.
    Undecided,
}

impl Verdict {
    /// The word in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adapt => "adapt",
            Self::Rely => "rely",
            Self::AdaptWith => "adapt-with",
            Self::Undecided => "undecided",
        }
    }
}

/// Which way a piece of evidence points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointsTo {
    /// Towards a better model.
    Adapt,
    /// Towards a worse one.
    Rely,
    /// It has no weight in the prediction.
    Neither,
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// Its name, as in `evidence`; `restart` is the recipe on a text like the reference corpus.
    pub evidence: &'static str,
    /// Its number.
    pub value: f64,
    /// Which way it points.
    pub points_to: PointsTo,
    /// How far it moves the prediction away from the prediction for a text like the reference corpus, nats per token.
    pub moves: f64,
    /// In words.
    pub words: String,
}

/// A recipe and its prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// "full, lr 1e-3".
    pub strategy: String,
    /// The peak learning rate.
    pub lr: f64,
    /// Whether adapters are trained.
    pub lora: bool,
    /// What is predicted; null where nothing can be.
    pub predicted: Option<Prediction>,
    #[serde(skip)]
    pub(super) features: Features,
}

impl Recipe {
    /// The recipe of a question.
    pub(super) fn asked(features: &Features) -> Self {
        let (lr, lora) = key(features);
        let strategy = format!("{}, lr {lr:e}", if lora { "lora" } else { "full" });
        Self { strategy, lr, lora, predicted: None, features: features.clone() }
    }
}

fn key(features: &Features) -> (f64, bool) {
    (features.get(Feature::Lr).unwrap_or(f64::NAN), features.get(Feature::Lora).unwrap_or(0.0) > 0.5)
}

/// Factor by which a number of the recipe or the base may lie outside the range of the table.
const BEYOND: f64 = 3.0;

/// Whether the table has similar recipes and bases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Support {
    /// Why predictions cannot be trusted at all.
    pub obstacles: Vec<String>,
    /// What else to keep in mind.
    pub caveats: Vec<String>,
}

impl Support {
    /// Of `features` by the table.
    pub fn of(cases: &[Case], model: &str, features: &Features) -> Self {
        let range = |feature| {
            let values = cases.iter().filter_map(|case| case.features.get(feature));
            values.fold(None, |range: Option<(f64, f64)>, v| {
                Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
            })
        };
        let (mut obstacles, mut caveats) = (Vec::new(), Vec::new());
        for (feature, what, decides) in [
            (Feature::Lr, "learning rate", true),
            (Feature::Parameters, "number of weights", true),
            (Feature::Tokens, "number of tokens trained on", false),
        ] {
            let (Some(value), Some((low, high))) = (features.get(feature), range(feature)) else { continue };
            if value < low / BEYOND || value > high * BEYOND {
                let words =
                    format!("the {what}, {value:.3e}, lies outside what the table has seen, {low:.3e} to {high:.3e}");
                if decides { obstacles.push(words) } else { caveats.push(words) }
            }
        }
        for (feature, what) in [
            (Feature::Lora, "trains as this recipe does (all weights, or adapters)"),
            (Feature::JoinDiffers, "joins training texts as this recipe does"),
        ] {
            let seen = cases.iter().any(|case| case.features.get(feature) == features.get(feature));
            if !seen && !cases.is_empty() {
                obstacles.push(format!("no row of the table {what}"));
            }
        }
        for (feature, what) in
            [(Feature::LossGap, "loss gap"), (Feature::UnigramJs, "unigram divergence"), (Feature::Mmd2, "MMD²")]
        {
            let (Some(value), Some((low, high))) = (features.get(feature), range(feature)) else { continue };
            if !(low..=high).contains(&value) {
                caveats.push(format!(
                    "the {what}, {value:.3}, lies outside what the table has seen, {low:.3} to {high:.3}: the prediction \
                     is carried on from there"
                ));
            }
        }
        if !cases.is_empty() && !cases.iter().any(|case| case.model == model) {
            caveats.push(format!(
                "no row of the table is of a base named {model:?}: fit it on a study of this base where you can"
            ));
        }
        Self { obstacles, caveats }
    }

    /// Other learning rates and ways to train that the table has seen on as many domains as an interval needs.
    pub(super) fn other_recipes(&self, cases: &[Case], features: &Features) -> Vec<Recipe> {
        let mut known: Vec<((f64, bool), Vec<&str>)> = Vec::new();
        for case in cases.iter().filter(|case| case.features.get(Feature::Lr).is_some()) {
            let of = key(&case.features);
            match known.iter_mut().find(|(key, _)| *key == of) {
                Some((_, domains)) if domains.contains(&case.domain.as_str()) => {}
                Some((_, domains)) => domains.push(&case.domain),
                None => known.push((of, vec![&case.domain])),
            }
        }
        known.retain(|(of, domains)| *of != key(features) && domains.len() >= FEWEST_DOMAINS_OF_RECIPE);
        known.sort_by(|a, b| a.0.1.cmp(&b.0.1).then(a.0.0.total_cmp(&b.0.0)));
        let recipe = |((lr, lora), _): ((f64, bool), Vec<&str>)| {
            let mut features = features.clone();
            features.set(Feature::Lr, lr);
            features.set(Feature::Lora, f64::from(lora));
            Recipe::asked(&features)
        };
        known.into_iter().map(recipe).collect()
    }
}

/// Domains on which a recipe must have been tried to be proposed.
const FEWEST_DOMAINS_OF_RECIPE: usize = 5;

/// Up to this loss gap (nats) and this excess of unigram divergence a domain cannot be distinguished from the reference
/// corpus.
const INSIDE_NULL: (f64, f64) = (SCALE / 2.0, 1.5);

/// Whether the domain is not farther from the reference corpus than the corpus from itself. Then the base already knows
/// it.
pub fn is_inside_null(features: &Features, null: &Features) -> bool {
    let (gap, ratio) = INSIDE_NULL;
    let within = |feature, most: f64| features.get(feature).is_some_and(|value| value <= most);
    let own = |feature| null.get(feature);
    within(Feature::LossGap, gap) && own(Feature::UnigramJs).is_some_and(|js| within(Feature::UnigramJs, ratio * js))
}

/// The answer about `recipes[0]`, the recipe that it names, and the words. `reason` says why a prediction is missing.
/// `inside_null`: there is no prediction, and distances and losses show nothing new.
pub fn decide(
    recipes: &[Recipe],
    support: &Support,
    inside_null: bool,
    reason: Option<&str>,
) -> (Verdict, usize, String) {
    let undecided = |words: String| (Verdict::Undecided, 0, words);
    let Some((asked, others)) = recipes.split_first() else { return undecided("no recipe was asked about".into()) };
    let interval = |recipe: &Recipe| recipe.predicted.and_then(|predicted| predicted.interval90);
    let shown = |[low, high]: [f64; 2]| format!("{low:+.3} to {high:+.3} nats per token");
    let Some(ends) = interval(asked) else {
        return undecided(format!("cannot tell yet: {}", reason.unwrap_or("there is no interval")));
    };
    if !support.obstacles.is_empty() {
        return undecided(format!(
            "cannot tell yet: {}; a pilot shows its own numbers, and the table can be fitted on a study of yours",
            support.obstacles.join("; ")
        ));
    }
    let better = others
        .iter()
        .enumerate()
        .filter_map(|(at, recipe)| Some((at + 1, recipe.predicted?.delta, interval(recipe)?)))
        .filter(|(.., ends)| side(*ends) == Some(true) && !inside_null)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    match (side(ends), better) {
        (Some(true), _) if inside_null => undecided(format!(
            "cannot tell yet: predicted {}, but the domain is no farther from the reference corpus than that from itself; \
             a pilot tells more",
            shown(ends)
        )),
        (Some(true), _) => (Verdict::Adapt, 0, format!("adapt: predicted {}", shown(ends))),
        (_, Some((at, _, of_other))) => (
            Verdict::AdaptWith,
            at,
            format!(
                "adapt with {}: predicted {}; the recipe asked about {}",
                recipes[at].strategy,
                shown(of_other),
                shown(ends)
            ),
        ),
        (Some(false), None) => (Verdict::Rely, 0, format!("rely on the base: predicted {}", shown(ends))),
        (None, None) => undecided(format!("cannot tell yet: predicted {}, which holds zero", shown(ends))),
    }
}

/// Names and units of the evidence, in the order of reasons with equal weight.
const EVIDENCE: [(Feature, &str, &str); 14] = [
    (Feature::LossGap, "the base's loss here minus that on the reference", "nats per token"),
    (Feature::UnigramJs, "unigram Jensen–Shannon divergence from the reference", "bits"),
    (Feature::Mmd2, "MMD² from the reference", ""),
    (Feature::Energy, "energy distance from the reference", ""),
    (Feature::CrossEntropyExcess, "cross-entropy excess under the reference's unigrams", "nats per token"),
    (Feature::VocabularyOverlap, "frequent vocabulary in common with the reference", ""),
    (Feature::DocumentSd, "spread of the base's loss between documents", "nats per token"),
    (Feature::NewlineGap, "line breaks' part of the loss gap", "nats per token"),
    (Feature::PunctuationGap, "punctuation's part of the loss gap", "nats per token"),
    (Feature::WordStartGap, "word starts' part of the loss gap", "nats per token"),
    (Feature::NewlineRateExcess, "share of line breaks over the reference's", ""),
    (Feature::FormattingRateExcess, "share of formatting over the reference's", ""),
    (Feature::AvailableTokens, "tokens of training text", ""),
    (Feature::Parameters, "weights of the base", ""),
];

/// The evidence and its effect on the prediction: first the effect of the recipe on a text like the reference corpus
/// (with the features `null`), then what moves the prediction from there, then evidence without weight.
///
/// # Errors
/// As [`Predictor::point`].
pub fn reasons(
    predictor: &Predictor,
    cases: &[Case],
    features: &Features,
    null: &Features,
    pilot: Option<&Pilot>,
) -> Result<Vec<Reason>> {
    let predicted = predictor.point(features)?;
    let with_pilot = pilot.filter(|pilot| pilot.used);
    let points = |moves: f64| match moves {
        _ if moves < -NO_WEIGHT => PointsTo::Adapt,
        _ if moves > NO_WEIGHT => PointsTo::Rely,
        _ => PointsTo::Neither,
    };
    let mut first = Vec::new();
    match with_pilot {
        Some(pilot) => first.push(Reason {
            evidence: Feature::PilotDelta.key(),
            value: pilot.delta,
            points_to: points(pilot.delta),
            moves: predicted,
            words: format!("a pilot of {} tokens came to {:+.3} nats per token", pilot.tokens, pilot.delta),
        }),
        None => {
            let restart = predictor.point(null)?;
            first.push(Reason {
                evidence: "restart",
                value: restart,
                points_to: points(restart),
                moves: restart,
                words: format!("a text like the reference corpus itself would get {restart:+.3} by this recipe"),
            });
        }
    }
    let mut found = Vec::new();
    for (feature, what, unit) in EVIDENCE {
        let Some(value) = features.get(feature) else { continue };
        let mut without = features.clone();
        without.set(feature, null.get(feature));
        let moves = match null.get(feature) {
            Some(_) => predicted - predictor.point(&without)?,
            None => 0.0,
        };
        let rank = rank(cases, feature, value);
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let way = match points(moves) {
            PointsTo::Neither => "no weight in the prediction".to_owned(),
            _ => format!("moves the prediction by {moves:+.3}"),
        };
        let shown = if value.abs() >= 1e4 { format!("{value:.3e}") } else { format!("{value:.3}") };
        let words = format!("{what}: {shown}{unit}{rank}; {way}");
        found.push(Reason { evidence: feature.key(), value, points_to: points(moves), moves, words });
    }
    found.sort_by(|a, b| b.moves.abs().total_cmp(&a.moves.abs())); // stable: equal ones stay in order
    first.extend(found);
    Ok(first)
}

/// Smaller moves (nats) count as zero.
const NO_WEIGHT: f64 = 1e-4;

/// ", larger than in 3 of the table's 23 domains".
fn rank(cases: &[Case], feature: Feature, value: f64) -> String {
    let mut seen: Vec<(&str, f64)> = Vec::new();
    for case in cases {
        if let (Some(of_case), false) =
            (case.features.get(feature), seen.iter().any(|(domain, _)| *domain == case.domain))
        {
            seen.push((&case.domain, of_case));
        }
    }
    let below = seen.iter().filter(|(_, of_case)| *of_case < value).count();
    match seen.len() {
        0 | 1 => String::new(),
        domains => format!(", larger than in {below} of the table's {domains} domains"),
    }
}
