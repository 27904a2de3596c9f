//! How the change in log-perplexity goes with each distance, over domains.

use std::collections::{BTreeMap, BTreeSet};

use super::results::{Correlation, Row};
use crate::similarity::Distances;
use crate::stats::{self, DEFAULT_RESAMPLES};

/// One domain of one model and strategy, its seeds averaged.
struct Point<'a> {
    group: &'a str,
    /// Change in log-perplexity, nats per token; `None` where no seed has a finite one.
    delta: Option<f64>,
    /// By measure, in the order of [`Distances::MEASURES`].
    distances: Vec<Option<f64>>,
}

/// Correlates `delta` with every measure of [`Distances::MEASURES`], for each model and strategy: pooled over all domains
/// and, where there are several, within each group.
///
/// Seeds are averaged first, so that a domain counts once however often it was adapted to. Measures enter as they are:
/// with a distance, "the more similar, the worse" is a negative coefficient, with a similarity (such as the centroid
/// cosine) a positive one. Domains without a value are left out; `n` counts those that remain. `seed` draws the
/// bootstrap. Ordered by model, strategy, measure, then pooled before the groups.
pub fn correlate(rows: &[Row], seed: u64) -> Vec<Correlation> {
    let mut adaptations = BTreeMap::<_, BTreeMap<_, Vec<&Row>>>::new();
    for row in rows {
        let domains = adaptations.entry((row.model.as_str(), row.strategy.as_str())).or_default();
        domains.entry((row.group.as_str(), row.domain.as_str())).or_default().push(row);
    }
    let mut correlations = Vec::new();
    for ((model, strategy), domains) in &adaptations {
        let of = format!("{model} / {strategy}");
        let points: Vec<Point> = domains.iter().map(|((group, _), seeds)| average(group, seeds)).collect();
        let groups: BTreeSet<&str> = points.iter().map(|point| point.group).collect();
        for (which, measure) in Distances::MEASURES.iter().enumerate() {
            let mut add = |scope: String, group: Option<&str>| {
                let inside = points.iter().filter(|point| group.is_none_or(|group| point.group == group));
                let (x, y): (Vec<f64>, Vec<f64>) =
                    inside.filter_map(|point| Some((point.distances[which]?, point.delta?))).unzip();
                correlations.push(coefficients(measure.key, scope, &of, &x, &y, seed));
            };
            add("pooled".into(), None);
            if groups.len() > 1 {
                groups.iter().for_each(|group| add(format!("within:{group}"), Some(group)));
            }
        }
    }
    correlations
}

fn average<'a>(group: &'a str, seeds: &[&Row]) -> Point<'a> {
    Point {
        group,
        delta: mean(seeds.iter().map(|row| Some(row.delta))),
        distances: Distances::MEASURES
            .iter()
            .map(|measure| mean(seeds.iter().map(|row| row.similarity.get(measure.key))))
            .collect(),
    }
}

/// Mean of the finite values; `None` where there are none.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().filter(|v| v.is_finite()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn coefficients(key: &str, scope: String, of: &str, x: &[f64], y: &[f64], seed: u64) -> Correlation {
    let (pearson, spearman, kendall) = (stats::pearson(x, y), stats::spearman(x, y), stats::kendall(x, y));
    // the three are undefined for the same reasons
    let reason = pearson.as_ref().err().map(|undefined| match undefined {
        stats::Undefined::TooFew(n) => format!("{n} domains with both values, at least 3 are needed"),
        other => other.to_string(),
    });
    Correlation {
        x: key.to_owned(),
        scope,
        of: of.to_owned(),
        n: x.len(),
        pearson: pearson.ok().map(|c| c.statistic),
        pearson_p: pearson.ok().map(|c| c.p_two_sided),
        spearman: spearman.ok().map(|c| c.statistic),
        spearman_p: spearman.ok().map(|c| c.p_two_sided),
        kendall: kendall.ok().map(|c| c.statistic),
        kendall_p: kendall.ok().map(|c| c.p_two_sided),
        ci95: stats::pearson_ci95(x, y, DEFAULT_RESAMPLES, seed),
        reason,
    }
}
