//! What is running: curves, speed, memory; pause and stop.

use egui::Ui;

use super::Asks;
use super::queue::Queue;

/// What is seen of the running work.
#[derive(Default)]
pub struct Live {}

impl Live {
    /// Draws the page.
    pub fn show(&mut self, _ui: &mut Ui, _queue: &mut Queue, _asks: &mut Asks) {}
}
