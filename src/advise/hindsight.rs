//! What advice would have said about the domains of a study before training, beside the result.

use std::path::Path;
use std::rc::Rc;

use serde::Serialize;

use super::features::{Case, Feature, Features, shipped};
use super::learn::{cases_of, control_of};
use super::predict::{Check, Checked, LEVEL, Outcome, Prediction, Predictor};
use super::verdict::{Reason, Recipe, Support, Verdict, decide, is_inside_null, reasons};
use crate::error::Result;
use crate::stats::fewest_groups;
use crate::study::StudyResults;

/// The advice that would have been given, and the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hindsight {
    /// The base.
    pub model: String,
    /// The domain.
    pub domain: String,
    /// The strategy's name.
    pub strategy: String,
    /// The learning rate.
    pub lr: f64,
    /// Whether training text was joined in another way than test text, as in cells of the ablation grid.
    pub joined_otherwise: bool,
    /// What would have been said of this recipe.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub words: String,
    /// What would have been predicted; null with a reason.
    pub predicted: Option<Prediction>,
    /// Why nothing would have been predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence, the weightiest first; empty where nothing would have been predicted, or there is no restart
    /// control to compare with.
    pub reasons: Vec<Reason>,
    /// Domains that the prediction is learned from.
    pub domains: usize,
    /// Whether the table that comes with the program is among them, since the study's own are too few for an interval.
    pub with_shipped: bool,
    /// The change that was found, nats per token.
    pub found: f64,
    /// Whether that lies inside the 90 % interval; null without one.
    pub inside: Option<bool>,
}

/// Of every domain of a study, each predicted without its own rows: from the study's other domains, and where these are
/// too few for an interval also from the table that comes with the program.
///
/// # Errors
/// Settings that cannot be read.
pub fn hindsight(results: &StudyResults) -> Result<Vec<Hindsight>> {
    let own = cases_of(results, Path::new("results.json"))?;
    let is_control = |case: &Case| case.domain == control_of(&case.model);
    let mut domains: Vec<&str> = own.iter().filter(|case| !is_control(case)).map(|case| case.domain.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    let with_shipped = domains.len() <= fewest_groups(LEVEL);
    let table: Vec<Case> = match with_shipped {
        false => own.clone(),
        true => shipped()?.into_iter().chain(own.iter().cloned()).collect(),
    };
    let mut said = Vec::new();
    for domain in domains {
        let rest: Vec<Case> = table.iter().filter(|case| case.domain != domain).cloned().collect();
        let cases: Vec<&Case> = own.iter().filter(|case| case.domain == domain).collect();
        for (case, predicted) in cases.iter().zip(predictions(&rest, &cases)) {
            let mut recipe = Recipe::asked(&case.features);
            let mut reason = None;
            let mut predictor = None;
            match predicted {
                Ok((of, predicted)) => (predictor, recipe.predicted) = (Some(of), Some(predicted)),
                Err(why) => reason = Some(why),
            }
            let null = own.iter().find(|other| is_control(other) && other.model == case.model);
            let inside_null = null.is_some_and(|null| is_inside_null(&case.features, &null.features));
            let support = Support::of(&rest, &case.model, &case.features);
            let (verdict, _, words) = decide(std::slice::from_ref(&recipe), &support, inside_null, reason.as_deref());
            let predicted = recipe.predicted;
            let because = match (&predictor, null) {
                // If less is known about the reference corpus than about the domain, nothing can be compared.
                (Some(of), Some(null)) => {
                    reasons(of, &rest, &case.features, &by_recipe_of(null, case), None).unwrap_or_default()
                }
                _ => Vec::new(),
            };
            said.push(Hindsight {
                model: case.model.clone(),
                domain: case.domain.clone(),
                strategy: case.strategy.clone(),
                lr: recipe.lr,
                joined_otherwise: case.features.get(Feature::JoinDiffers).is_some_and(|differs| differs > 0.5),
                verdict,
                predicted,
                reason: predicted.is_none().then(|| reason.unwrap_or_else(|| words.clone())),
                words,
                reasons: because,
                domains: predictor.map_or(0, |of| of.domains()),
                with_shipped,
                found: case.delta,
                inside: predicted.and_then(|p| p.interval90).map(|[low, high]| (low..=high).contains(&case.delta)),
            });
        }
    }
    Ok(said)
}

/// The performance of these predictions, each made without its own domain.
pub fn check(said: &[Hindsight]) -> Check {
    let predictions = said.iter().filter_map(|said| {
        let Prediction { delta, interval90 } = said.predicted?;
        let (domain, model) = (said.domain.clone(), said.model.clone());
        Some(Checked { domain, model, predicted: delta, interval90, found: said.found })
    });
    Check::of(predictions.collect())
}

/// A prediction and its predictor, or why there is none.
type Predicted = Result<(Rc<Predictor>, Prediction), String>;

/// Predicts each of `cases` from `rest`, or says why it cannot. Cases with the same known features share one fit.
fn predictions(rest: &[Case], cases: &[&Case]) -> Vec<Predicted> {
    let known = |case: &Case| Feature::ALL.map(|feature| case.features.get(feature).is_some());
    let mut found: Vec<Option<Predicted>> = vec![None; cases.len()];
    while let Some(first) = found.iter().position(Option::is_none) {
        let alike: Vec<usize> = (first..cases.len()).filter(|&at| known(cases[at]) == known(cases[first])).collect();
        let asked: Vec<Features> = alike.iter().map(|&at| cases[at].features.clone()).collect();
        match Predictor::new(rest, Outcome::Delta, asked.first(), false).map(Rc::new) {
            Err(error) => alike.iter().for_each(|&at| found[at] = Some(Err(error.to_string()))),
            Ok(predictor) => {
                // A prediction that is beyond the range of numbers does not affect the others.
                let all = predictor.predict(&asked);
                for (at, (index, asked)) in alike.into_iter().zip(asked.iter().enumerate()) {
                    let one = match &all {
                        Ok(all) => Ok(all[index]),
                        Err(_) => predictor.predict(std::slice::from_ref(asked)).map(|one| one[0]),
                    };
                    found[at] = Some(one.map(|one| (predictor.clone(), one)).map_err(|error| error.to_string()));
                }
            }
        }
    }
    found.into_iter().flatten().collect()
}

/// The features of the reference corpus itself, as if the base were adapted to it in the way of `case`.
fn by_recipe_of(null: &Case, case: &Case) -> Features {
    let recipe = [Feature::Lr, Feature::Steps, Feature::Tokens, Feature::Lora, Feature::JoinDiffers];
    let mut features = null.features.clone();
    // The spread between documents is a property of the domain, so it is not compared.
    for feature in recipe.into_iter().chain([Feature::DocumentSd]) {
        features.set(feature, case.features.get(feature));
    }
    features
}
