//! Distances to the reference corpus as tables: value, 95 % interval, p and q of each, and effect sizes.

use std::collections::BTreeSet;

use super::{p_value, significant};
use crate::columns::{Cell, Heading, Sheet};
use crate::similarity::{Distances, Measure};
use crate::study::StudyResults;

/// All measures for the page. Those that are tested and the others have a table each, because one would be too wide.
pub(super) fn sheets(results: &StudyResults) -> Vec<Sheet> {
    let distances = || Measure::shown().filter(|measure| !measure.is_rival());
    let [tested, others] = [true, false].map(|tested| distances().filter(move |m| m.about().tested == tested));
    [table(results, tested), table(results, others)].into_iter().flatten().collect()
}

/// For a terminal, which is less wide: the first distance that is tested, or the first of words if nothing else is compared.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    table(results, [Measure::Mmd2]).or_else(|| table(results, [Measure::UnigramJs]))
}

/// A line for each model and domain, and for the reference corpus against itself. `None` if no domain has any of these.
fn table(results: &StudyResults, measures: impl IntoIterator<Item = Measure>) -> Option<Sheet> {
    let mut seen = BTreeSet::new();
    let domains: Vec<(&str, &str, &Distances)> = results
        .rows
        .iter()
        .map(|row| (row.model.as_str(), row.domain.as_str(), &row.similarity))
        .filter(|(model, domain, _)| seen.insert((*model, *domain)))
        .collect();
    let has = |of: &dyn Fn(&Distances) -> bool| domains.iter().any(|(.., distances)| of(distances));
    let measures: Vec<Measure> = measures.into_iter().filter(|&measure| has(&|d| d.get(measure).is_some())).collect();
    if measures.is_empty() {
        return None;
    }
    let tested = |measure: Measure| has(&|d| d[measure].p.is_some());
    let any_tested = measures.iter().any(|measure| measure.about().tested);
    let effects: Vec<Measure> =
        Measure::ALL.into_iter().filter(|m| any_tested && has(&|d| d.effects.contains_key(m))).collect();

    let mut headings = vec![Heading::new("domain", false), Heading::new("model", false), Heading::new("samples", true)];
    for &measure in &measures {
        headings.extend([Heading::new(measure.label(), true), Heading::new("95 % interval", true)]);
        headings.extend(["p", "q"].into_iter().filter(|_| tested(measure)).map(|name| Heading::new(name, true)));
    }
    headings.extend(effects.iter().map(|measure| Heading::new(measure.about().effect, true)));
    let row = |model: &str, name: &str, distances: &Distances| {
        let mut cells = vec![
            Cell::noted(name, &distances.caveats.join("; ")),
            Cell::words(model),
            Cell::words(&distances.samples.to_string()),
        ];
        for &measure in &measures {
            let estimate = &distances[measure];
            cells.push(Cell::number(estimate.value, significant, distances.why_missing(measure)));
            cells.push(match estimate.value {
                Some(_) => Cell::ends(estimate.ci95, significant, "was not resampled"),
                None => Cell::default(),
            });
            let untested = estimate.why_untested().unwrap_or("was not tested");
            let tests = [estimate.p, estimate.q].map(|p| Cell::number(p, p_value, untested));
            cells.extend(tests.into_iter().filter(|_| tested(measure)));
        }
        let effect = |measure| Cell::number(distances.effects.get(measure).copied(), significant, "was not tested");
        cells.extend(effects.iter().map(effect));
        cells
    };
    let mut rows: Vec<Vec<Cell>> =
        domains.iter().map(|(model, domain, distances)| row(model, domain, distances)).collect();
    let itself = |name: &str| format!("{name} against itself");
    rows.extend(results.null.iter().map(|null| row(&null.model, &itself(&null.reference), &null.distances)));
    Some(Sheet { headings, rows }.without_constant(&["model"]))
}

/// The explanation of the tables.
pub const NOTE: &str = "p asks whether the domain's documents could have been drawn from the reference (documents are \
    permuted), q is p corrected over the domains after Benjamini and Hochberg. Intervals are 95 % bootstrap intervals over \
    documents; of the reference against itself, where 95 of 100 parts of it lie. Effects can be compared across features \
    and kernels: z is the distance in standard deviations of its permutations, for samples of one size; the energy effect, \
    0 to 1, is free of scale and sample size.";
