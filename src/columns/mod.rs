//! What a row of a study can show: each value once, with its key, its title, its unit and the places that show it.
//!
//! [`rows()`] is the table of what is said of a domain (`results.csv`, the terminal, `report.html`, the application), [`calls()`]
//! that of the calls (`domains.csv`), [`grid()`] that of the ablation grid (`ablation.csv`), [`correlations()`] that of the
//! correlations. A new column is one entry there. A [`Sheet`] is one of them filled in for one place ([`Face`]).

mod calls;
mod cell;
mod column;
mod correlations;
mod direction;
mod grid;
mod labels;
mod outcome;
mod rows;
mod sheet;
mod unit;
pub mod written;

pub use calls::{Called, calls};
pub use cell::{Cell, Value};
pub use column::{Column, Face, Shown};
pub use correlations::correlations;
pub use direction::Direction;
pub use grid::{grid, word};
pub use labels::{class_label, measure_label, scope_label, without_label};
pub use outcome::{Outcome, arm, change_of, outcomes};
pub use rows::{null_line, rows};
pub use sheet::{Heading, Sheet};
pub use unit::Unit;
