//! A cell of a table, the same for the terminal, the page, the application and CSV.

use super::unit::Unit;
use super::written::{MISSING, interval};
use crate::shown::visible;
use crate::stats::Estimate;

/// What a column takes from a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value belongs there.
    Blank,
    /// Words.
    Words(String),
    /// A number.
    Number(Option<f64>),
    /// A number of things.
    Count(u64),
    /// Both ends of an interval.
    Ends(Option<[f64; 2]>),
    /// A value that may be missing, and the reason.
    Or(Box<Self>, String),
    /// A value and what explains it.
    Noted(Box<Self>, String),
}

impl Value {
    /// A value with the reason for the case that it is missing.
    pub fn or(value: impl Into<Self>, why: impl Into<String>) -> Self {
        Self::Or(Box::new(value.into()), why.into())
    }

    /// A value with what explains it.
    pub fn noted(value: impl Into<Self>, note: impl Into<String>) -> Self {
        Self::Noted(Box::new(value.into()), note.into())
    }
}

impl From<String> for Value {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Value {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::or(Some(number), "not a finite number")
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<Option<u64>> for Value {
    fn from(count: Option<u64>) -> Self {
        count.map_or(Self::Number(None), Self::Count)
    }
}

impl From<[f64; 2]> for Value {
    fn from(ends: [f64; 2]) -> Self {
        Self::Ends(Some(ends))
    }
}

impl From<Option<[f64; 2]>> for Value {
    fn from(ends: Option<[f64; 2]>) -> Self {
        Self::Ends(ends)
    }
}

impl From<&Estimate> for Value {
    fn from(estimate: &Estimate) -> Self {
        Self::or(estimate.value, estimate.why_missing().unwrap_or("was not computed"))
    }
}

impl<V: Into<Value>, W: Into<String>> From<(V, W)> for Value {
    /// A value and the reason for the case that it is missing.
    fn from((value, why): (V, W)) -> Self {
        Self::or(value, why)
    }
}

/// A cell: its text, what explains it, where it sorts, and its fields in CSV.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// Its text. Invisible characters are made visible.
    pub text: String,
    /// Why it is missing, or what explains it; mostly empty.
    pub note: String,
    /// The number that it sorts by, NaN if it is missing; `None`: by its text.
    pub order: Option<f64>,
    /// Whether a value belongs there that is not known.
    pub missing: bool,
    /// Its fields in CSV, numbers in full precision: one, or two for an interval.
    pub fields: Vec<String>,
}

impl Cell {
    /// Words.
    pub fn words(text: &str) -> Self {
        Self { text: visible(text), fields: vec![text.to_owned()], ..Self::default() }
    }

    /// Words with what explains them.
    pub fn noted(text: &str, note: &str) -> Self {
        Self { note: visible(note), ..Self::words(text) }
    }

    /// A number; a missing one is a dash with the reason.
    pub fn number(value: Option<f64>, write: impl Fn(f64) -> String, why: &str) -> Self {
        match value.filter(|value| value.is_finite()) {
            // The shortest text that reads back as the same number.
            Some(value) => {
                Self { text: write(value), order: Some(value), fields: vec![value.to_string()], ..Self::default() }
            }
            None => Self { order: Some(f64::NAN), fields: vec![String::new()], ..Self::dash(why) },
        }
    }

    /// An interval; it sorts by its lower end.
    pub fn ends(ends: Option<[f64; 2]>, write: fn(f64) -> String, why: &str) -> Self {
        let field = |end: f64| if end.is_finite() { end.to_string() } else { String::new() };
        let fields = ends.map_or_else(|| vec![String::new(); 2], |ends| ends.map(field).to_vec());
        match ends.filter(|ends| ends.iter().all(|end| end.is_finite())) {
            Some(ends) => Self { text: interval(ends, write), order: Some(ends[0]), fields, ..Self::default() },
            None => Self { order: Some(f64::NAN), fields, ..Self::dash(why) },
        }
    }

    /// A dash with the reason.
    fn dash(why: &str) -> Self {
        Self { text: MISSING.to_owned(), note: visible(why), missing: true, ..Self::default() }
    }

    /// Of a value in its unit.
    pub(super) fn of(value: Value, unit: Unit) -> Self {
        const UNKNOWN: &str = "was not measured";
        match value {
            Value::Blank => Self { fields: vec![String::new()], ..Self::default() },
            Value::Words(words) => Self::words(&words),
            Value::Number(number) => Self::number(number, |number| unit.write(number), UNKNOWN),
            Value::Count(count) => Self {
                text: unit.write_count(count),
                order: Some(count as f64),
                fields: vec![count.to_string()],
                ..Self::default()
            },
            Value::Ends(ends) => Self::ends(ends, unit.writer(), UNKNOWN),
            Value::Or(value, why) => {
                let cell = Self::of(*value, unit);
                if cell.missing { Self { note: visible(&why), ..cell } } else { cell }
            }
            Value::Noted(value, note) => Self { note: visible(&note), ..Self::of(*value, unit) },
        }
    }
}
