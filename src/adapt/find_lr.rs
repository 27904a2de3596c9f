//! Finds a learning rate: short adaptations of the same base on the same batches, one for each rate, compared by their
//! validation loss.
//!
//! The recipe itself runs, with its schedule compressed to the few steps of the trial. A rate that is far too high
//! shows within them; such a rate alone makes perplexity worse.

use serde::Serialize;

use super::train::adapt;
use crate::error::{Error, Result};
use crate::model::LoadedModel;
use crate::progress::Monitor;
use crate::recipe::AdaptSettings;
use crate::text::TokenStream;

/// The rates to try, and the number of steps for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// The rates in ascending order.
    pub rates: Vec<f64>,
    /// Steps of each adaptation.
    pub steps: u64,
}

impl Sweep {
    /// Default lowest and highest rate.
    pub const RANGE: (f64, f64) = (1e-6, 3e-3);

    /// `count` rates from `lowest` to `highest`, in equal ratios.
    pub fn new(lowest: f64, highest: f64, count: usize, steps: u64) -> Self {
        let whole = highest / lowest;
        let whole = if whole.is_finite() { whole.ln() } else { highest.ln() - lowest.ln() };
        let ratio = whole / (count.max(2) - 1) as f64;
        // Rounded to three digits, so that the rate is easy to type.
        let rounded = |rate: f64| format!("{rate:.2e}").parse().unwrap_or(rate);
        Self { rates: (0..count).map(|i| rounded(lowest * (ratio * i as f64).exp())).collect(), steps }
    }
}

/// `adapt --find-lr --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateSweep {
    /// "odyssey.find-lr/1".
    pub schema: String,
    /// Steps of each adaptation.
    pub steps: u64,
    /// Loss of the base on the validation text, nats per token.
    pub base_valid_loss: f64,
    /// The rates tried so far, in ascending order.
    pub rates: Vec<TriedRate>,
    /// Rates that were to be tried.
    pub of: usize,
    /// The one with the lowest validation loss, unless all worsen it.
    pub suggested: Option<f64>,
    /// Why there is no suggestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The result in words.
    pub words: String,
}

/// The result of one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriedRate {
    /// Peak learning rate.
    pub lr: f64,
    /// Loss of the last step's batch before its update, nats per target.
    pub train_loss: Option<f64>,
    /// Loss on the validation text after the last step, nats per token.
    pub valid_loss: Option<f64>,
    /// Its change from the base's.
    pub delta: Option<f64>,
    /// Why there are no losses: numbers left the range of f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tries the rates of `sweep` by the recipe `settings`. Nothing is written.
///
/// An interruption ends it with the rates tried until then, if there are any; [`RateSweep::is_whole`] tells.
///
/// # Errors
/// As [`adapt`]; but numbers that leave the range of f32 are a result of the rate, not an error.
pub fn find_lr(
    base: &LoadedModel,
    train: &TokenStream,
    valid: &TokenStream,
    settings: &AdaptSettings,
    sweep: &Sweep,
    seed: u64,
    monitor: &mut dyn Monitor,
) -> Result<RateSweep> {
    let Sweep { rates, steps } = sweep;
    if rates.is_empty() || *steps == 0 {
        let fault = format!("{} rates of {steps} steps are none", rates.len());
        return Err(Error::input("the learning rates to try", fault, "use at least one of each"));
    }
    let mut result = RateSweep {
        schema: "odyssey.find-lr/1".into(),
        steps: *steps,
        base_valid_loss: f64::NAN,
        rates: Vec::new(),
        of: rates.len(),
        suggested: None,
        reason: None,
        words: String::new(),
    };
    monitor.begin("learning rates", rates.len() as u64);
    for &lr in rates {
        let short = AdaptSettings { lr, steps: Some(*steps), validations: 0, patience: None, ..settings.clone() };
        let tried = match adapt(base, train.clone(), valid, &short, seed, None, monitor) {
            Ok(done) => {
                let curves = done.result.curves;
                let (before, after) = (curves.valid_loss.first(), curves.valid_loss.last());
                result.base_valid_loss = before.map_or(f64::NAN, |(_, loss)| *loss);
                result.steps = done.result.steps;
                let delta = after.map_or(f64::NAN, |(_, loss)| *loss) - result.base_valid_loss;
                let train_loss = curves.train_loss.last().map(|(_, loss)| *loss);
                TriedRate::new(lr, train_loss, after.map(|(_, loss)| *loss).filter(|_| delta.is_finite()), delta)
            }
            Err(Error::Numeric(why)) => {
                TriedRate { reason: Some(why.to_string()), ..TriedRate::new(lr, None, None, f64::NAN) }
            }
            Err(Error::Interrupted(_)) if !result.rates.is_empty() => break,
            Err(error) => return Err(error),
        };
        let note = tried.delta.map_or("diverged".to_owned(), |delta| format!("{delta:+.4} at {lr:.0e}"));
        result.rates.push(tried);
        monitor.advance(1, &note);
    }
    monitor.end();
    result.conclude();
    Ok(result)
}

impl TriedRate {
    fn new(lr: f64, train_loss: Option<f64>, valid_loss: Option<f64>, delta: f64) -> Self {
        let reason = valid_loss.is_none().then(|| "the validation loss is beyond the range of numbers".to_owned());
        Self { lr, train_loss, valid_loss, delta: Some(delta).filter(|delta| delta.is_finite()), reason }
    }
}

impl RateSweep {
    /// Whether all rates were tried.
    pub fn is_whole(&self) -> bool {
        self.rates.len() == self.of
    }

    /// Finds the suggested rate and the words.
    pub fn conclude(&mut self) {
        let Self { steps, rates, of, .. } = &*self;
        let best = rates.iter().filter_map(|rate| Some((rate.lr, rate.delta?))).min_by(|a, b| a.1.total_cmp(&b.1));
        let range = match rates.as_slice() {
            [] => String::new(),
            [only] => format!("{:.2e}", only.lr),
            [first, .., last] => format!("{:.2e} to {:.2e}", first.lr, last.lr),
        };
        let part =
            if self.is_whole() { String::new() } else { format!("; only {} of {of} rates were tried", rates.len()) };
        let (suggested, words) = match best {
            Some((lr, delta)) if delta < 0.0 => {
                let edge = match rates.len() {
                    0 | 1 => "",
                    _ if rates.last().is_some_and(|last| last.lr == lr) => "highest tried: a higher one may be better",
                    _ if rates[0].lr == lr => "lowest tried: a lower one may be better",
                    _ => "",
                };
                let edge = if edge.is_empty() { String::new() } else { format!("; {lr:.2e} is the {edge}") };
                let words = format!("{lr:.2e} lowers the validation loss most, by {:.4} nats in {steps} steps", -delta);
                (Some(lr), words + &edge)
            }
            Some((lr, delta)) => (
                None,
                format!(
                    "every rate from {range} worsens the validation loss within {steps} steps, least {lr:.2e}, by \
                     {delta:.4} nats: this text may be what the base knows already, or the steps too few"
                ),
            ),
            None => (None, format!("at every rate from {range} the numbers left their range")),
        };
        self.reason = suggested.is_none().then(|| "no rate lowers the validation loss".to_owned());
        (self.suggested, self.words) = (suggested, words + &part);
    }
}
