//! What was read of a corpus and what was not, to be said after reading and kept with results.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Examples that are kept of one kind.
const EXAMPLES: usize = 5;

/// What was read for one text, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Files, or members of an archive.
    pub files: u64,
    /// Bytes of these files as they lie there, compressed or not.
    pub file_bytes: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of the documents.
    pub bytes: u64,
    /// Tokens, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What was found and not read, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, Counted>,
    /// Characters for which the tokenizer has no token, so that they are missing among the tokens.
    #[serde(skip_serializing_if = "Counted::is_none")]
    pub dropped: Counted,
    /// Unknown tokens, which stand for text that the vocabulary lacks.
    #[serde(skip_serializing_if = "Counted::is_none")]
    pub unknown: Counted,
}

/// How many of a kind there were, and some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// The first few different ones.
    pub examples: Vec<String>,
}

impl Counted {
    /// Counts one more, or several.
    pub fn add(&mut self, count: u64, example: impl FnOnce() -> String) {
        self.count += count;
        if self.examples.len() < EXAMPLES {
            let example = example();
            if !self.examples.contains(&example) {
                self.examples.push(example);
            }
        }
    }

    /// Whether there was none.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// The examples, as messages list them; "…" where there are more.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.count > self.examples.len() as u64 { ", …" } else { "" };
        write!(f, "{}{more}", self.examples.join(", "))
    }
}

impl Reading {
    /// Counts something that was found and is not read.
    pub fn leave_out(&mut self, kind: &str, example: impl FnOnce() -> String) {
        self.left_out.entry(kind.to_owned()).or_default().add(1, example);
    }
}

/// One line: `2 files, 34 documents, 5120 bytes, 1311 tokens; left out: 1 file of another kind (notes.md)`.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        write!(f, "{}, {}", count(self.files, "file"), count(self.documents, "document"))?;
        write!(f, ", {}", count(self.bytes, "byte"))?;
        if let Some(tokens) = self.tokens {
            write!(f, ", {}", count(tokens, "token"))?;
        }
        for (index, (kind, found)) in self.left_out.iter().enumerate() {
            let before = if index == 0 { "; left out: " } else { ", " };
            write!(f, "{before}{} {kind} ({found})", found.count)?;
        }
        if !self.dropped.is_none() {
            write!(f, "; {} without a token", count(self.dropped.count, "character"))?;
        }
        if !self.unknown.is_none() {
            write!(f, "; {}", count(self.unknown.count, "unknown token"))?;
        }
        Ok(())
    }
}
