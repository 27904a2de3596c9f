//! The shares α of a merge, as they are given: one, a list, or a range.

use std::str::FromStr;

use crate::error::{Error, Result};

/// The most shares of one request: each is a model that is made and scored.
const MOST: usize = 1001;
/// Decimals of a share in a range: the sum of steps is rounded to them, so that 3 · 0.1 is 0.3.
const DECIMALS: f64 = 1e9;

/// Shares α from 0 to 1 in ascending order, each once; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(Vec<f64>);

impl Shares {
    /// These shares, sorted.
    ///
    /// # Errors
    /// There is none, or one is outside 0 to 1.
    pub fn new(shares: &[f64]) -> Result<Self> {
        if shares.is_empty() {
            return Err(refused("is empty".to_owned()));
        }
        if let Some(outside) = shares.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(refused(format!("holds {outside}, which is not from 0 to 1")));
        }
        let mut sorted: Vec<f64> = shares.iter().map(|share| share + 0.0).collect(); // −0 becomes 0
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        Ok(Self(sorted))
    }

    /// All of them, in ascending order.
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// The only one; `None` where there are several.
    pub fn only(&self) -> Option<f64> {
        match self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}

fn refused(fault: String) -> Error {
    Error::input("alpha", fault, "give one share such as 0.5, several such as 0,0.5,1, or a range such as 0:1:0.1")
}

impl FromStr for Shares {
    type Err = Error;

    /// `0.5`, `0,0.5,1`, or `FROM:TO:STEP`; TO is among them where the steps reach it.
    fn from_str(text: &str) -> Result<Self> {
        let number = |word: &str| {
            let number = word.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| refused(format!("is {text:?}, in which {word:?} is no number")))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let [from, to, step] = parts[..] else {
            if parts.len() > 1 {
                return Err(refused(format!("is {text:?}, expected FROM:TO:STEP")));
            }
            let given: Vec<&str> = text.split(',').filter(|word| !word.trim().is_empty()).collect();
            return Self::new(&given.into_iter().map(number).collect::<Result<Vec<f64>>>()?);
        };
        let (from, to, step) = (number(from)?, number(to)?, number(step)?);
        if from > to || step <= 0.0 {
            return Err(refused(format!(
                "is {text:?}, which is no range: FROM must not be above TO, STEP must be above 0"
            )));
        }
        let steps = ((to - from) / step + 1e-6).floor();
        if steps >= MOST as f64 {
            return Err(refused(format!("is {text:?}, which are more than {MOST} shares")));
        }
        let share = |index: usize| ((from + index as f64 * step) * DECIMALS).round() / DECIMALS;
        Self::new(&(0..=steps as usize).map(share).collect::<Vec<_>>())
    }
}
