//! Takes the documents of a corpus one by one as they are read, and makes the corpus of them.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::corpus::Corpus;
use super::document::{Content, Document, Documents};
use super::reading::Reading;
use super::split::Split;
use crate::error::{Error, Result};
use crate::files::hexadecimal;
use crate::spool::SpoolWriter;

/// Takes the documents of a corpus one by one as they are read.
pub(super) struct Collector {
    texts: SpoolWriter<u8>,
    ids: SpoolWriter<u32>,
    ends: SpoolWriter<u64>,
    /// Whether documents are texts, as the first of them was.
    are_texts: Option<bool>,
    /// Whether any document had more than white space.
    any: bool,
    /// Of the digests of all documents.
    hasher: Sha256,
    /// What was read.
    pub(super) reading: Reading,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            texts: SpoolWriter::default(),
            ids: SpoolWriter::default(),
            ends: SpoolWriter::default(),
            are_texts: None,
            any: false,
            hasher: Sha256::new(),
            reading: Reading::default(),
        }
    }

    /// Documents so far, empty ones not counted.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Counts a file, or member of an archive, of so many bytes.
    pub(super) fn count_file(&mut self, bytes: u64) {
        self.reading.files += 1;
        self.reading.file_bytes += bytes;
    }

    /// Counts something that was found and is no document.
    pub(super) fn leave_out(&mut self, kind: &str, place: impl FnOnce() -> String) {
        self.reading.leave_out(kind, place);
    }

    /// Takes a document, unless it is empty; `place` names its origin in messages.
    ///
    /// # Errors
    /// [`Error::Input`] for a text after token ids and the other way round; no room on the disk.
    pub(super) fn push(&mut self, document: Document<'_>, place: impl FnOnce() -> String) -> Result<()> {
        let is_text = document.text().is_some();
        if *self.are_texts.get_or_insert(is_text) != is_text {
            return Err(mixed(&place(), is_text));
        }
        if document.is_empty() {
            return Ok(());
        }
        self.any |= document.text().is_none_or(|text| !text.trim().is_empty());
        self.hasher.update(document.digest());
        let end = match document {
            Document::Text(text) => {
                self.texts.extend_from_slice(text.as_bytes())?;
                self.texts.len()
            }
            Document::Ids(ids) => {
                self.ids.extend_from_slice(ids)?;
                self.ids.len()
            }
        };
        self.ends.push(end as u64)
    }

    /// The corpus of these documents, which came from (the `split` of) `path`.
    ///
    /// # Errors
    /// [`Error::Input`] where there is nothing but white space; no room on the disk.
    pub(super) fn finish(self, path: &Path, split: Option<Split>) -> Result<Corpus> {
        let content = match self.are_texts {
            Some(false) => Content::Ids(self.ids.finish()?),
            _ => Content::Texts(self.texts.finish()?),
        };
        let documents = Documents { content, ends: self.ends.finish()? };
        let hash = hexadecimal(&self.hasher.finalize());
        let (number, bytes) = (documents.len() as u64, documents.bytes());
        let reading = Reading { documents: number, bytes, ..self.reading };
        let corpus = Corpus { path: path.to_owned(), split, documents, hash, reading };
        if let Some(null) = corpus.reading.left_out.get(NULL) {
            tracing::warn!("{corpus}: rows without a text (null), which are left out: {} ({null})", null.count);
        }
        // A link, a pipe: "a link to a folder".
        for (kind, found) in corpus.reading.left_out.iter().filter(|(kind, _)| kind.starts_with("a ")) {
            tracing::warn!("{corpus}: left out, not opened: {} × {kind} ({found})", found.count);
        }
        if !self.any {
            let cure = "name a file or folder with text";
            return Err(Error::input(corpus, "holds no document (nothing, or white space only)", cure));
        }
        Ok(corpus)
    }
}

/// What rows without a text are counted as.
pub(super) const NULL: &str = "without a text (null)";

fn mixed(place: &dyn fmt::Display, is_text: bool) -> Error {
    let fault = match is_text {
        true => "`text` after documents given as `ids`",
        false => "`ids` after documents given as `text`",
    };
    Error::input(place, format!("{fault}; a corpus holds one kind"), "make two corpora of it")
}

impl Corpus {
    /// A corpus of these documents, which came from (the `split` of) `path`. Empty documents are dropped.
    ///
    /// # Errors
    /// [`Error::Input`] where nothing but white space is left, or texts are mixed with token ids; no room for a long
    /// corpus on the disk.
    pub fn new<'a>(
        path: &Path,
        split: Option<Split>,
        documents: impl IntoIterator<Item = Document<'a>>,
    ) -> Result<Self> {
        let mut collector = Collector::new();
        for document in documents {
            collector.push(document, || path.display().to_string())?;
        }
        collector.finish(path, split)
    }

    /// The first documents, until they have `bytes` bytes; the last one is complete.
    ///
    /// # Errors
    /// [`Error::Input`] where they are nothing but white space; no room for them on the disk.
    pub fn first(self, bytes: u64) -> Result<Self> {
        if self.documents.bytes() <= bytes {
            return Ok(self);
        }
        let width = if self.documents.are_texts() { 1 } else { size_of::<u32>() as u64 };
        let before = self.documents.ends.partition_point(|&end| end * width < bytes); // documents that end too early
        let mut first = Collector::new();
        for document in self.documents.iter().take(before + 1) {
            first.push(document, || self.to_string())?;
        }
        first.finish(&self.path, self.split)
    }
}
