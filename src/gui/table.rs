//! Every domain in numbers.

use egui::{Align, Button, Key, Layout, RichText, ScrollArea, Sense, TextWrapMode, Ui};
use egui_extras::{Column, TableBuilder};

use super::export::Exports;
use super::opened::{OpenStudy, Selection, round};
use super::sorting::Sort;
use super::{Ask, Asks, marks, theme};
use crate::columns::{Heading, Sheet};
use crate::report::{Direction, csv, outcomes};
use crate::similarity::Measure;

/// The visible state of the table.
pub struct Table {
    sort: Sort,
    filter: String,
    direction: Option<Direction>,
    seen: Option<Seen>,
    scrolled_to: Option<String>,
}

/// What was chosen, and the rows that follow from it.
struct Seen {
    of: Choice,
    /// The arm's domains, in its order.
    sheet: Sheet,
    /// Domains in order.
    rows: Vec<usize>,
}

#[derive(PartialEq)]
struct Choice {
    arm: usize,
    measure: Option<Measure>,
    sort: Sort,
    filter: String,
    direction: Option<Direction>,
}

impl Default for Table {
    fn default() -> Self {
        let sort = Sort::descending("delta");
        Self { sort, filter: String::new(), direction: None, seen: None, scrolled_to: None }
    }
}

impl Table {
    /// Drops the prepared content, because the study was read again.
    pub fn renew(&mut self) {
        self.seen = None;
    }

    fn prepare(&mut self, study: &OpenStudy, selection: &Selection) {
        let of = Choice {
            arm: selection.arm,
            measure: selection.against(study).map(|against| against.measure),
            sort: self.sort.clone(),
            filter: self.filter.to_lowercase(),
            direction: self.direction,
        };
        if self.seen.as_ref().is_some_and(|seen| seen.of == of) {
            return;
        }
        let Some(arm) = selection.arm(study) else { return };
        let sheet = arm.sheet.of_measure(of.measure);
        let fits = |index: &usize| {
            let point = &arm.domains[*index];
            let text = format!("{} {}", point.domain, study.groups.get(point.group).map_or("", String::as_str));
            of.direction.is_none_or(|direction| direction == point.direction)
                && text.to_lowercase().contains(&of.filter)
        };
        let mut rows: Vec<usize> = (0..arm.domains.len()).filter(fits).collect();
        self.sort.apply(&mut rows, &sheet);
        self.seen = Some(Seen { of, sheet, rows });
    }

    /// Goes to the next (1) or previous (−1) domain of those shown, with wrap-around.
    pub fn step(&self, study: &OpenStudy, selection: &mut Selection, step: isize) {
        let (Some(arm), Some(seen)) = (selection.arm(study), &self.seen) else { return };
        let now = selection.index(study).and_then(|index| seen.rows.iter().position(|&row| row == index));
        let next = round(now, step, seen.rows.len());
        if let Some(point) = next.and_then(|next| arm.domains.get(seen.rows[next])) {
            selection.domain = Some(point.domain.clone());
        }
    }

    /// Draws it. Whether a domain's card is to be opened.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        study: &OpenStudy,
        selection: &mut Selection,
        exports: &mut Exports,
        asks: &mut Asks,
    ) -> bool {
        self.controls(ui, study, selection, exports, asks);
        self.prepare(study, selection);
        let (Some(arm), Some(seen)) = (selection.arm(study), &self.seen) else { return false };
        if seen.rows.is_empty() {
            ui.label("No domain matches: clear the text and the call above.");
            return false;
        }
        let scroll = (self.scrolled_to != selection.domain).then(|| {
            self.scrolled_to.clone_from(&selection.domain);
            selection.index(study).and_then(|index| seen.rows.iter().position(|&row| row == index))
        });
        let (sort, scrolled_to) = (&mut self.sort, &mut self.scrolled_to);
        let (mut opened, dark) = (false, ui.visuals().dark_mode);
        let height = ui.spacing().interact_size.y;
        ScrollArea::horizontal().show(ui, |ui| {
            let mut table = TableBuilder::new(ui)
                .id_salt("domains in numbers")
                .striped(true)
                .sense(Sense::click())
                .cell_layout(Layout::left_to_right(Align::Center));
            table = seen.sheet.headings.iter().fold(table, |table, heading| table.column(width(heading)));
            table = scroll.flatten().into_iter().fold(table, |table, row| table.scroll_to_row(row, None));
            let table = table.header(26.0, |mut header| {
                for heading in &seen.sheet.headings {
                    header.col(|ui| sort.title(ui, heading));
                }
            });
            table.body(|body| {
                body.rows(height, seen.rows.len(), |mut row| {
                    let index = seen.rows[row.index()];
                    let point = &arm.domains[index];
                    let selected = selection.domain.as_ref() == Some(&point.domain);
                    row.set_selected(selected);
                    let (mut chosen, mut by_key) = (false, false);
                    for (cell, heading) in seen.sheet.rows[index].iter().zip(&seen.sheet.headings) {
                        row.col(|ui| match heading.key.as_str() {
                            "domain" => {
                                marks::inline(ui, point.group, point.is_open());
                                let name = Button::new(cell.text.as_str()).frame(false);
                                let button = ui.add(name.wrap_mode(TextWrapMode::Truncate));
                                by_key = button.has_focus() && ui.input(|input| input.key_pressed(Key::Enter));
                                chosen = button.clicked();
                                opened |= button.double_clicked();
                            }
                            "verdict" => {
                                let colour = theme::direction(point.direction, dark);
                                ui.label(RichText::new(&cell.text).color(colour));
                            }
                            _ => {
                                let label = ui.add(egui::Label::new(&cell.text).wrap_mode(TextWrapMode::Extend));
                                if !cell.note.is_empty() {
                                    label.on_hover_text(&cell.note);
                                }
                            }
                        });
                    }
                    let response = row.response();
                    if chosen || by_key || response.clicked() {
                        selection.domain = Some(point.domain.clone());
                        scrolled_to.clone_from(&selection.domain);
                    }
                    opened |= by_key || response.double_clicked();
                });
            });
        });
        opened
    }

    fn controls(
        &mut self,
        ui: &mut Ui,
        study: &OpenStudy,
        selection: &mut Selection,
        exports: &mut Exports,
        asks: &mut Asks,
    ) {
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("find");
            let field = egui::TextEdit::singleline(&mut self.filter).desired_width(160.0);
            ui.add(field.hint_text("part of a name or group")).labelled_by(label.id);
            let shown = self.direction.map_or("all", Direction::name);
            egui::ComboBox::from_label("call").selected_text(shown).show_ui(ui, |ui| {
                ui.selectable_value(&mut self.direction, None, "all");
                for direction in Direction::ALL {
                    ui.selectable_value(&mut self.direction, Some(direction), direction.name());
                }
            });
            distance(ui, study, selection);
            if ui.button("Copy as CSV").clicked()
                && let Some(bytes) = self.csv(study, selection)
            {
                ui.ctx().copy_text(String::from_utf8_lossy(&bytes).into_owned());
                asks.push(Ask::Say("copied the table as CSV".into()));
            }
            if ui.add_enabled(!exports.is_busy(), Button::new("Save as CSV…")).clicked()
                && let Some(bytes) = self.csv(study, selection)
            {
                exports.bytes(ui.ctx(), &study.results.name, "csv", bytes);
            }
            if let (Some(seen), Some(arm)) = (&self.seen, selection.arm(study)) {
                ui.weak(format!("{} of {} domains", seen.rows.len(), arm.domains.len()));
            }
        });
    }

    /// The rows that are shown, in their order.
    fn csv(&self, study: &OpenStudy, selection: &Selection) -> Option<Vec<u8>> {
        let (seen, arm) = (self.seen.as_ref()?, selection.arm(study)?);
        let all = outcomes(&study.results);
        let all = all.get(&arm.name)?;
        // The arm's domains are its outcomes, in their order.
        let shown: Vec<_> = seen.rows.iter().filter_map(|&row| all.get(row).cloned()).collect();
        csv::outcomes(&shown, seen.of.measure.unwrap_or(Measure::Mmd2)).ok()
    }
}

/// Chooses the distance.
pub(super) fn distance(ui: &mut Ui, study: &OpenStudy, selection: &mut Selection) {
    let (Some(arm), Some(against)) = (selection.arm(study), selection.against(study)) else { return };
    let mut chosen = against.measure;
    egui::ComboBox::from_label("distance").selected_text(against.measure.label()).height(400.0).show_ui(ui, |ui| {
        for other in &arm.against {
            ui.selectable_value(&mut chosen, other.measure, other.measure.label());
        }
    });
    selection.measure = Some(chosen);
}

/// How wide a column is: names can be made wider and narrower.
fn width(heading: &Heading) -> Column {
    match heading.key.as_str() {
        "domain" => Column::initial(200.0).at_least(90.0).clip(true).resizable(true),
        "group" => Column::initial(100.0).at_least(50.0).clip(true).resizable(true),
        _ => Column::auto().at_least(60.0),
    }
}
