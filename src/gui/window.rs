//! The window: opened through wgpu, or through OpenGL where wgpu finds nothing to draw with.

use std::path::{Path, PathBuf};

use eframe::{NativeOptions, Renderer};
use egui::ViewportBuilder;

use super::settings::{KEY, Settings};
use super::{App, library};
use crate::error::{Error, Result};

/// The platform's name of the application: its settings' folder is called so.
const ID: &str = "odyssey";

/// Opens the window and returns when it is closed. `folder` is a study or a folder of studies.
///
/// # Errors
/// There is no display, no way to draw on it, or no study in `folder`.
pub fn run(folder: Option<&Path>) -> Result<()> {
    let folders = folder.map(library::studies_in).transpose()?.unwrap_or_default();
    display()?;
    let data = eframe::storage_dir(ID).unwrap_or_else(|| PathBuf::from("odyssey-app"));
    match open(Renderer::Wgpu, folders.clone(), data.clone()) {
        Err(eframe::Error::Wgpu(error)) => {
            tracing::warn!(%error, "wgpu cannot draw here; drawing through OpenGL");
            open(Renderer::Glow, folders, data)
        }
        done => done,
    }
    .map_err(|error| Error::input("gui", format!("no window could be opened: {error}"), CURE))
}

const CURE: &str = "start it in a desktop session (X11 or Wayland), or use the commands: `odyssey --help`";

fn open(renderer: Renderer, folders: Vec<PathBuf>, data: PathBuf) -> eframe::Result {
    let viewport = ViewportBuilder::default()
        .with_title("odyssey")
        .with_app_id(ID)
        .with_inner_size([1280.0, 820.0])
        .with_min_inner_size([720.0, 480.0])
        .with_drag_and_drop(true);
    let options = NativeOptions { viewport, renderer, ..NativeOptions::default() };
    let started = std::time::Instant::now();
    let create: eframe::AppCreator<'_> = Box::new(move |creation| {
        let settings: Settings =
            creation.storage.and_then(|storage| eframe::get_value(storage, KEY)).unwrap_or_default();
        tracing::info!("the window stands after {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
        Ok(Box::new(App::new(&creation.egui_ctx, settings, folders, data)))
    });
    eframe::run_native(ID, options, create)
}

/// Whether there is something to draw on: winit says so only in words of its own.
fn display() -> Result<()> {
    let has_own = cfg!(any(windows, target_os = "macos"));
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if has_own || ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].into_iter().any(is_set) {
        return Ok(());
    }
    Err(Error::input("gui", "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)", CURE))
}
