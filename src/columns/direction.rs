//! In which direction a change goes.

use crate::study::Call;

/// The direction of a domain's change, by the 95 % interval of δ or by the call of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The interval lies below 0.
    Better,
    /// The interval lies above 0.
    Worse,
    /// The interval contains 0.
    Undecided,
    /// The test of the study, corrected over domains, shows no difference.
    NoDifference,
}

impl From<Call> for Direction {
    fn from(call: Call) -> Self {
        match call {
            Call::Better => Self::Better,
            Call::Worse => Self::Worse,
            Call::NoDifference => Self::NoDifference,
        }
    }
}

impl Direction {
    /// The direction of an interval; an interval that is not a pair of numbers gives "undecided".
    pub fn of(interval: [f64; 2]) -> Self {
        match interval {
            [_, high] if high < 0.0 => Self::Better,
            [low, _] if low > 0.0 => Self::Worse,
            _ => Self::Undecided,
        }
    }

    /// All directions.
    pub const ALL: [Self; 4] = [Self::Better, Self::Worse, Self::NoDifference, Self::Undecided];

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undecided => "undecided",
            Self::NoDifference => "no difference",
        }
    }
}
