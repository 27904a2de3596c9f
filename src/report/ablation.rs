//! The ablation grid as a table: what each way to train and to evaluate comes to, and how much of it line breaks carry.

use crate::columns::{self, Face, Sheet};
use crate::study::StudyResults;

/// A line for each cell of the grid; `None` without a grid.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    (!results.ablation.is_empty()).then(|| Sheet::of(&columns::grid(), Face::Page, &results.ablation))
}
