//! Saves figures and tables: the file is chosen in a dialog, drawn and written on a thread.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::Context;

use super::background::{Arrival, Background};
use super::{Ask, Asks};
use crate::error::{Error, Result};
use crate::files;
use crate::report::plots::figures;
use crate::report::{self, Figure, Kind, csv, outcomes, slug};
use crate::similarity::Measure;
use crate::study::StudyResults;

/// A kind of file that a figure becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pixels.
    Png,
    /// Lines.
    Svg,
    /// The numbers behind it.
    Csv,
}

impl Format {
    /// All.
    pub const ALL: [Self; 3] = [Self::Png, Self::Svg, Self::Csv];

    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Csv => "csv",
        }
    }
}

/// Files that are being chosen or written.
#[derive(Default)]
pub struct Exports {
    /// The result in words; nothing if the dialog was closed.
    running: Option<Background<Option<Result<String>>>>,
}

impl Exports {
    /// Whether a dialog is open or a file being written.
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// Reports the result.
    pub fn keep_up(&mut self, asks: &mut Asks) {
        let Some(running) = &self.running else { return };
        match running.poll() {
            Arrival::Pending => return,
            Arrival::Here(Some(Ok(said))) => asks.push(Ask::Say(said)),
            Arrival::Here(Some(Err(error))) => asks.push(Ask::Fail(error.to_string())),
            Arrival::Here(None) => {}
            Arrival::Lost => asks.push(Ask::Fail(
                "no file was written: the dialog or the drawing failed; `odyssey study report` writes the same files"
                    .into(),
            )),
        }
        self.running = None;
    }

    /// Writes the page, tables and figures into a folder that the user chooses.
    pub fn all(&mut self, context: &Context, results: Arc<StudyResults>) {
        self.start(context, move || {
            let folder = rfd::FileDialog::new().set_title("Folder for the page, tables and figures").pick_folder()?;
            Some(write_all(&results, &folder))
        });
    }

    /// Writes the scatter of `arm` against the distance `measure`, or its points.
    pub fn scatter(
        &mut self,
        context: &Context,
        results: Arc<StudyResults>,
        arm: String,
        measure: Measure,
        format: Format,
    ) {
        self.start(context, move || {
            let path = ask_file(&format!("delta-vs-{}", measure.key().replace('_', "-")), format.ending())?;
            Some(write_scatter(&results, &arm, measure, format, &path))
        });
    }

    /// Writes bytes that are ready, as a file named like `text`.
    pub fn bytes(&mut self, context: &Context, text: &str, ending: &'static str, bytes: Vec<u8>) {
        let name = slug(text);
        self.start(context, move || {
            let path = ask_file(&name, ending)?;
            Some(write(&path, &bytes))
        });
    }

    fn start(&mut self, context: &Context, work: impl FnOnce() -> Option<Result<String>> + Send + 'static) {
        if self.running.is_none() {
            self.running = Some(Background::start(context, work));
        }
    }
}

fn ask_file(name: &str, ending: &str) -> Option<PathBuf> {
    let dialog = rfd::FileDialog::new().set_title("Save as").add_filter(ending, &[ending]);
    let path = dialog.set_file_name(format!("{name}.{ending}")).save_file()?;
    Some(if path.extension().is_none() { path.with_extension(ending) } else { path })
}

fn write(path: &Path, bytes: &[u8]) -> Result<String> {
    files::write_whole(path, |out| out.write_all(bytes))?;
    Ok(format!("wrote {}", path.display()))
}

/// Writes all that `odyssey study report` writes into `folder`; says what.
///
/// # Errors
/// A file cannot be written.
pub fn write_all(results: &StudyResults, folder: &Path) -> Result<String> {
    let paths = report::write(results, folder)?;
    Ok(format!("wrote {} and {} figures", paths.html.display(), paths.plots.len() / 2))
}

/// Writes the scatter of `arm` against `measure` as the reports draw it, or its points; says where.
///
/// # Errors
/// There is no such figure, or the file cannot be written.
pub fn write_scatter(
    results: &StudyResults,
    arm: &str,
    measure: Measure,
    format: Format,
    path: &Path,
) -> Result<String> {
    if format == Format::Csv {
        return write(path, &csv::outcomes(&outcomes(results).remove(arm).unwrap_or_default(), measure)?);
    }
    let is_it = |figure: &Figure| figure.of == arm && matches!(figure.kind, Kind::Scatter(of) if of == measure);
    let Some(figure) = figures(results).into_iter().find(is_it) else {
        return Err(Error::input(measure.key(), "no domain has this distance", "choose another"));
    };
    let bytes = if format == Format::Svg { figure.svg()?.into_bytes() } else { figure.png()? };
    write(path, &bytes)
}
