//! The ablation grid: how training and test text are joined, whether line breaks stay, and the learning rate.
//!
//! An adaptation is done once for each way to train, and scored under each way to evaluate.

use serde::{Deserialize, Serialize};

use crate::text::{Join, Newlines, StreamOptions};

/// The `[ablation]` table: every combination is tried with each strategy. A list left out has one level, the study's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ablation {
    /// What stands between documents in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train_join: Vec<Join>,
    /// What stands between documents in evaluation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eval_join: Vec<Join>,
    /// What becomes of line breaks inside documents in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newlines: Vec<Newlines>,
    /// What becomes of line breaks inside documents in evaluation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eval_newlines: Vec<Newlines>,
    /// Peak learning rates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lr: Vec<f64>,
}

/// A way to train that differs from its strategy's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How training text becomes tokens.
    pub text: StreamOptions,
    /// The peak learning rate.
    pub lr: f64,
}

impl Ablation {
    /// The ways to train in the grid without `own`, which is always done. Values that the grid does not vary are taken
    /// from `own`.
    pub fn trainings(&self, own: Training) -> Vec<Training> {
        let texts = texts(own.text, &self.train_join, &self.newlines);
        let rates = levels(&self.lr, own.lr);
        distinct(own, texts.iter().flat_map(|&text| rates.iter().map(move |&lr| Training { text, lr })))
    }

    /// At most so many ways to train, and to evaluate.
    pub(super) fn size(&self) -> [usize; 2] {
        let product = |counts: &[usize]| counts.iter().fold(1_usize, |all, count| all.saturating_mul((*count).max(1)));
        [
            product(&[self.train_join.len(), self.newlines.len(), self.lr.len()]),
            product(&[self.eval_join.len(), self.eval_newlines.len()]),
        ]
    }

    /// The ways to evaluate in the grid without `own`, which is always done.
    pub fn evaluations(&self, own: StreamOptions) -> Vec<StreamOptions> {
        distinct(own, texts(own, &self.eval_join, &self.eval_newlines))
    }
}

fn texts(own: StreamOptions, joins: &[Join], newlines: &[Newlines]) -> Vec<StreamOptions> {
    let joins = levels(joins, own.join);
    let with = |newlines| joins.iter().map(move |&join| StreamOptions { join, newlines, ..own });
    levels(newlines, own.newlines).into_iter().flat_map(with).collect()
}

/// The levels of a factor: those given, or the study's own.
fn levels<T: Copy>(given: &[T], own: T) -> Vec<T> {
    if given.is_empty() { vec![own] } else { given.to_vec() }
}

/// Each of `all` once, without `own`.
fn distinct<T: PartialEq>(own: T, all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if one != own && !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
