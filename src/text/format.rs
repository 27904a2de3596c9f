//! What a corpus file is, told by its name: the format, and what it is compressed with.

use std::path::Path;

/// What corpora are read from, for messages.
pub(super) const READABLE: &str = ".txt (plain text), .jsonl (one object a line, with `text` or `ids`) and .parquet (a \
                                   column `text`), each also .gz or .zst, and a domain's .tar.gz";

/// The format of a corpus file, under its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Documents in plain text.
    Plain,
    /// A JSON object a line.
    Lines,
    /// A column of Apache Parquet.
    Columns,
    /// A tar archive of split files.
    Archive,
}

/// What a file is compressed with as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Nothing.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
}

/// Format and compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub format: Format,
    pub compression: Compression,
}

const FORMATS: [(&str, Format); 4] =
    [(".txt", Format::Plain), (".jsonl", Format::Lines), (".parquet", Format::Columns), (".tar", Format::Archive)];
const COMPRESSIONS: [(&str, Compression); 3] =
    [("", Compression::None), (".gz", Compression::Gzip), (".zst", Compression::Zstd)];

/// The endings of a split's file, `.txt` first, with what they stand for. Archives hold splits and are none.
pub(super) fn split_endings() -> impl Iterator<Item = (String, Kind)> {
    let formats = FORMATS.into_iter().filter(|(_, format)| *format != Format::Archive);
    formats.flat_map(|(ending, format)| {
        COMPRESSIONS.map(|(more, compression)| (format!("{ending}{more}"), Kind { format, compression }))
    })
}

/// What the file of this path holds; `None` for what is no corpus.
pub(super) fn kind_of(path: &Path) -> Option<Kind> {
    divide(path.file_name()?.to_str()?).map(|(_, kind)| kind)
}

/// A file's name without the endings of a corpus: "cs.CL" of "cs.CL.tar.gz". `None` for what is no corpus.
pub(super) fn stem(name: &str) -> Option<&str> {
    divide(name).map(|(stem, _)| stem)
}

fn divide(name: &str) -> Option<(&str, Kind)> {
    if let Some(stem) = without(name, ".tgz") {
        return Some((stem, Kind { format: Format::Archive, compression: Compression::Gzip }));
    }
    // The empty ending last: it fits every name.
    let (inner, compression) =
        COMPRESSIONS.iter().rev().find_map(|(ending, compression)| Some((without(name, ending)?, *compression)))?;
    let (stem, format) = FORMATS.iter().find_map(|(ending, format)| Some((without(inner, ending)?, *format)))?;
    Some((stem, Kind { format, compression }))
}

/// `name` without `ending`, in capitals or not; `None` where it has another, or where nothing is left.
fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, found) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    (!stem.is_empty() && found.eq_ignore_ascii_case(ending)).then_some(stem)
}
