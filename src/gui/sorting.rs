//! Tables that sort by a click on a column's title.

use std::cmp::Ordering;

use egui::{Button, Role, Ui, WidgetInfo};

use crate::columns::{Cell, Heading, Sheet};

/// By which column a table is sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// The key of the column.
    pub key: String,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// Largest first.
    pub fn descending(key: &str) -> Self {
        Self { key: key.to_owned(), descending: true }
    }

    /// A column's title; a click sorts by it, another click reverses the order.
    pub fn title(&mut self, ui: &mut Ui, heading: &Heading) {
        let Heading { key, title, help, .. } = heading;
        let arrow = match (self.key == *key, self.descending) {
            (false, _) => "",
            (true, true) => " ▼",
            (true, false) => " ▲",
        };
        let button = ui.add(Button::new(egui::RichText::new(format!("{title}{arrow}")).strong()).frame(false));
        button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Sort by {title}")));
        let clicked = button.clicked();
        if !help.is_empty() {
            button.on_hover_text(help);
        }
        if clicked {
            let descending = if self.key == *key { !self.descending } else { self.descending };
            *self = Self { key: key.clone(), descending };
        }
    }

    /// Puts the indices `rows` into the order of their cells in the chosen column; equal ones keep their order, and missing
    /// numbers come last in either direction. A column that is not there changes nothing.
    pub fn apply(&self, rows: &mut [usize], sheet: &Sheet) {
        let Some(column) = sheet.column(&self.key) else { return };
        let cell = |row: usize| -> &Cell { &sheet.rows[row][column] };
        rows.sort_by(|&a, &b| match (cell(a).order, cell(b).order) {
            (Some(a), Some(b)) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
            (Some(a), Some(b)) => self.turned(a.total_cmp(&b)),
            _ => self.turned(cell(a).text.cmp(&cell(b).text)),
        });
    }

    fn turned(&self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }
}
