//! Reads corpora: which reader a file needs, and how plain text becomes documents.
//!
//! Every file is read once, from its start to its end.

use std::fs;
use std::path::{Path, PathBuf};

use super::collector::Collector;
use super::corpus::Corpus;
use super::document::{Document, DocumentRule};
use super::folder::Listing;
use super::format::{Format, Kind, kind_of, unsupported};
use super::options::ReadOptions;
use super::reading::Reading;
use super::source::{self, LONGEST, Lines};
use super::split::Split;
use super::watch::Watch;
use super::{json_lines, parquet, pipe};
use crate::error::{Error, Result};
use crate::progress::Watched;

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
        Format::Parquet => parquet::read(path, kind.compression, reader, options.field(), watch, documents),
        format => read_documents(&mut Lines::of_file(path, kind.compression, reader)?, format, options, documents),
    }
}

/// What comes out of a pipe, which has no name that says it: columns and compression by their first bytes, and JSON where
/// the first line is an object with the field that is read.
fn kind_of_pipe(path: &Path, options: &ReadOptions, watch: &Watch<'_>) -> Result<Kind> {
    let plain = Kind { format: Format::Text, compression: source::compression_of_pipe(path, watch)? };
    let (kind, reader) = source::open(path, plain, watch)?;
    if kind.format != Format::Text {
        return Ok(kind);
    }
    let mut lines = Lines::of_file(path, kind.compression, reader)?;
    while let Some(line) = lines.next()? {
        let line = without_mark(line, 1).trim();
        if !line.is_empty() {
            let is_record = json_lines::parse(line, options.field()).is_ok();
            return Ok(Kind { format: if is_record { Format::JsonLines } else { Format::Text }, ..kind });
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
        (Format::JsonLines, _) => json_lines::read(lines, options.field(), documents),
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
