//! The page of a study: its scatter, its table, the card of a domain, strategies and seeds side by side.

use std::path::Path;

use egui::{Key, Modifiers, RichText, Ui};

use super::card::Card;
use super::export::Exports;
use super::opened::{OpenStudy, Selection, name};
use super::queue::Job;
use super::scatter::Scatter;
use super::strategies::Strategies;
use super::table::Table;
use super::{Ask, Asks, theme};

/// The tabs of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    /// Change in perplexity against distance.
    #[default]
    Scatter,
    /// Every domain in numbers.
    Table,
    /// One domain.
    Card,
    /// Strategies and seeds of one domain.
    Strategies,
}

impl Tab {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Scatter, "Scatter"),
        (Self::Table, "Table"),
        (Self::Card, "Domain"),
        (Self::Strategies, "Strategies and seeds"),
    ];
}

/// The page and its visible state.
pub struct StudyPage {
    study: OpenStudy,
    tab: Tab,
    selection: Selection,
    scatter: Scatter,
    table: Table,
    card: Card,
    strategies: Strategies,
    exports: Exports,
}

impl StudyPage {
    /// For a study just read. It keeps the visible state of `before`, the same study read earlier.
    pub fn new(study: OpenStudy, before: Option<Self>) -> Self {
        match before.filter(|before| before.study.folder == study.folder) {
            Some(mut before) => {
                before.table.renew();
                before.card.renew();
                before.strategies.renew();
                Self { selection: before.selection.clone().kept_in(&study), study, ..before }
            }
            None => Self {
                selection: Selection::first(&study),
                study,
                tab: Tab::default(),
                scatter: Scatter::default(),
                table: Table::default(),
                card: Card::default(),
                strategies: Strategies::default(),
                exports: Exports::default(),
            },
        }
    }

    /// The study's folder.
    pub fn folder(&self) -> &Path {
        &self.study.folder
    }

    /// Draws the page.
    pub fn show(&mut self, ui: &mut Ui, asks: &mut Asks) {
        self.heading(ui, asks);
        if self.study.arms.is_empty() {
            ui.add_space(12.0);
            ui.label("No adaptation is finished yet, so there is nothing to show.");
            if ui.button("Run what is missing").clicked() {
                asks.push(Ask::Run(Box::new(Job::resume(&self.study.folder))));
            }
            return;
        }
        self.keys(ui);
        ui.horizontal_wrapped(|ui| self.tabs(ui));
        ui.separator();
        let Self { study, selection, exports, .. } = self;
        let opened = match self.tab {
            Tab::Scatter => self.scatter.show(ui, study, selection, exports),
            Tab::Table => self.table.show(ui, study, selection, exports, asks),
            Tab::Card => {
                self.card.show(ui, study, selection);
                false
            }
            Tab::Strategies => {
                self.strategies.show(ui, study, selection);
                false
            }
        };
        if opened {
            self.tab = Tab::Card;
        }
    }

    fn tabs(&mut self, ui: &mut Ui) {
        for (tab, name) in Tab::ALL {
            ui.selectable_value(&mut self.tab, tab, name);
        }
        ui.separator();
        let domain = self.selection.point(&self.study).map_or("none", |point| point.name.as_str()).to_owned();
        let domains = egui::ComboBox::from_label("domain").selected_text(domain).width(150.0).truncate();
        domains.height(400.0).show_ui(ui, |ui| {
            for point in self.study.arms.get(self.selection.arm).map_or(&[][..], |arm| &arm.domains) {
                let chosen = self.selection.domain.as_ref() == Some(&point.domain);
                if ui.selectable_label(chosen, &point.name).clicked() {
                    self.selection.domain = Some(point.domain.clone());
                }
            }
        });
        if self.study.arms.len() > 1 {
            let chosen = self.study.arms.get(self.selection.arm).map_or(String::new(), |arm| name(&arm.name));
            let arms = egui::ComboBox::from_label("model / strategy").selected_text(chosen);
            arms.show_ui(ui, |ui| {
                for (index, arm) in self.study.arms.iter().enumerate() {
                    ui.selectable_value(&mut self.selection.arm, index, name(&arm.name));
                }
            });
            self.selection = self.selection.clone().kept_in(&self.study);
        }
    }

    fn heading(&mut self, ui: &mut Ui, asks: &mut Asks) {
        self.exports.keep_up(asks);
        ui.horizontal_wrapped(|ui| {
            ui.heading(name(&self.study.results.name));
            let export = ui.add_enabled(!self.exports.is_busy(), egui::Button::new("Export…"));
            if export.on_hover_text("The page, tables and figures, into a folder").clicked() {
                self.exports.all(ui.ctx(), self.study.results.clone());
            }
            if self.exports.is_busy() {
                ui.spinner();
            }
        });
        let missing = self.study.results.missing.len();
        if missing > 0 {
            ui.horizontal_wrapped(|ui| {
                let text = format!("{missing} tasks are not done: the results are from the others.");
                ui.label(RichText::new(text).color(theme::worse(ui.visuals().dark_mode)));
                if ui.button("Run what is missing").clicked() {
                    asks.push(Ask::Run(Box::new(Job::resume(&self.study.folder))));
                }
            });
        }
    }

    /// The arrows go through the domains; Enter opens a card and Escape leaves it.
    fn keys(&mut self, ui: &Ui) {
        if ui.ctx().memory(|memory| memory.focused().is_some()) || ui.ctx().any_popup_open() {
            return;
        }
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let step = match (
            pressed(Key::ArrowDown) || pressed(Key::ArrowRight),
            pressed(Key::ArrowUp) || pressed(Key::ArrowLeft),
        ) {
            (true, _) => 1,
            (_, true) => -1,
            _ => 0,
        };
        match (step, self.tab) {
            (0, _) => {}
            (step, Tab::Table) => self.table.step(&self.study, &mut self.selection, step),
            (step, _) => self.selection.step(&self.study, step),
        }
        if pressed(Key::Enter) && self.selection.domain.is_some() {
            self.tab = Tab::Card;
        }
        if self.tab == Tab::Card && pressed(Key::Escape) {
            self.tab = Tab::Scatter;
        }
    }
}
