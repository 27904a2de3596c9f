//! A column: what it is called, what it takes from a row, and which places show it.

use super::cell::{Cell, Value};
use super::unit::Unit;
use crate::similarity::Measure;

/// A place that shows columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// `results.csv` and the other CSV files of a study.
    Csv,
    /// The CSV that the application exports: what its table or scatter shows.
    Points,
    /// A table in the terminal.
    Terminal,
    /// A table of `report.html`.
    Page,
    /// The table of domains in the application.
    App,
    /// The table of strategies and seeds in the application.
    Strategies,
}

impl Face {
    /// All places, in the order in which a column names them.
    pub const ALL: [Self; 6] = [Self::Csv, Self::Points, Self::Terminal, Self::Page, Self::App, Self::Strategies];
}

/// Whether a place shows a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Never; this is a decision.
    Never,
    /// Always.
    Always,
    /// If a row has a value.
    Known,
    /// If a value belongs in a row, known or not.
    Present,
    /// If rows differ in it.
    Varies,
    /// If its measure is the one that was chosen.
    Chosen,
}

/// A column of a table whose rows are made from `R`.
pub struct Column<R> {
    /// Its key in CSV, and what tables sort by. A key that ends in `_ci95` is an interval: in CSV it becomes the two columns
    /// `…_ci95_low` and `…_ci95_high`.
    pub key: String,
    /// Its title in tables.
    pub title: String,
    /// What it means.
    pub help: String,
    /// How its values are written.
    pub unit: Unit,
    /// The measure that it is about.
    pub measure: Option<Measure>,
    /// Whether a place shows it, in the order of [`Face::ALL`].
    pub shown: [Shown; Face::ALL.len()],
    /// What it takes from a row.
    pub get: Box<dyn Fn(&R) -> Value>,
}

impl<R> Column<R> {
    /// Whether its values are intervals.
    pub fn is_interval(&self) -> bool {
        is_interval(&self.key)
    }

    /// Whether a place shows it.
    pub fn shown_in(&self, face: Face) -> Shown {
        self.shown[face as usize]
    }

    /// Its cell in a row.
    pub fn cell(&self, row: &R) -> Cell {
        let mut cell = Cell::of((self.get)(row), self.unit);
        cell.fields.resize(if self.is_interval() { 2 } else { 1 }, String::new());
        cell
    }
}

/// Whether the values under this key are intervals.
pub(super) fn is_interval(key: &str) -> bool {
    key.ends_with("_ci95")
}

/// Columns, one entry each: key, title, unit, where it is shown (a letter for each of [`Face::ALL`]: `A`lways, if `K`nown, if
/// `P`resent, if it `V`aries, if `C`hosen, `N`ever), value of a row, meaning.
macro_rules! columns {
    ($R:ty; $($key:literal $title:literal $unit:ident [$($face:ident)*] $row:ident => $get:expr, $help:literal;)*) => {
        vec![$($crate::columns::Column::<$R> {
            key: $key.into(),
            title: $title.into(),
            help: $help.into(),
            unit: $crate::columns::Unit::$unit,
            measure: None,
            shown: [$($crate::columns::column::$face),*],
            get: Box::new(|$row: &$R| $crate::columns::Value::from($get)),
        }),*]
    };
}
pub(super) use columns;

pub(super) const A: Shown = Shown::Always;
pub(super) const K: Shown = Shown::Known;
pub(super) const P: Shown = Shown::Present;
pub(super) const V: Shown = Shown::Varies;
pub(super) const C: Shown = Shown::Chosen;
pub(super) const N: Shown = Shown::Never;
