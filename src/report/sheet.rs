//! A table that is shown in a terminal and on the page: the same cells in both.

use minijinja::{Value, context};

use super::{MISSING, visible};

/// A table as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The titles of the columns.
    pub header: Vec<String>,
    /// How many columns, from the left, are text; the others are numbers.
    pub texts: usize,
    /// The cells, `[rows][columns]`.
    pub rows: Vec<Vec<SheetCell>>,
}

/// A cell and its explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct SheetCell {
    /// Its text.
    pub text: String,
    /// Why a number is missing, or a note; usually empty.
    pub why: String,
}

impl SheetCell {
    /// Words.
    pub fn words(text: &str) -> Self {
        Self { text: visible(text), why: String::new() }
    }

    /// A number; a missing one is a dash that says why.
    pub fn number(value: Option<f64>, write: impl Fn(f64) -> String, why: &str) -> Self {
        match value.filter(|value| value.is_finite()) {
            Some(value) => Self { text: write(value), why: String::new() },
            None => Self { text: MISSING.to_owned(), why: visible(why) },
        }
    }
}

impl Sheet {
    /// Leaves out the named columns if they are equal in every row and there are several rows.
    pub fn without_constant(mut self, names: &[&str]) -> Self {
        for name in names {
            let Some(at) = self.header.iter().position(|header| header == name) else { continue };
            let same = self.rows.windows(2).all(|pair| pair[0].get(at) == pair[1].get(at));
            if same && self.rows.iter().all(|row| row.len() == self.header.len()) {
                self.header.remove(at);
                self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
                self.texts -= usize::from(at < self.texts);
            }
        }
        self
    }

    /// For the page's template.
    pub(super) fn value(&self) -> Value {
        let cell = |(at, cell): (usize, &SheetCell)| {
            context! { text => &cell.text, why => &cell.why, number => at >= self.texts }
        };
        let header = self.header.iter().enumerate().map(|(at, name)| context! { name, number => at >= self.texts });
        context! {
            header => header.collect::<Vec<_>>(),
            rows => self.rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<Vec<_>>()).collect::<Vec<_>>(),
        }
    }
}
