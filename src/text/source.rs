//! The bytes of a corpus file, decompressed as they are read, line by line: only one line is held.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use super::encoding::{decoded, encoding_fault};
use super::format::{Compression, Format, Kind, Magic, ends_as_parquet, magic};
use super::pipe;
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::files;

/// The longest line, document or compressed `.parquet` that is read, in bytes. It limits the memory for any
/// decompressed file, apart from the documents themselves.
pub(super) const LONGEST: u64 = 1 << 30;

/// A file whose reading is reported.
struct WatchedFile<'a, 'm> {
    file: File,
    watch: &'a Watch<'m>,
}

impl Read for WatchedFile<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.watch.advance(bytes as u64)?;
        Ok(bytes)
    }
}

/// Opens a file, or a pipe, for reading what it holds under its compression. What it holds is what its first bytes say,
/// where these are known, and what `named` says otherwise.
pub(super) fn open<'a>(path: &Path, named: Kind, watch: &'a Watch<'_>) -> Result<(Kind, Box<dyn BufRead + 'a>)> {
    let mut raw: Box<dyn BufRead + 'a> = match pipe::is_pipe(path) {
        true => Box::new(Cursor::new(pipe::content(path, watch)?)),
        false => Box::new(BufReader::with_capacity(BUFFER, WatchedFile { file: files::open(path)?, watch })),
    };
    let start = raw.fill_buf().map_err(|e| Error::reading(path, e))?;
    let kind = actual_kind(path, named, start)?;
    Ok((kind, decompressed(path, raw, kind.compression)?))
}

/// What comes out of a pipe is compressed with, by its first bytes.
pub(super) fn compression_of_pipe(path: &Path, watch: &Watch<'_>) -> Result<Compression> {
    Ok(match magic(&pipe::content(path, watch)?) {
        Magic::Compressed(compression) => compression,
        _ => Compression::None,
    })
}

const BUFFER: usize = 1 << 16;

fn decompressed<'a>(
    path: &Path,
    raw: Box<dyn BufRead + 'a>,
    compression: Compression,
) -> Result<Box<dyn BufRead + 'a>> {
    Ok(match compression {
        Compression::None => raw,
        // Members after the first are part of the text, as for gzip itself; anything else after one is an error.
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(raw))),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(raw).map_err(|e| fault(path, compression, e))?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

/// What a file holds: its first bytes count for more than its name, and where they differ that is said.
fn actual_kind(path: &Path, named: Kind, start: &[u8]) -> Result<Kind> {
    let (kind, what) = match magic(start) {
        Magic::NotRead(what, cure) => return Err(Error::file(path, format!("holds {what}, which is not read"), cure)),
        Magic::Compressed(compression) if compression != named.compression => {
            let name = compression.name_and_cure().map_or("", |(name, _)| name);
            (Kind { compression, ..named }, format!("{name} data"))
        }
        Magic::Parquet if named.format != Format::Parquet && ends_as_parquet(path) => {
            (Kind { format: Format::Parquet, compression: Compression::None }, "Apache Parquet".to_owned())
        }
        _ => return Ok(named),
    };
    tracing::warn!("{}: holds {what}, which its name does not say; read as that", path.display());
    Ok(kind)
}

/// The error for a file whose reading failed: the system's, that of its compressed data, or that of its encoding.
pub(super) fn fault(path: &Path, compression: Compression, source: io::Error) -> Error {
    if let Some(error) = encoding_fault(&path.display().to_string(), &source) {
        return error;
    }
    let Some((name, cure)) = compression.name_and_cure() else { return Error::reading(path, source) };
    // Errors of the system have a number; errors of a decoder have none.
    if source.raw_os_error().is_some() {
        return Error::reading(path, source);
    }
    Error::file(path, format!("its {name} data is damaged, cut short or followed by something else ({source})"), cure)
}

/// A function that turns a failure to read into an error.
type Fault<'a> = Box<dyn Fn(io::Error) -> Error + 'a>;

/// Lines of UTF-8 text, one at a time.
pub(super) struct Lines<'a> {
    reader: Box<dyn BufRead + 'a>,
    name: String,
    fault: Fault<'a>,
    number: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    /// The lines of a file that is open.
    pub(super) fn of_file(path: &'a Path, compression: Compression, reader: Box<dyn BufRead + 'a>) -> Result<Self> {
        Self::new(reader, path.display().to_string(), Box::new(move |e| fault(path, compression, e)))
    }

    /// The lines of `reader`, which messages call `name`.
    ///
    /// # Errors
    /// The reader's, text in an encoding that is not read, and what is no text by its first bytes.
    pub(super) fn new(reader: Box<dyn BufRead + 'a>, name: String, fault: Fault<'a>) -> Result<Self> {
        let mut reader = decoded(reader).map_err(|e| encoding_fault(&name, &e).unwrap_or_else(|| fault(e)))?;
        // What a file holds under its compression, or an archive in a member, may be no text either, and begin as one.
        match magic(reader.fill_buf().map_err(&fault)?) {
            Magic::NotRead(what, cure) => {
                return Err(Error::input(name, format!("holds {what}, which is not read"), cure));
            }
            Magic::Compressed(_) => {
                return Err(Error::input(name, "holds compressed data again under its compression", "unpack it once"));
            }
            Magic::Parquet | Magic::Unknown => {}
        }
        Ok(Self { reader, name, fault, number: 0, bytes: 0, line: Vec::new() })
    }

    /// The next line with its line break; `None` at the end.
    ///
    /// # Errors
    /// The reader's, text that is not UTF-8, and a line longer than [`LONGEST`].
    pub(super) fn next(&mut self) -> Result<Option<&str>> {
        let before = self.bytes;
        self.line.clear();
        self.number += 1;
        let read = (&mut self.reader).take(LONGEST + 1).read_until(b'\n', &mut self.line).map_err(&self.fault)? as u64;
        self.bytes += read;
        if read > LONGEST {
            return Err(self.too_long("line"));
        }
        if self.number == 1 && files::is_pointer_line(&self.line, self.reader.fill_buf().map_err(&self.fault)?) {
            return Err(files::pointer(&self.name));
        }
        match str::from_utf8(&self.line) {
            Ok(_) if read == 0 => Ok(None),
            Ok(line) => Ok(Some(line)),
            Err(e) => Err(Error::input(
                self.place(),
                format!("not UTF-8 at byte {} of the file's text", before + e.valid_up_to() as u64),
                "save it as UTF-8, for example with `iconv -f latin1 -t utf-8` (or -f windows-1252, utf-16, shift-jis: \
                 what it was written in)",
            )),
        }
    }

    /// The name of the files in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The line that was read last, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}: line {}", self.name, self.number)
    }

    /// The error for a line or document over [`LONGEST`].
    pub(super) fn too_long(&self, what: &str) -> Error {
        Error::input(
            self.place(),
            format!("this {what} is longer than 1 GiB, the longest that is read"),
            "divide it into documents, by empty lines in .txt or by lines in .jsonl",
        )
    }
}
