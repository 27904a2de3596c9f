//! The three splits of a domain.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What models are adapted on
    Train,
    /// What settings are chosen on
    Valid,
    /// What results are reported on
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// "train", "valid" or "test": the stem of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }

    /// The split of a document with this hash that belongs to a corpus without split files: about 80 % train, 10 % valid, 10 % test.
    ///
    /// It depends on the content alone, so a document keeps its split when others are added, and copies of a document
    /// are always in the same split.
    pub(super) fn of(digest: [u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = digest;
        match u64::from_le_bytes([a, b, c, d, e, f, g, h]) % 10 {
            8 => Self::Valid,
            9 => Self::Test,
            _ => Self::Train,
        }
    }

    /// What its files and folders may be called.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Valid => &["valid", "validation", "dev", "val"],
            Self::Test => &["test", "testing", "eval", "evaluation"],
        }
    }

    /// All names, with what they stand for.
    pub(super) fn all_names() -> impl Iterator<Item = (Self, &'static str)> {
        Self::ALL.into_iter().flat_map(|split| split.names().iter().map(move |name| (split, *name)))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
