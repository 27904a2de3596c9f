//! Strategies and seeds of one domain side by side.

use egui::Ui;

use super::opened::{OpenStudy, Selection};

/// What is seen of the comparison.
#[derive(Default)]
pub struct Strategies {}

impl Strategies {
    /// Draws it.
    pub fn show(&mut self, _ui: &mut Ui, _study: &OpenStudy, _selection: &mut Selection) {}
}
