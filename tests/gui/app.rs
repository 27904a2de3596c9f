//! The desktop application's frame: what is listed, what opens, keys, themes, and what is said of folders that are none.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::cli::Place;
use crate::gui::{app, wait_for};
use egui::{Key, Modifiers, ThemePreference};
use egui_kittest::kittest::Queryable;
use odyssey::gui::Page;
use odyssey::gui::settings::Settings;

/// A study of two languages that is done.
const STUDY: &str = r#"
name = "Two languages"
restart_control = false

[similarity]
chunk = 32
samples = 20
reference_samples = 40
permutations = 0
resamples = 0

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
recipe = { steps = 2, batch = 4, lr = 1e-3, validations = 1, valid_tokens = 300 }
"#;

/// Made once for all tests; they read it only.
static FINISHED: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::with_languages();
    place.write("study.toml", STUDY);
    place.result("study run study.toml --out study");
    place
});

/// A copy of the finished study, at `to`.
fn copy(to: &Path) {
    let from = FINISHED.path("study");
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(to.join(&folder)).unwrap();
        for entry in fs::read_dir(from.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let relative = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(relative),
                false => drop(fs::copy(entry.path(), to.join(&relative)).unwrap()),
            }
        }
    }
}

#[test]
fn a_finished_study_opens_with_its_name_and_is_remembered() {
    let place = Place::empty();
    let mut harness = app(&place, vec![FINISHED.path("study")]);
    wait_for(&mut harness, "Two languages");
    assert_eq!(harness.state().page(), Page::Study);
    assert_eq!(harness.state().settings().recent, [FINISHED.path("study")]);

    harness.get_by_label("Home").click();
    wait_for(&mut harness, "finished, 2 domains");
}

#[test]
fn two_hundred_studies_are_listed_with_a_half_written_and_a_corrupt_one_among_them() {
    let place = Place::empty();
    let folder = |index: usize| place.path(&format!("studies/s{index:03}"));
    (0..200).for_each(|index| copy(&folder(index)));
    let tasks = fs::read_dir(folder(0).join("tasks")).unwrap().map(|entry| entry.unwrap().path());
    let adapted = tasks.filter(|task| task.file_name().unwrap().to_string_lossy().starts_with("adapt"));
    fs::remove_dir_all(adapted.max().unwrap()).unwrap();
    fs::remove_file(folder(0).join("results.json")).unwrap();
    fs::write(folder(1).join("plan.json"), &FINISHED.read("study/plan.json")[..200]).unwrap();
    fs::create_dir(place.path("studies/not-a-study")).unwrap();

    let found = odyssey::gui::library::studies_in(&place.path("studies")).unwrap();
    assert_eq!(found.len(), 200);
    let mut harness = app(&place, found);
    wait_for(&mut harness, "6 of 7 tasks");
    assert!(harness.query_by_label("cannot be read").is_some());
    assert!(harness.query_all_by_label("finished, 2 domains").count() > 5);
    // Rows out of sight are not drawn, which is what keeps a long list fast.
    assert!(harness.query_all_by_label("finished, 2 domains").count() < 60);

    // The half-written one shows what it has, and offers to go on.
    harness.get_by_label("Find:").click();
    harness.get_by_label("Find:").type_text("s000");
    harness.run_ok();
    harness.get_by_label("Two languages").click();
    wait_for(&mut harness, "1 tasks are not done: the results are from the others.");
}

#[test]
fn a_study_that_cannot_be_read_is_said_and_the_application_goes_on() {
    let place = Place::empty();
    copy(&place.path("broken"));
    let tasks = fs::read_dir(place.path("broken/tasks")).unwrap().map(|entry| entry.unwrap().path());
    for task in tasks.filter(|task| task.is_dir()) {
        for file in fs::read_dir(task).unwrap() {
            fs::write(file.unwrap().path(), b"{\"half\": ").unwrap();
        }
    }
    fs::write(place.path("broken/results.json"), "[]").unwrap();
    let mut harness = app(&place, vec![place.path("broken")]);
    wait_for(&mut harness, "Close the message");
    assert_eq!(harness.state().page(), Page::Home);
    harness.get_by_label("Close the message").click();
    wait_for(&mut harness, "nothing is running");
}

#[test]
fn pages_are_reached_by_keys_and_f1_lists_them() {
    let place = Place::empty();
    let mut harness = app(&place, Vec::new());
    for (key, page) in [
        (Key::Num2, Page::NewStudy),
        (Key::Num4, Page::Live),
        (Key::Num5, Page::Devices),
        (Key::Num1, Page::Home),
        (Key::N, Page::NewStudy),
    ] {
        harness.key_press_modifiers(Modifiers::COMMAND, key);
        harness.run_ok();
        assert_eq!(harness.state().page(), page);
    }
    harness.key_press(Key::F1);
    wait_for(&mut harness, "open the selected domain's card");
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label("open the selected domain's card").is_none());
}

#[test]
fn theme_and_size_are_chosen_and_kept() {
    let place = Place::empty();
    let mut harness = app(&place, Vec::new());
    harness.get_by_label("Theme").click();
    harness.run_ok();
    harness.get_by_label("Dark").click();
    harness.run_ok();
    assert!(harness.ctx.global_style().visuals.dark_mode);
    harness.get_by_label("Size").click();
    harness.run_ok();
    harness.get_by_label("150 %").click();
    harness.run_ok();
    assert_eq!(harness.ctx.zoom_factor(), 1.5);

    let kept: Settings = serde_json::from_str(&serde_json::to_string(harness.state().settings()).unwrap()).unwrap();
    assert_eq!((kept.theme, kept.scale), (ThemePreference::Dark, 1.5));
    // Settings of an older version lack what is new, and are taken all the same.
    let old: Settings = serde_json::from_str("{\"scale\": 1.25}").unwrap();
    assert_eq!((old.scale, old.device.as_str()), (1.25, "auto"));
}

#[test]
fn every_page_draws_at_its_smallest_size_doubled_and_all_controls_have_names() {
    let place = Place::empty();
    let mut harness = app(&place, vec![FINISHED.path("study")]);
    wait_for(&mut harness, "Two languages");
    for (width, height, scale) in [(1280.0, 820.0, 1.0), (720.0, 480.0, 1.0), (1440.0, 960.0, 2.0)] {
        harness.set_size(egui::Vec2::new(width, height));
        harness.ctx.set_zoom_factor(scale);
        for key in [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5] {
            harness.key_press_modifiers(Modifiers::COMMAND, key);
            harness.run_ok();
            let unnamed = harness.unnamed_widgets();
            assert!(unnamed.is_empty(), "{:?} at {scale}: {unnamed:?}", harness.state().page());
        }
    }
}

#[test]
fn without_a_display_the_command_says_so_and_ends_with_status_2() {
    let place = Place::empty();
    let said = place.without_display("gui");
    assert_eq!(said.status, Some(2), "{}", said.err);
    assert!(said.err.contains("there is no display") && said.err.contains("odyssey --help"), "{}", said.err);
}

#[test]
fn a_folder_without_studies_is_refused_before_a_window_opens() {
    let place = Place::empty();
    fs::create_dir(place.path("empty")).unwrap();
    place.refused("gui empty", &["empty", "holds no study", "odyssey study run"]);
    place.refused("gui nowhere", &["nowhere", "no such file or folder"]);
}

#[machine::needs(xvfb)]
#[test]
fn in_a_real_window_the_first_frame_is_drawn_and_an_interrupt_closes_it() {
    let place = Place::empty();
    // Xvfb chooses a free display and says which.
    let mut server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "1280x820x24"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut number = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
    let display = format!(":{}", number.trim());

    let environment = [("DISPLAY", display), ("XDG_DATA_HOME", place.path("kept").display().to_string())];
    let line = format!("gui {} -v", FINISHED.path("study").display());
    let said = place.interrupted_in(&line, &environment, |said| said.contains("first frame after"));
    server.kill().unwrap();
    server.wait().unwrap();
    let said = said.unwrap();
    assert_eq!((said.status, said.out.as_str()), (Some(0), ""), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    // What it remembers is kept where the platform keeps such things: the study it was opened with.
    let kept = fs::read_to_string(place.path("kept/odyssey/app.ron")).unwrap();
    assert!(kept.contains(&FINISHED.path("study").display().to_string()), "{kept}");
}
