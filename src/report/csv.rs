//! `results.csv`, one line per row of a study, `domains.csv`, one per domain, and `ablation.csv`, one per cell of the grid:
//! flat columns, numbers in full precision, text as [`cell`] makes it. A number that is missing is an empty field.
//!
//! Which columns there are, and in which order, is said in [`crate::columns`].

use super::Outcome;
use super::before_after::before_and_after;
use crate::columns::{self, Called, Face, Sheet};
use crate::error::{Error, Result};
use crate::shown::cell;
use crate::similarity::Measure;
use crate::study::StudyResults;

/// The bytes of `results.csv`.
///
/// # Errors
/// None that input can cause.
pub fn rows(results: &StudyResults) -> Result<Vec<u8>> {
    bytes("results.csv", &before_and_after(results, Face::Csv))
}

/// The bytes of `domains.csv`; `None` without domains.
///
/// # Errors
/// None that input can cause.
pub fn domains(results: &StudyResults) -> Result<Option<Vec<u8>>> {
    let domains: Vec<Called<'_>> = results.domains.iter().map(Called::Domain).collect();
    if_any("domains.csv", &Sheet::of(&columns::calls(), Face::Csv, &domains))
}

/// Domains of one model and strategy, their seeds together, beside one distance: what a scatter plot or a table of them
/// shows.
///
/// # Errors
/// None that input can cause.
pub fn outcomes(outcomes: &[Outcome<'_>], measure: Measure) -> Result<Vec<u8>> {
    bytes("points.csv", &Sheet::of(&columns::rows(), Face::Points, outcomes).of_measure(Some(measure)))
}

/// The bytes of `ablation.csv`; `None` without a grid.
///
/// # Errors
/// None that input can cause.
pub fn ablation(results: &StudyResults) -> Result<Option<Vec<u8>>> {
    if_any("ablation.csv", &Sheet::of(&columns::grid(), Face::Csv, &results.ablation))
}

fn if_any(file: &'static str, sheet: &Sheet) -> Result<Option<Vec<u8>>> {
    if sheet.rows.is_empty() { Ok(None) } else { bytes(file, sheet).map(Some) }
}

fn bytes(file: &'static str, sheet: &Sheet) -> Result<Vec<u8>> {
    let failed = |e: ::csv::Error| Error::Io { path: file.into(), action: "write", source: std::io::Error::other(e) };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let header = sheet.headings.iter().flat_map(columns::Heading::fields);
    writer.write_record(header.map(|name| cell(&name))).map_err(failed)?;
    for row in &sheet.rows {
        writer.write_record(row.iter().flat_map(|c| &c.fields).map(|field| cell(field))).map_err(failed)?;
    }
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
}
