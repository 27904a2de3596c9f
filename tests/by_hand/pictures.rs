//! Pictures of the application's pages, for a person to look at.
//!
//!     ODYSSEY_PICTURES=DIR cargo test --release --features gui --test by_hand pictures -- --nocapture
//!
//! draws the pages of queue, form and devices while a study trains; with `ODYSSEY_STUDY=DIR` too, the pages of that finished study.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use egui::{Key, ThemePreference};
use egui_kittest::kittest::Queryable;

use crate::cli::Place;
use crate::gui::{Driven, app, wait_for, wait_until};
use crate::window::{Window, study_file};

/// Pictures of the pages, and frame times while a study trains.
#[test]
fn pictures_while_a_study_trains() {
    let folder = PathBuf::from(std::env::var_os("ODYSSEY_PICTURES").expect("ODYSSEY_PICTURES names a folder"));
    let place = Place::with_languages();
    let mut window = Window::open(&place.path("data"));
    let picture = |window: &mut Window, page: &str| {
        for (size, what) in [([1280.0, 820.0], "wide"), ([720.0, 480.0], "narrow"), ([720.0, 1400.0], "tall")] {
            for theme in [egui::Theme::Light, egui::Theme::Dark] {
                window.0.ctx.set_theme(theme);
                window.0.set_size(size.into());
                window.0.run_steps(4);
                let name = format!("{page}-{what}-{theme:?}.png").to_lowercase();
                window.0.render().unwrap().save(folder.join(name)).unwrap();
            }
        }
        window.0.set_size([1100.0, 2400.0].into());
        window.0.run_steps(3);
    };
    window.button("Devices");
    window.says("New studies: cpu");
    picture(&mut window, "devices");
    window.button("New study");
    picture(&mut window, "form-empty");
    window.drop_file(study_file(&place, "Running", "model", 3000));
    window.says("Time: about");
    picture(&mut window, "form");
    window.button("Start the study");
    window.says("tokens/s");
    for (name, steps) in [("Waiting", 20), ("Another", 20)] {
        window.start(study_file(&place, name, "model", steps));
    }
    sleep(Duration::from_secs(4));
    let mut frames: Vec<f64> = (0..300)
        .map(|_| {
            let started = Instant::now();
            window.0.step();
            let took = started.elapsed().as_secs_f64() * 1e3;
            sleep(Duration::from_millis(10));
            took
        })
        .collect();
    frames.sort_by(f64::total_cmp);
    eprintln!(
        "frames while training: median {:.2} ms, 99 % {:.2} ms, worst {:.2} ms",
        frames[150], frames[297], frames[299]
    );
    picture(&mut window, "live");
    window.button("Stop");
    window.says("■ stopped");
    window.says("Open: Another");
    picture(&mut window, "ended");
    window.close();
}

#[test]
fn pictures_of_a_finished_study() {
    let [out, folder] = ["ODYSSEY_PICTURES", "ODYSSEY_STUDY"]
        .map(|name| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} names a folder"))));
    for (name, size, theme) in [
        ("light", [1280.0, 820.0], ThemePreference::Light),
        ("dark", [1280.0, 820.0], ThemePreference::Dark),
        ("small", [720.0, 480.0], ThemePreference::Light),
    ] {
        let place = Place::empty();
        let mut harness = app(&place, vec![folder.clone()]);
        harness.set_size(size.into());
        harness.ctx.set_theme(theme);
        wait_for(&mut harness, "Scatter");
        let save = |harness: &mut Driven, page: &str| {
            harness.run_steps(3);
            let begun = Instant::now();
            harness.run_steps(10);
            eprintln!("{name} {page}: {:.2} ms a frame", begun.elapsed().as_secs_f64() * 100.0);
            harness.render().unwrap().save(out.join(format!("{page}-{name}.png"))).unwrap();
        };
        harness.key_press(Key::ArrowDown);
        harness.run_steps(2);
        harness.key_press(Key::ArrowDown);
        save(&mut harness, "scatter");
        harness.get_by_label("Table").click();
        save(&mut harness, "table");
        harness.get_by_label("Domain").click();
        harness.run_steps(2);
        let begun = Instant::now();
        wait_until(&mut harness, "advice", |harness| harness.query_by_label_contains("predicting every").is_none());
        eprintln!("advice took {:.2} s", begun.elapsed().as_secs_f64());
        save(&mut harness, "card");
        harness.get_by_label("Tokens").click();
        save(&mut harness, "tokens");
        harness.get_by_label("Passages").click();
        save(&mut harness, "passages");
        harness.get_by_label("before and after side by side").click();
        save(&mut harness, "side");
        harness.get_by_label("Curves").click();
        wait_for(&mut harness, "tokens before in the window");
        save(&mut harness, "curves");
        harness.get_by_label("Strategies and seeds").click();
        save(&mut harness, "strategies");
    }
}
