//! The figures of a study: δ against each distance, δ by domain, δ against the learning rate, loss curves.

use std::collections::BTreeSet;

use super::figure::{Content, Curve, Figure, Guides, Kind, Mark, Panel, columns, drawable, short, slug};
use super::{Direction, Outcome, arm, balance, coefficient, outcomes, p_phrase, rates, visible};
use crate::similarity::{Distances, Measure};
use crate::stats::Estimate;
use crate::study::{Correlation, StudyResults};

/// Curves are drawn with at most this many points, each the mean of the steps it stands for.
const CURVE_POINTS: usize = 300;

/// All figures of a study, in the order a reader wants them. Never empty: without data a figure says so.
pub fn figures(results: &StudyResults) -> Vec<Figure> {
    let by_arm = outcomes(results);
    let groups: Vec<String> =
        results.rows.iter().map(|row| visible(&row.group)).collect::<BTreeSet<_>>().into_iter().collect();
    let mut figures = Vec::new();
    for (index, (of, outcomes)) in by_arm.iter().enumerate() {
        let suffix = if by_arm.len() > 1 { format!("-{}-{}", index + 1, slug(of)) } else { String::new() };
        for measure in Measure::shown() {
            figures.extend(scatter(results, of, outcomes, measure, &groups, &suffix));
        }
        figures.push(forest(of, outcomes, &groups, &suffix));
    }
    if !figures.iter().any(|figure| matches!(figure.kind, Kind::Scatter(_))) {
        figures.insert(0, empty("delta-vs-distance", Kind::NoScatter, "δ against distance"));
    }
    if by_arm.is_empty() {
        figures.push(empty("delta-by-domain", Kind::Forest, "δ by domain"));
    }
    figures.extend(balance::figure(results));
    figures.extend(rates::figures(results));
    figures.push(losses(results));
    figures
}

fn empty(name: &str, kind: Kind, title: &str) -> Figure {
    Figure {
        name: name.to_owned(),
        kind,
        of: String::new(),
        title: title.to_owned(),
        caption: String::new(),
        height: 400,
        groups: Vec::new(),
        content: Content::Empty,
    }
}

fn scatter(
    results: &StudyResults,
    of: &str,
    outcomes: &[Outcome],
    measure: Measure,
    groups: &[String],
    suffix: &str,
) -> Option<Figure> {
    let marks: Vec<Mark> = outcomes
        .iter()
        .filter_map(|outcome| Some(Mark { x: outcome.measure(measure).filter(drawable)?, ..mark(outcome, groups)? }))
        .collect();
    if marks.is_empty() {
        return None;
    }
    let guides = Guides::of(results, outcomes, measure);
    let found = results.correlations.iter().find(|c| c.x == measure.key() && c.scope == "pooled" && c.of == of);
    let axis = if measure.is_similarity() {
        "larger is closer to the reference"
    } else {
        "larger is farther from the reference"
    };
    Some(Figure {
        name: format!("delta-vs-{}{suffix}", measure.key().replace('_', "-")),
        kind: Kind::Scatter(measure),
        of: of.to_owned(),
        title: format!("δ against {}", measure.label()),
        caption: format!("{}: {}{}", visible(of), correlation_phrase(found, marks.len()), legend_of(&guides, &marks)),
        height: 1000,
        groups: groups.to_vec(),
        content: Content::Scatter {
            axis: match measure.is_rival() {
                true => measure.label().to_owned(),
                false => format!("{} ({axis})", measure.label()),
            },
            marks,
            guides,
        },
    })
}

impl Guides {
    /// For the outcomes of one model and strategy against a measure.
    pub fn of(results: &StudyResults, outcomes: &[Outcome], measure: Measure) -> Self {
        let model = outcomes.first().and_then(|outcome| outcome.rows.first()).map(|row| row.model.as_str());
        let null = results.null.iter().find(|null| Some(null.model.as_str()) == model);
        // The rate of line breaks is a rival explanation, not a distance.
        let null = null.filter(|_| !measure.is_rival());
        Self {
            null: null.and_then(|null| farthest_null(&null.distances, measure)),
            similarity: measure.is_similarity(),
            restart: restart(outcomes),
        }
    }
}

/// The end of the null band: how far halves of the reference corpus lie from one another.
fn farthest_null(null: &Distances, measure: Measure) -> Option<f64> {
    let band = null[measure].ci95.map(|[low, high]| if measure.is_similarity() { low } else { high });
    band.or_else(|| null.get(measure)).filter(drawable)
}

/// The legend of the marks that are not domains.
fn legend_of(guides: &Guides, marks: &[Mark]) -> String {
    let parts = [
        (guides.null.is_some(), "grey: within the reference"),
        (guides.restart.is_some(), "dashed: restart"),
        (marks.iter().any(|mark| mark.open), "open: no difference"),
    ];
    let parts: Vec<&str> = parts.into_iter().filter_map(|(shown, part)| shown.then_some(part)).collect();
    if parts.is_empty() { String::new() } else { format!("; {}", parts.join("; ")) }
}

/// δ of the restart control of these outcomes' model and strategy.
fn restart(outcomes: &[Outcome]) -> Option<f64> {
    outcomes.iter().find_map(|outcome| outcome.change?.restart_delta).filter(drawable)
}

/// The pooled coefficients in words; a missing one says why.
fn correlation_phrase(found: Option<&Correlation>, points: usize) -> String {
    let Some(c) = found else { return format!("n = {points}") };
    let part = |name: &str, found: &Estimate| {
        let p = found.p.map(|p| format!(" ({})", p_phrase(p))).unwrap_or_default();
        found.value.map(|value| format!("{name} = {}{p}", coefficient(value)))
    };
    let parts: Vec<String> = [part("r", &c.pearson), part("ρ", &c.spearman)].into_iter().flatten().collect();
    match (parts.is_empty(), &c.pearson.reason) {
        (true, Some(reason)) => format!("no coefficient: {}", visible(reason)),
        (true, None) => format!("n = {}", c.n),
        (false, _) => format!("{}, n = {}", parts.join(", "), c.n),
    }
}

fn forest(of: &str, outcomes: &[Outcome], groups: &[String], suffix: &str) -> Figure {
    let mut marks: Vec<Mark> = outcomes.iter().filter_map(|outcome| mark(outcome, groups)).collect();
    marks.sort_by(|a, b| b.delta.total_cmp(&a.delta).then_with(|| a.label.cmp(&b.label)));
    let guides = Guides { null: None, similarity: false, restart: restart(outcomes) };
    if marks.is_empty() {
        return empty(&format!("delta-by-domain{suffix}"), Kind::Forest, "δ by domain");
    }
    Figure {
        name: format!("delta-by-domain{suffix}"),
        kind: Kind::Forest,
        of: of.to_owned(),
        title: "δ by domain".to_owned(),
        caption: format!(
            "{}: change in log-perplexity with its 95 % interval{}",
            visible(of),
            legend_of(&guides, &marks)
        ),
        height: 330 + row_height(marks.len()) * marks.len() as u32,
        groups: groups.to_vec(),
        content: Content::Forest { marks, restart: guides.restart },
    }
}

/// Long lists are set more tightly.
fn row_height(rows: usize) -> u32 {
    if rows > 60 { 30 } else { 40 }
}

fn mark(outcome: &Outcome, groups: &[String]) -> Option<Mark> {
    let group = visible(outcome.group);
    drawable(&outcome.delta).then(|| Mark {
        label: short(&visible(outcome.domain), 32),
        group: groups.iter().position(|g| *g == group).unwrap_or(0),
        x: 0.0,
        delta: outcome.delta,
        ci95: Some(outcome.ci95).filter(|ci| ci.iter().all(drawable)),
        open: outcome.change.is_some() && outcome.direction() == Direction::NoDifference,
    })
}

fn losses(results: &StudyResults) -> Figure {
    let arms: Vec<String> = results.rows.iter().map(arm).collect::<BTreeSet<_>>().into_iter().collect();
    let domains: BTreeSet<&str> = results.rows.iter().map(|row| row.domain.as_str()).collect();
    let panels: Vec<Panel> = domains
        .into_iter()
        .map(|domain| {
            let rows: Vec<_> = results.rows.iter().filter(|row| row.domain == domain).collect();
            let curve = |row, valid, points: &[_]| Curve {
                arm: arms.iter().position(|name| *name == arm(row)).unwrap_or(0),
                valid,
                points: thinned(points),
            };
            // Validation last, so that it lies on top.
            let train = rows.iter().map(|row| curve(row, false, &row.train_loss));
            let valid = rows.iter().map(|row| curve(row, true, &row.valid_loss));
            let curves = train.chain(valid).filter(|curve| !curve.points.is_empty()).collect();
            Panel { title: short(&visible(domain), 30), curves }
        })
        .filter(|panel| !panel.curves.is_empty())
        .collect();
    if panels.is_empty() {
        return empty("loss", Kind::Losses, "Loss while adapting");
    }
    Figure {
        name: "loss".to_owned(),
        kind: Kind::Losses,
        of: String::new(),
        title: "Loss while adapting".to_owned(),
        caption: "nats per token by step; light: training, strong: validation".to_owned(),
        height: 210 + 290 * panels.len().div_ceil(columns(panels.len())) as u32,
        groups: arms.iter().map(|arm| visible(arm)).collect(),
        content: Content::Losses { panels },
    }
}

/// The points of a loss curve, thinned by averaging neighbours.
pub fn thinned(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> =
        points.iter().map(|&(step, loss)| (step as f64, loss)).filter(|(_, loss)| drawable(loss)).collect();
    finite
        .chunks(finite.len().div_ceil(CURVE_POINTS).max(1))
        .map(|chunk| {
            let n = chunk.len() as f64;
            (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect()
}
