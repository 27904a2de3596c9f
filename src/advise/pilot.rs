//! A pilot: the recipe itself with a small part of its budget, and the prediction of the rest from its curve.

use serde::Serialize;

use super::gather::{Gathered, Question};
use crate::adapt::{AdaptSettings, adapt};
use crate::compare::PairedChanges;
use crate::error::{Error, Result};
use crate::perplexity::Evaluation;
use crate::progress::Monitor;
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};

/// The result of a pilot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pilot {
    /// Its optimiser steps, with a schedule of their own.
    pub steps: u64,
    /// Tokens it trained on.
    pub tokens: u64,
    /// Change in log-perplexity on the domain's test text, nats per token.
    pub delta: f64,
    /// 95 % paired bootstrap interval of `delta`.
    pub delta_ci95: [f64; 2],
    /// The change on held-out text of the reference corpus.
    pub forgetting: f64,
    /// Change of the validation loss by tokens trained on.
    pub curve: Vec<(u64, f64)>,
    /// The law of the curve, extrapolated to the full budget; null if no law fits.
    pub law: Option<Law>,
    /// Whether the prediction uses the pilot, and why not.
    pub used: bool,
    /// In words.
    pub words: String,
    /// Training tokens per second.
    pub tokens_per_second: f64,
}

/// Validations in a pilot.
const VALIDATIONS: u64 = 8;

/// Runs the recipe for about `tokens` tokens.
///
/// # Errors
/// The budget is less than one step or as large as the adaptation; and the errors of [`adapt`].
pub(super) fn run(question: &Question<'_>, known: &Gathered, tokens: u64, monitor: &mut dyn Monitor) -> Result<Pilot> {
    let full = known.trained;
    let of_step = full.tokens.div_ceil(full.steps).max(1);
    let steps = tokens / of_step;
    if steps == 0 || steps >= full.steps {
        return Err(Error::setting(
            "pilot",
            tokens,
            format!("is {steps} steps of about {of_step} tokens, and the adaptation has {}", full.steps),
            "give at least one step's tokens, and fewer than the whole adaptation's",
        ));
    }
    question.plan(&known.train)?.require(&question.base.folder)?;
    let short = AdaptSettings {
        steps: Some(steps),
        max_steps: None,
        validations: VALIDATIONS.min(steps),
        patience: None,
        ..question.recipe.clone()
    };
    let done = adapt(question.base, known.train.clone(), &known.valid, &short, question.seed, None, monitor)?;
    let evaluation = Evaluation::new(question.base, None, known.protocol.clone());
    let mut changes = |scored: &super::gather::Scored| -> Result<PairedChanges> {
        let after = evaluation.score(&done.last, &scored.stream, monitor)?;
        PairedChanges::of(&scored.before, &after, ["the base", "the pilot"])
    };
    let (own, of_reference) = (changes(&known.test)?, changes(&known.reference)?);
    let mean = |changes: &PairedChanges| changes.changes.iter().sum::<f64>() / changes.tokens.iter().sum::<f64>();
    let before = done.result.curves.valid_loss.first().map_or(0.0, |(_, loss)| *loss);
    let per_step = done.result.tokens as f64 / done.result.steps.max(1) as f64;
    let curve: Vec<(u64, f64)> = done.result.curves.valid_loss[1..]
        .iter()
        .map(|(step, loss)| ((*step as f64 * per_step).round() as u64, loss - before))
        .collect();
    Ok(Pilot {
        steps: done.result.steps,
        tokens: done.result.tokens,
        delta: mean(&own),
        delta_ci95: Resamples::new(own.tokens.len(), RESAMPLES, BOOTSTRAP_SEED)
            .ratio_interval(&own.changes, &own.tokens)?,
        forgetting: mean(&of_reference),
        law: Law::fit(&curve, full.tokens),
        curve,
        used: false,
        words: String::new(),
        tokens_per_second: done.result.tokens_per_second,
    })
}

/// `δ(t) = a − b·tᶜ` over tokens t, with a ≥ 0 (what restarting the optimiser costs), b ≥ 0 and 0 < c ≤ 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Law {
    /// Nats per token.
    pub a: f64,
    /// Nats per token at one token to the power c.
    pub b: f64,
    /// The exponent.
    pub c: f64,
    /// Its δ at the full budget, nats per token.
    pub extrapolated: f64,
    /// Root mean square of the residuals, nats per token.
    pub residual: f64,
}

/// Points that a law with three constants needs at least.
const FEWEST_POINTS: usize = 4;

impl Law {
    /// Fits a curve of (tokens, δ) by least squares, c from a grid of hundredths, and extrapolates it to `full` tokens;
    /// `None` for fewer than four points or numbers that are not finite.
    pub fn fit(curve: &[(u64, f64)], full: u64) -> Option<Self> {
        let points: Vec<(f64, f64)> = curve.iter().filter(|(t, _)| *t > 0).map(|(t, d)| (*t as f64, *d)).collect();
        if points.len() < FEWEST_POINTS || full == 0 || points.iter().any(|(_, delta)| !delta.is_finite()) {
            return None;
        }
        let laws = (1..=100).map(|hundredths| Self::with_exponent(&points, f64::from(hundredths) / 100.0, full as f64));
        laws.min_by(|a, b| a.residual.total_cmp(&b.residual)).filter(|law| law.extrapolated.is_finite())
    }

    /// The best a and b within their bounds for one c.
    fn with_exponent(points: &[(f64, f64)], c: f64, full: f64) -> Self {
        let n = points.len() as f64;
        let x: Vec<f64> = points.iter().map(|(t, _)| t.powf(c)).collect();
        let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, points.iter().map(|(_, y)| y).sum::<f64>() / n);
        let (mut xx, mut xy, mut raw_xx, mut raw_xy) = (0.0, 0.0, 0.0, 0.0);
        for (x, (_, y)) in x.iter().zip(points) {
            xx += (x - mean_x).powi(2);
            xy += (x - mean_x) * (y - mean_y);
            raw_xx += x * x;
            raw_xy += x * y;
        }
        // First without bounds, then at each bound: the sum of squares is convex, so the best solution is one of these.
        let free = if xx > 0.0 { -xy / xx } else { 0.0 };
        let through_zero = (-raw_xy / raw_xx).max(0.0);
        let candidates = [(mean_y + free * mean_x, free), (0.0, through_zero), (mean_y.max(0.0), 0.0)];
        let squares =
            |(a, b): (f64, f64)| x.iter().zip(points).map(|(x, (_, y))| (a - b * x - y).powi(2)).sum::<f64>() / n;
        let allowed = candidates.into_iter().filter(|(a, b)| *a >= 0.0 && *b >= 0.0);
        let (a, b) = allowed.min_by(|p, q| squares(*p).total_cmp(&squares(*q))).unwrap_or((0.0, 0.0));
        Self { a, b, c, extrapolated: a - b * full.powf(c), residual: squares((a, b)).sqrt() }
    }
}
