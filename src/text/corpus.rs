//! A corpus: the documents of a `.txt`, `.jsonl` or `.parquet` file, compressed or not, or of a folder of them, in order.
//!
//! Every file is read once, from its start to its end; what is kept of it lies on the disk where it is long.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::columns;
use super::domain::Split;
use super::format::{Format, Kind, READABLE, kind_of};
use super::source::{LONGEST, Lines, Watch};
use crate::error::{Error, Result};
use crate::files::hexadecimal;
use crate::progress::Watched;
use crate::spool::{Spool, SpoolWriter};

/// What counts as one document of a `.txt` file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

    fn is_empty(self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
        }
    }
}

/// Documents in order, all texts or all token ids. They lie back to back; where they are long, on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    content: Content,
    /// Where each document ends in it, `[documents]`.
    ends: Spool<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// UTF-8.
    Texts(Spool<u8>),
    Ids(Spool<u32>),
}

impl Documents {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
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

/// Takes the documents of a corpus one by one as they are read.
pub(super) struct Collector {
    texts: SpoolWriter<u8>,
    ids: SpoolWriter<u32>,
    ends: SpoolWriter<u64>,
    /// Whether documents are texts, as the first of them was.
    are_texts: Option<bool>,
    /// Whether there was more than white space.
    any: bool,
    /// Of the digests of all documents.
    hasher: Sha256,
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
        }
    }

    /// Documents so far, empty ones not counted.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Takes a document, unless it is empty; `place` is where it comes from, for messages.
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
        let corpus = Corpus { path: path.to_owned(), split, documents, hash };
        if !self.any {
            let cure = "name a file or folder with text";
            return Err(Error::input(corpus, "holds no document (nothing, or white space only)", cure));
        }
        Ok(corpus)
    }
}

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
    /// Reads a file, or every file of these kinds in a folder and below it, sorted by path (hidden files and linked
    /// folders are passed over).
    ///
    /// * `.txt`: UTF-8. [`DocumentRule::BlankLine`] splits at empty lines: line breaks inside a document are kept, those
    ///   at both ends of the file are not, `\r\n` is read as `\n`, a byte-order mark is dropped, documents without any
    ///   character are dropped. [`DocumentRule::File`] takes the file byte for byte.
    /// * `.jsonl`: one object a line, all with `text` (a string) or all with `ids` (token ids); other keys are ignored,
    ///   and so are empty lines and documents. `rule` does not apply: a line is a document.
    /// * `.parquet`: the column `text`, a document a row; other columns are ignored, and so are empty documents.
    /// * Each of these with `.gz` or `.zst` after its name: what gzip (one member or several) or Zstandard made of it.
    ///
    /// A `.tar.gz` is a domain of its own ([`super::Domain`]) and is passed over in a folder.
    ///
    /// # Errors
    /// [`Error::Input`] for a missing path, another format, text that is not UTF-8, a line or row that is not as above,
    /// texts mixed with token ids, compressed data that is damaged, cut short or followed by something else, a document
    /// longer than 1 GiB, or no document at all; no room for a long corpus on the disk; an interruption.
    pub fn read<'m>(path: &Path, rule: impl Into<Watched<'m, DocumentRule>>) -> Result<Self> {
        let files = if fs::metadata(path).map_err(|e| Error::reading(path, e))?.is_dir() {
            files_below(path)?
        } else {
            vec![path.to_owned()]
        };
        Self::of_files(&files, path, None, rule.into())
    }

    /// The documents of some files, one after the other.
    pub(super) fn of_files(
        files: &[PathBuf],
        path: &Path,
        split: Option<Split>,
        mut rule: Watched<'_, DocumentRule>,
    ) -> Result<Self> {
        let mut documents = Collector::new();
        let request = rule.request;
        Watch::over(&mut rule, path, files, |watch| {
            files.iter().try_for_each(|file| match kind_of(file) {
                Some(kind) if kind.format != Format::Archive => read_file(file, kind, request, watch, &mut documents),
                _ => Err(unsupported(file)),
            })
        })?;
        documents.finish(path, split)
    }

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

    /// The first documents, as many as it takes to hold `bytes` bytes: the last of them is whole.
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

/// The readable files of a folder and of all below it, sorted by path.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut others = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |e| Error::reading(&folder, e);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // The type of a link is "link", so that a link to a folder above cannot lead round in circles.
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(path);
            } else if path.is_dir() {
                tracing::warn!("{}: a link to a folder, not followed", path.display());
            } else if kind_of(&path).is_some_and(|kind| kind.format != Format::Archive) {
                files.push(path);
            } else {
                others.push(path);
            }
        }
    }
    files.sort();
    others.sort();
    match others.first() {
        _ if !files.is_empty() => {
            for other in &others {
                tracing::debug!("{}: no file of a corpus, passed over", other.display());
            }
            Ok(files)
        }
        Some(other) => Err(unsupported(other)),
        None => Err(Error::file(folder, "holds no file to read", format!("what is read is {READABLE}"))),
    }
}

fn unsupported(path: &Path) -> Error {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let cure = match extension.as_str() {
        _ if kind_of(path).is_some() => "an archive is a domain with its splits: name it where a domain is expected",
        "gz" | "zst" => "rename it so that its name says what is in it, as in books.txt.gz",
        "xz" | "bz2" | "zip" | "7z" => "unpack it first",
        "arrow" | "json" | "csv" | "tsv" => "convert it to .jsonl with one {\"text\": …} a line",
        _ => "convert it, or rename it if it is one of these",
    };
    Error::file(path, format!("cannot be read as a corpus; what is read is {READABLE}"), cure)
}

fn mixed(place: &dyn fmt::Display, is_text: bool) -> Error {
    let fault = match is_text {
        true => "`text` after documents given as `ids`",
        false => "`ids` after documents given as `text`",
    };
    Error::input(place, format!("{fault}; a corpus holds one kind"), "make two corpora of it")
}

/// Hands the documents of a file to `documents`.
fn read_file(path: &Path, kind: Kind, rule: DocumentRule, watch: &Watch<'_>, documents: &mut Collector) -> Result<()> {
    match kind.format {
        Format::Columns => columns::read(path, kind.compression, watch, documents),
        format => read_documents(&mut Lines::of_file(path, kind.compression, watch)?, format, rule, documents),
    }
}

/// Hands the documents of text in a format of lines to `documents`.
pub(super) fn read_documents(
    lines: &mut Lines<'_>,
    format: Format,
    rule: DocumentRule,
    documents: &mut Collector,
) -> Result<()> {
    match (format, rule) {
        (Format::Lines, _) => read_lines(lines, documents),
        (_, DocumentRule::BlankLine) => read_paragraphs(lines, documents),
        (_, DocumentRule::File) => read_whole(lines, documents),
    }
}

fn without_mark(line: &str, number: u64) -> &str {
    if number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line }
}

/// Everything as one document.
fn read_whole(lines: &mut Lines<'_>, documents: &mut Collector) -> Result<()> {
    let mut text = String::new();
    while let Some(line) = lines.next()? {
        text.push_str(line);
        if lines.bytes() > LONGEST {
            return Err(lines.too_long("file, one document,"));
        }
    }
    documents.push(Document::Text(&text), || lines.name().to_owned())
}

/// Documents divided by empty lines: of the line breaks between two, each pair ends a document, and one left over begins
/// the next, as `text.strip("\n").split("\n\n")` has it in Python.
fn read_paragraphs(lines: &mut Lines<'_>, documents: &mut Collector) -> Result<()> {
    let place = lines.name().to_owned();
    let mut document = String::new();
    let mut breaks = 0_usize; // since the last character; those before the first one count for nothing
    let mut started = false;
    loop {
        let number = lines.number() + 1;
        let Some(line) = lines.next()? else { break };
        let line = without_mark(line, number);
        let (text, ended) = match line.strip_suffix('\n') {
            Some(text) => (text.strip_suffix('\r').unwrap_or(text), true),
            None => (line, false),
        };
        if !text.is_empty() {
            if started && breaks > 1 {
                documents.push(Document::Text(&document), || place.clone())?;
                document.clear();
            }
            if started && breaks % 2 == 1 {
                document.push('\n');
            }
            document.push_str(text);
            (started, breaks) = (true, 0);
        }
        breaks += usize::from(ended);
        if document.len() as u64 > LONGEST {
            return Err(lines.too_long("document"));
        }
    }
    documents.push(Document::Text(&document), || place)
}

/// One line of a `.jsonl` file; other keys are ignored.
#[derive(Deserialize)]
struct Record {
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

fn read_lines(lines: &mut Lines<'_>, documents: &mut Collector) -> Result<()> {
    loop {
        let number = lines.number() + 1;
        let Some(line) = lines.next()? else { return Ok(()) };
        let line = without_mark(line.strip_suffix('\n').unwrap_or(line), number);
        if line.trim().is_empty() {
            continue;
        }
        let record = parse_record(line).map_err(|fault| {
            Error::input(lines.place(), fault, "write one object a line, {\"text\": \"…\"} or {\"ids\": [1, 2, …]}")
        })?;
        let of_ids = || Document::Ids(record.ids.as_deref().unwrap_or_default());
        documents.push(record.text.as_deref().map_or_else(of_ids, Document::Text), || lines.place())?;
    }
}

/// A line with one of its fields, or what is wrong with it.
fn parse_record(line: &str) -> Result<Record, String> {
    // serde would take an array for the fields in order.
    if !line.trim_start().starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    let record: Record = serde_json::from_str(line).map_err(|e| {
        let message = e.to_string();
        // The line that serde counts is always 1 here.
        let fault = message.split(" at line ").next().unwrap_or(&message);
        format!("not an object with `text` or `ids`: {fault} (column {})", e.column())
    })?;
    match (&record.text, &record.ids) {
        (Some(_), None) | (None, Some(_)) => Ok(record),
        (Some(_), Some(_)) => Err("has both `text` and `ids`, expected one".to_owned()),
        (None, None) => Err("has neither `text` nor `ids`".to_owned()),
    }
}
