//! The bytes of a corpus file, decompressed as they are read, line by line: nothing is held but the line.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::Compression;
use crate::error::{Error, Result};
use crate::progress::{MaybeLong, Monitor};

/// The longest line, document or compressed `.parquet` that is read, in bytes. Memory stays bounded by it whatever a
/// file decompresses to, documents themselves apart.
pub(super) const LONGEST: u64 = 1 << 30;

/// Tells a monitor how much of some files is read, and ends the reading where the user wants to stop.
pub(super) struct Watch<'m> {
    reading: RefCell<MaybeLong<'m>>,
    interrupted: RefCell<Option<Error>>,
}

impl<'m> Watch<'m> {
    /// Lets `read` read `files`, which messages call `name`.
    pub(super) fn over<T>(
        monitor: &'m mut dyn Monitor,
        name: &Path,
        files: &[PathBuf],
        read: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let bytes = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        let reading = MaybeLong::new(monitor, format!("reading {}", name.display()), bytes);
        let watch = Self { reading: reading.into(), interrupted: None.into() };
        let done = read(&watch);
        match watch.interrupted.take() {
            // What the reader made of it is no news.
            Some(interrupted) => Err(interrupted),
            None => done,
        }
    }

    /// So many more bytes of a file are read.
    pub(super) fn advance(&self, bytes: u64) -> io::Result<()> {
        self.reading.borrow_mut().advance(bytes).map_err(|interrupted| {
            *self.interrupted.borrow_mut() = Some(interrupted);
            io::Error::other("interrupted")
        })
    }
}

/// A file that is watched.
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

/// Opens a file for reading what it holds under its compression.
pub(super) fn open<'a>(path: &Path, compression: Compression, watch: &'a Watch<'_>) -> Result<Box<dyn BufRead + 'a>> {
    const BUFFER: usize = 1 << 16;
    let file = File::open(path).map_err(|e| Error::reading(path, e))?;
    let file = BufReader::with_capacity(BUFFER, WatchedFile { file, watch });
    Ok(match compression {
        Compression::None => Box::new(file),
        // Members after the first are part of the text, as for gzip itself; anything else after one is an error.
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file))),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(file).map_err(|e| fault(path, compression, e))?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

/// The error for a file whose reading failed: the system's, or that of its compressed data.
pub(super) fn fault(path: &Path, compression: Compression, source: io::Error) -> Error {
    let (name, cure) = match compression {
        Compression::Gzip => ("gzip", "download it again, or compress it again with gzip"),
        Compression::Zstd => ("Zstandard", "download it again, or compress it again with zstd (without --long)"),
        Compression::None => return Error::reading(path, source),
    };
    // What the system says has a number; what a decoder says has none.
    if source.raw_os_error().is_some() {
        return Error::reading(path, source);
    }
    Error::file(path, format!("its {name} data is damaged, cut short or followed by something else ({source})"), cure)
}

/// What turns a failure to read into an error.
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
    /// The lines of a file.
    pub(super) fn of_file(path: &'a Path, compression: Compression, watch: &'a Watch<'_>) -> Result<Self> {
        let reader = open(path, compression, watch)?;
        Ok(Self::new(reader, path.display().to_string(), Box::new(move |e| fault(path, compression, e))))
    }

    /// The lines of `reader`, which messages call `name`.
    pub(super) fn new(reader: Box<dyn BufRead + 'a>, name: String, fault: Fault<'a>) -> Self {
        Self { reader, name, fault, number: 0, bytes: 0, line: Vec::new() }
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
        match str::from_utf8(&self.line) {
            Ok(_) if read == 0 => Ok(None),
            Ok(line) => Ok(Some(line)),
            Err(e) => Err(Error::input(
                self.place(),
                format!("not UTF-8 at byte {} of the file's text", before + e.valid_up_to() as u64),
                "save it as UTF-8, for example with `iconv -f latin1 -t utf-8`",
            )),
        }
    }

    /// What messages call it all.
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
