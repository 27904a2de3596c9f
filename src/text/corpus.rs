//! A corpus: the documents of a `.txt`, `.jsonl` or `.parquet` file, compressed or not, or of a folder of them, in order.
//!
//! `read` reads it; what is kept of it lies on the disk where it is long.

use std::fmt;
use std::path::PathBuf;

use super::document::Documents;
use super::reading::Reading;
use super::split::Split;
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// Documents in order: at least one, all texts or all token ids, and not only white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// The file or folder it was read from.
    pub path: PathBuf,
    /// The part of `path` it is, where several files make a split or a corpus was divided by document.
    pub split: Option<Split>,
    /// The documents, in file order.
    pub documents: Documents,
    /// SHA-256 over the SHA-256 of every document, in order; the same documents in another file format have the same hash.
    pub hash: String,
    /// What was read, and what was left out.
    pub reading: Reading,
}

/// The corpus as messages name it: its path and split.
impl fmt::Display for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.split {
            Some(split) => write!(f, "{} ({split} split)", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

impl Corpus {
    /// Tells a monitor what was read of it: where it becomes tokens, with what is known of them.
    pub fn note(&self, reading: &Reading, monitor: &mut dyn Monitor) {
        let mut facts = serde_json::json!({ "text": self.to_string() });
        if let (Some(facts), Ok(serde_json::Value::Object(more))) =
            (facts.as_object_mut(), serde_json::to_value(reading))
        {
            facts.extend(more);
        }
        monitor.note(&format!("read {self}: {reading}"), &facts);
    }

    /// The texts of all documents.
    ///
    /// # Errors
    /// [`Error::Input`] for a corpus of token ids.
    pub fn texts(&self) -> Result<impl ExactSizeIterator<Item = &str> + Clone> {
        if !self.documents.are_texts() {
            return Err(Error::input(
                self,
                "holds token ids, but text is needed here",
                "give a corpus of texts (.txt, or .jsonl with `text`)",
            ));
        }
        Ok(self.documents.iter().map(|document| document.text().unwrap_or_default()))
    }
}
