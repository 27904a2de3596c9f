//! A corpus: the documents of a `.txt`, `.jsonl` or `.parquet` file, compressed or not, or of a folder of them, in order.
//!
//! Every file is read once, from its start to its end; long texts are kept on the disk.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::domain::Split;
use super::folder::Listing;
use super::format::{Format, Kind, kind_of, unsupported};
use super::options::ReadOptions;
use super::reading::Reading;
use super::source::{LONGEST, Lines, Watch};
use super::{columns, json_lines, pipe, source};
use crate::error::{Error, Result};
use crate::files::hexadecimal;
use crate::progress::{Monitor, Watched};
use crate::spool::{Spool, SpoolWriter};

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

    fn is_empty(self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
        }
    }
}

/// Documents in order, all texts or all token ids. They are stored one after the other, on the disk if they are long.
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
    reading: Reading,
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
    /// Reads a file, or every file of these kinds in a folder and below it, sorted by path (hidden files and linked
    /// folders are passed over).
    ///
    /// * `.txt`: UTF-8. [`DocumentRule::BlankLine`] splits at empty lines: line breaks inside a document are kept, those
    ///   at both ends of the file are not, `\r\n` is read as `\n`, a byte-order mark is dropped, documents without any
    ///   character are dropped. [`DocumentRule::File`] takes the file byte for byte.
    /// * `.jsonl`: one object a line, all with `text` (a string, or the field that `options` name) or all with `ids`
    ///   (token ids); other keys are ignored, and so are empty lines and documents. Rows whose text is null are left out
    ///   and counted. What a document is in `.txt` does not apply: a line is a document.
    /// * `.parquet`: the column `text` (or that of `options`), a document a row; other columns are ignored, and so are
    ///   empty documents; null is as in `.jsonl`.
    /// * Each of these with `.gz` or `.zst` after its name: compressed with gzip (one or several members) or Zstandard.
    ///
    /// What a file holds is told by its first bytes where these are known (a warning says where its name differs). Text is
    /// UTF-8, or UTF-16 behind its byte-order mark. `-` is standard input; a pipe is read once and kept.
    ///
    /// A `.tar.gz` is a domain of its own ([`super::Domain`]) and is passed over in a folder.
    ///
    /// # Errors
    /// [`Error::Input`] for a missing path, another format, text that is not UTF-8, a line or row that is not as above,
    /// texts mixed with token ids, compressed data that is damaged, cut short or followed by something else, a document
    /// longer than 1 GiB, a Git LFS pointer, files of which some are missing (`…-00000-of-00002`), or no document at all;
    /// no room for a long corpus on the disk; an interruption.
    pub fn read<'m>(path: &Path, options: impl Into<Watched<'m, ReadOptions>>) -> Result<Self> {
        if pipe::is_pipe(path) {
            return Self::of_files(&[path.to_owned()], path, None, Reading::default(), options.into());
        }
        let (files, left_out) = match fs::metadata(path).map_err(|e| Error::reading(path, e))?.is_dir() {
            true => Listing::of(path)?.whole(path)?,
            false => (vec![path.to_owned()], Reading::default()),
        };
        Self::of_files(&files, path, None, left_out, options.into())
    }

    /// The documents of some files, one after the other.
    pub(super) fn of_files(
        files: &[PathBuf],
        path: &Path,
        split: Option<Split>,
        left_out: Reading,
        mut options: Watched<'_, ReadOptions>,
    ) -> Result<Self> {
        let mut documents = Collector::new();
        documents.reading = left_out;
        let request = options.request.clone();
        Watch::over(&mut options, path, files, |watch| {
            files.iter().try_for_each(|file| match kind_of(file) {
                Some(kind) if kind.format != Format::Archive => read_file(file, kind, &request, watch, &mut documents),
                None if pipe::is_pipe(file) => {
                    read_file(file, kind_of_pipe(file, &request, watch)?, &request, watch, &mut documents)
                }
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

fn mixed(place: &dyn fmt::Display, is_text: bool) -> Error {
    let fault = match is_text {
        true => "`text` after documents given as `ids`",
        false => "`ids` after documents given as `text`",
    };
    Error::input(place, format!("{fault}; a corpus holds one kind"), "make two corpora of it")
}

/// Hands the documents of a file to `documents`.
fn read_file(
    path: &Path,
    named: Kind,
    options: &ReadOptions,
    watch: &Watch<'_>,
    documents: &mut Collector,
) -> Result<()> {
    documents.count_file(match pipe::is_pipe(path) {
        true => pipe::content(path, watch)?.len() as u64,
        false => fs::metadata(path).map_or(0, |metadata| metadata.len()),
    });
    let (kind, reader) = source::open(path, named, watch)?;
    match kind.format {
        Format::Columns => columns::read(path, kind.compression, reader, options.field(), watch, documents),
        format => read_documents(&mut Lines::of_file(path, kind.compression, reader)?, format, options, documents),
    }
}

/// What comes out of a pipe, which has no name that says it: columns and compression by their first bytes, and JSON where
/// the first line is an object with the field that is read.
fn kind_of_pipe(path: &Path, options: &ReadOptions, watch: &Watch<'_>) -> Result<Kind> {
    let plain = Kind { format: Format::Plain, compression: source::compression_of_pipe(path, watch)? };
    let (kind, reader) = source::open(path, plain, watch)?;
    if kind.format != Format::Plain {
        return Ok(kind);
    }
    let mut lines = Lines::of_file(path, kind.compression, reader)?;
    while let Some(line) = lines.next()? {
        let line = without_mark(line, 1).trim();
        if !line.is_empty() {
            let is_record = json_lines::parse(line, options.field()).is_ok();
            return Ok(Kind { format: if is_record { Format::Lines } else { Format::Plain }, ..kind });
        }
    }
    Ok(kind)
}

/// Hands the documents of text in a format of lines to `documents`.
pub(super) fn read_documents(
    lines: &mut Lines<'_>,
    format: Format,
    options: &ReadOptions,
    documents: &mut Collector,
) -> Result<()> {
    match (format, options.document) {
        (Format::Lines, _) => json_lines::read(lines, options.field(), documents),
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

/// Documents divided by empty lines: each pair of line breaks ends a document; a single remaining one begins the next
/// document, as `text.strip("\n").split("\n\n")` has it in Python.
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
    if breaks == 0 && lines.number() <= 2 && document.contains('\r') {
        tracing::warn!(
            "{place}: its only line ends are carriage returns, which are taken for a part of the text: one document (`tr \
             '\\r' '\\n' < FILE > NEW_FILE` makes lines of them)"
        );
    }
    documents.push(Document::Text(&document), || place)
}
