//! The form as it is drawn.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::ValueEnum;
use egui::{Align, CollapsingHeader, ComboBox, DragValue, Grid, Layout, Role, TextEdit, Ui, WidgetInfo};
use egui_extras::{Column, TableBuilder};

use super::form::{Form, rate};
use super::page::{NewStudy, Purpose};
use crate::adapt::preset::Preset;
use crate::adapt::{AdaptSettings, Strategy};
use crate::gui::theme;

/// The widest a field becomes.
const WIDE: f32 = 460.0;

impl NewStudy {
    pub(super) fn inputs(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            ui.heading("New study");
            if ui.button("From a file…").on_hover_text("A study's TOML; or drop it on the window").clicked() {
                self.choose(ui.ctx(), Purpose::Study);
            }
            if ui.button("Clear").on_hover_text("Resets the form").clicked() {
                self.form = Form::empty(&self.form.device);
            }
        });
        ui.weak("Folders and files can be dropped on the window: models, domains, folders full of domains.");
        ui.add_space(6.0);
        let mut asked = None;
        Grid::new("texts").num_columns(2).spacing([12.0, 8.0]).show(ui, |ui| {
            let hint = "a folder, or a name on the hub such as gpt2";
            let buttons = [("Folder…", Purpose::Model)];
            asked = asked.or(path(ui, "Model", &mut self.form.model, hint, &buttons));
            let hint = "a sample of what the model was pretrained on";
            let buttons = [("Folder…", Purpose::ReferenceFolder), ("File…", Purpose::ReferenceFile)];
            asked = asked.or(path(ui, "Reference corpus", &mut self.form.reference, hint, &buttons));
        });
        let others = [(self.form.config.models.len(), "models"), (self.form.config.strategies.len(), "strategies")];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 1) {
            ui.weak(format!("The study's file has {count} {what}: the first is shown, the others stay as they are."));
        }
        ui.add_space(6.0);
        asked = asked.or(self.domains(ui));
        ui.add_space(6.0);
        Grid::new("study").num_columns(2).spacing([12.0, 8.0]).show(ui, |ui| {
            line(ui, "Name", &mut self.form.config.name, "what reports call it");
            let buttons = [("Folder…", Purpose::Folder)];
            asked =
                asked.or(path(ui, "Results in", &mut self.form.folder, "a new folder, by the study's name", &buttons));
            self.device(ui);
            line(
                ui,
                "Seeds",
                &mut self.form.seeds,
                "42; several seeds, separated by commas, show the effect of chance",
            );
        });
        let control = "Restart control: adapt to the reference corpus too";
        ui.checkbox(&mut self.form.config.restart_control, control);
        ui.weak("It shows the cost of restarting the optimiser alone, without anything new to learn.");
        ui.add_space(6.0);
        self.recipe(ui);
        if let Some(purpose) = asked {
            self.choose(ui.ctx(), purpose);
        }
    }

    fn domains(&mut self, ui: &mut Ui) -> Option<Purpose> {
        let mut asked = None;
        let count = self.form.config.domains.len();
        ui.horizontal_wrapped(|ui| {
            ui.strong(if count == 0 { "Domains".to_owned() } else { format!("Domains ({count})") });
            let hint = "Folders with train, valid and test texts; a folder of such folders adds them all";
            if ui.button("Add folders…").on_hover_text(hint).clicked() {
                asked = Some(Purpose::DomainFolders);
            }
            if ui.button("Add files…").on_hover_text("Each is divided by document").clicked() {
                asked = Some(Purpose::DomainFiles);
            }
        });
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("or a path, or a data set on the hub:");
            let hint = "machelreid/m2d2/data/cs.CL.tar.gz";
            let field = ui.add(TextEdit::singleline(&mut self.hub_domain).desired_width(260.0).hint_text(hint));
            let field = field.labelled_by(label.id);
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            let named = !self.hub_domain.trim().is_empty();
            let add = ui.add_enabled(named, egui::Button::new("Add"));
            add.widget_info(|| WidgetInfo::labeled(Role::Button, named, "Add the domain"));
            if (add.clicked() || entered) && named {
                self.dropped.push(PathBuf::from(std::mem::take(&mut self.hub_domain).trim()));
            }
        });
        if count == 0 {
            ui.weak("No domains yet. A domain is the kind of text that the model is adapted to.");
            return asked;
        }
        let mut removed = None;
        let height = ui.spacing().interact_size.y + 2.0;
        let visuals = ui.available_width();
        TableBuilder::new(ui)
            .id_salt("domains")
            .striped(true)
            .max_scroll_height(8.0 * height)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::initial((visuals * 0.3).min(240.0)).at_least(90.0))
            .column(Column::initial((visuals * 0.2).min(160.0)).at_least(70.0))
            .column(Column::remainder().at_least(80.0).clip(true))
            .column(Column::exact(34.0))
            .header(22.0, |mut header| {
                for title in ["Name", "Group", "Where", ""] {
                    header.col(|ui| _ = ui.strong(title));
                }
            })
            .body(|body| {
                body.rows(height, count, |mut row| {
                    let index = row.index();
                    let domain = &mut self.form.config.domains[index];
                    for (what, text) in [("Name", &mut domain.name), ("Group", &mut domain.group)] {
                        row.col(|ui| {
                            let field = ui.add(TextEdit::singleline(text).desired_width(f32::INFINITY));
                            let text = text.clone();
                            field.widget_info(|| {
                                let mut info = WidgetInfo::text_edit(true, "", &text, "");
                                info.label = Some(format!("{what} of domain {}", index + 1));
                                info
                            });
                        });
                    }
                    row.col(|ui| {
                        let place = theme::visible(&domain.path.display().to_string());
                        ui.add(egui::Label::new(&place).truncate()).on_hover_text(place);
                    });
                    row.col(|ui| {
                        let remove =
                            ui.small_button("×").on_hover_text("Removes it from this study; nothing is deleted");
                        let label = format!("Remove {}", theme::visible(&domain.name));
                        remove.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
                        if remove.clicked() {
                            removed = Some(index);
                        }
                    });
                });
            });
        if let Some(index) = removed {
            self.form.config.domains.remove(index);
        }
        ui.weak("Domains of one group share a colour, and are also compared among themselves.");
        asked
    }

    fn device(&mut self, ui: &mut Ui) {
        let label = ui.label("Device");
        let Some(devices) = &self.devices else {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label("asking the graphics drivers…");
            });
            ui.end_row();
            return;
        };
        let words = |device: &str| devices.iter().find(|(choice, _)| choice == device).map(|(_, words)| words.clone());
        let chosen = words(&self.form.device).unwrap_or_else(|| self.form.device.clone());
        let combo = ComboBox::from_id_salt("device")
            .width(WIDE.min(ui.available_width()))
            .selected_text(theme::visible(&chosen));
        let combo = combo.show_ui(ui, |ui| {
            for (choice, words) in devices {
                ui.selectable_value(&mut self.form.device, choice.clone(), theme::visible(words));
            }
        });
        combo.response.labelled_by(label.id);
        ui.end_row();
    }

    fn recipe(&mut self, ui: &mut Ui) {
        let Form { config, lr, .. } = &mut self.form;
        let Some(strategy) = config.strategies.first_mut() else { return };
        ui.strong("Recipe");
        let recipe = &mut strategy.recipe;
        Grid::new("recipe").num_columns(2).spacing([12.0, 8.0]).show(ui, |ui| {
            let before = recipe.preset;
            let mut preset = before.unwrap_or(Preset::Default);
            choice(ui, "Preset", &mut preset);
            if before.unwrap_or(Preset::Default) != preset {
                *recipe = preset.settings();
                *lr = rate(recipe.lr);
            }
            let trained = recipe.strategy;
            choice(ui, "What is trained", &mut recipe.strategy);
            if recipe.strategy != trained {
                // The name in tables describes the strategy, unless the user chose another.
                let names = [("full", Strategy::Full), ("lora", Strategy::Lora)];
                if names.iter().any(|(name, _)| *name == strategy.name)
                    && let Some((name, _)) = names.iter().find(|(_, strategy)| *strategy == recipe.strategy)
                {
                    strategy.name = (*name).to_owned();
                }
                recipe.lora = (recipe.strategy == Strategy::Lora).then(Default::default);
            }
            line(ui, "Learning rate", lr, "3e-4");
            number(ui, "Epochs", &mut recipe.epochs, 1..=1000);
            at_most(ui, "Largest number of steps", &mut recipe.max_steps, 1000, 1..=10_000_000);
            at_most(ui, "Steps instead of epochs", &mut recipe.steps, 1000, 1..=10_000_000);
            number(ui, "Windows of a step", &mut recipe.batch, 1..=65_536);
        });
        CollapsingHeader::new("More of the recipe").id_salt("more").show(ui, |ui| {
            Grid::new("more").num_columns(2).spacing([12.0, 8.0]).show(ui, |ui| more(ui, recipe));
            let blocks = "Compute layers twice: a third more time, a fraction of the memory";
            ui.checkbox(&mut recipe.gradient_checkpointing, blocks);
            let rank = "Also measure how high the models rank the terms of each domain";
            ui.checkbox(&mut config.evaluation.rank, rank);
        });
    }
}

fn more(ui: &mut Ui, recipe: &mut AdaptSettings) {
    number(ui, "Windows at once", &mut recipe.micro_batch, 1..=65_536);
    at_most(ui, "Tokens of a window", &mut recipe.context, 512, 2..=1_000_000);
    choice(ui, "Rate after the warm-up", &mut recipe.decay);
    number(ui, "Share that warms up", &mut recipe.warmup_ratio, 0.0..=1.0);
    choice(ui, "Documents in windows", &mut recipe.packing);
    choice(ui, "Products computed in", &mut recipe.compute);
    number(ui, "Validations", &mut recipe.validations, 0..=1000);
    at_most(ui, "Stop after validations without improvement", &mut recipe.patience, 3, 1..=1000);
    if let Some(lora) = &mut recipe.lora {
        number(ui, "Rank of adapters", &mut lora.rank, 1..=65_536);
        number(ui, "Alpha of adapters", &mut lora.alpha, 0.0..=1e6);
        number(ui, "Dropout of adapters", &mut lora.dropout, 0.0..=0.99);
    }
}

/// A labelled line of text.
fn line(ui: &mut Ui, what: &str, text: &mut String, hint: &str) {
    let label = ui.label(what);
    let width = WIDE.min(ui.available_width());
    ui.add(TextEdit::singleline(text).desired_width(width).hint_text(hint.to_owned())).labelled_by(label.id);
    ui.end_row();
}

/// A labelled path with buttons that open dialogs; which was pressed.
fn path(ui: &mut Ui, what: &str, text: &mut String, hint: &str, buttons: &[(&str, Purpose)]) -> Option<Purpose> {
    let mut asked = None;
    let label = ui.label(what);
    ui.horizontal_wrapped(|ui| {
        let width = (ui.available_width() - 96.0 * buttons.len() as f32).clamp(120.0, WIDE);
        ui.add(TextEdit::singleline(text).desired_width(width).hint_text(hint.to_owned())).labelled_by(label.id);
        for (words, purpose) in buttons {
            let button = ui.button(*words);
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{what}: {words}")));
            if button.clicked() {
                asked = Some(*purpose);
            }
        }
    });
    ui.end_row();
    asked
}

/// A labelled number.
fn number<N: egui::emath::Numeric>(ui: &mut Ui, what: &str, value: &mut N, range: RangeInclusive<N>) {
    let label = ui.label(what);
    let speed = if N::INTEGRAL { 0.1 } else { 0.01 };
    ui.add(DragValue::new(value).range(range).speed(speed)).labelled_by(label.id);
    ui.end_row();
}

/// A number that may be left out; it begins at `first`.
fn at_most<N: egui::emath::Numeric>(
    ui: &mut Ui,
    what: &str,
    value: &mut Option<N>,
    first: N,
    range: RangeInclusive<N>,
) {
    let mut set = value.is_some();
    let check = ui.checkbox(&mut set, what);
    if check.changed() {
        *value = set.then_some(first);
    }
    match value {
        Some(number) => {
            let field = ui.add(DragValue::new(number).range(range).speed(1.0));
            field.labelled_by(check.id);
        }
        None => _ = ui.weak("not set"),
    }
    ui.end_row();
}

/// A labelled choice among the values that the command line has.
fn choice<T: ValueEnum + PartialEq>(ui: &mut Ui, what: &str, value: &mut T) {
    let name = |value: &T| value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let label = ui.label(what);
    let combo = ComboBox::from_id_salt(what).selected_text(name(value));
    let combo = combo.show_ui(ui, |ui| {
        for variant in T::value_variants() {
            let words = variant.to_possible_value();
            let hint = words.as_ref().and_then(|words| words.get_help()).map(ToString::to_string);
            let button = ui.selectable_value(value, variant.clone(), name(variant));
            if let Some(hint) = hint {
                button.on_hover_text(hint);
            }
        }
    });
    combo.response.labelled_by(label.id);
    ui.end_row();
}
