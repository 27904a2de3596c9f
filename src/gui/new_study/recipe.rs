//! The recipe's settings as rows of the form, made from the same description as the command line's `--help`.

use clap::ValueEnum;
use egui::{ComboBox, Grid, TextEdit, Ui};

use crate::recipe::{AdaptSettings, Given, Preset, RecipeOption, options};

/// The settings that are shown first.
const IN_FRONT: [&str; 7] = ["preset", "strategy", "lr", "epochs", "max_steps", "steps", "batch"];

/// Whether the setting `key` is shown first.
pub(super) fn is_in_front(key: &str) -> bool {
    IN_FRONT.contains(&key)
}

/// A row for each setting whose key is `shown`. What is not given is taken from the preset, or is the default.
pub(super) fn rows(ui: &mut Ui, id: &str, given: &mut Given, shown: impl Fn(&str) -> bool) {
    let below = below(given);
    Grid::new(id).num_columns(2).spacing([12.0, 8.0]).show(ui, |ui| {
        for option in options().iter().filter(|option| shown(&option.key)) {
            row(ui, option, given, below.get(&option.key).or(option.default.as_ref()));
        }
    });
}

/// What the preset gives.
fn below(given: &Given) -> Given {
    let preset = given.get("preset").and_then(|preset| Preset::from_str(preset, false).ok());
    preset.map_or_else(Given::new, |preset| AdaptSettings { preset: None, ..preset.settings() }.given())
}

fn row(ui: &mut Ui, option: &RecipeOption, given: &mut Given, below: Option<&String>) {
    let label = ui.label(words(&option.key)).on_hover_text(&option.help);
    let unset = below.map_or_else(|| "not set".to_owned(), |value| format!("{value} (as it is)"));
    let mut value = given.get(&option.key).cloned().unwrap_or_default();
    if option.is_flag {
        let mut on = value == "true" || value.is_empty() && below.is_some_and(|below| below == "true");
        if ui.checkbox(&mut on, "").labelled_by(label.id).on_hover_text(&option.help).changed() {
            value = if on { "true".to_owned() } else { String::new() };
        }
    } else if option.values.is_empty() {
        let field = TextEdit::singleline(&mut value).desired_width(160.0).hint_text(unset);
        ui.add(field).labelled_by(label.id).on_hover_text(&option.help);
    } else {
        let shown = if value.is_empty() { unset.clone() } else { value.clone() };
        let combo = ComboBox::from_id_salt(&option.key).selected_text(shown).show_ui(ui, |ui| {
            ui.selectable_value(&mut value, String::new(), unset);
            for (name, help) in &option.values {
                ui.selectable_value(&mut value, name.clone(), name).on_hover_text(help);
            }
        });
        combo.response.labelled_by(label.id).on_hover_text(&option.help);
    }
    ui.end_row();
    match value.trim() {
        "" => drop(given.remove(&option.key)),
        _ => drop(given.insert(option.key.clone(), value)),
    }
}

/// A key as words: `adamw.weight_decay` is "Adamw weight decay".
fn words(key: &str) -> String {
    let words = key.replace(['.', '_'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
