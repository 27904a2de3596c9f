//! The correlation of the change in log-perplexity with each distance, over domains.

use std::collections::{BTreeMap, BTreeSet};

use super::results::{Correlation, Influence, PartialCorrelation, Row, arm};
use crate::similarity::Measure;
use crate::stats::{self, Coefficient, Estimate, RESAMPLES, Undefined};

/// Permutations of a correlation's p-value inside groups: the smallest is 1e-4.
const PERMUTATIONS: usize = 9999;

/// A pooled r of this size is checked for its origin.
const LARGE: f64 = 0.5;

/// One domain of one model and strategy, its seeds averaged.
struct Point<'a> {
    domain: &'a str,
    group: &'a str,
    /// Change in log-perplexity, nats per token; `None` where no seed has a finite one.
    delta: Option<f64>,
    /// By measure, in the order of [`Measure::shown`].
    distances: Vec<Option<f64>>,
    /// By control, in the order of [`CONTROLS`].
    controls: Vec<Option<f64>>,
}

/// A value of a row, by its key.
type Control = (&'static str, fn(&Row) -> f64);

/// The controls of a partial correlation: rival explanations of a change.
const CONTROLS: [Control; 3] = [
    ("newline_rate", |row| row.newline_rate),
    ("ln_domain_tokens", |row| (row.evidence.available_tokens.unwrap_or(row.train_tokens) as f64).ln()),
    ("ln_zero_shot_ppl", |row| row.zero_shot_ppl.ln()),
];

/// Correlates `delta` with every measure of [`Measure::shown`], for each model and strategy: pooled over all domains
/// and, where there are several, within each group.
///
/// Seeds are averaged first, so that a domain counts once however often it was adapted to. Measures are used unchanged:
/// with a distance, "the more similar, the worse" is a negative coefficient, with a similarity (such as the centroid
/// cosine) a positive one. Domains without a value are left out; `n` counts those that remain. `seed` draws the
/// bootstrap and the permutations. Ordered by model, strategy, measure, then pooled before the groups.
///
/// Over several groups a pooled r is mostly the contrast between them: its bootstrap draws domains within groups, r
/// within groups stands beside it, and where the two disagree a warning says so.
pub fn correlate(rows: &[Row], seed: u64) -> Vec<Correlation> {
    let mut adaptations = BTreeMap::<_, BTreeMap<_, Vec<&Row>>>::new();
    for row in rows {
        let domains = adaptations.entry((row.model.as_str(), row.strategy.as_str())).or_default();
        domains.entry((row.group.as_str(), row.domain.as_str())).or_default().push(row);
    }
    let mut correlations = Vec::new();
    for ((model, strategy), domains) in &adaptations {
        let of = arm(model, strategy);
        let points: Vec<Point> = domains.iter().map(|((group, domain), seeds)| average(domain, group, seeds)).collect();
        let groups: BTreeSet<&str> = points.iter().map(|point| point.group).collect();
        for (which, measure) in Measure::shown().enumerate() {
            let mut add = |scope: String, group: Option<&str>| {
                let inside = points.iter().filter(|point| group.is_none_or(|group| point.group == group));
                let known = |point: &&Point| point.distances[which].is_some() && point.delta.is_some();
                let points: Vec<&Point> = inside.filter(known).collect();
                correlations.push(Scope { key: measure.key(), which, points }.correlation(scope, &of, seed));
            };
            add("pooled".into(), None);
            if groups.len() > 1 {
                groups.iter().for_each(|group| add(format!("within:{group}"), Some(group)));
            }
        }
    }
    correlations
}

fn average<'a>(domain: &'a str, group: &'a str, seeds: &[&Row]) -> Point<'a> {
    let over = |value: &dyn Fn(&Row) -> Option<f64>| mean(seeds.iter().map(|row| value(row)));
    Point {
        domain,
        group,
        delta: over(&|row| Some(row.delta)),
        distances: Measure::shown().map(|measure| over(&|row| row.similarity.get(measure))).collect(),
        controls: CONTROLS.iter().map(|(_, control)| over(&|row| Some(control(row)))).collect(),
    }
}

/// Mean of the finite values; `None` where there are none.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().filter(|v| v.is_finite()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The domains that one correlation is over, all with both values.
struct Scope<'a> {
    key: &'a str,
    /// Index of the measure.
    which: usize,
    points: Vec<&'a Point<'a>>,
}

impl Scope<'_> {
    fn correlation(&self, scope: String, of: &str, seed: u64) -> Correlation {
        let x: Vec<f64> = self.points.iter().filter_map(|point| point.distances[self.which]).collect();
        let y: Vec<f64> = self.points.iter().filter_map(|point| point.delta).collect();
        let (x, y) = (x.as_slice(), y.as_slice());
        let pearson = stats::pearson(x, y);
        let names: BTreeSet<&str> = self.points.iter().map(|point| point.group).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let groups: Vec<usize> =
            self.points.iter().filter_map(|point| names.binary_search(&point.group).ok()).collect();
        let within = stats::pearson_within_groups(x, y, &groups, PERMUTATIONS, seed).ok();
        let several = names.len() > 1;
        let r = pearson.ok().map(|c| c.statistic);
        Correlation {
            x: self.key.to_owned(),
            scope,
            of: of.to_owned(),
            n: x.len(),
            pearson: Estimate {
                ci95: stats::pearson_ci95_by_group(x, y, &groups, RESAMPLES, seed),
                ..estimate(pearson.map_err(reason))
            },
            // The three are undefined for the same reasons, and the reason is kept once.
            spearman: Estimate {
                ci95: stats::spearman_ci95_by_group(x, y, &groups, RESAMPLES, seed),
                reason: None,
                ..estimate(stats::spearman(x, y).map_err(reason))
            },
            kendall: Estimate { reason: None, ..estimate(stats::kendall(x, y).map_err(reason)) },
            within_groups: within.filter(|_| several).map(|c| c.statistic),
            permutation_p: within.map(|c| c.p_two_sided),
            partial: pearson.is_ok().then(|| self.partial(x, y)),
            influence: stats::most_influential(x, y)
                .map(|(i, pearson)| Influence { domain: self.points[i].domain.to_owned(), pearson }),
            warning: r.filter(|_| several).and_then(|r| contrast_warning(r, within.map(|c| c.statistic))),
        }
    }

    /// r after allowing for rival explanations, without the distance itself.
    fn partial(&self, x: &[f64], y: &[f64]) -> PartialCorrelation {
        let taken: Vec<usize> = (0..CONTROLS.len()).filter(|&at| CONTROLS[at].0 != self.key).collect();
        let controls = taken.iter().map(|&at| CONTROLS[at].0.to_owned()).collect();
        let values: Option<Vec<Vec<f64>>> =
            taken.iter().map(|&at| self.points.iter().map(|point| point.controls[at]).collect()).collect();
        let found = match values {
            Some(values) => stats::partial_pearson(x, y, &values).map(|partial| partial.coefficient).map_err(reason),
            None => Err("a domain lacks a value that is to be allowed for".to_owned()),
        };
        PartialCorrelation { controls, pearson: estimate(found) }
    }
}

/// A coefficient with its p-value, or the reason why it is missing.
fn estimate(found: Result<Coefficient, String>) -> Estimate {
    found.map_or_else(|reason| Estimate { reason: Some(reason), ..Estimate::default() }, Estimate::from)
}

/// Why a coefficient is missing.
fn reason(undefined: Undefined) -> String {
    match undefined {
        Undefined::TooFew(n) => format!("{n} domains with both values, at least 3 are needed"),
        Undefined::TooFewForControls { n, controls } => {
            format!("{n} domains, at least {} are needed to allow for {controls} other values", controls + 3)
        }
        other => other.to_string(),
    }
}

/// A warning if hardly any of a pooled r remains inside groups.
fn contrast_warning(pooled: f64, within: Option<f64>) -> Option<String> {
    let kept = within.unwrap_or(0.0) * pooled.signum();
    (pooled.abs() >= LARGE && kept < pooled.abs() / 2.0).then(|| {
        let inside = match within {
            Some(within) => format!("it is {within:+.2}"),
            None => "there is nothing to see".to_owned(),
        };
        format!(
            "mostly the contrast between groups: pooled r is {pooled:+.2}, but inside the groups {inside}, so that \
             anything else in which the groups differ explains it as well"
        )
        .replace('-', "−")
    })
}
