//! The main table of a study: perplexity before and after, one line per row.

use crate::columns::{self, Cell, Face, Outcome, Sheet};
use crate::study::StudyResults;

/// One line per row, with the columns that a place shows.
pub(super) fn before_and_after(results: &StudyResults, face: Face) -> Sheet {
    let rows: Vec<Outcome<'_>> = results.rows.iter().map(|row| Outcome::of_row(results, row)).collect();
    Sheet::of(&columns::rows(), face, &rows)
}

/// The lines of the reference corpora against themselves, for below those of `sheet`.
pub(super) fn null_lines(results: &StudyResults, sheet: &Sheet) -> Vec<Vec<Cell>> {
    let keys: Vec<&str> = sheet.headings.iter().map(|heading| heading.key.as_str()).collect();
    results.null.iter().map(|null| columns::null_line(&columns::rows(), &keys, null)).collect()
}
