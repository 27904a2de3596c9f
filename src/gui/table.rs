//! Every domain in numbers.

use egui::{Align, Button, Key, Layout, RichText, ScrollArea, Sense, TextWrapMode, Ui};
use egui_extras::{Column, TableBuilder};

use super::columns::{Cell, Sort};
use super::export::Exports;
use super::opened::{DomainPoint, OpenStudy, Selection, round};
use super::{Ask, Asks, marks, theme};
use crate::report::{Verdict, count, csv, delta, interval, outcomes, p_value, percent, significant};

/// Titles of columns and what they mean; the distance's own label replaces the one of `DISTANCE`.
const TITLES: [(&str, &str); 14] = [
    ("domain", ""),
    ("group", ""),
    ("ppl before", "Perplexity of the base on the domain's test text"),
    ("ppl after", "Perplexity of the adapted model"),
    ("δ", "Change in log-perplexity, nats per token: positive is worse"),
    ("95 % interval", "Of δ, documents resampled; sorted by its lower end"),
    ("call", "The call of the study: a test, corrected over domains"),
    ("p", "Of a paired sign-flip test"),
    ("q", "p corrected over the domains, after Benjamini and Hochberg"),
    ("beyond restart", "δ beyond that of the restart control"),
    ("distance", "To the reference corpus; choose which beside the table or on the scatter"),
    ("forgetting", "Change on held-out text of the reference corpus: positive is forgotten"),
    ("↵ rate", "Share of test tokens that hold a line break"),
    ("tokens", "Test tokens scored"),
];
const DELTA: usize = 4;
const CALL: usize = 6;
const DISTANCE: usize = 10;
const VERDICTS: [Verdict; 4] = [Verdict::Better, Verdict::Worse, Verdict::NoDifference, Verdict::Undecided];

/// The visible state of the table.
pub struct Table {
    sort: Sort,
    filter: String,
    verdict: Option<Verdict>,
    seen: Option<Seen>,
    scrolled_to: Option<String>,
}

/// What was chosen, and the rows that follow from it.
struct Seen {
    of: Choice,
    /// `[domains][columns]`
    cells: Vec<Vec<Cell>>,
    /// Domains in order.
    rows: Vec<usize>,
}

#[derive(PartialEq)]
struct Choice {
    arm: usize,
    measure: Option<&'static str>,
    sort: Sort,
    filter: String,
    verdict: Option<Verdict>,
}

impl Default for Table {
    fn default() -> Self {
        let sort = Sort { column: DELTA, descending: true };
        Self { sort, filter: String::new(), verdict: None, seen: None, scrolled_to: None }
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
            measure: selection.against(study).map(|against| against.measure.key),
            sort: self.sort,
            filter: self.filter.to_lowercase(),
            verdict: self.verdict,
        };
        if self.seen.as_ref().is_some_and(|seen| seen.of == of) {
            return;
        }
        let Some(arm) = selection.arm(study) else { return };
        let against = selection.against(study);
        let x = |index: usize| against.and_then(|against| against.x[index]);
        let cells: Vec<Vec<Cell>> =
            arm.domains.iter().enumerate().map(|(index, point)| cells(study, point, x(index))).collect();
        let fits = |index: &usize| {
            let point = &arm.domains[*index];
            let text = format!("{} {}", point.domain, study.groups.get(point.group).map_or("", String::as_str));
            of.verdict.is_none_or(|verdict| verdict == point.verdict) && text.to_lowercase().contains(&of.filter)
        };
        let mut rows: Vec<usize> = (0..cells.len()).filter(fits).collect();
        self.sort.apply(&mut rows, &cells);
        self.seen = Some(Seen { of, cells, rows });
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
        let distance = selection.against(study).map_or("distance", |against| against.measure.label);
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
                .cell_layout(Layout::left_to_right(Align::Center))
                .column(Column::initial(200.0).at_least(90.0).clip(true).resizable(true))
                .column(Column::initial(100.0).at_least(50.0).clip(true).resizable(true))
                .columns(Column::auto().at_least(60.0), TITLES.len() - 2);
            table = scroll.flatten().into_iter().fold(table, |table, row| table.scroll_to_row(row, None));
            let table = table.header(26.0, |mut header| {
                for (column, (title, hint)) in TITLES.into_iter().enumerate() {
                    let title = if column == DISTANCE { distance } else { title };
                    header.col(|ui| sort.title(ui, column, title, hint));
                }
            });
            table.body(|body| {
                body.rows(height, seen.rows.len(), |mut row| {
                    let index = seen.rows[row.index()];
                    let point = &arm.domains[index];
                    let selected = selection.domain.as_ref() == Some(&point.domain);
                    row.set_selected(selected);
                    let (mut chosen, mut by_key) = (false, false);
                    for (column, cell) in seen.cells[index].iter().enumerate() {
                        row.col(|ui| match column {
                            0 => {
                                marks::inline(ui, point.group, point.is_open());
                                let name = Button::new(cell.text.as_str()).frame(false);
                                let button = ui.add(name.wrap_mode(TextWrapMode::Truncate));
                                by_key = button.has_focus() && ui.input(|input| input.key_pressed(Key::Enter));
                                chosen = button.clicked();
                                opened |= button.double_clicked();
                            }
                            CALL => {
                                let colour = theme::verdict(point.verdict, dark);
                                ui.label(RichText::new(&cell.text).color(colour));
                            }
                            _ => {
                                ui.add(egui::Label::new(&cell.text).wrap_mode(TextWrapMode::Extend));
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
            let shown = self.verdict.map_or("all", Verdict::name);
            egui::ComboBox::from_label("call").selected_text(shown).show_ui(ui, |ui| {
                ui.selectable_value(&mut self.verdict, None, "all");
                for verdict in VERDICTS {
                    ui.selectable_value(&mut self.verdict, Some(verdict), verdict.name());
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
        let shown: Vec<_> = seen.rows.iter().filter_map(|&row| all.get(row)).collect();
        csv::outcomes(&shown, seen.of.measure.unwrap_or("mmd2")).ok()
    }
}

/// Chooses the distance.
pub(super) fn distance(ui: &mut Ui, study: &OpenStudy, selection: &mut Selection) {
    let (Some(arm), Some(against)) = (selection.arm(study), selection.against(study)) else { return };
    let mut chosen = against.measure.key;
    egui::ComboBox::from_label("distance").selected_text(against.measure.label).height(400.0).show_ui(ui, |ui| {
        for other in &arm.against {
            ui.selectable_value(&mut chosen, other.measure.key, other.measure.label);
        }
    });
    selection.measure = Some(chosen);
}

fn cells(study: &OpenStudy, point: &DomainPoint, x: Option<f64>) -> Vec<Cell> {
    let change = study.change(point);
    let ends = point.ci95.iter().all(|end| end.is_finite()).then_some(point.ci95[0]);
    vec![
        Cell::words(point.name.clone()),
        Cell::words(study.groups.get(point.group).cloned().unwrap_or_default()),
        Cell::number(Some(point.before), significant),
        Cell::number(Some(point.after), significant),
        Cell::number(Some(point.delta), delta),
        Cell::number(ends, |_| interval(point.ci95, delta)),
        Cell::words(point.verdict.name().to_owned()),
        Cell::number(change.and_then(|change| change.p), p_value),
        Cell::number(change.and_then(|change| change.q), p_value),
        Cell::number(change.and_then(|change| change.beyond_restart), delta),
        Cell::number(x, significant),
        Cell::number(point.forgetting, delta),
        Cell::number(Some(point.newline_rate), percent),
        Cell::number(Some(point.tokens as f64), |tokens| count(tokens as u64)),
    ]
}
