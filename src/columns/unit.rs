//! How the values of a column are written.

use super::written::{MISSING, coefficient, count, delta, p_value, percent, significant, size};

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Words.
    Text,
    /// A number with four significant digits.
    Plain,
    /// A change in log-perplexity, nats per token.
    Nats,
    /// A size in nats, without a sign.
    Size,
    /// A share, as a percentage.
    Share,
    /// A p-value.
    P,
    /// A correlation coefficient.
    Coefficient,
    /// A number of things.
    Count,
    /// The shortest text that reads back as the same number.
    Exact,
}

impl Unit {
    /// Whether it is of numbers, which are set to the right.
    pub fn is_number(self) -> bool {
        self != Self::Text
    }

    pub(super) fn writer(self) -> fn(f64) -> String {
        match self {
            Self::Plain => significant,
            Self::Nats => delta,
            Self::Size => size,
            Self::Share => percent,
            Self::P => p_value,
            Self::Coefficient => coefficient,
            Self::Count => |value| if value >= 0.0 { count(value.round() as u64) } else { MISSING.to_owned() },
            Self::Text | Self::Exact => |value| value.to_string(),
        }
    }

    pub(super) fn write(self, value: f64) -> String {
        self.writer()(value)
    }

    pub(super) fn write_count(self, number: u64) -> String {
        if self == Self::Count { count(number) } else { number.to_string() }
    }
}
