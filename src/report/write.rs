//! The files of a report.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{csv, page, plots};
use crate::error::Result;
use crate::files;
use crate::study::StudyResults;

/// The files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPaths {
    /// All results.
    pub json: PathBuf,
    /// One line per row.
    pub csv: PathBuf,
    /// The page to read.
    pub html: PathBuf,
    /// Every figure, as SVG and as PNG.
    pub plots: Vec<PathBuf>,
}

/// Writes `results.json`, `results.csv`, `report.html` and `plots/*.{svg,png}` into `folder`, each whole; `domains.csv`
/// with a line per domain, and `ablation.csv` with a line per cell of the grid, where there are any.
///
/// # Errors
/// When a file cannot be written.
pub fn write(results: &StudyResults, folder: &Path) -> Result<ReportPaths> {
    let mut paths = ReportPaths {
        json: folder.join("results.json"),
        csv: folder.join("results.csv"),
        html: folder.join("report.html"),
        plots: Vec::new(),
    };
    files::write_json(&paths.json, results)?;
    write_bytes(&paths.csv, &csv::rows(results)?)?;
    for (name, bytes) in [("domains.csv", csv::domains(results)?), ("ablation.csv", csv::ablation(results)?)] {
        if let Some(bytes) = bytes {
            write_bytes(&folder.join(name), &bytes)?;
        }
    }
    for figure in plots::figures(results) {
        for (kind, bytes) in [("svg", figure.svg()?.into_bytes()), ("png", figure.png()?)] {
            let path = folder.join("plots").join(format!("{}.{kind}", figure.name));
            write_bytes(&path, &bytes)?;
            paths.plots.push(path);
        }
    }
    write_bytes(&paths.html, page::study_page(results)?.as_bytes())?;
    Ok(paths)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write_whole(path, |out| out.write_all(bytes))
}
