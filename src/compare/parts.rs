//! The parts of a change that line breaks and ends of documents carry, by document: the input of the intervals of these
//! parts.

use serde::{Deserialize, Serialize};

use super::change::LineBreakParts;
use super::pair::pair;
use super::paired::PairedChanges;
use crate::error::Result;
use crate::evaluate::ScoredStream;
use crate::text::{TokenClass, Vocabulary};

/// By cluster, the parts of [`PairedChanges::changes`] that some tokens carry; the remainder is the rest. A token
/// belongs to the first part in this order that fits it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartChanges {
    /// Of tokens that hold a line break, `[clusters]`, nats.
    pub newline: Vec<f64>,
    /// Of end-of-text tokens and the tokens right after one, `[clusters]`.
    pub boundary: Vec<f64>,
    /// Of the tokens right after a line break, `[clusters]`.
    pub after_newline: Vec<f64>,
}

impl PartChanges {
    /// Between two scorings of one text; `names` are those of the models, `eot` is what stands between documents.
    ///
    /// # Errors
    /// As [`super::compare`].
    pub fn of(
        before: &ScoredStream,
        after: &ScoredStream,
        names: [&str; 2],
        vocabulary: &Vocabulary,
        eot: Option<u32>,
    ) -> Result<Self> {
        let pairs = pair(before, after, names)?;
        let none = vec![0.0; before.clusters().count];
        let mut parts = Self { newline: none.clone(), boundary: none.clone(), after_newline: none };
        let newline = |id: u32| vocabulary.class(id) == TokenClass::Newline;
        for pair in &pairs {
            let previous = pair.position.checked_sub(1).map(|position| before.ids[position]);
            let sums = if newline(pair.id) {
                &mut parts.newline
            } else if eot.is_some() && (Some(pair.id) == eot || previous == eot) {
                &mut parts.boundary
            } else if previous.is_some_and(newline) {
                &mut parts.after_newline
            } else {
                continue;
            };
            sums[pair.cluster] += pair.change();
        }
        Ok(parts)
    }

    /// The part of `changes` that the other tokens of each cluster carry, `[clusters]`.
    pub fn rest(&self, changes: &PairedChanges) -> Vec<f64> {
        let named = self.newline.iter().zip(&self.boundary).zip(&self.after_newline).map(|((a, b), c)| a + b + c);
        changes.changes.iter().zip(named).map(|(all, named)| all - named).collect()
    }

    /// The parts of δ, which they sum to.
    pub fn shares(&self, changes: &PairedChanges) -> LineBreakParts {
        let tokens: f64 = changes.tokens.iter().sum();
        let share = |sums: &[f64]| sums.iter().sum::<f64>() / tokens;
        LineBreakParts {
            newline: share(&self.newline),
            after_newline: share(&self.after_newline),
            boundary: Some(share(&self.boundary)),
            rest: share(&self.rest(changes)),
        }
    }
}
