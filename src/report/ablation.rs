//! The ablation grid as a table: the change for each way to train and to evaluate, and the part that line breaks carry.

use super::plots::word;
use super::sheet::{Sheet, SheetCell};
use super::{delta, interval};
use crate::study::StudyResults;

/// A line for each cell of the grid; `None` without a grid.
pub fn sheet(results: &StudyResults) -> Option<Sheet> {
    let header = [
        "domain",
        "model",
        "strategy",
        "train join",
        "train line breaks",
        "test join",
        "test line breaks",
        "rate",
        "δ",
        "95 % interval",
        "of line breaks",
        "95 % interval",
        "of tokens after",
        "of document ends",
        "of the rest",
        "beyond the restart",
    ];
    let rows: Vec<Vec<SheetCell>> = results
        .ablation
        .iter()
        .map(|row| {
            let part = |part: f64| SheetCell::number(Some(part), delta, "not a finite number");
            let beyond = row.restart_delta.filter(|_| !row.control).map(|restart| row.delta - restart);
            vec![
                SheetCell::words(&row.domain),
                SheetCell::words(&row.model),
                SheetCell::words(&row.strategy),
                SheetCell::words(&word(row.train_join)),
                SheetCell::words(&word(row.newlines)),
                SheetCell::words(&word(row.eval_join)),
                SheetCell::words(&word(row.eval_newlines)),
                SheetCell::words(&row.lr.to_string()),
                part(row.delta),
                SheetCell::words(&interval(row.delta_ci95, delta)),
                part(row.parts.newline),
                match row.parts_ci95 {
                    Some(ends) => SheetCell::words(&interval(ends.newline, delta)),
                    None => SheetCell::number(None, delta, "documents' parts were not kept"),
                },
                part(row.parts.after_newline),
                SheetCell::number(row.parts.boundary, delta, "was not counted apart"),
                part(row.parts.rest),
                SheetCell::number(beyond, delta, "no restart control"),
            ]
        })
        .collect();
    let sheet = Sheet { header: header.map(str::to_owned).to_vec(), texts: 7, rows };
    let factors = ["model", "strategy", "train join", "train line breaks", "test join", "test line breaks", "rate"];
    (!sheet.rows.is_empty()).then(|| sheet.without_constant(&factors))
}
