//! What a corpus file is: the format, and what it is compressed with. Its name says so, and its first bytes must agree.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;
use crate::files;

/// What corpora are read from, for messages.
pub(super) const READABLE: &str = ".txt (plain text), .jsonl (one object a line, with `text` or `ids`) and .parquet (a \
                                   column `text`), each also .gz or .zst, and a domain's .tar.gz";

/// The format of a corpus file, under its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Documents in plain text.
    Text,
    /// A JSON object a line.
    JsonLines,
    /// A column of Apache Parquet.
    Parquet,
    /// A tar archive of split files.
    Archive,
}

/// The compression of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Nothing.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
}

impl Compression {
    /// Its name, and what to do where its data is damaged.
    pub(super) fn name_and_cure(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Gzip => Some(("gzip", "download it again, or compress it again with gzip")),
            Self::Zstd => Some(("Zstandard", "download it again, or compress it again with zstd (without --long)")),
            Self::None => None,
        }
    }
}

/// Format and compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub format: Format,
    pub compression: Compression,
}

const FORMATS: [(&str, Format); 4] =
    [(".txt", Format::Text), (".jsonl", Format::JsonLines), (".parquet", Format::Parquet), (".tar", Format::Archive)];
const COMPRESSIONS: [(&str, Compression); 3] =
    [("", Compression::None), (".gz", Compression::Gzip), (".zst", Compression::Zstd)];

/// The endings of a split's file, `.txt` first, with what they stand for. Archives contain splits; they are not listed
/// here.
pub(super) fn split_endings() -> impl Iterator<Item = (String, Kind)> {
    let formats = FORMATS.into_iter().filter(|(_, format)| *format != Format::Archive);
    formats.flat_map(|(ending, format)| {
        COMPRESSIONS.map(|(more, compression)| (format!("{ending}{more}"), Kind { format, compression }))
    })
}

/// The kind of the file at this path; `None` if it is not a corpus.
pub(super) fn kind_of(path: &Path) -> Option<Kind> {
    // Endings are read in a name that is not UTF-8, too.
    divide(&path.file_name()?.to_string_lossy()).map(|(_, kind)| kind)
}

/// A file's name without the endings of a corpus: "cs.CL" of "cs.CL.tar.gz". `None` if it is not a corpus.
pub(super) fn stem(name: &str) -> Option<&str> {
    divide(name).map(|(stem, _)| stem)
}

/// A name without the endings of a corpus, and what they say.
pub(super) fn divide(name: &str) -> Option<(&str, Kind)> {
    if let Some(stem) = without(name, ".tgz") {
        return Some((stem, Kind { format: Format::Archive, compression: Compression::Gzip }));
    }
    // The empty ending last: it fits every name.
    let (inner, compression) =
        COMPRESSIONS.iter().rev().find_map(|(ending, compression)| Some((without(name, ending)?, *compression)))?;
    let (stem, format) = FORMATS.iter().find_map(|(ending, format)| Some((without(inner, ending)?, *format)))?;
    Some((stem, Kind { format, compression }))
}

/// Formats that are known by their first bytes and not read, with a cure.
const NOT_READ: [(&[u8], &str, &str); 8] = [
    (b"\xfd7zXZ\0", "xz data", "unpack it first (`xz -d FILE`), or compress it with gzip or zstd"),
    (b"\x04\x22\x4d\x18", "lz4 data", "unpack it first (`lz4 -d FILE`), or compress it with gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first (`7z x FILE`) and name the folder"),
    (b"PK\x03\x04", "a zip archive", "unpack it first (`unzip FILE`) and name the folder"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it first (`unrar x FILE`) and name the folder"),
    (b"ARROW1\0\0", "an Arrow file", ARROW),
    (b"%PDF-", "a PDF document", "take its text out first (`pdftotext FILE`)"),
    (b"SQLite format 3\0", "a SQLite database", "write its texts as .jsonl, one {\"text\": …} a line"),
];
const ARROW: &str = "write it as .parquet or .jsonl: in Python, \
                     `datasets.load_from_disk(FOLDER)` or `datasets.Dataset.from_file(FILE)`, then `.to_parquet(NEW_FILE)`";

/// What the first bytes of a file say that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Magic {
    /// Data compressed in this way.
    Compressed(Compression),
    /// Apache Parquet.
    Parquet,
    /// What is not read: its name and a cure.
    NotRead(&'static str, &'static str),
    /// Nothing known: text, most often.
    Unknown,
}

/// Looks at the first bytes of a file, some hundreds of them.
pub(super) fn magic(start: &[u8]) -> Magic {
    if let Some((_, name, cure)) = NOT_READ.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Magic::NotRead(name, cure);
    }
    match start {
        // "BZh", a digit, and the first digits of pi.
        [b'B', b'Z', b'h', _, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
            Magic::NotRead("bzip2 data", "unpack it first (`bzip2 -d FILE`), or compress it with gzip or zstd")
        }
        [0x1f, 0x8b, ..] => Magic::Compressed(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Magic::Compressed(Compression::Zstd),
        [b'P', b'A', b'R', b'1', ..] => Magic::Parquet,
        _ => Magic::Unknown,
    }
}

/// Whether a file ends as Apache Parquet does.
pub(super) fn ends_as_parquet(path: &Path) -> bool {
    let mut end = [0; 4];
    let read = files::open(path).ok().and_then(|mut file| {
        file.seek(SeekFrom::End(-4)).ok()?;
        file.read_exact(&mut end).ok()
    });
    // A pipe cannot be asked.
    read.is_none() || end == *b"PAR1"
}

/// The error for a path that no reader of corpora knows.
pub(super) fn unsupported(path: &Path) -> Error {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let cure = match extension.as_str() {
        _ if kind_of(path).is_some() => "an archive is a domain with its splits: name it where a domain is expected",
        "gz" | "zst" => "rename it so that its name says what is in it, as in books.txt.gz",
        "xz" | "lzma" => "unpack it first (`xz -d FILE`), or compress it with gzip or zstd",
        "bz2" => "unpack it first (`bzip2 -d FILE`), or compress it with gzip or zstd",
        "lz4" => "unpack it first (`lz4 -d FILE`), or compress it with gzip or zstd",
        "br" => "unpack it first (`brotli -d FILE`), or compress it with gzip or zstd",
        "zip" | "7z" | "rar" => "unpack it first and name the folder",
        "arrow" => {
            "convert it to .parquet or .jsonl: in Python, `datasets.load_from_disk(FOLDER)` or \
                    `datasets.Dataset.from_file(FILE)`, then `.to_parquet(NEW_FILE)`"
        }
        "json" => {
            "convert it to .jsonl with one {\"text\": …} a line: `jq -c '.[]' FILE > NEW.jsonl` for one array; rename \
                   it where it has one object a line already"
        }
        "csv" | "tsv" => "convert it to .jsonl with one {\"text\": …} a line",
        _ => "convert it, or rename it if it is one of these",
    };
    Error::file(path, format!("cannot be read as a corpus; what is read is {READABLE}"), cure)
}

/// `name` without `ending` (in upper or lower case); `None` if it has another ending or if nothing is left.
fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, found) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    (!stem.is_empty() && found.eq_ignore_ascii_case(ending)).then_some(stem)
}
