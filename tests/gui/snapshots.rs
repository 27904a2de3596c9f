//! The pages as somebody looked at them, drawn on the software card; `UPDATE_SNAPSHOTS=true cargo test …` draws anew.

use std::fs;

use crate::cli::Place;
use crate::gui::{app, wait_for, wait_until};
use crate::made_up::controlled;
use egui::{Key, ThemePreference};
use egui_kittest::SnapshotOptions;
use egui_kittest::kittest::Queryable;
use odyssey::files::write_json;

/// Versions of the software card round a few edges differently; a control that moved changes thousands of pixels.
const EDGES: usize = 300;

#[test]
fn the_software_card_draws_the_pages_of_a_study_as_they_were_looked_at() {
    let place = Place::empty();
    let folder = place.path("study");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plan.json"), "{}").unwrap();
    write_json(&folder.join("results.json"), &controlled(12)).unwrap();

    let mut harness = app(&place, vec![folder]);
    harness.set_size(egui::Vec2::new(1040.0, 700.0));
    wait_for(&mut harness, "Scatter");
    let options = SnapshotOptions::new().max_failed_pixels(EDGES);
    let mut looks = Vec::new();
    for (theme, name) in [(ThemePreference::Light, "light"), (ThemePreference::Dark, "dark")] {
        harness.ctx.set_theme(theme);
        harness.get_by_label("Scatter").click();
        harness.run_steps(4);
        looks.push(harness.try_snapshot_options(format!("scatter-{name}"), &options));

        harness.key_press(Key::ArrowDown);
        harness.key_press(Key::Enter);
        wait_until(&mut harness, "advice", |harness| harness.query_by_label_contains("predicting every").is_none());
        harness.get_by_label("Passages").click();
        harness.run_steps(4);
        looks.push(harness.try_snapshot_options(format!("passages-{name}"), &options));
    }
    for look in looks {
        look.unwrap();
    }
}
