//! The advice that would have been given for each domain before training, as a table and in words: answer, reasons, and
//! whether the result lies inside the interval.

use minijinja::{Value, context};

use super::{count, delta, percent, visible};
use crate::advise::hindsight::{Hindsight, check};
use crate::advise::verdict::PointsTo;
use crate::columns::{Cell, Heading, Sheet};

/// A line for each domain and recipe. `None` where there is none.
pub fn sheet(said: &[Hindsight]) -> Option<Sheet> {
    let heading = |title: &&str| Heading::new(title, NUMBERS.contains(title));
    let sheet = Sheet { headings: TITLES.iter().map(heading).collect(), rows: said.iter().map(row).collect() };
    (!sheet.rows.is_empty()).then(|| sheet.without_constant(&["model", "recipe", "learned from"]))
}

const TITLES: [&str; 9] =
    ["domain", "model", "recipe", "verdict", "predicted δ", "90 % interval", "found", "inside", "learned from"];
const NUMBERS: [&str; 5] = ["predicted δ", "90 % interval", "found", "inside", "learned from"];

fn row(said: &Hindsight) -> Vec<Cell> {
    let why = said.reason.as_deref().unwrap_or("too few domains for an interval");
    let ends = said.predicted.and_then(|predicted| predicted.interval90);
    vec![
        Cell::words(&said.domain),
        Cell::words(&said.model),
        Cell::words(&recipe(said)),
        Cell::noted(said.verdict.name(), &said.words),
        Cell::number(said.predicted.map(|predicted| predicted.delta), delta, why),
        Cell::ends(ends, delta, why),
        Cell::number(Some(said.found), delta, why),
        match said.inside {
            Some(inside) => Cell::words(if inside { "yes" } else { "no" }),
            None => Cell::number(None, delta, why),
        },
        Cell::words(&format!("{} domains", said.domains)),
    ]
}

fn recipe(said: &Hindsight) -> String {
    let join = if said.joined_otherwise { ", joined otherwise" } else { "" };
    format!("{}, lr {:e}{join}", said.strategy, said.lr)
}

/// The performance of predictions, each made without the rows of its own domain; or why there are none. `None` without
/// a domain.
pub fn note(said: &[Hindsight]) -> Option<String> {
    let found = check(said);
    if found.rows == 0 {
        let reason = said.iter().find_map(|said| said.reason.as_deref())?;
        return Some(format!("Nothing could be predicted: {}.", visible(reason)));
    }
    let from = match said.iter().any(|said| said.with_shipped) {
        true => "from the study's other domains and the table that comes with the program",
        false => "from the study's other domains",
    };
    let (predictions, domains) =
        (plural(found.rows, "prediction", "predictions"), plural(found.domains, "domain", "domains"));
    let mut text = format!(
        "Leaving one domain out at a time: {predictions} for {domains}, each {from}, were on the right side of zero in {} of \
         cases",
        found.sign_accuracy.map_or_else(|| super::MISSING.to_owned(), percent),
    );
    if let Some(error) = found.median_absolute_error {
        text.push_str(&format!(" and {error:.4} nats per token off in the median"));
    }
    if let (Some(coverage), Some(width)) = (found.coverage, found.median_width) {
        text.push_str(&format!(
            "; {} of results lie inside their 90 % interval, which is {width:.4} wide in the median",
            percent(coverage)
        ));
    }
    if let Some(decided) = found.decided {
        let rightly = match found.decided_right {
            Some(right) => format!(", rightly for {}", percent(right)),
            None => String::new(),
        };
        text.push_str(&format!("; {} of intervals lie on one side of zero{rightly}", percent(decided)));
    }
    Some(text + ".")
}

fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

/// The reasons for the page: of each domain and recipe the verdict in a sentence, then the evidence.
pub(super) fn reasons(said: &[Hindsight]) -> Vec<Value> {
    said.iter()
        .filter(|said| !said.reasons.is_empty())
        .map(|said| {
            let (weighty, others): (Vec<_>, Vec<_>) =
                said.reasons.iter().partition(|reason| reason.points_to != PointsTo::Neither);
            let words = |reasons: Vec<&crate::advise::Reason>| {
                reasons.into_iter().map(|reason| visible(&reason.words)).collect::<Vec<_>>()
            };
            context! {
                name => visible(&said.domain),
                recipe => visible(&recipe(said)),
                model => visible(&said.model),
                words => visible(&said.words),
                found => delta(said.found),
                weighty => words(weighty),
                others => words(others),
            }
        })
        .collect()
}
