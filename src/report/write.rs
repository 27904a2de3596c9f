//! The files of a report.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::{csv, page, plots};
use crate::disk::outputs::Outputs;
use crate::error::Result;
use crate::study::StudyResults;
use crate::study::plan::{PLAN_FILE, Plan};
use crate::{files, seal};

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
    seal::write_json(&paths.json, results)?;
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

/// Refuses a folder for a study in which the study, or its report, would write over what is none of theirs.
///
/// # Errors
/// The first such file, with the remedy.
pub fn check_folder(folder: &Path, outputs: &mut Outputs) -> Result<()> {
    let plan = folder.join(PLAN_FILE);
    let planned = Plan::read(folder).is_ok();
    // A damaged plan is known by the study's tasks beside it.
    outputs.file(&plan, |_| planned || folder.join("tasks").is_dir())?;
    // The results are written first: where they are a study's, so is what stands beside them. They may have been removed.
    let results = folder.join("results.json");
    let is_ours = is_results(&results) || folder.join("tasks").is_dir();
    outputs.file(&results, |_| is_ours)?;
    for name in ["results.csv", "domains.csv", "ablation.csv"] {
        outputs.file(&folder.join(name), |at| is_ours && begins_with(at, "model,domain,group"))?;
    }
    outputs.file(&folder.join("report.html"), |at| is_ours || page::is_study_page(at))?;
    let is_figure = |path: &Path| path.extension().is_some_and(|ending| ending == "svg" || ending == "png");
    let plots = std::fs::read_dir(folder.join("plots")).into_iter().flatten().flatten();
    for figure in plots.map(|entry| entry.path()).filter(|path| is_figure(path)) {
        outputs.file(&figure, |_| is_ours)?;
    }
    Ok(())
}

/// Whether a file begins so.
fn begins_with(path: &Path, start: &str) -> bool {
    let mut found = vec![0; start.len()];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut found)).is_ok() && found == start.as_bytes()
}

fn is_results(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: String,
    }
    path.is_file()
        && files::read_json::<Schema>(path).is_ok_and(|Schema { schema }| schema.starts_with("odyssey.study/"))
}
