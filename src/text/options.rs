//! How corpus files are read: what a document is, and which field holds its text.

use serde::{Deserialize, Serialize};

use super::document::DocumentRule;
use super::stream::{Bos, Join, Newlines, StreamOptions};
use crate::progress::Watched;

/// The field and column that hold the text where nothing else is said.
pub const TEXT: &str = "text";

/// How the files of a corpus become documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadOptions {
    /// What a document is in a `.txt` file.
    pub document: DocumentRule,
    /// The field of `.jsonl` and the column of `.parquet` that hold the text; `text` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
}

/// How a corpus is read and becomes a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOptions {
    /// How its files become documents.
    pub read: ReadOptions,
    /// How its documents become a stream.
    pub stream: StreamOptions,
    /// Whether of a corpus without splits only the part is read that a domain would train on, because the rest of it is
    /// measured on.
    pub divide: bool,
}

impl TextOptions {
    /// What holds where nothing else is said.
    pub const PLAIN: Self = Self {
        read: ReadOptions { document: DocumentRule::BlankLine, text_field: None },
        stream: StreamOptions { join: Join::Eot, newlines: Newlines::Keep, bos: Bos::Auto },
        divide: false,
    };
}

impl ReadOptions {
    /// The name of the field that holds the text.
    pub fn field(&self) -> &str {
        self.text_field.as_deref().unwrap_or(TEXT)
    }
}

impl From<DocumentRule> for ReadOptions {
    fn from(document: DocumentRule) -> Self {
        Self { document, text_field: None }
    }
}

impl From<DocumentRule> for Watched<'_, ReadOptions> {
    fn from(document: DocumentRule) -> Self {
        ReadOptions::from(document).into()
    }
}

impl<'m> From<Watched<'m, DocumentRule>> for Watched<'m, ReadOptions> {
    fn from(watched: Watched<'m, DocumentRule>) -> Self {
        watched.map(ReadOptions::from)
    }
}
