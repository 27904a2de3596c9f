//! The tables of columns: every place reads them, older results stay the same, the documentation lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use odyssey::columns::{self, Called, Column, Face, Outcome, Sheet, Shown};
use odyssey::report::{csv, page, table};
use odyssey::similarity::{Measure, SimilarityResult};
use odyssey::study::StudyResults;

use crate::made_up::{controlled, made_up};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(name: &str) -> String {
    fs::read_to_string(root("tests/fixtures/results").join(name)).unwrap()
}

#[test]
fn distances_of_an_older_version_are_read_and_written_again_to_the_byte() {
    let old = fixture("similarity.json");
    let read: SimilarityResult = serde_json::from_str(&old).unwrap();
    assert_eq!(serde_json::to_string_pretty(&read).unwrap(), old.trim_end());
    let [near, far] = [0, 1].map(|at| &read.domains[at].distances);
    assert!(Measure::shown().all(|measure| near.get(measure).is_some() && near[measure].ci95.is_some()));
    assert!(Measure::tested().all(|measure| far[measure].p.is_some() && far[measure].q >= far[measure].p));
    assert_eq!(near.effects.len(), 3);
}

#[test]
fn a_study_of_an_older_version_gives_the_same_json_and_the_same_tables() {
    let old = fixture("study.json");
    let read: StudyResults = serde_json::from_str(&old).unwrap();
    let value: serde_json::Value = serde_json::from_str(&old).unwrap();
    let again: serde_json::Value = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
    assert!(again == value, "{again} is not {value}");
    is_continued("results.csv", csv::rows(&read).unwrap());
    is_continued("domains.csv", csv::domains(&read).unwrap().unwrap());
    is_continued("ablation.csv", csv::ablation(&read).unwrap().unwrap());
}

/// A file of an older version is the beginning of every line of the new one: columns are added at the end alone.
fn is_continued(name: &str, new: Vec<u8>) {
    let (old, new) = (fixture(name), String::from_utf8(new).unwrap());
    assert_eq!(new.lines().count(), old.lines().count(), "{name}");
    for (new, old) in new.lines().zip(old.lines()) {
        let rest = new.strip_prefix(old).unwrap_or_else(|| panic!("{name}: {new:?} does not begin as {old:?}"));
        assert!(rest.is_empty() || rest.starts_with(','), "{name}: {rest:?}");
    }
}

#[test]
fn why_a_distance_is_missing_or_untested_is_kept() {
    let written = serde_json::json!({
        "samples": 3, "mmd2": null, "frechet": 1.5, "centroid_cosine": null, "energy": 0.5, "unigram_js": 0.25,
        "unigram_cross_entropy": null, "vocabulary_overlap": null, "newline_rate": 0.0, "energy_p": 0.5,
        "reasons": { "mmd2": "no bandwidth", "mmd2_p": "nothing to test", "frechet_p": "one document" },
        "key_of_a_newer_version": [1, 2],
    });
    let read: odyssey::similarity::Distances = serde_json::from_value(written).unwrap();
    assert_eq!(read[Measure::Mmd2].why_missing(), Some("no bandwidth"));
    let frechet = &read[Measure::Frechet];
    assert_eq!((frechet.why_missing(), frechet.why_untested()), (None, Some("one document")));
    let again = serde_json::to_value(&read).unwrap();
    assert_eq!(again["reasons"], serde_json::json!({ "mmd2": "no bandwidth", "frechet_p": "one document" }));
    assert!(again["energy_p"] == 0.5 && again.get("auc").is_none() && again["mmd2"].is_null());
    let broken = serde_json::from_value::<odyssey::similarity::Distances>(serde_json::json!({ "mmd2": 0.5 }));
    assert!(broken.unwrap_err().to_string().contains("samples"));
}

/// What must hold of every table.
fn check<R>(columns: &[Column<R>], rows: &[R]) {
    let keys: BTreeSet<&str> = columns.iter().map(|column| column.key.as_str()).collect();
    assert_eq!(keys.len(), columns.len(), "every key is there once");
    for column in columns {
        let key = &column.key;
        assert!(!column.title.is_empty() && !column.help.is_empty(), "{key} is explained");
        assert!(column.shown.iter().any(|shown| *shown != Shown::Never), "{key} is shown somewhere");
    }
    for face in Face::ALL {
        let sheet = Sheet::of(columns, face, rows);
        for row in &sheet.rows {
            assert_eq!(row.len(), sheet.headings.len());
            for (cell, heading) in row.iter().zip(&sheet.headings) {
                assert_eq!(cell.fields.len(), heading.fields().len(), "{face:?}: {}", heading.key);
                assert!(!cell.missing || !cell.note.is_empty(), "{face:?}: {} says why it is missing", heading.key);
            }
        }
    }
}

#[test]
fn every_column_has_a_key_an_explanation_and_a_place_and_every_dash_a_reason() {
    for results in [made_up(3), controlled(4), serde_json::from_str(&fixture("study.json")).unwrap()] {
        let rows: Vec<Outcome<'_>> = results.rows.iter().map(|row| Outcome::of_row(&results, row)).collect();
        check(&columns::rows(), &rows);
        let domains = results.domains.iter().map(Called::Domain);
        check(
            &columns::calls(),
            &domains.chain(results.restart_control.iter().map(Called::Control)).collect::<Vec<_>>(),
        );
        check(&columns::grid(), &results.ablation);
        check(&columns::correlations(), &results.correlations);
    }
}

#[test]
fn what_was_forgotten_and_what_is_beyond_the_restart_stand_in_every_table() {
    let mut results = controlled(3);
    for row in &mut results.rows {
        row.evidence.forgetting = 0.0125.into();
    }
    let beyond = odyssey::report::delta(results.rows[0].delta - 0.1926);
    let html = page::study_page(&results).unwrap();
    let rows = html.split_once("id=\"table\"").unwrap().1.split_once("<h2").unwrap().0;
    let text = table::results_table(&results);
    for text in [rows, &text] {
        for shown in ["forgetting", "beyond restart", "+0.0125", &beyond] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }
    // Without a value there is no such column.
    assert!(!table::results_table(&made_up(3)).contains("forgetting"));
    let columns = columns::rows();
    for key in ["forgetting", "beyond_restart", "test_13grams_in_train", "rank_change"] {
        let column = columns.iter().find(|column| column.key == key).unwrap();
        let app = [Face::Csv, Face::Page, Face::App].map(|face| column.shown_in(face));
        assert!(app.iter().all(|shown| *shown != Shown::Never), "{key}");
    }
}

#[test]
fn a_chosen_distance_is_the_only_one_that_is_exported_with_its_interval() {
    let results: StudyResults = serde_json::from_str(&fixture("study.json")).unwrap();
    let outcomes = odyssey::report::outcomes(&results).into_values().next().unwrap();
    let text = String::from_utf8(csv::outcomes(&outcomes, Measure::Energy).unwrap()).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let of_measures: Vec<&str> =
        header.iter().copied().filter(|name| Measure::ALL.iter().any(|m| name.starts_with(m.key()))).collect();
    assert_eq!(of_measures, ["energy", "energy_ci95_low", "energy_ci95_high"]);
    assert_eq!(text.lines().count(), 1 + outcomes.len());
}

#[test]
fn the_relative_change_of_perplexity_stands_beside_the_change_in_log_perplexity() {
    let results = made_up(3);
    let row = &results.rows[1];
    let change = row.adapted_ppl / row.zero_shot_ppl - 1.0;
    let outcome = Outcome::of_row(&results, row);
    let sheet = Sheet::of(&columns::rows(), Face::Csv, &[outcome]);
    let cell = &sheet.rows[0][sheet.column("perplexity_change").unwrap()];
    assert!((cell.fields[0].parse::<f64>().unwrap() - change).abs() < 1e-12, "{cell:?}");
    assert!(page::study_page(&results).unwrap().contains(&odyssey::report::percent(change)));
}

/// The list of a table's columns.
fn listed<R>(columns: &[Column<R>]) -> String {
    let mut text = "| key in CSV | title | meaning | shown in |\n|---|---|---|---|\n".to_owned();
    for column in columns {
        let in_csv = column.shown_in(Face::Csv) != Shown::Never || column.shown_in(Face::Points) != Shown::Never;
        let key = match column.key.strip_suffix("_ci95") {
            Some(of) if in_csv => format!("`{of}_ci95_low`, `{of}_ci95_high`"),
            _ if in_csv => format!("`{}`", column.key),
            _ => String::new(),
        };
        let places = Face::ALL.into_iter().filter_map(|face| {
            let name = match face {
                Face::Csv => "CSV",
                Face::Points => "export",
                Face::Terminal => "terminal",
                Face::Page => "page",
                Face::App => "application",
                Face::Strategies => "strategies",
            };
            match column.shown_in(face) {
                Shown::Never => None,
                Shown::Always => Some(name.to_owned()),
                Shown::Known | Shown::Present => Some(format!("{name} (if known)")),
                Shown::Varies => Some(format!("{name} (if it varies)")),
                Shown::Chosen => Some(format!("{name} (if chosen)")),
            }
        });
        let places = places.collect::<Vec<_>>().join(", ");
        text.push_str(&format!("| {key} | {} | {} | {places} |\n", column.title, column.help));
    }
    text
}

#[test]
fn the_documentation_lists_every_column() {
    let text = format!(
        "# Columns\n\nWhat the tables of a study show. This page is made from the tables in `src/columns/`; a test compares \
         it. To write it again: `ODYSSEY_WRITE_DOCS=1 cargo test --test study columns`.\n\nThe places are the CSV file, the \
         CSV that the application exports, the table in the terminal, the table of `report.html`, the table of domains in the \
         application, and its table of strategies and seeds. An empty cell of a CSV file is a missing value.\n\n\
         ## Rows: `results.csv`\n\n{}\n## Calls: `domains.csv`\n\n{}\n## Ablation grid: `ablation.csv`\n\n{}\n\
         ## Correlations\n\n{}",
        listed(&columns::rows()),
        listed(&columns::calls()),
        listed(&columns::grid()),
        listed(&columns::correlations()),
    );
    let path = root("docs/reference/columns.md");
    if std::env::var_os("ODYSSEY_WRITE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == text, "docs/reference/columns.md is not up to date");
}
