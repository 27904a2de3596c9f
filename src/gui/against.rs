//! The domains of one model and strategy against one distance: what the scatter shows, prepared when a study is opened.

use super::theme;
use crate::report::{Guides, MISSING, Outcome, correlations, drawable, interval, p_value, significant};
use crate::similarity::Measure;
use crate::stats::{Estimate, least_squares};
use crate::study::StudyResults;

/// Points of the fitted line: on a logarithmic axis it is a curve.
const LINE: usize = 64;

/// One distance of every domain of an arm.
pub struct Against {
    /// The distance.
    pub measure: Measure,
    /// Its value by domain, in the arm's order; `None` where it is missing.
    pub x: Vec<Option<f64>>,
    /// 95 % intervals of `x`.
    pub ci95: Vec<Option<[f64; 2]>>,
    /// Value, interval and test in words, or why there is none.
    pub words: Vec<String>,
    /// Null band and restart control.
    pub guides: Guides,
    /// The meaning of the correlation, in sentences.
    pub sentences: Vec<String>,
    /// Why there is no logarithmic axis, if there is none.
    pub not_log: Option<String>,
    /// On a linear axis.
    pub linear: Plane,
    /// On a logarithmic axis, if that is possible.
    pub log: Plane,
}

/// What depends on the x axis being linear or logarithmic.
#[derive(Default)]
pub struct Plane {
    /// The initial range of the axis, `[lowest, highest]`.
    pub x: [f64; 2],
    /// The same of δ.
    pub y: [f64; 2],
    /// The least-squares line of δ on the distance itself; empty without one.
    pub fit: Vec<[f64; 2]>,
}

impl Against {
    /// From the outcomes of an arm; `None` if no domain has the distance.
    pub fn of(results: &StudyResults, arm: &str, outcomes: &[Outcome<'_>], measure: Measure) -> Option<Self> {
        let x: Vec<Option<f64>> = outcomes.iter().map(|o| o.measure(measure).filter(drawable)).collect();
        if x.iter().all(Option::is_none) {
            return None;
        }
        let ends = |o: &Outcome<'_>| o.row.similarity[measure].ci95.filter(|ends| ends.iter().all(drawable));
        let guides = Guides::of(results, outcomes, measure);
        let points: Vec<(f64, f64)> =
            x.iter().zip(outcomes).map(|(x, outcome)| (*x, outcome.delta)).filter_map(pair).collect();
        let lowest = points.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let ys: Vec<f64> = outcomes
            .iter()
            .flat_map(|outcome| [outcome.delta, outcome.ci95[0], outcome.ci95[1]])
            .chain(guides.restart)
            .filter(drawable)
            .collect();
        let plane = |log: bool| plane(&points, &ys, guides.null, log);
        Some(Self {
            ci95: outcomes.iter().map(ends).collect(),
            words: outcomes.iter().map(|outcome| words(outcome, measure)).collect(),
            sentences: correlations::sentences(results, arm, measure.key()),
            not_log: (lowest <= 0.0)
                .then(|| format!("a logarithmic axis needs values above 0; the smallest is {}", significant(lowest))),
            linear: plane(false),
            log: if lowest > 0.0 { plane(true) } else { Plane::default() },
            measure,
            x,
            guides,
        })
    }
}

fn pair((x, y): (Option<f64>, f64)) -> Option<(f64, f64)> {
    Some((x?, y)).filter(|(_, y)| drawable(y))
}

fn plane(points: &[(f64, f64)], ys: &[f64], null: Option<f64>, log: bool) -> Plane {
    let place = |x: f64| if log { x.log10() } else { x };
    let null = null.filter(|null| !log || *null > 0.0);
    let xs = points.iter().map(|p| p.0).chain(null).map(place);
    let x = widened(xs, 0.06);
    let y = widened(ys.iter().copied().chain([0.0]), 0.08);
    // Space for the names of both halves.
    let span = y[1] - y[0];
    let y = [y[0].min(-0.12 * span), y[1].max(0.12 * span)];
    let line = |(intercept, slope): (f64, f64)| {
        let at = |i: usize| x[0] + (x[1] - x[0]) * i as f64 / LINE as f64;
        let value = |at: f64| if log { 10_f64.powf(at) } else { at };
        (0..=LINE).map(|i| [at(i), intercept + slope * value(at(i))]).collect()
    };
    Plane { x, y, fit: least_squares(points).map(line).unwrap_or_default() }
}

/// The extent of `values`, wider by a share of it on both sides; never empty.
fn widened(values: impl Iterator<Item = f64>, share: f64) -> [f64; 2] {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
    let span = if high > low { high - low } else { (0.1 * high.abs()).max(1e-3) };
    [low - share * span, high + share * span]
}

/// "MMD² 0.123 [0.1, 0.15], p 0.003, q 0.01", or why there is none.
fn words(outcome: &Outcome<'_>, measure: Measure) -> String {
    let Some(value) = outcome.measure(measure) else {
        let reasons = outcome.rows.iter().find_map(|row| row.similarity[measure].why_missing());
        let why = reasons.unwrap_or("it was not measured");
        return format!("{} {MISSING}: {}", measure.label(), theme::visible(why));
    };
    let mut text = format!("{} {}", measure.label(), significant(value));
    let Estimate { ci95, p, q, .. } = outcome.row.similarity[measure];
    if let Some(ends) = ci95 {
        text.push_str(&format!(" {}", interval(ends, significant)));
    }
    for (name, value) in [("p", p), ("q", q)] {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {}", p_value(value)));
        }
    }
    text
}
