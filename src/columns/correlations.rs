//! The table of correlations: δ against each distance.

use super::cell::Value;
use super::column::{Column, columns};
use super::labels::{measure_label, scope_label};
use crate::study::Correlation;

/// Every column of a correlation. The faces in brackets: CSV, points, terminal, page, app, strategies.
pub fn correlations() -> Vec<Column<Correlation>> {
    columns! { Correlation;
        "x" "δ against" Text [N N A A N N] c => measure_label(&c.x),
            "The distance";
        "scope" "over" Text [N N A A N N] c => scope_label(&c.scope),
            "All domains, or those of a group";
        "of" "model / strategy" Text [N N V V N N] c => c.of.as_str(),
            "The base model and the name of the strategy";
        "n" "n" Count [N N A A N N] c => c.n,
            "Domains";
        "pearson" "r" Coefficient [N N A A N N] c => (c.pearson.value, why(c)),
            "Pearson's r";
        "pearson_ci95" "95 % interval" Coefficient [N N A A N N] c => (c.pearson.ci95, why(c)),
            "Of r; domains are drawn within groups";
        "pearson_p" "p" P [N N A A N N] c => (c.pearson.p, why(c)),
            "Of r";
        "spearman" "ρ" Coefficient [N N A A N N] c => (c.spearman.value, why(c)),
            "Spearman's ρ";
        "spearman_p" "p" P [N N A A N N] c => (c.spearman.p, why(c)),
            "Of ρ";
        "kendall" "τ" Coefficient [N N A A N N] c => (c.kendall.value, why(c)),
            "Kendall's τ";
        "kendall_p" "p" P [N N A A N N] c => (c.kendall.p, why(c)),
            "Of τ";
        "within_groups" "inside groups" Coefficient [N N A A N N] c => (c.within_groups, "one group, or nothing varies inside groups"),
            "r after the mean of each group is subtracted";
        "permutation_p" "p" P [N N A A N N] c => (c.permutation_p, why(c)),
            "Of r inside groups, by permutations inside groups";
        "partial" "partial r" Coefficient [N N A A N N] c => (c.partial.as_ref().and_then(|partial| partial.pearson.value), why_no_partial(c)),
            "With the rate of line breaks, ln of the domain's tokens and ln of the base's perplexity allowed for";
        "partial_p" "p" P [N N A A N N] c => (c.partial.as_ref().and_then(|partial| partial.pearson.p), why_no_partial(c)),
            "Of the partial r";
        "influence" "without one" Coefficient [N N A A N N] c => influence(c),
            "r without the domain that counts most";
    }
}

fn why(correlation: &Correlation) -> &str {
    correlation.pearson.reason.as_deref().unwrap_or("was not computed")
}

fn why_no_partial(correlation: &Correlation) -> &str {
    let partial = correlation.partial.as_ref();
    partial.and_then(|partial| partial.pearson.reason.as_deref()).unwrap_or("was not computed")
}

fn influence(correlation: &Correlation) -> Value {
    match &correlation.influence {
        Some(influence) => {
            Value::noted(Some(influence.pearson), format!("r without {}, which counts most", influence.domain))
        }
        None => (None::<f64>, "fewer than four domains").into(),
    }
}
