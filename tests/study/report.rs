//! The report of a study: whole files, the same bytes for the same results, hostile text shown literally.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::made_up::*;
use odyssey::advise::hindsight::hindsight;
use odyssey::compare::{ClassLoss, Comparison, LossProfile, Side};
use odyssey::report::{self, Kind, answer, page, plots, table};
use odyssey::similarity::{Distances, Measure};
use odyssey::stats::Estimate;
use odyssey::study::{Base, RestartControl, StudyResults};
use odyssey::text::{Join, TokenClass};

fn comparison() -> Comparison {
    let row = row(2, "full", 1);
    Comparison {
        schema: "odyssey.compare/1".to_owned(),
        before: Side { model: "gpt2".to_owned(), nll: row.zero_shot_ppl.ln(), ppl: row.zero_shot_ppl, reason: None },
        after: Side { model: HOSTILE[0].to_owned(), nll: row.adapted_ppl.ln(), ppl: row.adapted_ppl, reason: None },
        delta: row.delta,
        delta_ci95: row.delta_ci95,
        scored: row.test_tokens,
        types: row.top_types,
        classes: row.classes,
        loss_classes: row.loss_classes,
        handful: row.handful,
        without: row.without,
        rank: None,
        divergence: None,
        divergence_reason: None,
        passages: row.passages,
    }
}

fn written(results: &StudyResults) -> (tempfile::TempDir, report::ReportPaths) {
    let folder = tempfile::tempdir().unwrap();
    let paths = report::write(results, folder.path()).unwrap();
    (folder, paths)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The names of the elements, after checking that every one is closed in order and every quote and entity is whole.
fn elements_of_balanced_xml(xml: &str) -> Vec<String> {
    let (mut open, mut names) = (Vec::new(), Vec::new());
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "stray > in {text:?}");
        let allowed = |c: char| c >= ' ' || c == '\n' || c == '\t';
        assert!(text.chars().all(allowed), "a character that XML forbids in {text:?}");
        for entity in text.split('&').skip(1) {
            let name = entity.split_once(';').map(|(name, _)| name);
            assert!(matches!(name, Some("lt" | "gt" | "amp" | "quot" | "apos")), "entity in {text:?}");
        }
        let end = start + rest[start..].find('>').expect("a tag has an end");
        let tag = &rest[start + 1..end];
        assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'), "tag {tag:?}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name = tag.split([' ', '/']).next().unwrap().to_owned();
            names.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    names
}

/// `(x, y, size, text)` of every text in an SVG.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
    let attribute = |tag: &str, name: &str| -> f64 {
        let (_, after) = tag.split_once(&format!(" {name}=\"")).unwrap();
        after.split_once('"').unwrap().0.parse().unwrap()
    };
    svg.split("<text")
        .skip(1)
        .map(|part| {
            let (tag, rest) = part.split_once('>').unwrap();
            let text = rest.split_once("</text>").unwrap().0.trim().to_owned();
            (attribute(tag, "x"), attribute(tag, "y"), attribute(tag, "font-size"), text)
        })
        .collect()
}

#[test]
fn a_report_is_results_table_page_and_every_figure_twice() {
    let results = made_up(25);
    let (folder, paths) = written(&results);
    let back: StudyResults = serde_json::from_str(&read(&paths.json)).unwrap();
    assert_eq!(back.rows.len(), 25);
    for (read, written) in back.rows.iter().zip(&results.rows) {
        assert!(read.domain == written.domain && (read.delta - written.delta).abs() < 1e-12);
    }
    assert_eq!(paths.html, folder.path().join("report.html"));
    // Seven measures have values (energy has none), the forest plot, the loss curves; each as SVG and as PNG.
    assert_eq!(paths.plots.len(), 2 * (7 + 1 + 1));
    assert!(paths.plots.iter().any(|path| path.ends_with("plots/delta-vs-mmd2.png")));
    assert!(!paths.plots.iter().any(|path| path.to_string_lossy().contains("energy")));
    let html = read(&paths.html);
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "numbers that are missing are dashes");
    let left_over = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left_over.count(), 0);
}

#[test]
fn the_same_results_give_the_same_bytes() {
    let (_first_folder, first) = written(&many_arms());
    let (_second_folder, second) = written(&many_arms());
    let files = |paths: &report::ReportPaths| -> Vec<Vec<u8>> {
        let all = [&paths.json, &paths.csv, &paths.html].into_iter().chain(&paths.plots);
        all.map(|path| fs::read(path).unwrap()).collect()
    };
    assert!(files(&first) == files(&second));
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_runs_nothing() {
    let (_folder, paths) = written(&made_up(25));
    let html = read(&paths.html).replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for reference in ["http://", "https://", "src=", "url(", "@import", "<script", "<link", " onclick", "javascript:"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert_eq!(html.matches("href=").count(), html.matches("href=\"#").count());
}

#[test]
fn hostile_text_is_shown_and_never_interpreted() {
    let (_folder, paths) = written(&hostile());
    let html = read(&paths.html);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(1)&lt;"));
    assert!(html.contains("&quot;&#x27;&amp;"));
    assert!(html.contains(r"\u{202e}evil\u{200f}") && html.contains(r"a\u{1b}[31m\u{0}b\u{7}"));
    let allowed = |c: char| c == '\n' || !c.is_control() && !('\u{200b}'..='\u{200f}').contains(&c) && c != '\u{202e}';
    assert!(html.chars().all(allowed), "no invisible character reaches the page");
    for path in paths.plots.iter().filter(|path| path.extension().is_some_and(|kind| kind == "svg")) {
        let elements = elements_of_balanced_xml(&read(path));
        let known = ["svg", "rect", "line", "polyline", "polygon", "circle", "text"];
        assert!(elements.iter().all(|name| known.contains(&name.as_str())), "{elements:?}");
    }
    for text in [
        table::results_table(&hostile()),
        table::correlations_table(&hostile()),
        table::comparison_table(&comparison(), 5),
    ] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }
}

#[test]
fn an_svg_is_well_formed_and_its_text_is_text() {
    let results = made_up(25);
    for figure in plots::figures(&results) {
        let svg = figure.svg().unwrap();
        let elements = elements_of_balanced_xml(&svg);
        assert!(elements.iter().filter(|name| *name == "text").count() > 25, "{}", figure.name);
        assert!(svg.starts_with("<svg width=\"800\"") && svg.contains("viewBox=\"0 0 1600 "));
    }
    let forest = plots::figures(&results).into_iter().find(|figure| figure.name == "delta-by-domain").unwrap();
    let shown: Vec<String> = texts(&forest.svg().unwrap()).into_iter().map(|(.., text)| text).collect();
    for name in NAMES {
        assert!(shown.iter().any(|text| text == name), "{name}");
    }
    // Sorted, worst first.
    let mut rows = results.rows.clone();
    rows.sort_by(|a, b| b.delta.total_cmp(&a.delta));
    let drawn: Vec<&String> = shown.iter().filter(|text| NAMES.contains(&text.as_str())).collect();
    assert!(drawn.into_iter().eq(rows.iter().map(|row| &row.domain)));
}

#[test]
fn names_in_a_scatter_plot_keep_clear_of_each_other() {
    for domains in [25, 100] {
        let figures = plots::figures(&made_up(domains));
        let svg = figures[0].svg().unwrap();
        let names: Vec<_> = texts(&svg).into_iter().filter(|(.., text)| text.contains('_')).collect();
        assert!(names.len() >= 15, "{} of {domains} named", names.len());
        for (i, (x, y, size, name)) in names.iter().enumerate() {
            for (other_x, other_y, _, other) in &names[i + 1..] {
                // A narrow estimate of a name's width: 0.4 of its size for each character.
                let apart = other_x > &(x + 0.4 * size * name.len() as f64)
                    || x > &(other_x + 0.4 * size * other.len() as f64)
                    || (y - other_y).abs() >= 0.9 * size;
                assert!(apart, "{name} and {other} overlap");
            }
        }
    }
}

#[test]
fn a_distance_that_spans_decades_is_drawn_on_a_logarithmic_axis() {
    let figures = plots::figures(&made_up(25));
    let ticks = |name: &str| -> Vec<String> {
        let figure = figures.iter().find(|figure| figure.name == name).unwrap();
        texts(&figure.svg().unwrap()).into_iter().map(|(.., text)| text).collect()
    };
    let decades = ["0.1", "1", "10", "100"];
    assert!(decades.iter().all(|tick| ticks("delta-vs-frechet").iter().any(|text| text == tick)));
    // Cosines span less than two decades.
    let linear = ticks("delta-vs-centroid-cosine");
    assert!(linear.iter().any(|text| text == "0.75") && linear.iter().any(|text| text == "0.80"), "{linear:?}");
}

#[test]
fn a_png_is_whole_and_has_twice_the_size_of_its_svg() {
    let (_folder, paths) = written(&made_up(3));
    let mut seen = 0;
    for path in paths.plots.iter().filter(|path| path.extension().is_some_and(|kind| kind == "png")) {
        let bytes = fs::read(path).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&bytes[12..16], b"IHDR");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let svg = read(&path.with_extension("svg"));
        assert!(svg.starts_with(&format!("<svg width=\"{}\" height=\"{}\"", number(16) / 2, number(20) / 2)));
        assert_eq!(&bytes[bytes.len() - 8..bytes.len() - 4], b"IEND");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn the_csv_reads_back_to_the_same_numbers() {
    let results = hostile();
    let (_folder, paths) = written(&results);
    let mut reader = csv::Reader::from_path(&paths.csv).unwrap();
    let lines: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(lines.len(), results.rows.len());
    for (line, row) in lines.iter().zip(&results.rows) {
        let number = |name: &str| line[name].parse::<f64>().ok();
        assert_eq!(line["domain"], odyssey::shown::cell(&row.domain));
        assert_eq!(number("zero_shot_ppl"), Some(row.zero_shot_ppl));
        assert_eq!(number("adapted_ppl"), Some(row.adapted_ppl));
        assert_eq!(number("delta"), Some(row.delta));
        assert_eq!([number("delta_ci95_low"), number("delta_ci95_high")], row.delta_ci95.map(Some));
        assert_eq!(number("delta_without_newline"), row.without["newline"].delta);
        assert_eq!(number("delta_without_handful"), None);
        for measure in Measure::shown() {
            assert_eq!(number(measure.key()), row.similarity.get(measure), "{measure:?}");
        }
        assert_eq!(line["train_tokens"], row.train_tokens.to_string());
        let overlap = row.overlap.as_ref().unwrap();
        assert_eq!(number("test_13grams_in_train"), overlap.test_13grams_in_train);
        assert_eq!(number("near_duplicate_documents"), overlap.near_duplicate_documents);
    }
}

/// Distances with tests and intervals.
fn tested(results: &mut StudyResults) {
    for (at, row) in results.rows.iter_mut().enumerate() {
        let p = 0.001 * (at + 1) as f64;
        let distances = &mut row.similarity;
        let mmd2 = distances.get(Measure::Mmd2);
        distances[Measure::Mmd2] = Estimate {
            p: Some(p),
            q: Some(2.0 * p),
            ci95: mmd2.map(|mmd2| [mmd2 - 0.0015, mmd2 + 0.0017]),
            ..mmd2.into()
        };
        (distances[Measure::Frechet].p, distances[Measure::Frechet].q) = (Some(0.5), Some(0.75));
        distances.effects.extend([(Measure::Mmd2, 11.25), (Measure::Energy, 0.375)]);
        distances[Measure::UnigramJs].ci95 = Some([0.0123, 0.2345]);
        distances.caveats.push(HOSTILE[0].to_owned());
    }
    results.rows[1].similarity[Measure::Energy] = 0.0625.into();
    results.null[0].distances[Measure::Mmd2].ci95 = Some([-0.00321, 0.00432]);
}

#[test]
fn distances_stand_with_their_p_q_interval_and_effect_in_csv_page_and_text() {
    let mut results = many_arms();
    tested(&mut results);
    let (_folder, paths) = written(&results);
    let mut reader = csv::Reader::from_path(&paths.csv).unwrap();
    let lines: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>().unwrap();
    for (line, row) in lines.iter().zip(&results.rows) {
        let number = |name: &str| line[name].parse::<f64>().ok();
        let Estimate { p, q, ci95, .. } = row.similarity[Measure::Mmd2];
        assert_eq!([number("mmd2_p"), number("mmd2_q"), number("frechet_q")], [p, q, Some(0.75)]);
        assert_eq!([number("energy_p"), number("auc_q"), number("frechet_ci95_low")], [None; 3]);
        assert_eq!([number("mmd2_ci95_low"), number("mmd2_ci95_high")], ci95.unwrap().map(Some));
        assert_eq!(number("unigram_js_ci95_high"), Some(0.2345));
        let effects = ["effect_mmd2", "effect_frechet", "effect_energy"].map(number);
        assert_eq!(effects, [Some(11.25), None, Some(0.375)]);
    }
    let html = read(&paths.html);
    let section = html.split_once("id=\"distances\"").unwrap().1.split_once("<h2").unwrap().0;
    let first = &results.rows[0].similarity;
    let of_first = section.split("<tr>").find(|tr| tr.contains(&format!(">{}<", NAMES[0]))).unwrap();
    let mmd2 = &first[Measure::Mmd2];
    let ends = report::interval(mmd2.ci95.unwrap(), report::significant);
    for text in [report::significant(mmd2.value.unwrap()), ends, "0.001".into(), "0.002".into(), "11.25".into()] {
        assert!(of_first.contains(&text), "{text}: {of_first}");
    }
    assert!(of_first.contains("too few samples"), "why energy is missing: {of_first}");
    assert!(section.contains("[−0.003210, 0.004320]") && section.contains("[0.01230, 0.2345]"), "{section}");
    assert!(section.contains("&lt;script&gt;") && !section.contains("<script"), "caveats are shown, literally");
    // A line for each of six domains and one for the reference, in each of two tables: not one for each seed and strategy.
    assert_eq!(section.matches("<tr>").count(), 2 * (1 + 6 + 1));

    let text = table::sheet_table(&report::distances::sheet(&results).unwrap());
    assert!(text.contains("11.25") && text.contains("0.375") && text.contains(&report::p_value(0.002)), "{text}");
    assert!(report::distances::sheet(&empty()).is_none());
}

#[test]
fn the_answer_counts_domains_by_their_interval_and_names_the_strongest_distance() {
    let mut results = made_up(6);
    let intervals = [[0.1, 0.2], [0.01, 0.3], [-0.2, -0.1], [-0.1, 0.1], [-0.3, -0.2], [-0.4, -0.1]];
    for (row, ci95) in results.rows.iter_mut().zip(intervals) {
        (row.delta, row.delta_ci95) = ((ci95[0] + ci95[1]) / 2.0, ci95);
    }
    let text = answer(&results).join("\n");
    assert!(text.contains("better for 3 of 6 domains, worse for 2, and left 1 undecided"), "{text}");
    assert!(text.contains("from −0.2500 (wiki_film_tv) to +0.1550 (wiki_military_history)"), "{text}");
    // δ falls with the distance, so the near domains are the worse ones.
    assert!(
        text.contains("MMD² has the strongest correlation with δ: Pearson r = −0.87 (n = 25, p = 0.003)"),
        "{text}"
    );
    assert!(text.contains("closer to the reference corpus gained less, or lost more"), "{text}");
    assert!(!text.contains("Caution"), "all six domains are of one group: {text}");
    assert!(answer(&made_up(25)).join("\n").contains("the domains come from 3 groups"));
    // The same holds when the strongest measure is one of similarity, where the sign turns round.
    results.correlations.iter_mut().find(|c| c.x == "centroid_cosine").unwrap().pearson.value = Some(0.95);
    let text = answer(&results).join("\n");
    assert!(
        text.contains("centroid cosine has the strongest correlation") && text.contains("closer to the reference"),
        "{text}"
    );
}

#[test]
fn a_missing_number_is_a_dash_that_says_why() {
    let html = page::study_page(&made_up(3)).unwrap();
    assert!(html.contains("<abbr title=\"no target remains\">–</abbr>"));
    let mut results = made_up(3);
    results.rows[0].similarity[Measure::Frechet] = Err("fewer samples than dimensions".to_owned()).into();
    let html = page::study_page(&results).unwrap();
    // In the table of results and in that of distances.
    assert_eq!(html.matches("<abbr title=\"fewer samples than dimensions\">–</abbr>").count(), 2);
    results.rows[0].delta = f64::NAN;
    let html = page::study_page(&results).unwrap();
    assert!(html.contains("<abbr title=\"not a finite number\">–</abbr>") && !html.contains("NaN"));
}

#[test]
fn results_of_before_the_overlap_was_measured_are_read_and_shown_without_it() {
    let mut old = serde_json::to_value(made_up(2)).unwrap();
    old["rows"][0].as_object_mut().unwrap().remove("overlap").unwrap();
    let results: StudyResults = serde_json::from_value(old).unwrap();
    assert!(results.rows[0].overlap.is_none() && results.rows[1].overlap.is_some());
    let html = page::study_page(&results).unwrap();
    assert_eq!(html.matches("<abbr title=\"was not measured\">–</abbr>").count(), 1);
    assert!(html.contains(">in train</th>") && html.contains(">0.1 %</td>"), "the other row has 0.001");

    let mut results = made_up(1);
    let overlap = results.rows[0].overlap.as_mut().unwrap();
    (overlap.test_13grams_in_train, overlap.near_duplicate_documents) = (Some(0.25), Some(0.125));
    let html = page::study_page(&results).unwrap();
    assert!(html.contains("12.5 % of the test documents are near-duplicates of training text\">25.0 %</abbr>"));
    assert!(table::results_table(&results).contains("25.0 %"));
}

#[test]
fn an_incomplete_study_says_so_on_top() {
    let html = page::study_page(&many_arms()).unwrap();
    let (said, answer) = (html.find("adapt gpt2 to novels with lora, seed 2"), html.find("class=\"answer\""));
    assert!(said.unwrap() < answer.unwrap());
    assert!(!page::study_page(&made_up(3)).unwrap().contains("not complete"));
}

#[test]
fn models_and_strategies_have_figures_of_their_own_and_seeds_are_averaged() {
    let mut results = many_arms();
    for row in results.rows.iter_mut().filter(|row| row.seed == 2) {
        row.delta += 0.2;
    }
    let outcomes = report::outcomes(&results);
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["gpt2 / full", "gpt2 / lora"]);
    for (full, lora) in outcomes["gpt2 / full"].iter().zip(&outcomes["gpt2 / lora"]) {
        assert_eq!((full.rows.len(), lora.rows.len()), (2, 1));
        assert!((full.delta - lora.delta - 0.1).abs() < 1e-12);
    }
    let names: Vec<String> = plots::figures(&results).into_iter().map(|figure| figure.name).collect();
    assert!(
        names.contains(&"delta-vs-mmd2-1-gpt2-full".to_owned())
            && names.contains(&"delta-vs-mmd2-2-gpt2-lora".to_owned())
    );
}

#[test]
fn empty_results_one_row_and_two_hundred_make_a_report() {
    let (_folder, paths) = written(&empty());
    assert_eq!(paths.plots.len(), 6);
    for path in paths.plots.iter().filter(|path| path.extension().is_some_and(|kind| kind == "svg")) {
        assert!(read(path).contains("nothing to plot"));
    }
    assert!(read(&paths.html).contains("No adaptation is finished yet"));
    assert_eq!(read(&paths.csv).lines().count(), 1);

    let (_folder, paths) = written(&made_up(1));
    assert!(read(&paths.html).contains("wiki_general") && read(&paths.csv).lines().count() == 2);

    let mut lone = made_up(1);
    let row = &mut lone.rows[0];
    (row.similarity, row.train_loss, row.valid_loss) = (Distances::default(), Vec::new(), vec![(0, f64::NAN)]);
    (row.top_types, row.classes, row.passages) = (Vec::new(), Vec::new(), Vec::new());
    row.delta_ci95 = [f64::INFINITY; 2];
    let (_folder, paths) = written(&lone);
    assert!(!read(&paths.html).contains("inf]"));

    let (_folder, paths) = written(&made_up(200));
    assert_eq!(read(&paths.csv).lines().count(), 201);
    assert_eq!(read(&paths.html).matches("<details id=").count(), 200);
}

#[test]
fn numbers_are_written_one_way() {
    let significant = [
        (27.4349, "27.43"),
        (9.99996, "10.00"),
        (1602.94, "1603"),
        (123_456.7, "123457"),
        (5.0, "5.000"),
        (0.000_123_456, "0.0001235"),
        (0.000_012_345_6, "1.235e−5"),
        (-0.05, "−0.05000"),
        (0.0, "0"),
        (f64::NAN, "–"),
    ];
    for (value, text) in significant {
        assert_eq!(report::significant(value), text);
    }
    assert_eq!([0.05, -0.123_45, 0.000_01, -0.000_01].map(report::delta), ["+0.0500", "−0.1235", "0.0000", "0.0000"]);
    let p =
        [(0.003_1, "0.003"), (0.000_9, "<0.001"), (0.051, "0.051"), (0.0999, "0.10"), (0.314, "0.31"), (1.0, "1.00")];
    for (value, text) in p {
        assert_eq!(report::p_value(value), text);
    }
    assert_eq!(report::p_phrase(1e-9), "p < 0.001");
    assert_eq!([0, 999, 1000, 1_234_567].map(report::count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([0.0216, -0.5, 1.0].map(report::percent), ["2.2 %", "−50.0 %", "100.0 %"]);
    assert_eq!([" the\n", "\t\r", ""].map(report::visible_token), ["·the⏎", r"⇥\r", "(empty)"]);
}

#[test]
fn the_tables_for_a_terminal_hold_the_numbers_of_the_study() {
    let results = made_up(25);
    let text = table::results_table(&results);
    for row in &results.rows {
        let line = text.lines().find(|line| line.contains(&format!(" {} ", row.domain))).unwrap();
        assert!(line.contains(&report::delta(row.delta)) && line.contains(&report::significant(row.adapted_ppl)));
    }
    assert!(text.contains("wiki_general against itself"));
    assert!(!text.contains("seed"), "one seed needs no column");
    assert!(table::results_table(&many_arms()).contains("seed"));
    let text = table::correlations_table(&results);
    assert!(text.contains("−0.87") && text.contains("<0.001") && text.contains("fewer than three domains"));
    let text = table::comparison_table(&comparison(), 2);
    assert!(text.contains("·the") && text.contains("⏎") && !text.contains("alert(1)</script> ┆"));
    assert!(text.contains("17 token types carry 90.3 % of the worsening"));
}

#[test]
fn one_comparison_has_a_page_of_its_own() {
    let html = page::comparison_page(&comparison()).unwrap();
    assert!(html.starts_with("<!doctype html>") && !html.contains("<script") && !html.contains("://"));
    assert!(html.contains("17 token types carry 90.3 % of the worsening"));
    assert!(html.contains("71.0 %") && html.contains("1.2 %"));
    assert!(html.contains("title=\"not scored\"") && html.contains("⏎\n"), "a line break is shown and breaks");
    // Worse is red, better is blue: the first passage's tokens by the sign of their change.
    let tokens = passage(0.8).tokens;
    let strong = tokens.iter().filter(|t| matches!((t.before, t.after), (Some(b), Some(a)) if a - b >= 3.0)).count();
    let first = html.split("<figure class=\"passage\">").nth(1).unwrap();
    assert_eq!(first.matches("class=\"w4\"").count(), strong);
}

#[test]
fn calls_and_the_restart_stand_in_table_page_figures_and_csv() {
    let results = controlled(6);
    let (folder, paths) = written(&results);
    let html = read(&paths.html);
    for text in ["no difference", "restart control", "&lt;script&gt;alert(1)&lt;&#x2f;script&gt; itself", "0.0312"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("<script") && !html.contains("NaN"));
    let answer = answer(&results).join("\n");
    let called = "at an error rate of 5.0 % over the domains, additional pretraining made perplexity on the domain's own test text \
                  better for 2 of 6 domains, worse for 2, and no difference was found for 2 (a change below 0.0312";
    assert!(answer.contains(called), "{answer}");
    assert!(answer.contains("gives δ = +0.1926: this is the cost of restarting the optimiser"), "{answer}");
    assert!(answer.contains("Caution: it is mostly the contrast"), "{answer}");

    let text = table::results_table(&results);
    let row = &results.rows[0];
    let line = text.lines().find(|line| line.contains(&format!(" {} ", row.domain))).unwrap();
    assert!(line.contains("worse") && line.contains(&report::delta(row.delta - 0.1926)), "{line}");
    let text = table::sheet_table(&report::calls::sheet(&results).unwrap());
    assert!(text.contains("no difference") && text.contains("0.034") && !text.contains("sd of seeds"), "{text}");
    let text = table::correlations_table(&results);
    assert!(["−0.12", "−0.46", "−0.79", "mostly the contrast"].iter().all(|part| text.contains(part)), "{text}");

    // The restart is a dashed line: of many short pieces, none of which a study without a control has.
    let pieces = |results: &StudyResults, name: &str| {
        let figure = plots::figures(results).into_iter().find(|figure| figure.name == name).unwrap();
        figure.svg().unwrap().matches("<polyline").count()
    };
    for name in ["delta-vs-mmd2", "delta-by-domain"] {
        assert!(pieces(&results, name) > pieces(&made_up(6), name) + 5, "{name}");
    }

    let lines = |name: &str| -> Vec<BTreeMap<String, String>> {
        csv::Reader::from_path(folder.path().join(name)).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
    };
    let domains = lines("domains.csv");
    assert_eq!(domains.len(), 6);
    assert_eq!((domains[2]["call"].as_str(), domains[2]["wilcoxon_p"].as_str()), ("no difference", ""));
    assert_eq!(domains[0]["beyond_restart"].parse::<f64>().ok(), results.domains[0].beyond_restart.value);
    let rows = lines("results.csv");
    assert_eq!(rows[0]["restart_delta"], "0.1926");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6, "three tables, results, page and plots");
    let (folder, _paths) = written(&made_up(3));
    assert!(!folder.path().join("domains.csv").exists() && !folder.path().join("ablation.csv").exists());
}

fn profile(loss: f64) -> LossProfile {
    let part = |class, share, loss| ClassLoss { class, share, loss };
    LossProfile {
        loss,
        scored: 20_000,
        document_sd: Some(0.2),
        over: "documents".to_owned(),
        newline_rate: 0.02,
        classes: vec![
            part(TokenClass::Newline, 0.02, 1.0),
            part(TokenClass::Punctuation, 0.1, 2.0),
            part(TokenClass::WordStart, 0.88, (loss - 0.22) / 0.88),
        ],
    }
}

/// A study of which everything is known that advice is learned from: the harder a domain is for the base, the more it gains.
fn foreseeable(domains: usize) -> StudyResults {
    let mut results = made_up(domains);
    results.settings = "name = \"x\"\nmodels = [{ name = \"gpt2\", path = \"m\", reference = \"r\" }]\n\
                        domains = [{ path = \"d\" }]\nstrategies = [{ name = \"full\", recipe = { lr = 1e-3 } }]\n"
        .to_owned();
    for (at, row) in results.rows.iter_mut().enumerate() {
        let gap = 0.1 * (at + 1) as f64;
        row.delta = 0.05 - 0.4 * gap + 0.03 * wobble(at, 8);
        row.delta_ci95 = [row.delta - 0.02, row.delta + 0.02];
        row.evidence.base_loss = Some(profile(4.0 + gap));
        row.similarity[Measure::UnigramJs] = (0.1 + 0.2 * gap).into();
        row.similarity[Measure::Energy] = (0.1 * gap).into();
    }
    results.bases = vec![Base {
        model: "gpt2".to_owned(),
        parameters: 1_350_000,
        vocabulary: 4096,
        reference_loss: Some(profile(4.0)),
    }];
    results.null[0].distances = [
        (Measure::Mmd2, 0.0),
        (Measure::Energy, 0.0),
        (Measure::UnigramJs, 0.02),
        (Measure::UnigramCrossEntropy, 6.0),
        (Measure::VocabularyOverlap, 0.95),
        (Measure::NewlineRate, 0.02),
    ]
    .into_iter()
    .collect();
    results.restart_control = vec![RestartControl { delta: 0.03.into(), ..controlled(3).restart_control.remove(0) }];
    results
}

#[test]
fn what_could_be_told_beforehand_stands_with_reasons_and_whether_the_finding_lies_inside() {
    let mut results = foreseeable(12);
    let said = hindsight(&results).unwrap();
    assert_eq!(said.len(), 12);
    for said in &said {
        let [low, high] = said.predicted.unwrap().interval90.unwrap();
        assert_eq!(said.inside, Some(low <= said.found && said.found <= high));
        assert!(said.reasons[0].words.contains("a text like the reference corpus itself"), "{said:?}");
        // The reasons take the prediction from that of a text like the reference to this one's, as far as they are separable.
        let gap = said.reasons.iter().find(|reason| reason.evidence == "loss_gap").unwrap();
        assert!(gap.moves < 0.0 && gap.words.contains(&format!("{:.3}", gap.value)), "{gap:?}");
        assert!(!said.with_shipped && said.domains == 12, "11 others and the reference corpus: {said:?}");
    }
    // No domain speaks for itself: an outcome that changes changes the other predictions alone.
    let mut other = results.clone();
    other.rows[4].delta = 3.0;
    let changed = hindsight(&other).unwrap();
    for (before, after) in said.iter().zip(&changed) {
        let is_own = before.domain == results.rows[4].domain;
        assert_eq!(before.predicted == after.predicted, is_own, "{}", before.domain);
    }
    assert_eq!(changed.iter().filter(|said| said.inside == Some(false) && said.found == 3.0).count(), 1);

    let note = report::advice::note(&said).unwrap();
    let share = |count: usize| report::percent(count as f64 / 12.0);
    let inside = said.iter().filter(|said| said.inside == Some(true)).count();
    let signs = said.iter().filter(|said| (said.predicted.unwrap().delta < 0.0) == (said.found < 0.0)).count();
    assert!(note.contains(&format!("right side of zero in {}", share(signs))), "{note}");
    assert!(note.contains(&format!("{} of results lie inside", share(inside))), "{note}");
    assert!(note.contains("12 predictions for 12 domains, each from the study's other domains, were"), "{note}");

    results.rows[2].domain = HOSTILE[0].to_owned();
    results.rows[2].similarity[Measure::Energy].reason = None;
    let html = page::study_page(&results).unwrap();
    let section = html.split_once("id=\"advice\"").unwrap().1.split_once("<h2").unwrap().0;
    assert_eq!(section.matches("<details>").count(), 12);
    for said in hindsight(&results).unwrap() {
        let escaped = said.domain.replace('<', "&lt;").replace('>', "&gt;").replace('/', "&#x2f;");
        let line = section.split("<tr>").find(|tr| tr.contains(&escaped)).unwrap();
        let ends = report::interval(said.predicted.unwrap().interval90.unwrap(), report::delta);
        let inside = if said.inside.unwrap() { ">yes<" } else { ">no<" };
        assert!(line.contains(said.verdict.name()) && line.contains(&ends) && line.contains(inside), "{line}");
    }
    assert!(
        section.contains("a text like the reference corpus itself would get") && section.contains("Leaving one domain")
    );
    assert!(!html.contains("<script") && !html.contains("NaN"));

    // Without a restart control nobody knows what the base finds hard in its reference.
    let mut without = foreseeable(12);
    without.bases[0].reference_loss = None;
    let said = hindsight(&without).unwrap();
    assert!(said.iter().all(|said| said.predicted.is_none() && said.reasons.is_empty() && said.inside.is_none()));
    let note = report::advice::note(&said).unwrap();
    assert!(note.starts_with("Nothing could be predicted: ") && note.contains("loss gap"), "{note}");

    // Few domains lean on the table that comes with the program; a study whose settings cannot be read says so.
    assert!(hindsight(&foreseeable(3)).unwrap().iter().all(|said| said.with_shipped && said.domains > 12));
    assert!(page::study_page(&made_up(3)).unwrap().contains("What could have been told beforehand is not shown"));
}

#[test]
fn the_ablation_grid_is_drawn_for_each_way_to_evaluate_and_listed_with_its_parts() {
    let results = controlled(6);
    let (folder, paths) = written(&results);
    let figures: Vec<_> = plots::figures(&results).into_iter().filter(|figure| figure.kind == Kind::Rates).collect();
    assert_eq!(figures.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>(), ["ablation-1", "ablation-2"]);
    for figure in &figures {
        let svg = figure.svg().unwrap();
        elements_of_balanced_xml(&svg);
        let shown: Vec<String> = texts(&svg).into_iter().map(|(.., text)| text).collect();
        // Three domains and the control, two rates, two ways to train.
        for text in ["reference corpus", NAMES[0], NAMES[1], NAMES[2], "1e−4", "1e−3"] {
            assert!(shown.iter().any(|shown| shown == text), "{text}: {shown:?}");
        }
        assert!(shown.iter().any(|text| text.contains("join none, line breaks keep")), "{shown:?}");
        assert_eq!(svg.matches("<circle").count(), 4 * 2 * 2);
    }
    let of_breaks: Vec<_> =
        plots::figures(&results).into_iter().filter(|figure| figure.kind == Kind::LineBreaks).collect();
    assert_eq!(of_breaks.len(), 2);
    assert_eq!(of_breaks[0].svg().unwrap().matches("<circle").count(), 4 * 2 * 2);
    assert!(read(&paths.html).contains("Line breaks and learning rate"));
    let lines: Vec<BTreeMap<String, String>> = csv::Reader::from_path(folder.path().join("ablation.csv"))
        .unwrap()
        .deserialize()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(lines.len(), results.ablation.len());
    for (line, row) in lines.iter().zip(&results.ablation) {
        let number = |name: &str| line[name].parse::<f64>().unwrap();
        assert_eq!((number("delta"), number("lr"), number("part_newline")), (row.delta, row.lr, row.parts.newline));
        let ends = row.parts_ci95.unwrap();
        assert_eq!([number("part_newline_ci95_low"), number("part_newline_ci95_high")], ends.newline);
        assert_eq!([number("part_boundary"), number("part_boundary_ci95_high")], [0.003, 0.0057]);
        assert_eq!([number("part_rest_ci95_low"), number("restart_delta")], [-1.0, row.restart_delta.unwrap()]);
    }
    let text = table::sheet_table(&report::ablation::sheet(&results).unwrap());
    assert!(text.contains("of line breaks") && !text.contains("test line breaks"), "{text}");
    assert!(text.contains("of document ends") && text.contains("[+0.0660, +0.0740]"), "{text}");

    // Of results of before the ends of documents were counted apart.
    let mut old = serde_json::to_value(&results).unwrap();
    for row in old["ablation"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("parts_ci95");
        row["parts"].as_object_mut().unwrap().remove("boundary");
    }
    let old: StudyResults = serde_json::from_value(old).unwrap();
    let (_folder, paths) = written(&old);
    assert!(read(&paths.html).contains("was not counted apart"));
    assert!(!plots::figures(&old).iter().any(|figure| figure.kind == Kind::LineBreaks));
}

#[test]
fn a_restart_that_costs_more_than_any_domain_is_drawn_within_its_panel() {
    let mut results = controlled(3);
    results.ablation.retain(|row| row.domain == NAMES[0]);
    results.ablation.iter_mut().for_each(|row| row.restart_delta = Some(10.0));
    let figure = plots::figures(&results).into_iter().find(|figure| figure.kind == Kind::Rates).unwrap();
    let svg = figure.svg().unwrap();
    let marked = texts(&svg).into_iter().filter_map(|(.., text)| text.replace('−', "-").parse::<f64>().ok());
    assert_eq!(marked.fold(0.0, f64::max), 10.0, "the scale goes as far as the restart");
}

#[test]
fn the_rates_of_a_domain_are_joined_by_a_line_on_a_logarithmic_axis() {
    let mut results = controlled(3);
    results.ablation.retain(|row| row.train_join == Join::Eot && row.eval_join == Join::Eot && !row.control);
    results.ablation.retain(|row| row.domain == NAMES[0]);
    let mut third = results.ablation[0].clone();
    (third.lr, third.delta) = (1e-2, 0.3);
    results.ablation.push(third);
    results.ablation.iter_mut().for_each(|row| row.restart_delta = None);
    let figure = plots::figures(&results).into_iter().find(|figure| figure.kind == Kind::Rates).unwrap();
    let svg = figure.svg().unwrap();
    let attribute = |tag: &str, name: &str| -> f64 {
        tag.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0.parse().unwrap()
    };
    let mut circles: Vec<(f64, f64)> =
        svg.split("<circle").skip(1).map(|tag| (attribute(tag, "cx"), attribute(tag, "cy"))).collect();
    circles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [a, b, c] = circles[..] else { panic!("{circles:?}") };
    assert!((b.0 - a.0 - (c.0 - b.0)).abs() <= 1.0, "decades are equally wide: {circles:?}");
    assert!(a.1 > b.1 && b.1 > c.1, "a larger δ is higher: {circles:?}");
    let line = format!("{},{} {},{} {},{}", a.0, a.1, b.0, b.1, c.0, c.1);
    assert!(svg.contains(&line), "one line through all three: {line}");
}

#[test]
fn results_of_before_calls_and_controls_are_read_and_shown_without_them() {
    let mut old = serde_json::to_value(controlled(4)).unwrap();
    for key in ["domains", "restart_control", "ablation"] {
        old.as_object_mut().unwrap().remove(key).unwrap();
    }
    for correlation in old["correlations"].as_array_mut().unwrap() {
        for key in ["spearman_ci95", "permutation_p", "within_groups", "partial", "influence", "warning"] {
            correlation.as_object_mut().unwrap().remove(key);
        }
    }
    let results: StudyResults = serde_json::from_value(old).unwrap();
    let (_folder, paths) = written(&results);
    assert!(read(&paths.html).contains("by the 95 % interval of δ"));
    assert!(report::calls::sheet(&results).is_none() && report::ablation::sheet(&results).is_none());
}
