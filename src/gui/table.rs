//! Every domain in numbers.

use egui::Ui;

use super::Asks;
use super::opened::{OpenStudy, Selection};

/// What is seen of the table.
#[derive(Default)]
pub struct Table {}

impl Table {
    /// Draws it. Whether a domain's card is to be opened.
    pub fn show(&mut self, _ui: &mut Ui, _study: &OpenStudy, _selection: &mut Selection, _asks: &mut Asks) -> bool {
        false
    }
}
