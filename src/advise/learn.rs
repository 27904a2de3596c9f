//! Cases from studies: what was known before each adaptation, and its result.

use std::path::Path;

use super::features::{Case, Feature, Features, read_table_file};
use crate::compare::LossProfile;
use crate::error::{Error, Result};
use crate::recipe::{AdaptSettings, Trainable};
use crate::similarity::{Distances, FeatureSpec, KernelKind, Measure};
use crate::study::config::{SimilaritySettings, StrategyEntry, StudyConfig};
use crate::study::{self, Row, StudyResults};
use crate::text::TokenClass;

/// The cases of a finished study's folder, or of a table (`.csv`) as `advise --write-table` writes it.
///
/// # Errors
/// The path is neither, or holds no case.
pub fn cases_in(path: &Path) -> Result<Vec<Case>> {
    let is_table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) && path.is_file();
    let cases = match is_table {
        true => read_table_file(path)?,
        false => cases_of(&study::collect(path)?, path)?,
    };
    if cases.is_empty() {
        let fault = "holds no finished adaptation to a domain";
        return Err(Error::file(path, fault, "run the study to its end, or leave it out"));
    }
    Ok(cases)
}

/// The cases of a study's results; `place` is where they come from, for messages.
///
/// A strategy named `pilot`, or whose name ends in `-pilot`, is not a case. It is the pilot of the strategies that have
/// the same recipe except for its length.
///
/// # Errors
/// Settings that cannot be read.
pub fn cases_of(results: &StudyResults, place: &Path) -> Result<Vec<Case>> {
    let config: StudyConfig = toml::from_str(&results.settings)
        .map_err(|e| Error::file(place, format!("its settings cannot be read: {e}"), "run the study again"))?;
    let mut cases: Vec<Case> = Vec::new();
    let mut seen: Vec<[&str; 3]> = Vec::new();
    for row in &results.rows {
        let key = [row.model.as_str(), row.domain.as_str(), row.strategy.as_str()];
        let strategy = config.strategies.iter().find(|s| s.name == row.strategy && !s.is_pilot());
        let (Some(strategy), false) = (strategy, seen.contains(&key)) else { continue };
        seen.push(key);
        let seeds = |name: &str| -> Vec<&Row> {
            let of = |r: &&Row| r.model == row.model && r.domain == row.domain && r.strategy == name;
            results.rows.iter().filter(of).collect()
        };
        let own = seeds(&row.strategy);
        let mut features = evidence_of(results, row);
        let trained = Trained { steps: row.train_loss.last().map_or(0, |(step, _)| *step), tokens: row.train_tokens };
        let text = config.training(strategy).text;
        features = features.with(&recipe(&strategy.recipe, text != config.text.stream(), trained));
        let pilot = config.strategies.iter().find(|other| other.is_pilot() && is_pilot_of(other, strategy));
        if let Some(of_pilot) = pilot.map(|pilot| seeds(&pilot.name)).filter(|rows| !rows.is_empty()) {
            features.set(Feature::PilotDelta, mean(of_pilot.iter().map(|r| Some(r.delta))));
            features.set(Feature::PilotTokens, of_pilot[0].train_tokens as f64);
        }
        cases.push(Case {
            source: results.name.clone(),
            model: row.model.clone(),
            domain: row.domain.clone(),
            strategy: row.strategy.clone(),
            delta: mean(own.iter().map(|r| Some(r.delta))).unwrap_or(row.delta),
            forgetting: mean(own.iter().map(|r| r.evidence.forgetting.value)),
            features,
        });
    }
    cases.extend(of_grid(results, &config, &cases));
    cases.extend(of_controls(results, &config));
    // The regression uses distances between hidden states of the base, with the kernel that advice uses.
    let SimilaritySettings { features, kernel, .. } = &config.similarity;
    let of_states = *features == FeatureSpec::default();
    for case in &mut cases {
        if !of_states {
            case.features.set(Feature::Energy, None);
        }
        if !of_states || *kernel != KernelKind::default() {
            case.features.set(Feature::Mmd2, None);
        }
    }
    cases.retain(|case| case.delta.is_finite());
    Ok(cases)
}

/// The restart controls count as a domain that the base already knows, with distance zero.
fn of_controls(results: &StudyResults, config: &StudyConfig) -> Vec<Case> {
    let controls = results.restart_control.iter();
    controls
        .filter_map(|control| {
            let strategy = config.strategies.iter().find(|s| s.name == control.strategy && !s.is_pilot())?;
            let base = results.bases.iter().find(|base| base.model == control.model)?;
            let null = results.null.iter().find(|null| null.model == control.model)?;
            let own = evidence(&Known {
                base_loss: base.reference_loss.as_ref(),
                reference_loss: base.reference_loss.as_ref(),
                distances: &null.distances,
                null: Some(&null.distances),
                available_tokens: None,
                parameters: Some(base.parameters),
            });
            // It takes the steps of a row with the same number of tokens, if there is one.
            let alike =
                results.rows.iter().filter(|row| row.model == control.model && row.strategy == control.strategy);
            let steps = alike
                .min_by_key(|row| row.train_tokens.abs_diff(control.train_tokens))
                .and_then(|row| row.train_loss.last())
                .map_or(0, |(step, _)| *step);
            let text = config.training(strategy).text;
            let trained = Trained { steps, tokens: control.train_tokens };
            Some(Case {
                source: results.name.clone(),
                model: control.model.clone(),
                domain: control_of(&control.model),
                strategy: control.strategy.clone(),
                features: own.with(&recipe(&strategy.recipe, text != config.text.stream(), trained)),
                delta: control.delta.value?,
                forgetting: control.delta.value,
            })
        })
        .collect()
}

/// The other ways to train of the ablation grid, evaluated as the study evaluates.
fn of_grid(results: &StudyResults, config: &StudyConfig, cases: &[Case]) -> Vec<Case> {
    let own = config.text.stream();
    let is_pilot = |name: &str| config.strategies.iter().any(|s| s.name == name && s.is_pilot());
    let cells = results.ablation.iter().filter(|cell| {
        !cell.control && (cell.eval_join, cell.eval_newlines) == (own.join, own.newlines) && !is_pilot(&cell.strategy)
    });
    cells
        .filter_map(|cell| {
            let of = |c: &&Case| (&c.model, &c.domain, &c.strategy) == (&cell.model, &cell.domain, &cell.strategy);
            let plain = cases.iter().find(of)?;
            let join_differs = f64::from((cell.train_join, cell.newlines) != (own.join, own.newlines));
            let same = |feature, value| plain.features.get(feature) == Some(value);
            if same(Feature::Lr, cell.lr) && same(Feature::JoinDiffers, join_differs) {
                return None; // the strategy's own way
            }
            let mut features = plain.features.clone();
            features.set(Feature::Lr, cell.lr);
            features.set(Feature::JoinDiffers, join_differs);
            // The pilot was run another way.
            features.set(Feature::PilotDelta, None);
            features.set(Feature::PilotTokens, None);
            Some(Case { features, delta: cell.delta, forgetting: cell.forgetting, ..plain.clone() })
        })
        .collect()
}

/// Whether the two recipes are equal except for length and validation.
fn is_pilot_of(pilot: &StrategyEntry, strategy: &StrategyEntry) -> bool {
    let unmeasured = |recipe: &AdaptSettings| AdaptSettings {
        steps: None,
        epochs: 1,
        max_steps: None,
        validations: 0,
        valid_tokens: 0,
        patience: None,
        patience_after: None,
        ..recipe.clone()
    };
    pilot.train_text == strategy.train_text && unmeasured(&pilot.recipe) == unmeasured(&strategy.recipe)
}

fn evidence_of(results: &StudyResults, row: &Row) -> Features {
    let base = results.bases.iter().find(|base| base.model == row.model);
    let null = results.null.iter().find(|null| null.model == row.model).map(|null| &null.distances);
    evidence(&Known {
        base_loss: row.evidence.base_loss.as_ref(),
        reference_loss: base.and_then(|base| base.reference_loss.as_ref()),
        distances: &row.similarity,
        null,
        available_tokens: row.evidence.available_tokens,
        parameters: base.map(|base| base.parameters),
    })
}

/// The inputs of the evidence.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The base on the domain's test text.
    pub base_loss: Option<&'a LossProfile>,
    /// The base on held-out text of the reference corpus.
    pub reference_loss: Option<&'a LossProfile>,
    /// The domain's distances to the reference corpus.
    pub distances: &'a Distances,
    /// Those of the reference corpus to itself.
    pub null: Option<&'a Distances>,
    /// Tokens of the training text.
    pub available_tokens: Option<u64>,
    /// The base's weights.
    pub parameters: Option<u64>,
}

/// The features of domain and base.
pub fn evidence(known: &Known<'_>) -> Features {
    use TokenClass::{Digit, FunctionWord, Newline, Punctuation, Whitespace, WordStart};
    let Known { base_loss, reference_loss, distances, null, available_tokens, parameters } = known;
    let both = base_loss.zip(*reference_loss);
    let gap = |classes: &[TokenClass]| {
        let part = |profile: &LossProfile| classes.iter().map(|class| profile.part(*class)).sum::<f64>();
        both.map(|(domain, reference)| part(domain) - part(reference))
    };
    let formatting = |profile: &LossProfile| {
        let formats = [Newline, Whitespace, Punctuation, Digit];
        profile.classes.iter().filter(|found| formats.contains(&found.class)).map(|found| found.share).sum::<f64>()
    };
    let own_cross_entropy = null.and_then(|null| null.get(Measure::UnigramCrossEntropy));
    Features::from_iter([
        (Feature::LossGap, both.map(|(domain, reference)| domain.loss - reference.loss)),
        (Feature::DocumentSd, base_loss.and_then(|profile| profile.document_sd)),
        (Feature::NewlineGap, gap(&[Newline])),
        (Feature::PunctuationGap, gap(&[Punctuation])),
        (Feature::WordStartGap, gap(&[WordStart, FunctionWord])),
        (Feature::UnigramJs, distances.get(Measure::UnigramJs)),
        (
            Feature::CrossEntropyExcess,
            distances.get(Measure::UnigramCrossEntropy).zip(own_cross_entropy).map(|(a, b)| a - b),
        ),
        (Feature::VocabularyOverlap, distances.get(Measure::VocabularyOverlap)),
        (Feature::Mmd2, distances.get(Measure::Mmd2)),
        (Feature::Energy, distances.get(Measure::Energy)),
        (Feature::NewlineRateExcess, both.map(|(domain, reference)| domain.newline_rate - reference.newline_rate)),
        (Feature::FormattingRateExcess, both.map(|(domain, reference)| formatting(domain) - formatting(reference))),
        (Feature::AvailableTokens, available_tokens.map(|tokens| tokens as f64)),
        (Feature::Parameters, parameters.map(|weights| weights as f64)),
    ])
}

/// The length of an adaptation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trained {
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
}

/// The features of a recipe; `joined_otherwise` where training text becomes tokens in another way than test text.
pub fn recipe(settings: &AdaptSettings, joined_otherwise: bool, trained: Trained) -> Features {
    Features::from_iter([
        (Feature::Lr, Some(settings.lr)),
        (Feature::Steps, Some(trained.steps as f64)),
        (Feature::Tokens, Some(trained.tokens as f64)),
        (Feature::Lora, Some(f64::from(settings.strategy == Trainable::Lora))),
        (Feature::JoinDiffers, Some(f64::from(joined_otherwise))),
    ])
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.flatten() {
        (sum, count) = (sum + value, count + 1.0);
    }
    (count > 0.0).then(|| sum / count)
}

/// The name of the restart control of a base as a domain.
pub(super) fn control_of(model: &str) -> String {
    format!("reference corpus of {model}")
}
