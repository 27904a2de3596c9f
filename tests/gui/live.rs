//! The desktop application's worker, queue, form of a new study and devices, driven by the names of their controls.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use egui::Role;
use egui_kittest::kittest::{NodeT, Queryable};
use odyssey::gui::queue::{Curve, Job};
use odyssey::memory::{MemoryPlan, Work};
use odyssey::model::{ModelConfig, Precision};
use odyssey::progress::Silent;
use odyssey::study::{self, StudyConfig};
use serde_json::Value;

use crate::cli::Place;
use crate::window::{Window, study_file};

/// Results without what differs from run to run.
fn untimed(mut results: Value) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|key, _| {
                    !["seconds", "tokens_per_second", "peak_memory_bytes", "sha256"].contains(&key.as_str())
                });
                object.values_mut().for_each(forget);
            }
            Value::Array(array) => array.iter_mut().for_each(forget),
            _ => {}
        }
    }
    forget(&mut results);
    results
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_study_that_is_paused_and_stopped_goes_on_to_the_numbers_of_one_that_was_not() {
    let place = Place::with_languages();
    let file = study_file(&place, "Alone", "model", 120);
    let data = place.path("data");
    let mut window = Window::open(&data);
    window.start(file.clone());

    // While it trains its figures are there, and the other pages say that it does.
    window.says("tokens/s");
    window.says("Loss curve");
    assert!(window.is_there("Live •") && window.is_there("cpu (flex)"));

    // A pause holds the steps.
    window.button("Pause");
    window.until("a rest", |harness| harness.query_by_label("paused").map(drop));
    let held = window.says(" of 120");
    sleep(Duration::from_millis(400));
    assert_eq!(window.says(" of 120"), held);
    window.button("Go on");
    window.until("a step more", |harness| {
        let on = harness.query_all_by_label_contains(" of 120").next()?.accesskit_node().value()?;
        (on.split(',').next() != held.split(',').next()).then_some(())
    });

    // A stop saves, and what is missing can be run.
    window.button("Stop");
    window.says("■ stopped");
    window.says("saved in");
    assert!(!data.join("studies/alone/results.json").exists());
    window.button("Go on: Alone");
    window.says("● finished");

    let alone = place.path("by-itself");
    let config = StudyConfig::read(&file).unwrap();
    let expected = study::run(config, &alone, &mut Silent).unwrap();
    // Through text, where f32 has fewer digits.
    let expected = serde_json::from_slice(&serde_json::to_vec(&expected).unwrap()).unwrap();
    let found = json(&data.join("studies/alone/results.json"));
    assert!(untimed(found) == untimed(expected), "{} differs", data.join("studies/alone/results.json").display());
    assert!(data.join("studies/alone/report.html").exists());
    window.button("Open: Alone");
    window.says("Scatter");
    window.close();
}

#[test]
fn jobs_run_in_their_order_and_one_that_fails_stops_none() {
    let place = Place::with_languages();
    fs::create_dir(place.path("other")).unwrap();
    for file in fs::read_dir(place.path("model")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, place.path("other").join(file.file_name().unwrap())).unwrap();
    }
    let mut window = Window::open(&place.path("data"));
    window.start(study_file(&place, "First", "model", 60));
    window.press(Role::CheckBox, "Hold: start nothing more");
    for (name, model) in [("Second", "other"), ("Third", "model"), ("Fourth", "model")] {
        window.start(study_file(&place, name, model, 2));
    }
    window.says("Remove: Fourth");
    window.button("Remove: Fourth");
    window.button("Move up: Third");
    assert!(window.top("Remove: Third") < window.top("Remove: Second"));
    // Its model goes while it waits.
    fs::remove_dir_all(place.path("other")).unwrap();
    window.press(Role::CheckBox, "Hold: start nothing more");
    window.until("all three", |harness| {
        let ended = ["First", "Second", "Third"].iter().all(|name| {
            harness
                .query_all_by_role(Role::Button)
                .any(|node| node.accesskit_node().label() == Some(format!("Open: {name}")))
        });
        ended.then_some(())
    });
    // The latest stands first.
    assert!(
        window.top("Open: Second") < window.top("Open: Third") && window.top("Open: Third") < window.top("Open: First")
    );
    window.says("× failed");
    let why = window.says("/other");
    assert!(why.contains("no such model folder"), "{why}");
    assert!(window.is_there("Try again: Second") && !window.is_there("Fourth"));
    window.close();
}

#[test]
fn what_was_running_is_offered_by_the_next_start_and_not_begun() {
    let place = Place::with_languages();
    let data = place.path("data");
    let mut window = Window::open(&data);
    window.start(study_file(&place, "Long", "model", 4000));
    window.says("tokens/s");
    // What a crash at this moment would leave.
    let crashed = place.path("crashed");
    fs::create_dir(&crashed).unwrap();
    fs::copy(data.join("queue.json"), crashed.join("queue.json")).unwrap();
    window.close();

    let mut window = Window::open(&crashed);
    window.button("Live");
    window.says("Not finished when odyssey ended");
    assert!(window.is_there("Nothing is running"));
    window.button("Forget: Long");
    window.until("an empty queue", |_| {
        (json(&crashed.join("queue.json"))["jobs"] == Value::Array(Vec::new())).then_some(())
    });
    assert!(!window.is_there("Long"));
    window.close();

    // Closed in order, it goes on where it was.
    let mut window = Window::open(&data);
    window.button("Live");
    window.button("Go on: Long");
    let step = |text: &str| text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    window.says("tokens/s");
    assert!(step(&window.says("training  ")) > 0);
    // Another window on the same folder neither offers nor overwrites it.
    let mut second = Window::open(&data);
    second.button("Live");
    second.says("another window of odyssey");
    assert!(!second.is_there("Go on: Long"));
    second.close();
    assert_eq!(json(&data.join("queue.json"))["jobs"].as_array().unwrap().len(), 1);
    window.close();
}

#[test]
fn the_demo_begins_below_the_data_folder_and_stops() {
    let place = Place::empty();
    let data = place.path("data");
    let mut window = Window::open(&data);
    window.button("Run the demo");
    window.says("synthetic languages");
    window.button("Stop");
    window.says("■ stopped");
    // The next one goes on with it.
    assert_eq!(Job::demo(&data, "cpu").folder(), data.join("studies/demo-1/study"));
    window.close();
}

#[test]
fn a_form_without_its_model_names_the_fault_and_does_not_start() {
    let place = Place::with_languages();
    let mut window = Window::open(&place.path("data"));
    window.button("New study");
    // Folders full of domains add them all.
    window.drop_file(place.path("languages"));
    window.says("Domains (");
    window.says("model: none is given");
    window.type_into("Model", "./nowhere/model");
    window.says("reference corpus: none is given");
    window.type_into("Reference corpus", &place.path("languages/base").display().to_string());
    let fault = window.says("which does not exist");
    assert!(fault.contains("nowhere/model") && fault.contains("correct the path"), "{fault}");
    window.type_into("Seeds", ", many");
    window.says("\"many\" is not a seed");
    let start = window.0.get_by_role_and_label(Role::Button, "Start the study");
    assert!(start.accesskit_node().is_disabled());
    start.click();
    window.0.run_steps(3);
    assert!(window.is_there("Before it starts"), "{:?}", window.texts());
    window.close();
}

#[test]
fn a_study_that_is_dropped_by_a_relative_path_names_only_absolute_paths() {
    let place = Place::with_languages();
    fs::create_dir(place.path("encoder")).unwrap();
    let file = study_file(&place, "Relative", "model", 2);
    let lexical = fs::read_to_string(&file).unwrap();
    fs::write(&file, lexical.replace("\"lexical\"", "\"minilm:encoder\"")).unwrap();
    let here = std::env::current_dir().unwrap();
    let root = here.ancestors().last().unwrap();
    let up: PathBuf = here.ancestors().skip(1).map(|_| "..").collect();
    let mut window = Window::open(&place.path("data"));
    window.drop_file(up.join(file.strip_prefix(root).unwrap()));
    window.says("It can run");
    window.0.get_by_label("The study's file (TOML)").click();
    let study = window.until("the study's file", |harness| {
        harness.query_all_by_label("The study's file").find_map(|node| node.accesskit_node().value())
    });
    let study: StudyConfig = toml::from_str(&study).unwrap();
    let named = ["model", "languages/base", "languages/lambda-0", "languages/lambda-1", "encoder"];
    assert_eq!(study.inputs(), named.map(|name| place.path(name)));
    window.close();
}

#[test]
fn before_a_study_starts_its_memory_and_tokens_are_those_it_will_take() {
    let place = Place::with_languages();
    let file = study_file(&place, "Planned", "model", 25);
    let config = StudyConfig::read(&file).unwrap();
    let data = place.path("data");
    let mut window = Window::open(&data);
    window.drop_file(file);
    window.says("It can run");
    let model = ModelConfig::read(&place.path("model")).unwrap();
    let work = Work::training(&config.strategies[0].recipe, &model, Precision::F32).unwrap();
    let plan = MemoryPlan::new(&model, work, &config.devices[0].open().unwrap()).unwrap();
    let mebibytes = (plan.needs_bytes as f64 / f64::from(1 << 20)).round();
    window.says(&format!("training needs {mebibytes} MiB"));
    window.says("Time: about");
    window.says("measured now");
    window.says("Disk: about");
    let said = window.says("adaptations train on");
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).collect();
    assert_eq!(numbers[0], 2.0, "{said}");

    window.button("Start the study");
    window.says("● finished");
    let tasks = fs::read_dir(data.join("studies/planned/tasks")).unwrap();
    let trained: u64 = tasks
        .map(|task| task.unwrap().path().join("adapt.json"))
        .filter(|path| path.exists())
        .map(|path| json(&path)["adapt"]["tokens"].as_u64().unwrap())
        .sum();
    assert!((numbers[1] / trained as f64 - 1.0).abs() < 0.05, "{} estimated, {trained} trained on", numbers[1]);
    // The rate is kept for the next study like it.
    window.button("New study");
    window.type_into("Name", " again");
    window.says("as measured here before");
    window.close();
}

#[test]
fn the_devices_page_lists_the_processor_examines_it_and_makes_it_the_default() {
    let place = Place::empty();
    let mut window = Window::open(&place.path("data"));
    window.button("Devices");
    window.press(Role::RadioButton, "New studies: auto");
    assert_eq!(window.0.state().as_ref().unwrap().settings().device, "auto");
    window.press(Role::RadioButton, "New studies: cpu");
    assert_eq!(window.0.state().as_ref().unwrap().settings().device, "cpu");
    window.button("Examine cpu");
    window.button("Stop examining");
    window.says("stopped while checking");
    window.close();
}

#[test]
fn a_curve_stays_small_and_keeps_its_mean() {
    let mut curve = Curve::default();
    let values = 1_u32 << 17;
    (0..values).for_each(|step| curve.push(f64::from(step), f64::from(step % 7)));
    curve.push(0.0, f64::NAN);
    assert!((250..1000).contains(&curve.points.len()), "{}", curve.points.len());
    let mean = curve.points.iter().map(|[_, value]| value).sum::<f64>() / curve.points.len() as f64;
    let expected = (0..values).map(|step| f64::from(step % 7)).sum::<f64>() / f64::from(values);
    assert!((mean - expected).abs() < 0.01, "{mean} is not {expected}");
    assert!(curve.points.windows(2).all(|pair| pair[0][0] < pair[1][0]));
}
