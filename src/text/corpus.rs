//! A corpus: the documents of a `.txt`, `.jsonl` or `.parquet` file, compressed or not, or of a folder of them, in order.
//!
//! Documents are held in memory; what they are read from is streamed, and every file is read once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::columns;
use super::domain::Split;
use super::format::{Format, Kind, READABLE, kind_of};
use super::source::{LONGEST, Lines};
use crate::error::{Error, Result};
use crate::files::hash_bytes;

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

/// What a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text, still to be tokenised.
    Text(String),
    /// Token ids, which skip the tokenizer.
    Ids(Vec<u32>),
}

/// One document. It is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its text or token ids.
    pub content: Content,
}

impl Document {
    /// The text; `None` for a document of token ids.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Ids(_) => None,
        }
    }

    /// SHA-256 of the content. Text and token ids never have the same hash.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        match &self.content {
            Content::Text(text) => {
                hasher.update(b"text");
                hasher.update(text);
            }
            Content::Ids(ids) => {
                hasher.update(b"ids");
                ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
            }
        }
        hasher.finalize().into()
    }

    fn is_empty(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_empty(),
            Content::Ids(ids) => ids.is_empty(),
        }
    }

    fn is_text(&self) -> bool {
        self.text().is_some()
    }
}

/// Documents in order: at least one, all texts or all token ids, and not only white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// The file or folder it was read from.
    pub path: PathBuf,
    /// The part of `path` it is, where a corpus without split files was divided by document.
    pub split: Option<Split>,
    /// The documents, in file order.
    pub documents: Vec<Document>,
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
    /// longer than 1 GiB, or no document at all.
    pub fn read(path: &Path, rule: DocumentRule) -> Result<Self> {
        let files = if fs::metadata(path).map_err(|e| Error::reading(path, e))?.is_dir() {
            files_below(path)?
        } else {
            vec![path.to_owned()]
        };
        let mut documents: Vec<Document> = Vec::new();
        for file in files {
            let more = match kind_of(&file) {
                Some(kind) if kind.format != Format::Archive => read_file(&file, kind, rule)?,
                _ => return Err(unsupported(&file)),
            };
            if let (Some(first), Some(next)) = (documents.first(), more.first())
                && first.is_text() != next.is_text()
            {
                return Err(mixed(&file.display(), next.is_text()));
            }
            documents.extend(more);
        }
        Self::new(path, None, documents)
    }

    /// A corpus of these documents, which came from (the `split` of) `path`. Empty documents are dropped.
    ///
    /// # Errors
    /// [`Error::Input`] where nothing but white space is left, or texts are mixed with token ids.
    pub fn new(path: &Path, split: Option<Split>, mut documents: Vec<Document>) -> Result<Self> {
        documents.retain(|document| !document.is_empty());
        let mut corpus = Self { path: path.to_owned(), split, documents, hash: String::new() };
        if corpus.documents.iter().all(|document| document.text().is_some_and(|text| text.trim().is_empty())) {
            let cure = "name a file or folder with text";
            return Err(Error::input(corpus, "holds no document (nothing, or white space only)", cure));
        }
        let texts = corpus.documents.iter().filter(|document| document.is_text()).count();
        if texts != 0 && texts != corpus.documents.len() {
            return Err(mixed(&corpus, true));
        }
        let digests: Vec<u8> = corpus.documents.iter().flat_map(Document::digest).collect();
        corpus.hash = hash_bytes(&digests);
        Ok(corpus)
    }

    /// The texts of all documents.
    ///
    /// # Errors
    /// [`Error::Input`] for a corpus of token ids.
    pub fn texts(&self) -> Result<Vec<&str>> {
        self.documents.iter().map(Document::text).collect::<Option<_>>().ok_or_else(|| {
            Error::input(
                self,
                "holds token ids, but text is needed here",
                "give a corpus of texts (.txt, or .jsonl with `text`)",
            )
        })
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

/// The documents of a file, empty ones included.
fn read_file(path: &Path, kind: Kind, rule: DocumentRule) -> Result<Vec<Document>> {
    match kind.format {
        Format::Columns => columns::read(path, kind.compression),
        format => read_documents(&mut Lines::of_file(path, kind.compression)?, format, rule),
    }
}

/// The documents of text in a format of lines, empty ones included.
pub(super) fn read_documents(lines: &mut Lines<'_>, format: Format, rule: DocumentRule) -> Result<Vec<Document>> {
    match (format, rule) {
        (Format::Lines, _) => read_lines(lines),
        (_, DocumentRule::BlankLine) => read_paragraphs(lines),
        (_, DocumentRule::File) => read_whole(lines),
    }
}

fn without_mark(line: &str, number: u64) -> &str {
    if number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line }
}

/// Everything as one document.
fn read_whole(lines: &mut Lines<'_>) -> Result<Vec<Document>> {
    let mut text = String::new();
    while let Some(line) = lines.next()? {
        text.push_str(line);
        if lines.bytes() > LONGEST {
            return Err(lines.too_long("file, one document,"));
        }
    }
    Ok(vec![Document { content: Content::Text(text) }])
}

/// Documents divided by empty lines: of the line breaks between two, each pair ends a document, and one left over begins
/// the next, as `text.strip("\n").split("\n\n")` has it in Python.
fn read_paragraphs(lines: &mut Lines<'_>) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
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
                documents.push(Document { content: Content::Text(document.as_str().to_owned()) });
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
    documents.push(Document { content: Content::Text(document) });
    Ok(documents)
}

/// One line of a `.jsonl` file; other keys are ignored.
#[derive(Deserialize)]
struct Record {
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

fn read_lines(lines: &mut Lines<'_>) -> Result<Vec<Document>> {
    let mut documents: Vec<Document> = Vec::new();
    loop {
        let number = lines.number() + 1;
        let Some(line) = lines.next()? else { return Ok(documents) };
        let line = without_mark(line.strip_suffix('\n').unwrap_or(line), number);
        if line.trim().is_empty() {
            continue;
        }
        let document = parse_record(line).map_err(|fault| {
            Error::input(lines.place(), fault, "write one object a line, {\"text\": \"…\"} or {\"ids\": [1, 2, …]}")
        })?;
        if documents.first().is_some_and(|first| first.is_text() != document.is_text()) {
            return Err(mixed(&lines.place(), document.is_text()));
        }
        documents.push(document);
    }
}

/// The document on one line, or what is wrong with it.
fn parse_record(line: &str) -> Result<Document, String> {
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
    match (record.text, record.ids) {
        (Some(text), None) => Ok(Document { content: Content::Text(text) }),
        (None, Some(ids)) => Ok(Document { content: Content::Ids(ids) }),
        (Some(_), Some(_)) => Err("has both `text` and `ids`, expected one".to_owned()),
        (None, None) => Err("has neither `text` nor `ids`".to_owned()),
    }
}
