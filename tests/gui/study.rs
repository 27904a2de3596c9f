//! The pages of a study in the desktop application, driven by accessible labels.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::{Key, OutputCommand, Role};
use egui_kittest::kittest::{NodeT, Queryable};
use odyssey::advise::hindsight::hindsight;
use odyssey::files::write_json;
use odyssey::gui::export::{Format, write_all, write_scatter};
use odyssey::report::{delta, interval, significant, visible};
use odyssey::similarity::Measure;
use odyssey::study::{self, Row, StudyResults};
use odyssey::text::TokenClass;

use crate::cli::Place;
use crate::gui::{Driven, app, wait_for, wait_until};
use crate::made_up::*;

/// The application on a study, and the folder that both stand in.
struct Window {
    harness: Driven,
    _place: Place,
}

/// A folder with the results of a study whose tasks are gone.
fn written(place: &Place, results: &StudyResults) -> PathBuf {
    let folder = place.path("study");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plan.json"), "{}").unwrap();
    write_json(&folder.join("results.json"), results).unwrap();
    folder
}

impl Window {
    fn on(folder: PathBuf) -> Self {
        let place = Place::empty();
        Self { harness: app(&place, vec![folder]), _place: place }
    }

    fn of(results: &StudyResults) -> Self {
        let place = Place::empty();
        let folder = written(&place, results);
        let mut window = Self { harness: app(&place, vec![folder]), _place: place };
        wait_for(&mut window.harness, "Scatter");
        window
    }
}

impl Window {
    fn has(&self, label: &str) -> bool {
        self.harness.query_all_by_label(label).next().is_some()
    }

    fn holds(&self, part: &str) -> bool {
        self.harness.query_all_by_label_contains(part).next().is_some()
    }

    fn click(&mut self, role: Role, label: &str) {
        self.harness.get_by_role_and_label(role, label).click();
        self.harness.run_steps(3);
    }

    fn press(&mut self, key: Key) {
        self.harness.key_press(key);
        self.harness.run_steps(3);
    }

    /// Chooses from a list that drops down.
    fn choose(&mut self, list: &str, entry: &str) {
        self.click(Role::ComboBox, list);
        self.click(Role::Button, entry);
    }

    /// Selects the point of a domain and opens its card.
    fn open_card(&mut self, domain: &str) {
        self.click(Role::Button, domain);
        self.click(Role::Button, "Domain");
    }
}

fn row_of<'a>(results: &'a StudyResults, domain: &str) -> &'a Row {
    results.rows.iter().find(|row| row.domain == domain).unwrap()
}

#[test]
fn another_distance_is_chosen_and_its_correlation_is_said_in_words() {
    let mut window = Window::of(&controlled(12));
    assert!(window.has("Plot of δ against MMD²"));
    assert!(window.holds("Over 25 domains, r = −0.87 [−0.97, −0.77] (p = 0.003), ρ = −0.78 (p < 0.001)."));
    assert!(window.holds("Inside groups, each group's means taken off: r = −0.12"));
    assert!(window.holds("With newline_rate allowed for: r = −0.46 (p = 0.021)."));
    assert!(window.holds("which has the largest influence: r = −0.79."));
    assert!(window.holds("Caution: it is mostly the contrast between groups."));
    assert!(window.holds("within arXiv (n = 25): r = −0.31"));

    window.choose("distance", "vocabulary overlap");
    assert!(window.has("Plot of δ against vocabulary overlap"));
    assert!(window.holds("r = +0.55 [+0.45, +0.65]"));
    // A distance that no domain has is not offered.
    window.click(Role::ComboBox, "distance");
    assert!(!window.has("energy distance"));
}

#[test]
fn a_point_is_selected_by_its_name_and_its_card_says_what_the_results_say() {
    let results = controlled(12);
    let row = row_of(&results, "speeches");
    let change = results.domains.iter().find(|change| change.domain == "speeches").unwrap();
    let mut window = Window::of(&results);
    window.open_card("speeches");
    for number in [
        significant(row.zero_shot_ppl),
        significant(row.adapted_ppl),
        delta(row.delta),
        interval(row.delta_ci95, delta),
    ] {
        assert!(window.has(&number), "{number}");
    }
    assert!(window.has(change.call.name()));
    assert!(window.holds("p = 0.012, q = 0.034 over 80 documents, called at an error rate of 5.0 %"));
    assert!(window.holds("A change below 0.0312 could not have been detected"));
    let beyond = delta(change.beyond_restart.value.unwrap());
    assert!(window.holds(&format!("comes to +0.1926; beyond it this domain's change is {beyond}")));
    assert!(window.holds("17 token types carry 90.3 % of the worsening."));

    // Without line breaks: the numbers that the results hold of it.
    window.click(Role::CheckBox, "without line breaks");
    assert!(window.has("40.00") && window.has("38.00") && window.has(&delta(row.delta - 0.05)));
    assert!(!window.has(&significant(row.zero_shot_ppl)));
    assert!(window.holds("Over 34,000 of 35,652 test tokens"));
    window.click(Role::CheckBox, "without line breaks");
    assert!(window.has(&significant(row.zero_shot_ppl)));
}

/// Waits for what advice would have said of a domain whose card is open, and checks that it is what the library says.
fn assert_tells_hindsight(window: &mut Window, results: &StudyResults, domain: &str) {
    let is_told = |harness: &Driven| harness.query_all_by_label_contains("predicting every").next().is_none();
    wait_until(&mut window.harness, "advice", is_told);
    match hindsight(results) {
        Err(error) => assert!(window.holds(&format!("It is not known: {}", visible(&error.to_string())))),
        Ok(said) => match said.iter().find(|said| said.domain == domain) {
            None => assert!(window.holds("Nothing: the results lack values that advice needs")),
            Some(said) => {
                assert!(window.has(&visible(&said.words)), "{}", said.words);
                if let Some(predicted) = said.predicted {
                    assert!(window.holds(&format!("Predicted δ {}", delta(predicted.delta))));
                }
            }
        },
    }
}

#[test]
fn where_advice_has_nothing_to_learn_from_the_card_says_so() {
    let results = controlled(4);
    let mut window = Window::of(&results);
    window.open_card("wiki_politics");
    assert_tells_hindsight(&mut window, &results, "wiki_politics");
}

#[test]
fn token_types_are_filtered_by_class_and_text_and_sorted() {
    let results = controlled(3);
    let mut window = Window::of(&results);
    window.open_card("wiki_general");
    window.click(Role::Button, "Tokens");
    assert!(window.has("5 of 5 token types") && window.has("↵") && window.has("·the"));
    // The worst first: a row lies above the next.
    let top = |window: &Window, token: &str| window.harness.get_by_label(token).rect().top();
    assert!(top(&window, "↵") < top(&window, "·the") && top(&window, "·the") < top(&window, "ing"));
    window.click(Role::Button, "Sort by part of δ");
    assert!(top(&window, "↵") > top(&window, "·the") && top(&window, "·the") > top(&window, "ing"));

    window.choose("class", "function word");
    assert!(window.has("1 of 5 token types") && window.has("·the") && !window.has("↵"));
    let the = results.rows[0].top_types.iter().find(|t| t.class == TokenClass::FunctionWord).unwrap();
    assert!(window.has(&delta(the.contribution)) && window.has(&interval(the.contribution_ci95, delta)));
    window.choose("class", "all");
    window.harness.get_by_role_and_label(Role::TextInput, "token holds").focus();
    window.harness.step();
    window.harness.get_by_role_and_label(Role::TextInput, "token holds").type_text("ING");
    window.harness.run_steps(3);
    assert!(window.has("1 of 5 token types") && window.has("ing") && !window.has("·the"));
}

#[test]
fn a_passage_is_gone_along_with_the_arrow_keys_and_says_each_tokens_numbers() {
    let results = controlled(3);
    let token = |index: usize| &results.rows[0].passages[0].tokens[index];
    let mut window = Window::of(&results);
    window.open_card("wiki_general");
    window.click(Role::Button, "Passages");
    window.harness.get_by_role_and_label(Role::Paragraph, "Passage 1. ").focus();
    window.harness.run_steps(3);
    assert!(window.has("The·: not scored, it is only read"));
    window.press(Key::ArrowRight);
    let (before, after) = (token(1).before.unwrap(), token(1).after.unwrap());
    let change = delta(f64::from(after - before));
    assert!(window.has(&format!("history·: before {before:.3}, after {after:.3}, change {change} nats")));
    window.press(Key::ArrowLeft);
    assert!(window.has("The·: not scored, it is only read"));
    window.click(Role::Button, "before and after side by side");
    assert_eq!(window.harness.get_all_by_label_contains("Passage 1.").count(), 2);
}

#[test]
fn the_keyboard_goes_through_domains_opens_a_card_and_leaves_it() {
    let results = controlled(6);
    let mut window = Window::of(&results);
    let selected = |window: &Window| {
        let list = window.harness.get_by_role_and_label(Role::ComboBox, "domain");
        list.value().unwrap_or_default()
    };
    window.press(Key::ArrowDown);
    let first = selected(&window);
    window.press(Key::ArrowRight);
    let second = selected(&window);
    // By name.
    let mut names: Vec<String> = results.rows.iter().map(|row| row.domain.clone()).collect();
    names.sort();
    assert_eq!([&first, &second], [&names[0], &names[1]]);
    window.press(Key::ArrowUp);
    window.press(Key::ArrowUp);
    assert_eq!(selected(&window), names[5]);
    window.press(Key::Enter);
    assert!(window.has("What was found"));
    window.press(Key::Escape);
    assert!(window.has("Plot of δ against MMD²"));
    // From a name in the list that has the keyboard, too: the next gets it.
    window.harness.get_by_role_and_label(Role::Button, &names[1]).focus();
    window.harness.run_steps(3);
    window.press(Key::ArrowDown);
    assert_eq!(selected(&window), names[2]);
    assert!(window.harness.get_by_role_and_label(Role::Button, &names[2]).is_focused());
    window.press(Key::Enter);
    assert!(window.has("What was found"));
}

#[test]
fn a_marker_says_what_it_is_under_the_pointer_and_is_selected_by_a_click() {
    let results = controlled(12);
    let mut window = Window::of(&results);
    let plot = window.harness.get_by_label("Plot of δ against MMD²").rect();
    let places = (0..(plot.height() / 12.0) as usize)
        .flat_map(|row| (0..(plot.width() / 12.0) as usize).map(move |column| (column, row)));
    let mut places = places.map(|(x, y)| plot.min + egui::vec2(x as f32 * 12.0 + 6.0, y as f32 * 12.0 + 6.0));
    let marker = places.find(|&place| {
        window.harness.hover_at(place);
        window.harness.run_steps(2);
        window.holds("35,652 test tokens")
    });
    let marker = marker.expect("a marker lies somewhere in the plot");
    let shown = results.rows.iter().filter(|row| window.holds(&format!("δ {} ", delta(row.delta))));
    let shown: Vec<&str> = shown.map(|row| row.domain.as_str()).collect();
    window.harness.drag_at(marker);
    window.harness.drop_at(marker);
    window.harness.run_steps(3);
    let list = window.harness.get_by_role_and_label(Role::ComboBox, "domain");
    assert_eq!(shown, [list.value().unwrap().as_str()]);
}

#[test]
fn the_table_sorts_filters_and_is_copied() {
    let results = controlled(9);
    let mut window = Window::of(&results);
    window.click(Role::Button, "Table");
    assert!(window.has("9 of 9 domains"));
    let names = |window: &Window| {
        let mut found: Vec<(f32, String)> = results
            .rows
            .iter()
            .filter_map(|row| {
                let name = window.harness.query_by_role_and_label(Role::Button, &row.domain)?;
                Some((name.rect().top(), row.domain.clone()))
            })
            .collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.into_iter().map(|(_, name)| name).collect::<Vec<String>>()
    };
    let sorted = |by: fn(&Row) -> f64, descending: bool| {
        let mut rows: Vec<&Row> = results.rows.iter().collect();
        rows.sort_by(|a, b| if descending { by(b).total_cmp(&by(a)) } else { by(a).total_cmp(&by(b)) });
        rows.into_iter().map(|row| row.domain.clone()).collect::<Vec<String>>()
    };
    assert_eq!(names(&window), sorted(|row| row.delta, true));
    window.click(Role::Button, "Sort by δ");
    assert_eq!(names(&window), sorted(|row| row.delta, false));
    window.click(Role::Button, "Sort by ppl before");
    assert_eq!(names(&window), sorted(|row| row.zero_shot_ppl, false));

    window.choose("call", "worse");
    let worse: Vec<&str> =
        results.domains.iter().filter(|d| d.call == study::Call::Worse).map(|d| d.domain.as_str()).collect();
    assert!(window.has(&format!("{} of 9 domains", worse.len())));
    assert!(names(&window).iter().all(|name| worse.contains(&name.as_str())));

    window.harness.get_by_role_and_label(Role::Button, "Copy as CSV").click();
    let mut copied = None;
    for _ in 0..3 {
        window.harness.step();
        for command in &window.harness.output().platform_output.commands {
            if let OutputCommand::CopyText(text) = command {
                copied = Some(text.clone());
            }
        }
    }
    let mut reader = csv::Reader::from_reader(copied.as_ref().unwrap().as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|found| found == name).unwrap();
    let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(lines.iter().map(|line| line[0].to_owned()).collect::<Vec<_>>(), names(&window));
    for line in &lines {
        let row = row_of(&results, &line[0]);
        assert_eq!(line[column("delta")].parse::<f64>().unwrap(), row.delta);
        assert_eq!(line[column("adapted_ppl")].parse::<f64>().unwrap(), row.adapted_ppl);
        assert_eq!(line[column("mmd2")].parse::<f64>().unwrap(), row.similarity.get(Measure::Mmd2).unwrap());
        assert_eq!(&line[column("verdict")], "worse");
    }
}

#[test]
fn the_selection_is_the_same_on_every_page() {
    let mut window = Window::of(&controlled(6));
    window.click(Role::Button, "wiki_politics");
    window.click(Role::Button, "Table");
    window.click(Role::Button, "wiki_religion");
    window.click(Role::Button, "Strategies and seeds");
    let list = window.harness.get_by_role_and_label(Role::ComboBox, "domain");
    assert_eq!(list.value().as_deref(), Some("wiki_religion"));
}

#[test]
fn groups_are_hidden_and_shown_again() {
    let mut window = Window::of(&controlled(12));
    assert!(window.has("speeches") && window.has("wiki_sports"));
    window.click(Role::CheckBox, "Show group other");
    assert!(!window.has("speeches") && window.has("wiki_sports"));
    window.click(Role::CheckBox, "Show group other");
    assert!(window.has("speeches"));
}

#[test]
fn strategies_and_seeds_of_a_domain_stand_side_by_side() {
    let results = many_arms();
    let mut window = Window::of(&results);
    window.click(Role::Button, "wiki_politics");
    window.click(Role::Button, "Strategies and seeds");
    assert!(window.has("gpt2 / full") && window.has("gpt2 / lora"));
    for row in results.rows.iter().filter(|row| row.domain == "wiki_politics") {
        assert!(window.has(&delta(row.delta)) && window.has(&significant(row.adapted_ppl)));
    }
    assert!(window.holds("The study has no ablation grid"));
    // Another model and strategy has the same domain.
    window.choose("model / strategy", "gpt2 / lora");
    window.click(Role::Button, "Domain");
    assert!(!window.has("seed of tokens, passages and curves"));
}

#[test]
fn the_ablation_grid_shows_the_domains_own_rows() {
    let results = controlled(5);
    let name = &results.rows[0].domain;
    let mut window = Window::of(&results);
    window.click(Role::Button, name);
    window.click(Role::Button, "Strategies and seeds");
    assert!(window.has("Ablation grid"));
    let cells = results.ablation.iter().filter(|row| row.domain == *name);
    let count = cells.clone().count();
    assert_eq!(window.harness.query_all_by_role_and_label(Role::Label, name).count(), count);
    cells.for_each(|row| assert!(window.has(&delta(row.delta)), "{}", row.delta));
}

#[test]
fn hostile_names_and_tokens_are_shown_literally() {
    let mut results = hostile();
    results.rows[1].domain = String::new();
    results.rows[2].domain = "long ".repeat(5000);
    let mut window = Window::of(&results);
    assert!(window.has(&visible(HOSTILE[0])) && window.has(&visible(HOSTILE[3])) && window.has("(no name)"));
    assert!(!window.holds("\u{202e}") && !window.holds("\u{1b}"));
    for tab in ["Table", "Domain", "Strategies and seeds", "Scatter"] {
        window.click(Role::Button, tab);
        window.harness.run_steps(2);
    }
    window.open_card(HOSTILE[0]);
    for section in ["Tokens", "Passages", "Curves", "Verdict and classes"] {
        window.click(Role::Button, section);
        assert!(!window.holds("\u{202e}") && !window.holds("\u{1b}"));
    }
    window.click(Role::Button, "Tokens");
    assert!(window.has(HOSTILE[0]));
}

#[test]
fn folders_that_are_broken_or_empty_say_so_and_do_not_end_the_application() {
    let broken: [(&str, &str); 3] = [("{}", "{\"rows\": [1,"), ("{", ""), ("[]", "[]")];
    for (plan, results) in broken {
        let place = Place::empty();
        let folder = place.path("study");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plan.json"), plan).unwrap();
        fs::write(folder.join("results.json"), results).unwrap();
        let mut window = Window::on(folder);
        wait_for(&mut window.harness, "Close the message");
        assert!(window.holds("plan.json"));
    }
}

#[test]
fn a_study_without_adaptations_says_what_to_do() {
    let place = Place::empty();
    let mut window = Window::on(written(&place, &empty()));
    wait_for(&mut window.harness, "No adaptation is finished yet, so there is nothing to show.");
    assert!(window.has("Run what is missing"));
}

#[test]
fn a_thousand_domains_are_drawn_as_far_as_they_are_seen() {
    let mut window = Window::of(&made_up(1000));
    let nodes = |window: &Window| window.harness.root().children_recursive().count();
    assert!(nodes(&window) < 400, "{}", nodes(&window));
    window.click(Role::Button, "Table");
    assert!(window.has("1000 of 1000 domains"));
    assert!(nodes(&window) < 1500, "{}", nodes(&window));
    let begun = Instant::now();
    window.harness.run_steps(10);
    // A frame takes some milliseconds; a list that is drawn whole takes seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // A far domain is scrolled to when it is selected.
    window.click(Role::Button, "Scatter");
    window.press(Key::ArrowUp);
    let list = window.harness.get_by_role_and_label(Role::ComboBox, "domain").value().unwrap();
    window.harness.run_steps(20);
    assert!(window.harness.query_by_role_and_label(Role::Button, &list).is_some(), "{list}");
}

#[test]
fn a_scatter_becomes_a_figure_or_its_points_and_a_study_a_folder() {
    let results = controlled(8);
    let place = tempfile::tempdir().unwrap();
    let arm = "gpt2 / full";
    let write = |format: Format| {
        let path = place.path().join(format!("scatter.{}", format.ending()));
        write_scatter(&results, arm, Measure::Mmd2, format, &path).unwrap();
        fs::read(path).unwrap()
    };
    assert!(write(Format::Png).starts_with(b"\x89PNG"));
    let svg = String::from_utf8(write(Format::Svg)).unwrap();
    assert!(svg.contains("δ against MMD²") && svg.contains("wiki_politics"));
    let points = write(Format::Csv);
    let mut reader = csv::Reader::from_reader(&points[..]);
    let header = reader.headers().unwrap().clone();
    let at = header.iter().position(|name| name == "mmd2").unwrap();
    let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 8);
    for line in lines {
        assert_eq!(line[at].parse::<f64>().ok(), row_of(&results, &line[0]).similarity.get(Measure::Mmd2));
    }
    let path = place.path().join("none.svg");
    assert!(write_scatter(&results, arm, Measure::Energy, Format::Svg, &path).is_err() && !path.exists());

    let folder = place.path().join("all");
    write_all(&results, &folder).unwrap();
    for file in ["results.json", "results.csv", "domains.csv", "ablation.csv", "report.html"] {
        assert!(folder.join(file).exists(), "{file}");
    }
}

/// One strategy on two languages.
const STUDY: &str = r#"
name = "Two languages"

[similarity]
chunk = 32
samples = 30
reference_samples = 60

[[models]]
name = "golden"
path = "model"
reference = "languages/base"

[[domains]]
path = "languages/lambda-0"

[[domains]]
path = "languages/lambda-1"

[[strategies]]
name = "full"
recipe = { steps = 3, batch = 4, lr = 1e-3, validations = 1, valid_tokens = 300 }
"#;

#[test]
fn a_study_that_ran_shows_its_positions_and_what_is_missing_of_it() {
    let place = Place::with_languages();
    place.write("study.toml", STUDY);
    place.result("study run study.toml --out study");
    let folder = place.path("study");
    let results = study::collect(&folder).unwrap();
    for row in &results.rows {
        // The bins hold every scored token once, so their mean is the log of the perplexity.
        let positions = study::positions(&folder, row).unwrap();
        for (positions, ppl) in positions.iter().zip([row.zero_shot_ppl, row.adapted_ppl]) {
            for bins in [&positions.window, &positions.document] {
                let tokens: usize = bins.iter().map(|bin| bin.count).sum();
                let sum: f64 = bins.iter().map(|bin| bin.count as f64 * bin.nll).sum();
                assert_eq!(tokens, row.test_tokens);
                assert!((sum / tokens as f64 - ppl.ln()).abs() < 1e-9);
            }
        }
    }
    let other = Row { seed: 99, ..results.rows[0].clone() };
    assert!(study::positions(&folder, &other).is_err());

    let open = |label: &str| {
        let mut window = Window::on(folder.clone());
        wait_for(&mut window.harness, label);
        window
    };
    let mut window = open("Scatter");
    window.open_card("lambda-1");
    assert_tells_hindsight(&mut window, &results, "lambda-1");
    window.click(Role::Button, "Curves");
    wait_for(&mut window.harness, "tokens before in the window");

    // One adaptation is thrown away, with what was put together of it: half a study.
    let task = |start: &str| {
        let tasks = fs::read_dir(folder.join("tasks")).unwrap().map(|entry| entry.unwrap().path());
        tasks.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).collect::<Vec<_>>()
    };
    fs::remove_file(folder.join("results.json")).unwrap();
    for gone in task("adapt-golden-lambda-1") {
        fs::remove_dir_all(gone).unwrap();
    }
    let window = open("Scatter");
    assert!(window.holds("tasks are not done") && window.has("Run what is missing"));
    assert!(window.has("lambda-0") && !window.has("lambda-1"));
    for gone in task("adapt-") {
        fs::remove_dir_all(gone).unwrap();
    }
    let window = open("No adaptation is finished yet, so there is nothing to show.");
    assert!(window.has("Run what is missing"));
}
