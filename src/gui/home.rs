//! The first page: studies to open, and what to do if there are none.

use std::path::PathBuf;
use std::time::SystemTime;

use egui::{Align, Context, Key, Layout, RichText, ScrollArea, Ui};
use egui_extras::{Column, TableBuilder};

use super::background::{Arrival, Background};
use super::library::{Entry, State};
use super::queue::Job;
use super::settings::Settings;
use super::theme::{self, visible};
use super::{Ask, Asks, Page};

/// The home page.
#[derive(Default)]
pub struct Home {
    /// The folder for the application's own files.
    data: PathBuf,
    /// Studies named at the start, which are listed before the recent ones.
    pub named: Vec<PathBuf>,
    /// The listed entries, after the folders were read.
    entries: Vec<Entry>,
    looking: Option<Background<Vec<Entry>>>,
    /// The folders that `entries` are of.
    listed: Vec<PathBuf>,
    /// Only names that contain this are shown.
    filter: String,
}

impl Home {
    /// For an application whose own files are in `data`.
    pub fn new(data: PathBuf) -> Self {
        Self { data, ..Self::default() }
    }

    /// Reads the folders again at the next frame.
    pub fn refresh(&mut self) {
        self.listed.clear();
    }

    fn keep_up(&mut self, context: &Context, settings: &Settings) {
        let mut wanted = self.named.clone();
        wanted.extend(settings.recent.iter().filter(|folder| !self.named.contains(folder)).cloned());
        if self.listed != wanted {
            self.listed.clone_from(&wanted);
            let look = move || wanted.iter().map(|folder| Entry::of(folder)).collect();
            self.looking = Some(Background::start(context, look));
        }
        match self.looking.as_ref().map(Background::poll) {
            Some(Arrival::Here(entries)) => {
                self.entries = entries;
                self.looking = None;
            }
            Some(Arrival::Lost) => self.looking = None,
            Some(Arrival::Pending) | None => {}
        }
    }

    /// Draws the page.
    pub fn show(&mut self, ui: &mut Ui, settings: &mut Settings, asks: &mut Asks) {
        self.keep_up(ui.ctx(), settings);
        ui.heading("Will additional pretraining help or hurt here?");
        ui.label(
            "odyssey adapts a language model to your domains, measures perplexity before and after, and says which tokens carry \
             the change, how sure that is, and what to do.",
        );
        ui.add_space(8.0);
        ui.horizontal_wrapped(|ui| {
            if ui
                .button("Run the demo")
                .on_hover_text("Synthetic languages at known distances: a few minutes")
                .clicked()
            {
                asks.push(Ask::Run(Box::new(Job::demo(&self.data, &settings.device))));
            }
            if ui.button("New study…").on_hover_text("Your model, your texts (Ctrl+N)").clicked() {
                asks.push(Ask::Go(Page::NewStudy));
            }
            if ui.button("Open a study…").on_hover_text("A folder of `odyssey study run --out` (Ctrl+O)").clicked() {
                asks.push(Ask::Choose);
            }
            ui.weak("or drop a study's folder here");
        });
        ui.add_space(12.0);
        ui.horizontal(|ui| {
            ui.label(RichText::new("Studies").strong());
            if self.looking.is_some() {
                ui.spinner();
            }
            if self.entries.len() > 8 {
                let label = ui.label("Find:");
                let field =
                    egui::TextEdit::singleline(&mut self.filter).desired_width(200.0).hint_text("part of a name");
                ui.add(field).labelled_by(label.id);
            }
        });
        if self.entries.is_empty() {
            if self.looking.is_none() {
                ui.weak("No studies yet. The demo takes a few minutes and needs only this program.");
            }
            return;
        }
        self.table(ui, settings, asks);
    }

    fn table(&self, ui: &mut Ui, settings: &mut Settings, asks: &mut Asks) {
        let wanted = self.filter.to_lowercase();
        let fits = |entry: &&Entry| {
            let place = entry.folder.display().to_string();
            wanted.is_empty() || format!("{} {place}", entry.name).to_lowercase().contains(&wanted)
        };
        let shown: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        let height = ui.spacing().interact_size.y + 4.0;
        let dark = ui.visuals().dark_mode;
        ScrollArea::horizontal().show(ui, |ui| {
            TableBuilder::new(ui)
                .striped(true)
                .cell_layout(Layout::left_to_right(Align::Center))
                .column(Column::initial(300.0).at_least(120.0).clip(true).resizable(true))
                .column(Column::initial(190.0).at_least(80.0).clip(true).resizable(true))
                .column(Column::initial(110.0).at_least(60.0))
                .column(Column::remainder().at_least(120.0).clip(true))
                .column(Column::exact(34.0))
                .header(24.0, |mut header| {
                    for title in ["Study", "State", "Changed", "Folder", ""] {
                        header.col(|ui| {
                            ui.strong(title);
                        });
                    }
                })
                .body(|body| {
                    body.rows(height, shown.len(), |mut row| {
                        let entry = shown[row.index()];
                        row.col(|ui| {
                            let name = visible(&entry.name);
                            let opens = matches!(entry.state, State::Finished { .. } | State::Unfinished { .. });
                            let button = ui.add_enabled(opens, egui::Button::new(&name).frame(false));
                            let pressed = button.has_focus() && ui.input(|input| input.key_pressed(Key::Enter));
                            if button.on_hover_text("Open").clicked() || pressed {
                                asks.push(Ask::Open(entry.folder.clone()));
                            }
                        });
                        row.col(|ui| match &entry.state {
                            State::Finished { domains } => {
                                ui.label(format!("finished, {domains} domains"));
                            }
                            State::Unfinished { done, of } => {
                                ui.label(format!("{done} of {of} tasks"));
                                if ui.small_button("Go on").on_hover_text("Run what is missing").clicked() {
                                    asks.push(Ask::Run(Box::new(Job::resume(&entry.folder))));
                                }
                            }
                            State::Gone => {
                                ui.weak("the folder is gone");
                            }
                            State::Broken(why) => {
                                ui.colored_label(theme::worse(dark), "cannot be read").on_hover_text(visible(why));
                            }
                        });
                        row.col(|ui| {
                            ui.weak(entry.changed.map_or_else(String::new, ago));
                        });
                        row.col(|ui| {
                            ui.weak(visible(&entry.folder.display().to_string()));
                        });
                        row.col(|ui| {
                            if settings.recent.contains(&entry.folder) {
                                let forget =
                                    ui.small_button("×").on_hover_text("Remove it from this list; the folder stays");
                                forget.widget_info(|| {
                                    let label = format!("Forget {}", entry.name);
                                    egui::WidgetInfo::labeled(egui::Role::Button, true, label)
                                });
                                if forget.clicked() {
                                    settings.forget(&entry.folder);
                                }
                            }
                        });
                    });
                });
        });
    }
}

/// How long ago, in words.
fn ago(then: SystemTime) -> String {
    let seconds = then.elapsed().map_or(0, |since| since.as_secs());
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
