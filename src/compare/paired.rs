//! The change of every document between two scorings of one text: the input of intervals and paired tests.

use serde::{Deserialize, Serialize};

use super::pair::{Pair, pair};
use crate::error::Result;
use crate::evaluate::{Clusters, ScoredStream};

/// By cluster, the sum of changes in negative log-likelihood. Clusters are documents, or windows where documents are few.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedChanges {
    /// "documents" or "windows".
    pub over: String,
    /// Sum over the cluster's scored tokens of after minus before, nats; `[clusters]`.
    pub changes: Vec<f64>,
    /// Its scored tokens, `[clusters]`. δ is Σ changes / Σ tokens.
    pub tokens: Vec<f64>,
}

impl PairedChanges {
    /// Between two scorings of one text; `names` are those of the models.
    ///
    /// # Errors
    /// As [`super::compare`].
    pub fn of(before: &ScoredStream, after: &ScoredStream, names: [&str; 2]) -> Result<Self> {
        Ok(Self::new(&pair(before, after, names)?, &before.clusters()))
    }

    pub(super) fn new(pairs: &[Pair], clusters: &Clusters<'_>) -> Self {
        let (mut changes, mut tokens) = (vec![0.0; clusters.count], vec![0.0; clusters.count]);
        for pair in pairs {
            changes[pair.cluster] += pair.change();
            tokens[pair.cluster] += 1.0;
        }
        Self { over: clusters.name.to_owned(), changes, tokens }
    }
}
