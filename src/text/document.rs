//! A document, and many of them: texts or token ids, back to back.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::spool::Spool;

/// What counts as one document of a `.txt` file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentRule {
    /// Documents are separated by an empty line; Windows line ends count as plain ones
    #[default]
    BlankLine,
    /// A file is one document, byte for byte
    File,
}

/// One document. It is never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document<'a> {
    /// Text, still to be tokenised.
    Text(&'a str),
    /// Token ids, which skip the tokenizer.
    Ids(&'a [u32]),
}

impl<'a> Document<'a> {
    /// The text; `None` for a document of token ids.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Ids(_) => None,
        }
    }

    /// SHA-256 of the content. Text and token ids never have the same hash.
    pub(super) fn digest(self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        match self {
            Self::Text(text) => {
                hasher.update(b"text");
                hasher.update(text);
            }
            Self::Ids(ids) => {
                hasher.update(b"ids");
                ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
            }
        }
        hasher.finalize().into()
    }

    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
        }
    }
}

/// Documents in order, all texts or all token ids. They are stored one after the other, on the disk if they are long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    pub(super) content: Content,
    /// Where each document ends in it, `[documents]`.
    pub(super) ends: Spool<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// UTF-8.
    Texts(Spool<u8>),
    Ids(Spool<u32>),
}

impl Documents {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether they are texts.
    pub fn are_texts(&self) -> bool {
        matches!(self.content, Content::Texts(_))
    }

    /// The document at `index`, which must be there.
    pub fn get(&self, index: usize) -> Document<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = start as usize..self.ends[index] as usize;
        match &self.content {
            Content::Texts(bytes) => {
                Document::Text(str::from_utf8(&bytes[range]).expect("whole texts were put there and nothing else"))
            }
            Content::Ids(ids) => Document::Ids(&ids[range]),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Document<'_>> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Bytes of the texts, or of the token ids.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Texts(bytes) => bytes.len() as u64,
            Content::Ids(ids) => size_of_val(&**ids) as u64,
        }
    }
}
