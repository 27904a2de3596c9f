//! The change of each domain as a table and in words: the calls, and the cost of the restart alone.

use super::{delta, percent, visible};
use crate::columns::{self, Called, Face, Sheet};
use crate::shown::fixed;
use crate::study::{Call, DomainChange, StudyResults};

/// A line for each domain and then for each restart control. `None` without either.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    let domains = results.domains.iter().map(Called::Domain);
    let all: Vec<Called<'_>> = domains.chain(results.restart_control.iter().map(Called::Control)).collect();
    (!all.is_empty()).then(|| Sheet::of(&columns::calls(), Face::Page, &all))
}

/// How the calls were made, for below the table.
pub fn note(results: &StudyResults) -> Option<String> {
    let DomainChange { error_rate, over, .. } = results.domains.first()?;
    let restart = match results.restart_control.is_empty() {
        true => "",
        false => {
            " The restart control is the same recipe on the reference corpus itself: what δ is beyond it is not the \
             restart of the optimiser."
        }
    };
    Some(format!(
        "Calls are made where q, the p-value of a paired sign-flip test over {over} corrected over the domains after \
         Benjamini and Hochberg, is at most {}. The smallest effect is half the width of the interval: a smaller change \
         could not have been shown.{restart}",
        percent(*error_rate)
    ))
}

/// The calls of one model and strategy in one sentence.
pub(super) fn tally(of: &str, changes: &[&DomainChange]) -> Option<String> {
    let first = changes.first()?;
    let number = |call| changes.iter().filter(|change| change.call == call).count();
    let mut text = format!(
        "{}: at an error rate of {} over the domains, additional pretraining made perplexity on the domain's own test \
         text better for {} of {} {}, worse for {}, and no difference was found for {}",
        visible(of),
        percent(first.error_rate),
        number(Call::Better),
        changes.len(),
        if changes.len() == 1 { "domain" } else { "domains" },
        number(Call::Worse),
        number(Call::NoDifference),
    );
    let none = changes.iter().filter(|change| change.call == Call::NoDifference);
    let blind = none.map(|change| change.smallest_effect).fold(0.0, f64::max);
    if blind > 0.0 {
        text.push_str(&format!(" (a change below {} could not have been shown there)", fixed(blind, 4)));
    }
    Some(text + ".")
}

/// The cost of the restart alone, and how many domains got worse beyond it.
pub(super) fn restart_sentence(changes: &[&DomainChange]) -> Option<String> {
    let restart = changes.iter().find_map(|change| change.restart_delta)?;
    let surely = |side: fn([f64; 2]) -> bool| {
        changes.iter().filter(|change| change.beyond_restart.ci95.is_some_and(side)).count()
    };
    let meaning = match restart > 0.0 {
        true => "this is the cost of restarting the optimiser",
        false => "the recipe gains even on the known corpus, so the base was not fully trained on it",
    };
    Some(format!(
        "Adapting to the reference corpus itself by the same recipe gives δ = {}: {meaning}. Beyond it, the whole 95 % \
         interval lies above 0 for {} of {} and below 0 for {}.",
        delta(restart),
        surely(|[low, _]| low > 0.0),
        changes.len(),
        surely(|[_, high]| high < 0.0),
    ))
}
