//! The change of each domain as a table and in words: the calls, and the cost of the restart alone.

use super::sheet::{Sheet, SheetCell};
use super::{delta, interval, p_value, percent, visible};
use crate::study::{Call, DomainChange, RestartControl, StudyResults};

const NO_CONTROL: &str = "the study has no restart control for it";

/// A line for each domain and then for each restart control. `None` without either.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    let header = [
        "domain",
        "model",
        "strategy",
        "call",
        "seeds",
        "δ",
        "95 % interval",
        "sd of seeds",
        "p",
        "q",
        "t test p",
        "Wilcoxon p",
        "smallest effect",
        "δ beyond the restart",
        "95 % interval",
    ];
    let mut rows: Vec<Vec<SheetCell>> = results.domains.iter().map(domain).collect();
    rows.extend(results.restart_control.iter().map(|control| self::control(control, header.len())));
    let sheet = Sheet { header: header.map(str::to_owned).to_vec(), texts: 4, rows };
    (!sheet.rows.is_empty()).then(|| sheet.without_constant(&["model", "strategy", "seeds", "sd of seeds"]))
}

fn domain(change: &DomainChange) -> Vec<SheetCell> {
    let reason = change.reason.as_deref().unwrap_or("could not be computed");
    let ends = |ends: Option<[f64; 2]>, why: &str| match ends {
        Some(ends) => SheetCell::words(&interval(ends, delta)),
        None => SheetCell::number(None, delta, why),
    };
    vec![
        SheetCell::words(&change.domain),
        SheetCell::words(&change.model),
        SheetCell::words(&change.strategy),
        SheetCell { text: change.call.name().to_owned(), why: visible(change.reason.as_deref().unwrap_or_default()) },
        SheetCell::words(&change.seeds.len().to_string()),
        SheetCell::number(Some(change.delta), delta, reason),
        ends(Some(change.delta_ci95), reason),
        SheetCell::number(change.seed_sd, delta, "one seed does not vary"),
        SheetCell::number(change.p, p_value, reason),
        SheetCell::number(change.q, p_value, reason),
        SheetCell::number(change.t_p, p_value, "the changes of documents do not vary"),
        SheetCell::number(change.wilcoxon_p, p_value, "no document changed"),
        SheetCell::number(Some(change.smallest_effect), |effect| format!("{effect:.4}"), reason),
        SheetCell::number(change.beyond_restart, delta, NO_CONTROL),
        ends(change.beyond_restart_ci95, NO_CONTROL),
    ]
}

fn control(control: &RestartControl, columns: usize) -> Vec<SheetCell> {
    let why = control.reason.as_deref().unwrap_or("could not be computed");
    let mut cells = vec![
        SheetCell { text: format!("{} itself", visible(&control.reference)), why: visible(&control.held_out) },
        SheetCell::words(&control.model),
        SheetCell::words(&control.strategy),
        SheetCell::words("restart control"),
        SheetCell::words(&control.seeds.len().to_string()),
        SheetCell::number(control.delta, delta, why),
        match control.delta_ci95 {
            Some(ends) => SheetCell::words(&interval(ends, delta)),
            None => SheetCell::number(None, delta, why),
        },
        SheetCell::number(control.seed_sd, delta, "one seed does not vary"),
    ];
    cells.resize(columns, SheetCell::words(""));
    cells
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
        text.push_str(&format!(" (a change below {blind:.4} could not have been shown there)"));
    }
    Some(text + ".")
}

/// The cost of the restart alone, and how many domains got worse beyond it.
pub(super) fn restart_sentence(changes: &[&DomainChange]) -> Option<String> {
    let restart = changes.iter().find_map(|change| change.restart_delta)?;
    let surely = |side: fn([f64; 2]) -> bool| {
        changes.iter().filter(|change| change.beyond_restart_ci95.is_some_and(side)).count()
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
