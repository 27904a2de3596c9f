//! Change in perplexity against distance.

use egui::Ui;

use super::Asks;
use super::opened::{OpenStudy, Selection};

/// What is seen of the scatter.
#[derive(Default)]
pub struct Scatter {}

impl Scatter {
    /// Draws it. Whether a domain's card is to be opened.
    pub fn show(&mut self, _ui: &mut Ui, _study: &OpenStudy, _selection: &mut Selection, _asks: &mut Asks) -> bool {
        false
    }
}
