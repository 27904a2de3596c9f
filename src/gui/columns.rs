//! Tables that sort by a click on a column's title.

use std::cmp::Ordering;

use egui::{Button, Role, Ui, WidgetInfo};

use crate::report::MISSING;

/// A cell: its text and its sort key.
pub struct Cell {
    /// Its text.
    pub text: String,
    /// Where it sorts.
    pub order: Order,
}

/// Where a cell sorts; a number that is missing (NaN) comes last, whichever the direction.
pub enum Order {
    /// By its words.
    Words,
    /// By a number.
    Number(f64),
}

impl Cell {
    /// Words, already visible.
    pub fn words(text: String) -> Self {
        Self { text, order: Order::Words }
    }

    /// A number; a dash where there is none.
    pub fn number(value: Option<f64>, write: impl Fn(f64) -> String) -> Self {
        match value.filter(|value| value.is_finite()) {
            Some(value) => Self { text: write(value), order: Order::Number(value) },
            None => Self { text: MISSING.to_owned(), order: Order::Number(f64::NAN) },
        }
    }
}

/// By which column a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// A column's title; a click sorts by it, another click reverses the order.
    pub fn title(&mut self, ui: &mut Ui, column: usize, title: &str, hint: &str) {
        let arrow = match (self.column == column, self.descending) {
            (false, _) => "",
            (true, true) => " ▼",
            (true, false) => " ▲",
        };
        let button = ui.add(Button::new(egui::RichText::new(format!("{title}{arrow}")).strong()).frame(false));
        button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Sort by {title}")));
        let clicked = button.clicked();
        if !hint.is_empty() {
            button.on_hover_text(hint);
        }
        if clicked {
            *self = Self { column, descending: if self.column == column { !self.descending } else { self.descending } };
        }
    }

    /// Puts the indices `rows` into the order of their `cells`; equal ones keep their order.
    pub fn apply(self, rows: &mut [usize], cells: &[Vec<Cell>]) {
        rows.sort_by(|&a, &b| {
            let (Some(a), Some(b)) = (cells[a].get(self.column), cells[b].get(self.column)) else {
                return Ordering::Equal;
            };
            match (&a.order, &b.order) {
                (Order::Number(a), Order::Number(b)) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
                (Order::Number(a), Order::Number(b)) => self.turned(a.total_cmp(b)),
                _ => self.turned(a.text.cmp(&b.text)),
            }
        });
    }

    fn turned(self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }
}
