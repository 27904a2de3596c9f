//! Predictions with intervals from the table of known outcomes, and how reliable they are.
//!
//! A ridge regression of the shrunk change ([`super::terms`]) whose terms and penalty are chosen by leaving one domain
//! out at a time. The choice is repeated in every fit. So a domain that is left out has no influence on the choice it
//! is measured with. All rows of a domain together have the weight of one domain.

use rayon::prelude::*;
use serde::Serialize;

use super::features::{Case, Features};
use super::terms::{Term, choices, shrink, stretch};
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::stats::{LeftOut, Moments, Ridge, fewest_groups, jackknife_plus};

/// The level of the intervals.
pub const LEVEL: f64 = 0.9;

/// Penalties to choose among: λ in [`Moments::ridge`].
const PENALTIES: [f64; 7] = [1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0];

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The change on the domain.
    Delta,
    /// The change on the reference corpus.
    Forgetting,
}

impl Outcome {
    /// The outcome in a case, nats per token.
    pub fn of(self, case: &Case) -> Option<f64> {
        match self {
            Self::Delta => Some(case.delta),
            Self::Forgetting => case.forgetting,
        }
    }
}

/// A prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// The change in log-perplexity, nats per token.
    pub delta: f64,
    /// Its 90 % interval; `None` with too few domains, or where it is beyond the range of numbers.
    pub interval90: Option<[f64; 2]>,
}

/// The table, prepared for predictions of cases with the same known features.
#[derive(Debug, Clone)]
pub struct Predictor {
    choices: Vec<Vec<Term>>,
    fit: Fit,
    /// By domain.
    domains: Vec<DomainRows>,
}

/// The rows of a domain.
#[derive(Debug, Clone)]
struct DomainRows {
    name: String,
    /// By choice, the terms of each row: `[choices][rows][terms]`.
    x: Vec<Vec<Vec<f64>>>,
    /// Shrunk outcomes, `[rows]`.
    y: Vec<f64>,
    /// The base of each row.
    models: Vec<String>,
    /// By choice: means over the rows.
    moments: Vec<Moments>,
}

impl DomainRows {
    fn sum(&mut self, choices: &[Vec<Term>]) {
        let weight = 1.0 / self.y.len() as f64;
        self.moments = choices
            .iter()
            .zip(&self.x)
            .map(|(terms, x)| {
                let mut moments = Moments::none(terms.len());
                x.iter().zip(&self.y).for_each(|(x, y)| moments.add(weight, x, *y));
                moments
            })
            .collect();
    }

    /// The rows whose base satisfies `keep`; `None` if there are none.
    fn filtered(&self, choices: &[Vec<Term>], keep: impl Fn(&str) -> bool) -> Option<Self> {
        let kept: Vec<usize> = (0..self.y.len()).filter(|&row| keep(&self.models[row])).collect();
        let mut rows = Self {
            name: self.name.clone(),
            x: self.x.iter().map(|x| kept.iter().map(|&row| x[row].clone()).collect()).collect(),
            y: kept.iter().map(|&row| self.y[row]).collect(),
            models: kept.iter().map(|&row| self.models[row].clone()).collect(),
            moments: Vec::new(),
        };
        rows.sum(choices);
        (!kept.is_empty()).then_some(rows)
    }
}

/// A regression and the choice of terms behind it.
#[derive(Debug, Clone)]
struct Fit {
    choice: usize,
    penalty: f64,
    ridge: Ridge,
}

impl Predictor {
    /// From the cases that have an `outcome` and all terms of a choice. `asked` holds the known features of the
    /// question (`None`: all are known). Only choices remain whose terms are known for the question and for all of
    /// these cases.
    ///
    /// # Errors
    /// [`Error::Numeric`] if no case is left; the text gives the reason.
    pub fn new(cases: &[Case], outcome: Outcome, asked: Option<&Features>, with_pilot: bool) -> Result<Self> {
        let all = choices(with_pilot);
        let Some(core) = all.first() else { return Err(Error::numeric("no terms to choose among")) };
        let has = |features: &Features, terms: &[Term]| terms.iter().all(|term| term.of(features).is_some());
        let unknown = |term: &&Term| asked.is_some_and(|asked| term.of(asked).is_none());
        let missing: Vec<&str> = core.iter().filter(unknown).map(|term| term.words()).collect();
        if !missing.is_empty() {
            return Err(Error::numeric(format!("{} is not known of the case in question", missing.join(", "))));
        }
        let rows: Vec<(&Case, f64)> = cases
            .iter()
            .filter(|case| has(&case.features, core))
            .filter_map(|case| Some((case, shrink(outcome.of(case)?))))
            .collect();
        if rows.is_empty() {
            let what = if with_pilot { "with a pilot" } else { "with what a prediction needs" };
            return Err(Error::numeric(format!("none of the table's {} rows is {what}", cases.len())));
        }
        let choices: Vec<Vec<Term>> = all
            .into_iter()
            .filter(|terms| asked.is_none_or(|asked| has(asked, terms)))
            .filter(|terms| rows.iter().all(|(case, _)| has(&case.features, terms)))
            .collect();
        let mut names: Vec<&str> = rows.iter().map(|(case, _)| case.domain.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let values = |terms: &[Term], case: &Case| terms.iter().filter_map(|t| t.of(&case.features)).collect();
        let domains: Vec<DomainRows> = names
            .into_iter()
            .map(|name| {
                let own: Vec<&(&Case, f64)> = rows.iter().filter(|(case, _)| case.domain == name).collect();
                let mut rows = DomainRows {
                    name: name.to_owned(),
                    x: choices.iter().map(|terms| own.iter().map(|(case, _)| values(terms, case)).collect()).collect(),
                    y: own.iter().map(|(_, y)| *y).collect(),
                    models: own.iter().map(|(case, _)| case.model.clone()).collect(),
                    moments: Vec::new(),
                };
                rows.sum(&choices);
                rows
            })
            .collect();
        let fit = select(&domains.iter().collect::<Vec<_>>())?;
        Ok(Self { choices, fit, domains })
    }

    /// Rows the predictions rest on.
    pub fn rows(&self) -> usize {
        self.domains.iter().map(|domain| domain.y.len()).sum()
    }

    /// Their domains.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// Their bases, by name.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.domains.iter().flat_map(|d| d.models.iter().map(String::as_str)).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// Predicts several cases. Their features must be known as far as was said in [`Self::new`].
    ///
    /// # Errors
    /// [`Error::Numeric`] where numbers leave their range.
    pub fn predict(&self, asked: &[Features]) -> Result<Vec<Prediction>> {
        let points = asked.iter().map(|asked| self.terms(asked)).collect::<Result<Vec<_>>>()?;
        let intervals = intervals(&self.domains.iter().collect::<Vec<_>>(), &points)?;
        let predicted = points.iter().zip(intervals).map(|(x, interval)| {
            let delta = stretch(self.fit.ridge.predict(&x[self.fit.choice]));
            match delta.is_finite() {
                true => Ok(Prediction { delta, interval90: interval.and_then(stretched) }),
                false => Err(Error::numeric("the prediction is beyond the range of numbers")),
            }
        });
        predicted.collect()
    }

    /// The prediction alone, nats per token.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn point(&self, asked: &Features) -> Result<f64> {
        Ok(stretch(self.fit.ridge.predict(&self.terms(asked)?[self.fit.choice])))
    }

    /// The terms that were chosen, the heaviest first, with the effect of one standard deviation of each (nats, shrunk
    /// as [`super::terms::shrink`] does), and the penalty.
    pub fn chosen(&self) -> (Vec<(Term, f64)>, f64) {
        let Fit { choice, penalty, ridge } = &self.fit;
        let mut terms: Vec<(Term, f64)> =
            self.choices[*choice].iter().copied().zip(ridge.standardised.iter().copied()).collect();
        terms.retain(|(_, weight)| *weight != 0.0);
        terms.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        (terms, *penalty)
    }

    fn terms(&self, asked: &Features) -> Result<Vec<Vec<f64>>> {
        let x: Vec<Vec<f64>> =
            self.choices.iter().map(|terms| terms.iter().filter_map(|t| t.of(asked)).collect()).collect();
        match x.iter().zip(&self.choices).all(|(x, terms)| x.len() == terms.len()) {
            true => Ok(x),
            false => Err(Error::numeric("less is known of the case in question than the regression needs")),
        }
    }

    /// Predicts every row of every domain from the other domains alone.
    ///
    /// # Errors
    /// As [`Self::predict`]; an interruption.
    pub fn leave_domain_out(&self, monitor: &mut dyn Monitor) -> Result<Check> {
        monitor.begin("predicting each domain from the others", self.domains.len() as u64);
        let mut checked = Vec::new();
        for left in 0..self.domains.len() {
            let rest: Vec<&DomainRows> = self.others(left).collect();
            if !rest.is_empty() {
                checked.extend(check(&rest, &self.domains[left])?);
            }
            advance(monitor)?;
        }
        monitor.end();
        Ok(Check::of(checked))
    }

    /// Predicts every row from the rows of other bases on other domains alone; `None` with one base.
    ///
    /// # Errors
    /// As [`Self::predict`]; an interruption.
    pub fn leave_base_out(&self, monitor: &mut dyn Monitor) -> Result<Option<Check>> {
        let models = self.models();
        if models.len() < 2 {
            return Ok(None);
        }
        monitor.begin("predicting each base from the others", (models.len() * self.domains.len()) as u64);
        let mut checked = Vec::new();
        for model in models {
            for (left, rows) in self.domains.iter().enumerate() {
                let rest: Vec<DomainRows> =
                    self.others(left).filter_map(|rows| rows.filtered(&self.choices, |of| of != model)).collect();
                if let (Some(own), false) = (rows.filtered(&self.choices, |of| of == model), rest.is_empty()) {
                    checked.extend(check(&rest.iter().collect::<Vec<_>>(), &own)?);
                }
                advance(monitor)?;
            }
        }
        monitor.end();
        Ok(Some(Check::of(checked)))
    }

    fn others(&self, left: usize) -> impl Iterator<Item = &DomainRows> {
        self.domains.iter().enumerate().filter(move |(at, _)| *at != left).map(|(_, rows)| rows)
    }
}

/// One more is predicted.
fn advance(monitor: &mut dyn Monitor) -> Result<()> {
    monitor.advance(1, "");
    match monitor.stopped() {
        true => Err(Error::Interrupted("stopped while checking predictions; nothing was saved".into())),
        false => Ok(()),
    }
}

/// The choice of terms and penalty with the smallest mean squared error on domains left out, each domain counted once.
fn select(domains: &[&DomainRows]) -> Result<Fit> {
    let Some(first) = domains.first() else { return Err(Error::numeric("no domain to learn from")) };
    let mut best: Option<(f64, usize, f64)> = None;
    let totals: Vec<Moments> = (0..first.moments.len())
        .map(|choice| {
            let mut total = first.moments[choice].clone();
            domains[1..].iter().for_each(|rows| total.plus(&rows.moments[choice]));
            total
        })
        .collect();
    for (choice, total) in totals.iter().enumerate() {
        // With one domain no choice can be tested: take the heaviest penalty and the simplest choice.
        if domains.len() < 2 {
            best = Some((0.0, 0, PENALTIES[PENALTIES.len() - 1]));
            break;
        }
        let mut errors = [0.0; PENALTIES.len()];
        for rows in domains {
            let mut rest = total.clone();
            rest.minus(&rows.moments[choice]);
            for (error, penalty) in errors.iter_mut().zip(PENALTIES) {
                let ridge = rest.ridge(penalty)?;
                let squares = rows.x[choice].iter().zip(&rows.y).map(|(x, y)| (ridge.predict(x) - y).powi(2));
                *error += squares.sum::<f64>() / rows.y.len() as f64;
            }
        }
        for (error, penalty) in errors.into_iter().zip(PENALTIES) {
            if best.is_none_or(|(least, ..)| error < least) {
                best = Some((error, choice, penalty));
            }
        }
    }
    let (_, choice, penalty) = best.ok_or_else(|| Error::numeric("no terms to choose among"))?;
    Ok(Fit { choice, penalty, ridge: totals[choice].ridge(penalty)? })
}

/// The jackknife+ intervals at several points, `[points][choices][terms]`, on the shrunk scale.
fn intervals(domains: &[&DomainRows], points: &[Vec<Vec<f64>>]) -> Result<Vec<Option<[f64; 2]>>> {
    if domains.len() < fewest_groups(LEVEL) {
        return Ok(vec![None; points.len()]);
    }
    let left_out: Vec<Vec<LeftOut>> = (0..domains.len())
        .into_par_iter()
        .map(|left| {
            let rest: Vec<&DomainRows> =
                domains.iter().enumerate().filter(|(at, _)| *at != left).map(|(_, rows)| *rows).collect();
            let Fit { choice, ridge, .. } = select(&rest)?;
            let own = domains[left];
            let residuals: Vec<f64> =
                own.x[choice].iter().zip(&own.y).map(|(x, y)| (ridge.predict(x) - y).abs()).collect();
            let of_point =
                |x: &Vec<Vec<f64>>| LeftOut { prediction: ridge.predict(&x[choice]), residuals: residuals.clone() };
            Ok(points.iter().map(of_point).collect())
        })
        .collect::<Result<_>>()?;
    let at = |point: usize| left_out.iter().map(|points: &Vec<LeftOut>| points[point].clone()).collect::<Vec<_>>();
    Ok((0..points.len()).map(|point| jackknife_plus(&at(point), LEVEL)).collect())
}

fn check(rest: &[&DomainRows], own: &DomainRows) -> Result<Vec<Checked>> {
    let fit = select(rest)?;
    let points: Vec<Vec<Vec<f64>>> =
        (0..own.y.len()).map(|row| own.x.iter().map(|x| x[row].clone()).collect()).collect();
    let intervals = intervals(rest, &points)?;
    let checked = points.iter().zip(intervals).enumerate();
    Ok(checked
        .map(|(row, (x, interval))| Checked {
            domain: own.name.clone(),
            model: own.models[row].clone(),
            predicted: stretch(fit.ridge.predict(&x[fit.choice])),
            interval90: interval.and_then(stretched),
            found: stretch(own.y[row]),
        })
        .collect())
}

/// An interval in nats; `None` where an end is beyond the range of numbers.
fn stretched(ends: [f64; 2]) -> Option<[f64; 2]> {
    Some(ends.map(stretch)).filter(|ends| ends.iter().all(|end| end.is_finite()))
}

/// A prediction beside what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The domain.
    pub domain: String,
    /// The base.
    pub model: String,
    /// Predicted, nats per token.
    pub predicted: f64,
    /// The interval.
    pub interval90: Option<[f64; 2]>,
    /// Found.
    pub found: f64,
}

/// The performance of predictions on rows that were left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Rows predicted.
    pub rows: usize,
    /// Their domains.
    pub domains: usize,
    /// Share of rows whose sign was predicted; null if there is none; the same holds for the next fields.
    pub sign_accuracy: Option<f64>,
    /// Median of |predicted − found|, nats per token.
    pub median_absolute_error: Option<f64>,
    /// Share of rows found inside their interval; null where there are no intervals.
    pub coverage: Option<f64>,
    /// Median width of the intervals, nats per token.
    pub median_width: Option<f64>,
    /// Share of rows whose interval lies on one side of zero.
    pub decided: Option<f64>,
    /// Share of those that were found on that side.
    pub decided_right: Option<f64>,
    /// Every prediction.
    pub predictions: Vec<Checked>,
}

impl Check {
    /// Computes it from predictions and results.
    pub(super) fn of(predictions: Vec<Checked>) -> Self {
        let rows = predictions.len();
        let share = |of: usize, count: usize| (of > 0).then(|| count as f64 / of as f64);
        let same_sign = |checked: &&Checked| (checked.predicted < 0.0) == (checked.found < 0.0);
        let with: Vec<(&Checked, [f64; 2])> =
            predictions.iter().filter_map(|checked| Some((checked, checked.interval90?))).collect();
        let inside = with.iter().filter(|(c, [low, high])| (*low..=*high).contains(&c.found)).count();
        let decided: Vec<&(&Checked, [f64; 2])> = with.iter().filter(|(_, ends)| side(*ends).is_some()).collect();
        let right = decided.iter().filter(|(c, ends)| side(*ends) == Some(c.found < 0.0)).count();
        let mut names: Vec<&str> = predictions.iter().map(|checked| checked.domain.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        Self {
            rows,
            domains: names.len(),
            sign_accuracy: share(rows, predictions.iter().filter(same_sign).count()),
            median_absolute_error: median(predictions.iter().map(|c| (c.predicted - c.found).abs())),
            coverage: share(with.len(), inside),
            median_width: median(with.iter().map(|(_, [low, high])| high - low)),
            decided: share(with.len(), decided.len()),
            decided_right: share(decided.len(), right),
            predictions,
        }
    }
}

/// Whether an interval says "better"; `None` if it contains zero.
pub fn side([low, high]: [f64; 2]) -> Option<bool> {
    match () {
        () if high < 0.0 => Some(true),
        () if low > 0.0 => Some(false),
        () => None,
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
