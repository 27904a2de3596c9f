//! Distances to the reference corpus as tables: value, 95 % interval, p and q of each, and effect sizes.

use std::collections::BTreeSet;

use super::page::measure_label;
use super::sheet::{Sheet, SheetCell};
use super::{interval, p_value, significant, visible};
use crate::similarity::Distances;
use crate::study::StudyResults;

/// Measures of features, which are tested, and of words: a table each, since one would be too wide.
const TABLES: [&[&str]; 2] = [
    &Distances::TESTED,
    &["centroid_cosine", "unigram_js", "unigram_cross_entropy", "vocabulary_overlap", "bigram_overlap"],
];

/// All measures for the page.
pub(super) fn sheets(results: &StudyResults) -> Vec<Sheet> {
    TABLES.into_iter().filter_map(|keys| table(results, keys)).collect()
}

/// For a terminal, which is less wide: the one distance that is tested first, or of words where nothing else is compared.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    table(results, &["mmd2"]).or_else(|| table(results, &["unigram_js"]))
}

/// A line for each model and domain, and the reference corpus against itself. `None` where no domain has any of these.
fn table(results: &StudyResults, keys: &[&str]) -> Option<Sheet> {
    let mut seen = BTreeSet::new();
    let domains: Vec<(&str, &str, &Distances)> = results
        .rows
        .iter()
        .map(|row| (row.model.as_str(), row.domain.as_str(), &row.similarity))
        .filter(|(model, domain, _)| seen.insert((*model, *domain)))
        .collect();
    let has = |of: &dyn Fn(&Distances) -> bool| domains.iter().any(|(.., distances)| of(distances));
    let keys: Vec<&str> = keys.iter().copied().filter(|key| has(&|d| d.get(key).is_some())).collect();
    if keys.is_empty() {
        return None;
    }
    let tested = |key: &str| has(&|d| d.p(key).is_some());
    type Effect = fn(&Distances) -> Option<f64>;
    let effects: [(bool, &str, Effect); 3] = [
        (keys.contains(&"mmd2"), "MMD² effect (z)", |d| d.tests.effect_mmd2),
        (keys.contains(&"frechet"), "Fréchet effect (z)", |d| d.tests.effect_frechet),
        (keys.contains(&"mmd2"), "energy effect (0–1)", |d| d.tests.effect_energy),
    ];
    let effects: Vec<_> =
        effects.into_iter().filter(|(wanted, _, effect)| *wanted && has(&|d| effect(d).is_some())).collect();

    let mut header = vec!["domain".to_owned(), "model".to_owned(), "samples".to_owned()];
    for key in &keys {
        header.extend([measure_label(key), "95 % interval".to_owned()]);
        header.extend(["p", "q"].into_iter().filter(|_| tested(key)).map(str::to_owned));
    }
    header.extend(effects.iter().map(|(_, name, _)| (*name).to_owned()));
    let row = |model: &str, name: String, distances: &Distances| {
        let mut cells = vec![
            SheetCell { text: name, why: visible(&distances.caveats.join("; ")) },
            SheetCell::words(model),
            SheetCell::words(&distances.samples.to_string()),
        ];
        for key in &keys {
            let why = distances.reasons.get(*key).map_or("was not computed", String::as_str);
            cells.push(SheetCell::number(distances.get(key), significant, why));
            cells.push(match distances.interval(key) {
                Some(ends) => SheetCell::words(&interval(ends, significant)),
                None if distances.get(key).is_some() => SheetCell::number(None, significant, "was not resampled"),
                None => SheetCell::words(""), // of a value that is missing itself
            });
            let untested = distances.reasons.get(&format!("{key}_p")).map_or("was not tested", String::as_str);
            let tests = [distances.p(key), distances.q(key)].map(|p| SheetCell::number(p, p_value, untested));
            cells.extend(tests.into_iter().filter(|_| tested(key)));
        }
        cells.extend(
            effects.iter().map(|(.., effect)| SheetCell::number(effect(distances), significant, "was not tested")),
        );
        cells
    };
    let mut rows: Vec<Vec<SheetCell>> =
        domains.iter().map(|(model, domain, distances)| row(model, visible(domain), distances)).collect();
    rows.extend(
        results
            .null
            .iter()
            .map(|null| row(&null.model, format!("{} against itself", visible(&null.reference)), &null.distances)),
    );
    Some(Sheet { header, texts: 2, rows }.without_constant(&["model"]))
}

/// The explanation of the tables.
pub const NOTE: &str = "p asks whether the domain's documents could have been drawn from the reference (documents are \
    permuted), q is p corrected over the domains after Benjamini and Hochberg. Intervals are 95 % bootstrap intervals over \
    documents; of the reference against itself, where 95 of 100 parts of it lie. Effects can be compared across features \
    and kernels: z is the distance in standard deviations of its permutations, for samples of one size; the energy effect, \
    0 to 1, is free of scale and sample size.";
