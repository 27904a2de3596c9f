//! A table of columns filled in for one place.

use super::cell::Cell;
use super::column::{Column, Face, Shown, is_interval};
use crate::similarity::Measure;

/// The heading of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Heading {
    /// The key of the column.
    pub key: String,
    /// Its title.
    pub title: String,
    /// What it means; may be empty.
    pub help: String,
    /// Whether it contains numbers.
    pub number: bool,
    /// The measure that it is about, if it is shown for the chosen measure alone.
    pub measure: Option<Measure>,
}

impl Heading {
    /// A heading without explanation, whose key is its title.
    pub fn new(title: &str, number: bool) -> Self {
        Self { key: title.to_owned(), title: title.to_owned(), help: String::new(), number, measure: None }
    }

    /// The same with an explanation.
    pub fn explained(title: &str, help: &str, number: bool) -> Self {
        Self { help: help.to_owned(), ..Self::new(title, number) }
    }

    /// Its names in CSV: one, or two for an interval.
    pub fn fields(&self) -> Vec<String> {
        match is_interval(&self.key) {
            true => ["low", "high"].map(|end| format!("{}_{end}", self.key)).to_vec(),
            false => vec![self.key.clone()],
        }
    }
}

/// A table: headings and rows of cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    /// The headings.
    pub headings: Vec<Heading>,
    /// The cells, `[rows][columns]`.
    pub rows: Vec<Vec<Cell>>,
}

impl Sheet {
    /// The columns that a place shows, filled in.
    pub fn of<R>(columns: &[Column<R>], face: Face, rows: &[R]) -> Self {
        let mut sheet = Self { headings: Vec::new(), rows: rows.iter().map(|_| Vec::new()).collect() };
        for column in columns {
            let shown = column.shown_in(face);
            if shown == Shown::Never {
                continue;
            }
            let cells: Vec<Cell> = rows.iter().map(|row| column.cell(row)).collect();
            let is_shown = match shown {
                Shown::Known => cells.iter().any(|cell| !cell.missing && !cell.text.is_empty()),
                Shown::Present => cells.iter().any(|cell| !cell.text.is_empty()),
                Shown::Varies => cells.windows(2).any(|pair| pair[0] != pair[1]),
                Shown::Always | Shown::Chosen | Shown::Never => true,
            };
            if is_shown {
                sheet.headings.push(column.heading(face));
                sheet.rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
            }
        }
        sheet
    }

    /// The same with the columns of one measure, without those of others that could be chosen.
    pub fn of_measure(&self, measure: Option<Measure>) -> Self {
        let kept = |heading: &Heading| heading.measure.is_none() || heading.measure == measure;
        let rows = self.rows.iter().map(|row| {
            row.iter().zip(&self.headings).filter(|(_, heading)| kept(heading)).map(|(cell, _)| cell.clone()).collect()
        });
        Self { headings: self.headings.iter().filter(|heading| kept(heading)).cloned().collect(), rows: rows.collect() }
    }

    /// The index of the column with this key.
    pub fn column(&self, key: &str) -> Option<usize> {
        self.headings.iter().position(|heading| heading.key == key)
    }

    /// The same without columns that say the same in every row, by their keys, if there are several rows.
    pub fn without_constant(mut self, keys: &[&str]) -> Self {
        for key in keys {
            let Some(at) = self.column(key) else { continue };
            if self.rows.windows(2).all(|pair| pair[0].get(at) == pair[1].get(at)) {
                self.headings.remove(at);
                self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
            }
        }
        self
    }
}

impl<R> Column<R> {
    fn heading(&self, face: Face) -> Heading {
        Heading {
            key: self.key.clone(),
            title: self.title.clone(),
            help: self.help.clone(),
            number: self.unit.is_number(),
            measure: self.measure.filter(|_| self.shown_in(face) == Shown::Chosen),
        }
    }
}
