//! Drives the desktop application without a window, by what its controls are called.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use odyssey::gui::App;
use odyssey::gui::settings::Settings;

use crate::cli::Place;

/// The application under test, made at its first frame.
pub struct Lazy {
    settings: Settings,
    folders: Vec<PathBuf>,
    data: PathBuf,
    app: Option<App>,
}

impl Deref for Lazy {
    type Target = App;

    fn deref(&self) -> &App {
        self.app.as_ref().unwrap()
    }
}

pub type Driven = Harness<'static, Lazy>;

/// The application as one starts it with these folders; what it makes lands in the place's folder `data`.
pub fn app(place: &Place, folders: Vec<PathBuf>) -> Driven {
    let settings = Settings { device: "cpu".into(), ..Settings::default() };
    let lazy = Lazy { settings, folders, data: place.path("data"), app: None };
    let draw = |ui: &mut egui::Ui, lazy: &mut Lazy| {
        let make = || App::new(ui.ctx(), lazy.settings.clone(), lazy.folders.clone(), lazy.data.clone());
        lazy.app.get_or_insert_with(make).draw(ui);
    };
    Harness::builder().with_size(egui::Vec2::new(1280.0, 820.0)).with_max_steps(40).build_ui_state(draw, lazy)
}

/// Draws frames until something is called `label`.
pub fn wait_for(harness: &mut Driven, label: &str) {
    wait_until(harness, label, |harness| harness.query_all_by_label(label).next().is_some());
}

/// Draws frames until `done`.
pub fn wait_until(harness: &mut Driven, what: &str, done: impl Fn(&Driven) -> bool) {
    let started = Instant::now();
    loop {
        harness.run_ok();
        if done(harness) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{what:?} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}
