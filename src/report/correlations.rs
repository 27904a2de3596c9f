//! The correlations of δ with the distances, as a table; that with one distance in sentences.

use super::{coefficient, interval, p_phrase, visible};
use crate::columns::{self, Face, Sheet, scope_label};
use crate::study::{Correlation, StudyResults};

/// δ against every distance, pooled and within groups; `None` if nothing was correlated.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    (!results.correlations.is_empty()).then(|| Sheet::of(&columns::correlations(), Face::Page, &results.correlations))
}

/// What the study found about one measure under one model and strategy (`of`), a sentence each: pooled, within groups,
/// after allowing for rival explanations, without the most influential domain, and warnings. Empty if nothing was
/// correlated.
pub fn sentences(results: &StudyResults, of: &str, measure: &str) -> Vec<String> {
    let mine = || results.correlations.iter().filter(|c| c.of == of && c.x == measure);
    let Some(pooled) = mine().find(|c| c.scope == "pooled") else { return Vec::new() };
    let mut said = vec![format!("Over {} domains, {}.", pooled.n, words(pooled))];
    if let Some(r) = pooled.within_groups.filter(|r| r.is_finite()) {
        let p = pooled.permutation_p.map(|p| format!(" ({} by permutations inside groups)", p_phrase(p)));
        said.push(format!(
            "Inside groups, each group's means taken off: r = {}{}.",
            coefficient(r),
            p.unwrap_or_default()
        ));
    }
    let within: Vec<String> = mine()
        .filter(|c| c.scope != "pooled")
        .map(|c| format!("{} (n = {}): {}", scope_label(&c.scope), c.n, words(c)))
        .collect();
    if !within.is_empty() {
        said.push(format!("Judged apart: {}.", within.join("; ")));
    }
    if let Some(partial) = &pooled.partial {
        let controls = partial.controls.join(", ");
        said.push(match (partial.pearson.value, &partial.pearson.reason) {
            (Some(r), _) => {
                let p = partial.pearson.p.map(|p| format!(" ({})", p_phrase(p))).unwrap_or_default();
                format!("With {controls} allowed for: r = {}{p}.", coefficient(r))
            }
            (None, reason) => {
                format!("With {controls} allowed for: no r, {}.", visible(reason.as_deref().unwrap_or("unknown why")))
            }
        });
    }
    if let Some(influence) = &pooled.influence {
        let (domain, r) = (visible(&influence.domain), coefficient(influence.pearson));
        said.push(format!("Without {domain}, which has the largest influence: r = {r}."));
    }
    said.extend(pooled.warning.as_ref().map(|warning| format!("Caution: it is {}.", visible(warning))));
    said
}

/// `r = −0.62 [−0.80, −0.31] (p = 0.003), ρ = −0.58 (p = 0.006)`, or why there is none.
fn words(c: &Correlation) -> String {
    let p = |p: Option<f64>| p.map(|p| format!(" ({})", p_phrase(p))).unwrap_or_default();
    let Some(r) = c.pearson.value.filter(|r| r.is_finite()) else {
        return format!("no r: {}", visible(c.pearson.reason.as_deref().unwrap_or("it could not be computed")));
    };
    let ends = c.pearson.ci95.map(|ends| format!(" {}", interval(ends, coefficient))).unwrap_or_default();
    let rank = c.spearman.value.map(|rho| format!(", ρ = {}{}", coefficient(rho), p(c.spearman.p))).unwrap_or_default();
    format!("r = {}{ends}{}{rank}", coefficient(r), p(c.pearson.p))
}
