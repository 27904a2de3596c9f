//! What advice would have said of a study's domains before they were adapted to, beside what came of it.

use std::path::Path;

use serde::Serialize;

use super::features::{Case, shipped};
use super::learn::{cases_of, control_of};
use super::predict::{LEVEL, Outcome, Prediction, Predictor};
use super::verdict::{Reason, Recipe, Support, Verdict, decide, is_inside_null, reasons};
use crate::error::Result;
use crate::stats::fewest_groups;
use crate::study::StudyResults;

/// A verdict that could have been given, and what was found.
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
    /// What would have been said of this recipe.
    pub verdict: Verdict,
    /// What would have been predicted; null with a reason.
    pub predicted: Option<Prediction>,
    /// Why nothing would have been predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What speaks for and against, the weightiest first; empty without a prediction or without a restart control.
    pub reasons: Vec<Reason>,
    /// The change that was found, nats per token.
    pub found: f64,
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
    let table: Vec<Case> = match domains.len() > fewest_groups(LEVEL) {
        true => own.clone(),
        false => shipped()?.into_iter().chain(own.iter().cloned()).collect(),
    };
    let mut said = Vec::new();
    for domain in domains {
        let rest: Vec<Case> = table.iter().filter(|case| case.domain != domain).cloned().collect();
        for case in own.iter().filter(|case| case.domain == domain) {
            let null = own.iter().find(|other| is_control(other) && other.model == case.model);
            let predicted = || -> Result<(Option<Prediction>, Vec<Reason>)> {
                let predictor = Predictor::new(&rest, Outcome::Delta, Some(&case.features), false)?;
                let reasons = match null {
                    Some(null) => reasons(&predictor, &rest, &case.features, &null.features, None)?,
                    None => Vec::new(),
                };
                Ok((predictor.predict(std::slice::from_ref(&case.features))?.pop(), reasons))
            };
            let mut recipe = Recipe::asked(&case.features);
            let (mut reason, mut spoke) = (None, Vec::new());
            match predicted() {
                Ok((predicted, reasons)) => (recipe.predicted, spoke) = (predicted, reasons),
                Err(error) => reason = Some(error.to_string()),
            }
            let inside_null = null.is_some_and(|null| is_inside_null(&case.features, &null.features));
            let support = Support::of(&rest, &case.model, &case.features);
            let (verdict, _, words) = decide(std::slice::from_ref(&recipe), &support, inside_null, reason.as_deref());
            let nothing = recipe.predicted.is_none().then(|| reason.unwrap_or(words));
            said.push(Hindsight {
                model: case.model.clone(),
                domain: case.domain.clone(),
                strategy: case.strategy.clone(),
                lr: recipe.lr,
                verdict,
                predicted: recipe.predicted,
                reason: nothing,
                reasons: spoke,
                found: case.delta,
            });
        }
    }
    Ok(said)
}
