//! The table of calls: what adaptation did to each domain, and how sure it is. `domains.csv` has the columns in this order.

use super::cell::Value;
use super::column::{Column, columns};
use crate::study::{self, DomainChange, RestartControl};

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub enum Called<'a> {
    /// A domain.
    Domain(&'a DomainChange),
    /// A restart control.
    Control(&'a RestartControl),
}

impl<'a> Called<'a> {
    /// A value of a domain; a control has none.
    fn of(self, value: impl FnOnce(&'a DomainChange) -> Value) -> Value {
        match self {
            Self::Domain(change) => value(change),
            Self::Control(_) => Value::Blank,
        }
    }

    /// A value of either, and why it may be missing.
    fn either<V: Into<Value>>(
        self,
        of_domain: impl FnOnce(&'a DomainChange) -> V,
        of_control: impl FnOnce(&'a RestartControl) -> V,
    ) -> Value {
        let (value, why) = match self {
            Self::Domain(change) => (of_domain(change).into(), change.reason.as_deref()),
            Self::Control(control) => (of_control(control).into(), control.delta.reason.as_deref()),
        };
        Value::or(value, why.unwrap_or("could not be computed"))
    }

    fn seeds(self) -> &'a [u64] {
        match self {
            Self::Domain(change) => &change.seeds,
            Self::Control(control) => &control.seeds,
        }
    }

    /// Why a call cannot be made, or another value is missing.
    fn reason(change: &DomainChange) -> &str {
        change.reason.as_deref().unwrap_or("could not be computed")
    }
}

const NO_CONTROL: &str = "the study has no restart control for it";
const ONE_SEED: &str = "one seed does not vary";

/// Every column of a call. The faces in brackets: CSV, points, terminal, page, app, strategies.
pub fn calls<'a>() -> Vec<Column<Called<'a>>> {
    columns! { Called<'a>;
        "model" "model" Text [A N N N N N] c => c.of(|change| change.model.as_str().into()),
            "The base model";
        "domain" "domain" Text [A N A A N N] c => domain(*c),
            "The domain, or the corpus of the restart control";
        "group" "group" Text [A N N N N N] c => c.of(|change| change.group.as_str().into()),
            "Its group in the study";
        "strategy" "strategy" Text [A N N N N N] c => c.of(|change| change.strategy.as_str().into()),
            "The name of the strategy";
        "arm" "model / strategy" Text [N N V V N N] c => arm(*c),
            "The base model and the name of the strategy";
        "seeds" "seeds" Text [A N N N N N] c => joined(c.seeds()),
            "The seeds";
        "number_of_seeds" "seeds" Count [N N V V N N] c => c.seeds().len(),
            "Number of seeds";
        "over" "over" Text [A N N N N N] c => c.of(|change| change.over.as_str().into()),
            "What is resampled";
        "clusters" "clusters" Count [A N N N N N] c => c.of(|change| change.clusters.into()),
            "How many of them are scored";
        "delta" "δ" Nats [A N A A N N] c => c.either(|change| Some(change.delta), |control| control.delta.value),
            "Change in log-perplexity, nats per token, mean over seeds: positive is worse";
        "delta_ci95" "95 % interval" Nats [A N A A N N] c => c.either(|change| Some(change.delta_ci95), |control| control.delta.ci95),
            "Of δ, documents resampled for all seeds at once";
        "seed_sd" "sd of seeds" Nats [A N K K N N] c => seed_sd(*c),
            "Standard deviation of δ between seeds";
        "p" "p" P [A N A A N N] c => c.of(|change| (change.p, Called::reason(change)).into()),
            "Of a paired sign-flip test";
        "q" "q" P [A N A A N N] c => c.of(|change| (change.q, Called::reason(change)).into()),
            "p corrected over the domains, after Benjamini and Hochberg";
        "t_p" "t test p" P [A N A A N N] c => c.of(|change| (change.t_p, "the changes of documents do not vary").into()),
            "Of the paired t test";
        "wilcoxon_p" "Wilcoxon p" P [A N A A N N] c => c.of(|change| (change.wilcoxon_p, "no document changed").into()),
            "Of Wilcoxon's signed-rank test";
        "call" "call" Text [A N A A N N] c => call(*c),
            "Better or worse if q is at most the error rate";
        "error_rate" "error rate" Share [A N N N N N] c => c.of(|change| change.error_rate.into()),
            "The share of calls that may be false";
        "smallest_effect" "smallest effect" Size [A N A A N N] c => c.of(|change| change.smallest_effect.into()),
            "A smaller change could not have been detected";
        "restart_delta" "δ of the restart" Nats [A N N N N N] c => c.of(|change| (change.restart_delta, NO_CONTROL).into()),
            "δ of the restart control";
        "beyond_restart" "δ beyond the restart" Nats [A N A A N N] c => c.of(|change| (change.beyond_restart.value, NO_CONTROL).into()),
            "δ minus that of the restart control";
        "beyond_restart_ci95" "95 % interval" Nats [A N A A N N] c => c.of(|change| (change.beyond_restart.ci95, NO_CONTROL).into()),
            "Of δ beyond the restart";
    }
}

/// Seeds in one field.
pub(super) fn joined(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn domain(called: Called<'_>) -> Value {
    match called {
        Called::Domain(change) => change.domain.as_str().into(),
        Called::Control(control) => Value::noted(format!("{} itself", control.reference), control.held_out.as_str()),
    }
}

fn arm(called: Called<'_>) -> String {
    let (model, strategy) = match called {
        Called::Domain(change) => (&change.model, &change.strategy),
        Called::Control(control) => (&control.model, &control.strategy),
    };
    study::arm(model, strategy)
}

fn seed_sd(called: Called<'_>) -> Value {
    match called {
        Called::Domain(change) => (change.seed_sd, ONE_SEED).into(),
        Called::Control(control) => (control.seed_sd, ONE_SEED).into(),
    }
}

fn call(called: Called<'_>) -> Value {
    match called {
        Called::Domain(change) => Value::noted(change.call.name(), change.reason.as_deref().unwrap_or_default()),
        Called::Control(_) => "restart control".into(),
    }
}
