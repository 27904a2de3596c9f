//! How much of a test text stands in the training text: a low perplexity there may come from memorised text.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::stream::TokenStream;

/// Tokens of an n-gram.
const N: usize = 13;
/// Share of a document's n-grams in the training text from which on it is a near-duplicate.
const NEAR_DUPLICATE: f64 = 0.8;

/// Shares of a test text that also stand in the training text. Runs of 13 tokens are compared, inside documents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Overlap {
    /// Share of the test text's 13-grams, counted wherever they occur, that occur in the training text too.
    pub test_13grams_in_train: Option<f64>,
    /// Share of the test documents with a 13-gram whose 13-grams are in the training text to 80 % or more.
    pub near_duplicate_documents: Option<f64>,
    /// Why there are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Overlap {
    /// Compares two texts that became tokens in the same way. `eot`, the token put between documents, belongs to none.
    ///
    /// Exact: n-grams are compared token by token. Only those of the test text are held, some 30 bytes for each one
    /// that is different, for any length of the training text.
    pub fn of(train: &TokenStream, test: &TokenStream, eot: Option<u32>) -> Self {
        let mut unseen: HashSet<&[u32]> = documents(test, eot).flat_map(|document| document.windows(N)).collect();
        if unseen.is_empty() {
            let reason = format!("no document of the test text has {N} tokens");
            return Self { reason: Some(reason), ..Self::default() };
        }
        for gram in documents(train, eot).flat_map(|document| document.windows(N)) {
            unseen.remove(gram);
        }
        let (mut all, mut in_train) = (0_usize, 0_usize);
        let (mut measured, mut near_duplicates) = (0_usize, 0_usize);
        for document in documents(test, eot).filter(|document| document.len() >= N) {
            let grams = document.len() - N + 1;
            let seen = document.windows(N).filter(|gram| !unseen.contains(gram)).count();
            (all, in_train) = (all + grams, in_train + seen);
            measured += 1;
            near_duplicates += usize::from(seen as f64 >= NEAR_DUPLICATE * grams as f64);
        }
        let share = |part: usize, whole: usize| Some(part as f64 / whole as f64);
        Self {
            test_13grams_in_train: share(in_train, all),
            near_duplicate_documents: share(near_duplicates, measured),
            reason: None,
        }
    }
}

/// The ids of each document, without an `eot` after it.
fn documents(stream: &TokenStream, eot: Option<u32>) -> impl Iterator<Item = &[u32]> {
    let mut start = 0;
    stream.document.chunk_by(|a, b| a == b).map(move |indices| {
        let ids = &stream.ids[start..start + indices.len()];
        start += indices.len();
        match ids.split_last() {
            Some((last, rest)) if Some(*last) == eot => rest,
            _ => ids,
        }
    })
}
