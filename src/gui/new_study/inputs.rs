//! The form as it is drawn.

use std::path::PathBuf;

use egui::{Align, CollapsingHeader, ComboBox, Grid, Layout, Role, TextEdit, Ui, WidgetInfo};
use egui_extras::{Column, TableBuilder};

use super::form::Form;
use super::page::{NewStudy, Purpose};
use super::recipe;
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
        let Form { config, recipe, .. } = &mut self.form;
        let Some(strategy) = config.strategies.first_mut() else { return };
        ui.strong("Recipe");
        let before = recipe.get("strategy").cloned();
        recipe::rows(ui, "recipe", recipe, recipe::is_in_front);
        if recipe.get("strategy") != before.as_ref() {
            // The name in tables says what is done, unless somebody gave it another.
            let name = |value: Option<&String>| value.map_or_else(|| "full".to_owned(), String::clone);
            if strategy.name == name(before.as_ref()) {
                strategy.name = name(recipe.get("strategy"));
            }
        }
        CollapsingHeader::new("More of the recipe").id_salt("more").show(ui, |ui| {
            recipe::rows(ui, "more", recipe, |key| !recipe::is_in_front(key));
            let rank = "Measure also how high the models rank each domain's own terms";
            ui.checkbox(&mut config.evaluation.rank, rank);
        });
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
