//! The window: drawn through wgpu, or through OpenGL where there is no real graphics card.

use std::path::{Path, PathBuf};
use std::time::Instant;

use eframe::{NativeOptions, Renderer};
use egui::ViewportBuilder;

use super::settings::{KEY, Settings};
use super::{App, library};
use crate::device::{Card, cards};
use crate::error::{Error, Result};

/// The application's name for the platform; its settings folder has this name.
const ID: &str = "odyssey";

/// Options of the window.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowOptions<'a> {
    /// A study, or a folder of studies.
    pub folder: Option<&'a Path>,
    /// Whether the process was asked to end: then the window saves what runs, and closes.
    pub interrupted: Option<fn() -> bool>,
    /// Draw without pause and log how long frames took.
    pub frame_times: bool,
}

/// Opens the window and returns when it is closed.
///
/// # Errors
/// There is no display, no way to draw on it, or no study in the folder.
pub fn run(options: WindowOptions<'_>) -> Result<()> {
    let began = Instant::now();
    let folders = options.folder.map(library::studies_in).transpose()?.unwrap_or_default();
    display()?;
    let data = eframe::storage_dir(ID).unwrap_or_else(|| PathBuf::from("odyssey-app"));
    let [first, second] = renderers();
    let open = |renderer| open(renderer, options, began, folders.clone(), data.clone());
    match open(first) {
        Err(error) if cannot_draw(&error) => {
            tracing::warn!(%error, "{first} cannot draw here; drawing through {second}");
            open(second)
        }
        done => done,
    }
    .map_err(|error| Error::input("gui", format!("no window could be opened: {error}"), CURE))
}

/// What to draw with, and what if that fails: wgpu where there is a graphics card. A processor draws through OpenGL, where its
/// driver is there, seven times as fast as through Vulkan's software card: a frame of 1280 × 820 took 4.3 ms instead of 31.
///
/// The training computes on a device of its own, also if both use the same card. On a software card with a training on
/// it, 99 % of frames took at most 77 ms this way. With one device for both they took at most 163 ms, because frames
/// wait in one queue behind the kernels of a training step (15 ms through OpenGL). A failure of the training device
/// (out of memory, lost) does not affect the window.
fn renderers() -> [Renderer; 2] {
    match cards().iter().any(Card::is_real) {
        true => [Renderer::Wgpu, Renderer::Glow],
        false => [Renderer::Glow, Renderer::Wgpu],
    }
}

fn cannot_draw(error: &eframe::Error) -> bool {
    use eframe::Error::{Glutin, NoGlutinConfigs, OpenGL, Wgpu};
    matches!(error, Wgpu(_) | Glutin(_) | NoGlutinConfigs(..) | OpenGL(_))
}

const CURE: &str = "start it in a desktop session (X11 or Wayland), or use the commands: `odyssey --help`";

fn open(
    renderer: Renderer,
    options: WindowOptions<'_>,
    began: Instant,
    folders: Vec<PathBuf>,
    data: PathBuf,
) -> eframe::Result {
    let viewport = ViewportBuilder::default()
        .with_title("odyssey")
        .with_app_id(ID)
        .with_inner_size([1280.0, 820.0])
        .with_min_inner_size([720.0, 480.0])
        .with_drag_and_drop(true);
    let native = NativeOptions { viewport, renderer, ..NativeOptions::default() };
    let WindowOptions { interrupted, frame_times, .. } = options;
    let create: eframe::AppCreator<'_> = Box::new(move |creation| {
        let settings: Settings =
            creation.storage.and_then(|storage| eframe::get_value(storage, KEY)).unwrap_or_default();
        let mut app = App::new(&creation.egui_ctx, settings, folders, data).begun_at(began);
        if let Some(interrupted) = interrupted {
            app = app.listening_to(Box::new(interrupted));
        }
        Ok(Box::new(if frame_times { app.timing_frames() } else { app }))
    });
    eframe::run_native(ID, native, create)
}

/// Whether there is something to draw on: winit gives no clear message.
fn display() -> Result<()> {
    let has_own = cfg!(any(windows, target_os = "macos"));
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if has_own || ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].into_iter().any(is_set) {
        return Ok(());
    }
    Err(Error::input("gui", "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)", CURE))
}
