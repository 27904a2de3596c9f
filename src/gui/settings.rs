//! What the application remembers between starts. eframe keeps it, with the window's place, in the settings folder of
//! the platform.

use std::path::{Path, PathBuf};

use egui::{Context, ThemePreference};
use serde::{Deserialize, Serialize};

/// The key of the settings in eframe's storage.
pub const KEY: &str = "odyssey";

/// Folders remembered.
const RECENT: usize = 50;

/// The stored settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Light, dark, or as in the system.
    pub theme: ThemePreference,
    /// Size of everything, 1 to 2.
    pub scale: f32,
    /// Folders of studies, the latest first.
    pub recent: Vec<PathBuf>,
    /// What `--device` would say for new studies.
    pub device: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { theme: ThemePreference::System, scale: 1.0, recent: Vec::new(), device: "auto".into() }
    }
}

impl Settings {
    /// The sizes to choose from.
    pub const SCALES: [f32; 5] = [1.0, 1.25, 1.5, 1.75, 2.0];

    /// Applies them to `context`.
    pub fn apply(&self, context: &Context) {
        context.set_theme(self.theme);
        context.set_zoom_factor(self.scale.clamp(1.0, 2.0));
    }

    /// Remembers a study's folder as the latest.
    pub fn remember(&mut self, folder: &Path) {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        self.recent.retain(|known| *known != folder);
        self.recent.insert(0, folder);
        self.recent.truncate(RECENT);
    }

    /// Forgets a folder.
    pub fn forget(&mut self, folder: &Path) {
        self.recent.retain(|known| known != folder);
    }
}
