//! Token types that carry a change, as a table.

use egui::{Align, Label, Layout, ScrollArea, TextWrapMode, Ui};
use egui_extras::{Column, TableBuilder};

use super::sorting::Sort;
use super::theme;
use crate::columns::{Cell, Heading, Sheet, class_label};
use crate::compare::TypeChange;
use crate::report::{count, delta, percent, significant};
use crate::text::TokenClass;

const TITLES: [(&str, &str); 9] = [
    ("token", "Spaces are shown as ·, line breaks as ↵"),
    ("class", "What kind of token it is"),
    ("count", "Scored occurrences in the test text"),
    ("share", "Of all scored tokens"),
    ("before", "Mean loss of the base, nats"),
    ("after", "Mean loss of the adapted model, nats"),
    ("change", "After minus before, nats: positive is worse"),
    ("part of δ", "share × change; over all types these sum to δ"),
    ("95 % interval", "Of the part of δ"),
];

/// The visible state of the table.
pub struct Tokens {
    sort: Sort,
    class: Option<TokenClass>,
    filter: String,
    sheet: Sheet,
    rows: Vec<usize>,
    /// What `rows` follows from.
    of: Option<(Sort, Option<TokenClass>, String)>,
}

impl Default for Tokens {
    fn default() -> Self {
        let heading = |(at, (title, help)): (usize, (&str, &str))| Heading::explained(title, help, at >= 2);
        let headings = TITLES.into_iter().enumerate().map(heading).collect();
        Self {
            sort: Sort::descending("part of δ"),
            class: None,
            filter: String::new(),
            sheet: Sheet { headings, rows: Vec::new() },
            rows: Vec::new(),
            of: None,
        }
    }
}

impl Tokens {
    /// Shows these types from now on.
    pub fn take(&mut self, types: &[TypeChange]) {
        self.sheet.rows = types.iter().map(cells).collect();
        self.of = None;
    }

    fn prepare(&mut self, types: &[TypeChange]) {
        let of = (self.sort.clone(), self.class, self.filter.to_lowercase());
        if self.of.as_ref() == Some(&of) {
            return;
        }
        let fits = |&index: &usize| {
            let Some(of_type) = types.get(index) else { return false };
            let texts = [&of_type.token, &self.sheet.rows[index][0].text];
            self.class.is_none_or(|class| class == of_type.class)
                && texts.iter().any(|text| text.to_lowercase().contains(&of.2))
        };
        let mut rows: Vec<usize> = (0..self.sheet.rows.len()).filter(fits).collect();
        self.sort.apply(&mut rows, &self.sheet);
        self.rows = rows;
        self.of = Some(of);
    }

    /// Draws it; `types` are those taken last.
    pub fn show(&mut self, ui: &mut Ui, types: &[TypeChange]) {
        ui.horizontal_wrapped(|ui| {
            let shown = self.class.map_or("all".to_owned(), |class| class_label(class.name()));
            egui::ComboBox::from_label("class").selected_text(shown).height(400.0).show_ui(ui, |ui| {
                ui.selectable_value(&mut self.class, None, "all");
                for class in TokenClass::ALL {
                    ui.selectable_value(&mut self.class, Some(class), class_label(class.name()));
                }
            });
            let label = ui.label("token holds");
            let field = egui::TextEdit::singleline(&mut self.filter).desired_width(140.0);
            ui.add(field).labelled_by(label.id);
            ui.weak(format!("{} of {} token types", self.rows.len(), self.sheet.rows.len()))
                .on_hover_text("Those that got worse and better the most");
        });
        self.prepare(types);
        if self.rows.is_empty() {
            ui.label("No token type matches: choose class “all” and clear the text.");
            return;
        }
        let height = ui.spacing().interact_size.y;
        let room = ui.available_height().max(220.0);
        let (sort, sheet, rows) = (&mut self.sort, &self.sheet, &self.rows);
        ScrollArea::horizontal().show(ui, |ui| {
            TableBuilder::new(ui)
                .id_salt("token types")
                .striped(true)
                .max_scroll_height(room - 30.0)
                .min_scrolled_height(120.0)
                .cell_layout(Layout::left_to_right(Align::Center))
                .column(Column::initial(170.0).at_least(70.0).clip(true).resizable(true))
                .columns(Column::auto().at_least(64.0), TITLES.len() - 1)
                .header(26.0, |mut header| {
                    for heading in &sheet.headings {
                        header.col(|ui| sort.title(ui, heading));
                    }
                })
                .body(|body| {
                    body.rows(height, rows.len(), |mut row| {
                        let cells = &sheet.rows[rows[row.index()]];
                        for (column, cell) in cells.iter().enumerate() {
                            row.col(|ui| {
                                let wrap = if column == 0 { TextWrapMode::Truncate } else { TextWrapMode::Extend };
                                let text = egui::RichText::new(&cell.text);
                                let text = if column == 0 { text.monospace() } else { text };
                                ui.add(Label::new(text).wrap_mode(wrap));
                            });
                        }
                    });
                });
        });
    }
}

fn cells(of: &TypeChange) -> Vec<Cell> {
    let why = "not a finite number";
    vec![
        Cell::words(&theme::visible_token(&of.token)),
        Cell::words(&class_label(of.class.name())),
        Cell::number(Some(of.count as f64), |n| count(n as u64), why),
        Cell::number(Some(of.share), percent, why),
        Cell::number(Some(of.before), significant, why),
        Cell::number(Some(of.after), significant, why),
        Cell::number(Some(of.after - of.before), delta, why),
        Cell::number(Some(of.contribution), delta, why),
        Cell::ends(Some(of.contribution_ci95), delta, why),
    ]
}
