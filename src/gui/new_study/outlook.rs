//! What a study will take, as it is shown before it starts; and the button that starts it.

use std::sync::Arc;

use egui::{CollapsingHeader, Grid, Label, RichText, TextEdit, Ui, WidgetInfo};

use super::estimate::Outlook;
use super::form::{Checked, Planned};
use super::page::NewStudy;
use crate::gui::live::duration;
use crate::gui::queue::Job;
use crate::gui::wording::Labels;
use crate::gui::{Ask, Asks, theme};
use crate::memory::MemoryPlan;
use crate::process::bytes;
use crate::report::count;

impl NewStudy {
    pub(super) fn before_it_starts(&mut self, ui: &mut Ui, asks: &mut Asks) {
        ui.strong("Before it starts");
        if self.fresh {
            ui.weak("Choose a model, its reference corpus and domains: then the cost of the study is shown here.");
        }
        let dark = ui.visuals().dark_mode;
        match &self.checked {
            None if self.fresh => {}
            None => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("checking…");
                });
            }
            Some(Err(fault)) => {
                let fault = format!("× {}", theme::visible(fault));
                ui.add(Label::new(RichText::new(fault).color(theme::worse(dark))).wrap());
            }
            Some(Ok(checked)) => {
                let path = theme::visible(&checked.folder.display().to_string());
                ui.add(Label::new(format!("● It can run. Results go into {path}")).wrap());
                for note in &checked.notes {
                    ui.add(Label::new(format!("Note: {}", theme::visible(note))).wrap());
                }
                for planned in &checked.planned {
                    memory(ui, planned);
                }
                self.time(ui);
            }
        }
        ui.add_space(6.0);
        ui.horizontal_wrapped(|ui| {
            let ready = self.checked.as_ref().and_then(|checked| checked.as_ref().ok());
            let fits = |checked: &&Checked| checked.planned.iter().all(|planned| planned.plan.fits != Some(false));
            let runs = ready.filter(fits);
            let start = ui.add_enabled(runs.is_some(), egui::Button::new(RichText::new("Start the study").strong()));
            let why = if ready.is_some() { "It does not fit into memory" } else { "Something is missing, see above" };
            if start.on_disabled_hover_text(why).clicked()
                && let Some(Checked { config, folder, .. }) = runs
            {
                asks.push(Ask::Run(Box::new(Job::study(config.clone(), folder.clone()))));
            }
            let save = ui.add_enabled(ready.is_some(), egui::Button::new("Save as a file…"));
            if save.on_hover_text("For `odyssey study run`").clicked() {
                self.save(ui.ctx());
            }
        });
        if let Some(Ok(checked)) = &self.checked {
            CollapsingHeader::new("The study's file (TOML)").id_salt("toml").show(ui, |ui| {
                // Shown literally; a field so that it can be selected as a whole.
                let mut text = checked.toml.as_str();
                let field = ui.add(TextEdit::multiline(&mut text).code_editor().desired_width(f32::INFINITY));
                field.widget_info(|| {
                    let mut info = WidgetInfo::text_edit(true, "", text, "");
                    info.label = Some("The study's file".into());
                    info
                });
            });
        }
    }

    fn time(&self, ui: &mut Ui) {
        let dark = ui.visuals().dark_mode;
        match (&self.outlook, &self.looking_ahead) {
            (Some(Ok(outlook)), _) => figures(ui, outlook),
            (Some(Err(fault)), _) => {
                let text = format!("× {}", theme::visible(fault));
                ui.add(Label::new(RichText::new(text).color(theme::worse(dark))).wrap());
            }
            (None, Some((progress, _))) => {
                ui.horizontal_wrapped(|ui| {
                    ui.spinner();
                    let what = Arc::clone(progress).what();
                    ui.label(format!("estimating the time: {}…", theme::visible(&what)));
                });
            }
            (None, None) => {}
        }
    }
}

/// Whether a plan fits, in words.
fn fitting(plan: &MemoryPlan) -> String {
    match (plan.fits, plan.has_bytes) {
        (Some(true), Some(has)) => format!("fits: {} are free", bytes(has)),
        (Some(false), Some(has)) => format!("DOES NOT FIT: {} are free", bytes(has)),
        (Some(false), None) => "DOES NOT FIT".to_owned(),
        _ => plan.reason.clone().unwrap_or_else(|| "whether that fits is not known".to_owned()),
    }
}

fn memory(ui: &mut Ui, planned: &Planned) {
    let Planned { model, strategy, device, plan } = planned;
    let dark = ui.visuals().dark_mode;
    let color = if plan.fits == Some(false) { theme::worse(dark) } else { ui.visuals().text_color() };
    let words = format!("Memory: training needs {}, {}", bytes(plan.needs_bytes), fitting(plan));
    ui.add(Label::new(RichText::new(words).color(color)).wrap());
    if let Some(obstacle) = &plan.obstacle {
        ui.add(Label::new(RichText::new(theme::visible(obstacle)).color(color)).wrap());
    }
    let title = format!("{} by {}, on {}", theme::visible(model), theme::visible(strategy), theme::visible(device));
    let header = CollapsingHeader::new(title).id_salt(("memory", model, strategy, device));
    header.default_open(plan.fits == Some(false)).show(ui, |ui| {
        Grid::new(("parts", model, strategy, device)).num_columns(2).striped(true).show(ui, |ui| {
            for part in &plan.parts {
                ui.label(part.what);
                ui.label(bytes(part.bytes));
                ui.end_row();
            }
        });
        if let Some(most) = plan.largest_micro_batch {
            ui.label(format!("At most {most} windows fit at once."));
        }
        if !plan.options.is_empty() {
            ui.weak("Ways to need less:");
        }
        for option in &plan.options {
            let fits = match option.fits {
                Some(true) => "fits",
                Some(false) => "does not fit",
                None => "not known whether it fits",
            };
            ui.label(format!("{}: {}, {fits}", option.worded(&Labels), bytes(option.needs_bytes)));
        }
    });
}

fn figures(ui: &mut Ui, outlook: &Outlook) {
    let Outlook { adaptations, trained, evaluated, seconds, rates, disk, disk_free } = outlook;
    let time = match seconds {
        Some(seconds) => format!("Time: about {} on this device", duration(*seconds)),
        None => "Time: not known before it runs".to_owned(),
    };
    ui.label(RichText::new(time).strong());
    let tokens = format!(
        "{} adaptations train on {} tokens; {} more are read to validate, evaluate and measure distances.",
        count(*adaptations),
        count(*trained),
        count(*evaluated)
    );
    ui.add(Label::new(tokens).wrap());
    for rate in rates {
        ui.add(Label::new(RichText::new(theme::visible(rate)).weak()).wrap());
    }
    let room = match disk_free {
        Some(free) if free < disk => format!("TOO LITTLE: {} are free there", bytes(*free)),
        Some(free) => format!("{} are free there", bytes(*free)),
        None => "check the free space".to_owned(),
    };
    ui.add(Label::new(format!("Disk: about {}; {room}", bytes(*disk))).wrap());
}
