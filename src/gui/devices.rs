//! The machine's devices, and whether they compute right.

use egui::Ui;

use super::Asks;
use super::settings::Settings;

/// What is seen of the devices.
#[derive(Default)]
pub struct Devices {}

impl Devices {
    /// Draws the page.
    pub fn show(&mut self, _ui: &mut Ui, _settings: &mut Settings, _asks: &mut Asks) {}
}
