//! A form that makes a study: model, reference corpus, domains, device; and what it will cost.

use std::path::Path;

use egui::Ui;

use super::Asks;
use super::settings::Settings;

/// The form.
pub struct NewStudy {}

impl NewStudy {
    /// Empty; new studies are put into a folder of `data` unless the user says otherwise.
    pub fn new(_data: &Path) -> Self {
        Self {}
    }

    /// Takes a dropped folder or file for what it looks like: a model, or a domain.
    pub fn take(&mut self, _path: &Path) {}

    /// Draws the page.
    pub fn show(&mut self, _ui: &mut Ui, _settings: &mut Settings, _asks: &mut Asks) {}
}
