//! One domain: before and after, the verdict, the tokens that carry the change.

use egui::Ui;

use super::Asks;
use super::opened::{OpenStudy, Selection};

/// What is seen of a card.
#[derive(Default)]
pub struct Card {}

impl Card {
    /// Draws the card of the selected domain.
    pub fn show(&mut self, _ui: &mut Ui, _study: &OpenStudy, _selection: &mut Selection, _asks: &mut Asks) {}
}
