//! Before training: adapt, rely on the base, adapt in another way, or "cannot tell yet", with the evidence.
//!
//! `gather` measures what is known of domain and base, [`learn`] takes the same from finished studies, [`predict`]
//! predicts a change with an interval, [`verdict`] turns it into an answer with reasons. [`pilot`] spends a small
//! budget first. The table of known outcomes ([`features`]) is fitted anew each time, so the user's own studies add
//! rows to it.

pub mod features;
mod gather;
pub mod hindsight;
pub mod learn;
pub mod pilot;
pub mod predict;
pub mod terms;
pub mod verdict;

use std::collections::BTreeMap;

use serde::Serialize;

pub use features::{Case, Feature, Features};
pub use gather::Question;
pub use pilot::Pilot;
pub use predict::{Check, Outcome, Prediction, Predictor};
pub use verdict::{Reason, Verdict};

use crate::error::{Error, Result};
use crate::process::bytes;
use crate::progress::Monitor;
use crate::similarity::Distances;
use verdict::{Recipe, Support};

/// `advise --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// "odyssey.advise/1".
    pub schema: String,
    /// The base.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// The reference corpus.
    pub reference: String,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in a sentence.
    pub words: String,
    /// The recipe that the answer is about; for `adapt-with` the recipe to use.
    pub strategy: String,
    /// Predicted change in log-perplexity by the recipe asked about, nats per token: positive is worse. Null with a reason.
    pub predicted_delta: Option<f64>,
    /// Its 90 % interval.
    pub interval90: Option<[f64; 2]>,
    /// Why a prediction or its interval is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence, the weightiest first.
    pub reasons: Vec<Reason>,
    /// The predicted change on the reference corpus.
    pub forgetting: Forgetting,
    /// What the adaptation costs.
    pub cost: Cost,
    /// The recipe asked about, and the others that the table knows.
    pub recipes: Vec<Recipe>,
    /// Everything measured, by name.
    pub evidence: BTreeMap<&'static str, f64>,
    /// Distances to the reference corpus.
    pub similarity: Distances,
    /// The result of the pilot, if one was run.
    pub pilot: Option<Pilot>,
    /// The basis of the prediction.
    pub rests_on: RestsOn,
    /// Cautions.
    pub caveats: Vec<String>,
}

/// The predicted change on the reference corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forgetting {
    /// Nats per token; positive is forgotten.
    pub predicted: Option<f64>,
    /// Its 90 % interval.
    pub interval90: Option<[f64; 2]>,
    /// Why one is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The cost of an adaptation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens trained on, repeats counted.
    pub tokens: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Seconds of training on this device; null if the device has too little memory.
    pub seconds: Option<f64>,
    /// The speed in tokens per second from which `seconds` is computed.
    pub tokens_per_second: Option<f64>,
    /// Memory, bytes.
    pub bytes: u64,
    /// Whether this device has as much; null where it does not say.
    pub fits: Option<bool>,
}

/// The basis of a prediction, and the performance of such predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestsOn {
    /// Rows of the table.
    pub rows: usize,
    /// Their domains.
    pub domains: usize,
    /// Their bases.
    pub bases: Vec<String>,
    /// Where they come from.
    pub sources: Vec<String>,
    /// The chosen terms, the heaviest first, with the effect of one standard deviation of each.
    pub terms: Vec<(&'static str, f64)>,
    /// The penalty it chose.
    pub penalty: Option<f64>,
    /// Every domain predicted from the others.
    pub leave_domain_out: Option<Check>,
    /// The same with the pilot, where rows have one.
    pub leave_domain_out_with_pilot: Option<Check>,
}

/// The budget, and the speed if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Means {
    /// Tokens of a pilot.
    pub pilot: Option<u64>,
    /// Tokens a second of training, where that is known; timed otherwise.
    pub tokens_per_second: Option<f64>,
}

/// Answers `question` from the `cases` of the table. Rows of a domain with the same name are left out, so the answer is
/// the one before these results were known.
///
/// # Errors
/// Texts that are too short or do not fit the model; the device's failure; an interruption.
pub fn advise(question: &Question<'_>, cases: &[Case], means: Means, monitor: &mut dyn Monitor) -> Result<Advice> {
    let mut known = question.gather(monitor)?;
    let (own, cases): (Vec<Case>, Vec<Case>) = cases.iter().cloned().partition(|case| case.domain == known.domain);
    if !own.is_empty() {
        let words =
            "rows of the table are of a domain of this name and were left out: their studies say what was found";
        known.caveats.push(format!("{} {words}", own.len()));
    }
    let mut pilot = match means.pilot {
        Some(tokens) => Some(pilot::run(question, &known, tokens, monitor)?),
        None => None,
    };
    let plan = question.plan(&known.train)?;
    let rate = match (means.tokens_per_second, &pilot) {
        (Some(rate), _) => Some(rate),
        (None, Some(pilot)) => Some(pilot.tokens_per_second),
        (None, None) if plan.fits == Some(false) => None,
        (None, None) => Some(question.tokens_per_second(&known.train, monitor)?),
    };
    if plan.fits == Some(false) {
        known
            .caveats
            .push(format!("training needs {} of memory, which this device does not have", bytes(plan.needs_bytes)));
    }
    let trained = known.trained;
    let cost = Cost {
        tokens: trained.tokens,
        steps: trained.steps,
        seconds: rate.map(|rate| trained.tokens as f64 / rate),
        tokens_per_second: rate,
        bytes: plan.needs_bytes,
        fits: plan.fits,
    };

    let plain = Rested::on(&cases, &known.features, false, monitor)?;
    let mut features = known.features.clone();
    let mut with_pilot = None;
    if let Some(pilot) = &mut pilot {
        features.set(Feature::PilotDelta, pilot.delta);
        features.set(Feature::PilotTokens, pilot.tokens as f64);
        // Both are compared on the rows that have a pilot.
        let piloted: Vec<Case> =
            cases.iter().filter(|case| case.features.get(Feature::PilotDelta).is_some()).cloned().collect();
        let without = Rested::on(&piloted, &known.features, false, monitor)?;
        let with = Rested::on(&piloted, &features, true, monitor)?;
        (pilot.used, pilot.words) = worth(&without, &with);
        with_pilot = Some(with);
    }
    let used = pilot.as_ref().is_some_and(|pilot| pilot.used);
    let check_with_pilot = with_pilot.as_ref().and_then(|rested| Some(rested.as_ref().ok()?.check.clone()));
    let rested = match with_pilot {
        Some(rested) if used => rested,
        _ => plain,
    };
    if !used {
        features.clone_from(&known.features);
    }
    let forgetting = forgetting(&cases, &features);

    let support = Support::of(&cases, question.model, &features);
    known.caveats.extend(support.caveats.iter().cloned());
    let mut recipes = vec![Recipe::asked(&features)];
    // The result of a pilot holds only for its own recipe.
    if !used {
        recipes.extend(support.other_recipes(&cases, &features));
    }
    let (rests_on, reason) = match &rested {
        Ok(rested) => {
            let asked: Vec<Features> = recipes.iter().map(|recipe| recipe.features.clone()).collect();
            for (recipe, predicted) in recipes.iter_mut().zip(rested.predictor.predict(&asked)?) {
                recipe.predicted = Some(predicted);
            }
            let few = recipes[0].predicted.is_some_and(|predicted| predicted.interval90.is_none()).then(|| {
                let fewest = crate::stats::fewest_groups(predict::LEVEL);
                format!("the table has {} domains, and an interval needs {fewest}", rested.predictor.domains())
            });
            (rested.describe(&cases, check_with_pilot), few)
        }
        Err(reason) => (RestsOn::nothing(&cases), Some(reason.clone())),
    };
    let inside_null = verdict::is_inside_null(&known.features, &known.null);
    let (verdict, chosen, words) = verdict::decide(&recipes, &support, inside_null && !used, reason.as_deref());
    let reasons = match &rested {
        Ok(rested) => verdict::reasons(&rested.predictor, &cases, &features, &known.null, pilot.as_ref())?,
        Err(_) => Vec::new(),
    };
    let asked = recipes[0].predicted;
    Ok(Advice {
        schema: "odyssey.advise/1".into(),
        model: question.model.to_owned(),
        domain: known.domain,
        reference: question.reference.display().to_string(),
        verdict,
        words,
        strategy: recipes[chosen].strategy.clone(),
        predicted_delta: asked.map(|predicted| predicted.delta),
        interval90: asked.and_then(|predicted| predicted.interval90),
        reason,
        reasons,
        forgetting,
        cost,
        recipes,
        evidence: Feature::ALL.into_iter().filter_map(|f| Some((f.key(), features.get(f)?))).collect(),
        similarity: known.distances,
        pilot,
        rests_on,
        caveats: known.caveats,
    })
}

/// A predictor and its performance on domains that were left out.
struct Rested {
    predictor: Predictor,
    check: Check,
}

impl Rested {
    /// The inner `Err` says why there is no prediction.
    fn on(
        cases: &[Case],
        asked: &Features,
        with_pilot: bool,
        monitor: &mut dyn Monitor,
    ) -> Result<Result<Self, String>> {
        match Self::new(cases, Outcome::Delta, Some(asked), with_pilot, monitor) {
            Err(Error::Interrupted(words)) => Err(Error::Interrupted(words)),
            made => Ok(made.map_err(|error| error.to_string())),
        }
    }

    fn new(
        cases: &[Case],
        outcome: Outcome,
        asked: Option<&Features>,
        with_pilot: bool,
        monitor: &mut dyn Monitor,
    ) -> Result<Self> {
        let predictor = Predictor::new(cases, outcome, asked, with_pilot)?;
        Ok(Self { check: predictor.leave_domain_out(monitor)?, predictor })
    }

    fn describe(&self, cases: &[Case], with_pilot: Option<Check>) -> RestsOn {
        let (terms, penalty) = self.predictor.chosen();
        RestsOn {
            rows: self.predictor.rows(),
            domains: self.predictor.domains(),
            bases: self.predictor.models().into_iter().map(str::to_owned).collect(),
            sources: sources(cases),
            terms: terms.into_iter().map(|(term, weight)| (term.words(), weight)).collect(),
            penalty: Some(penalty),
            leave_domain_out: Some(self.check.clone()),
            leave_domain_out_with_pilot: with_pilot,
        }
    }
}

impl RestsOn {
    fn nothing(cases: &[Case]) -> Self {
        Self {
            rows: 0,
            domains: 0,
            bases: Vec::new(),
            sources: sources(cases),
            terms: Vec::new(),
            penalty: None,
            leave_domain_out: None,
            leave_domain_out_with_pilot: None,
        }
    }
}

fn sources(cases: &[Case]) -> Vec<String> {
    let mut sources: Vec<String> = cases.iter().map(|case| case.source.clone()).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// Whether the pilot narrows intervals on domains left out, in words.
fn worth(without: &Result<Rested, String>, with: &Result<Rested, String>) -> (bool, String) {
    let width = |rested: &Result<Rested, String>| rested.as_ref().ok().and_then(|rested| rested.check.median_width);
    match (width(without), with.as_ref().map(|rested| rested.check.median_width)) {
        (_, Err(reason)) => (false, format!("not used: {reason}")),
        (_, Ok(None)) => (false, "not used: too few domains of the table have a pilot".to_owned()),
        (Some(without), Ok(Some(with))) if with >= without => (
            false,
            format!(
                "not used: on domains left out intervals are {with:.3} nats wide with a pilot and {without:.3} without"
            ),
        ),
        (without, Ok(Some(with))) => {
            let before = without.map_or(String::new(), |without| format!(" instead of {without:.3}"));
            (true, format!("used: on domains left out intervals are {with:.3} nats wide{before}"))
        }
    }
}

fn forgetting(cases: &[Case], features: &Features) -> Forgetting {
    let predicted = || -> Result<Option<Prediction>> {
        let predictor = Predictor::new(cases, Outcome::Forgetting, Some(features), false)?;
        Ok(predictor.predict(std::slice::from_ref(features))?.pop())
    };
    match predicted() {
        Ok(Some(Prediction { delta, interval90 })) => Forgetting {
            predicted: Some(delta),
            interval90,
            reason: interval90.is_none().then(|| "too few domains of the table say what was forgotten".to_owned()),
        },
        Ok(None) => Forgetting { predicted: None, interval90: None, reason: None },
        Err(error) => Forgetting { predicted: None, interval90: None, reason: Some(error.to_string()) },
    }
}

/// `advise --check`: the performance of predictions on rows that were left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableCheck {
    /// "odyssey.advise-check/1".
    pub schema: String,
    /// The basis of the predictions.
    pub rests_on: RestsOn,
    /// Every base's rows predicted from other bases on other domains; null with one base.
    pub leave_base_out: Option<Check>,
    /// Forgetting, every domain predicted from the others.
    pub forgetting: Option<Check>,
    /// Why one is missing.
    pub reasons: BTreeMap<&'static str, String>,
}

/// Checks the table.
///
/// # Errors
/// A table from which nothing can be predicted.
pub fn check(cases: &[Case], monitor: &mut dyn Monitor) -> Result<TableCheck> {
    let mut reasons = BTreeMap::new();
    let mut keep = |name, checked: Result<Rested>| match checked {
        Ok(rested) => Ok(Some(rested.check)),
        Err(Error::Interrupted(words)) => Err(Error::Interrupted(words)),
        Err(error) => {
            reasons.insert(name, error.to_string());
            Ok(None)
        }
    };
    let plain = Rested::new(cases, Outcome::Delta, None, false, monitor)?;
    let with_pilot = keep("leave_domain_out_with_pilot", Rested::new(cases, Outcome::Delta, None, true, monitor))?;
    let forgetting = keep("forgetting", Rested::new(cases, Outcome::Forgetting, None, false, monitor))?;
    let leave_base_out = plain.predictor.leave_base_out(monitor)?;
    if leave_base_out.is_none() {
        reasons.insert("leave_base_out", "the table has one base".to_owned());
    }
    let rests_on = plain.describe(cases, with_pilot);
    Ok(TableCheck { schema: "odyssey.advise-check/1".into(), rests_on, leave_base_out, forgetting, reasons })
}
