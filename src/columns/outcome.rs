//! A domain under one model and strategy, its seeds together or one of them.

use std::collections::BTreeMap;

use super::direction::Direction;
use crate::similarity::Measure;
use crate::study::{self, DomainChange, Row, StudyResults};

/// One domain under one model and strategy, averaged over seeds: a point of a scatter plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Mean δ over seeds, nats per token; positive is worse.
    pub delta: f64,
    /// Its 95 % interval, documents resampled for all seeds at once. In results of older versions, the mean ends of the
    /// intervals over seeds (seeds share the test text, so averaging them does not narrow it).
    pub ci95: [f64; 2],
    /// The test and call of the domain; `None` in results of older versions.
    pub change: Option<&'a DomainChange>,
    /// The first of its rows.
    pub row: &'a Row,
    /// Its rows, one for each seed.
    pub rows: Vec<&'a Row>,
}

impl<'a> Outcome<'a> {
    /// One seed of a domain. The call is that of the domain, all seeds together.
    pub fn of_row(results: &'a StudyResults, row: &'a Row) -> Self {
        Self { change: change_of(results, row), ..Self::of_seed(row) }
    }

    /// One seed of a domain, judged by its own interval alone.
    pub fn of_seed(row: &'a Row) -> Self {
        Self {
            domain: &row.domain,
            group: &row.group,
            delta: row.delta,
            ci95: row.delta_ci95,
            change: None,
            row,
            rows: vec![row],
        }
    }

    /// The call or, if there is none, the direction of the interval.
    pub fn direction(&self) -> Direction {
        self.change.map_or_else(|| Direction::of(self.ci95), |change| change.call.into())
    }

    /// The mean of something over seeds; `None` where no row has it.
    pub fn mean(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        mean(self.rows.iter().filter_map(|row| of(row)))
    }

    /// Perplexity before and after, geometric means over seeds: the log of their ratio is the mean of δ over seeds.
    pub fn perplexities(&self) -> [f64; 2] {
        let geometric = |of: fn(&Row) -> f64| self.mean(|row| Some(of(row).ln())).map_or(f64::NAN, f64::exp);
        match self.rows[..] {
            [row] => [row.zero_shot_ppl, row.adapted_ppl],
            _ => [geometric(|row| row.zero_shot_ppl), geometric(|row| row.adapted_ppl)],
        }
    }

    /// The mean of a measure over seeds; `None` where no row has it.
    pub fn measure(&self, measure: Measure) -> Option<f64> {
        let of_test_text = |row: &Row| (measure == Measure::NewlineRate).then_some(row.newline_rate);
        self.mean(|row| row.similarity.get(measure).or_else(|| of_test_text(row)))
    }
}

/// The key of rows that belong together: "model / strategy", as in [`crate::study::Correlation::of`].
pub fn arm(row: &Row) -> String {
    study::arm(&row.model, &row.strategy)
}

/// The outcomes by [`arm`], each in order of domain. Rows without a finite δ are left out.
pub fn outcomes<'a>(results: &'a StudyResults) -> BTreeMap<String, Vec<Outcome<'a>>> {
    let mut rows: BTreeMap<String, BTreeMap<&'a str, Vec<&'a Row>>> = BTreeMap::new();
    for row in results.rows.iter().filter(|row| row.delta.is_finite()) {
        rows.entry(arm(row)).or_default().entry(&row.domain).or_default().push(row);
    }
    let of_arm = |domains: BTreeMap<&'a str, Vec<&'a Row>>| {
        domains.into_iter().filter_map(|(domain, rows)| outcome(results, domain, rows)).collect()
    };
    rows.into_iter().map(|(arm, domains)| (arm, of_arm(domains))).collect()
}

/// The test and call of a row's domain.
pub fn change_of<'a>(results: &'a StudyResults, row: &Row) -> Option<&'a DomainChange> {
    results
        .domains
        .iter()
        .find(|change| (&change.model, &change.domain, &change.strategy) == (&row.model, &row.domain, &row.strategy))
}

fn outcome<'a>(results: &'a StudyResults, domain: &'a str, rows: Vec<&'a Row>) -> Option<Outcome<'a>> {
    let row = *rows.first()?;
    let group = row.group.as_str();
    if let Some(change) = change_of(results, row).filter(|change| change.delta.is_finite()) {
        let (delta, ci95) = (change.delta, change.delta_ci95);
        return Some(Outcome { domain, group, delta, ci95, change: Some(change), row, rows });
    }
    let average = |of: fn(&Row) -> f64| mean(rows.iter().map(|row| of(row)));
    let (low, high) = (average(|row| row.delta_ci95[0]), average(|row| row.delta_ci95[1]));
    let ci95 = [low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN)];
    Some(Outcome { domain, group, delta: average(|row| row.delta)?, ci95, change: None, row, rows })
}

/// Mean of the finite values; `None` without one.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.filter(|v| v.is_finite()).fold((0.0, 0_u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
