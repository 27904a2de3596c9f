//! A safetensors file whose arrays are read when they are asked for.
//!
//! The header is read once, when the file is opened. Numbers are read, and not mapped: a file that is cut short, or that
//! the disk cannot give, while it is in use is then an error and not the end of the program. Only a stretch of them is held
//! here at a time.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata as Header, TensorInfo};

use crate::disk::ordinary;
use crate::error::{Error, Result};

/// Bytes of an array that are read at a time; a multiple of the size of every number.
const STRETCH: usize = 1 << 20;
/// Bytes of the number in front of the header, which is the header's length.
const LENGTH: u64 = 8;
/// The longest header that the format allows, bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// An open safetensors file.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: File,
    /// What the system said of the file before it was read.
    found: State,
    header: Header,
    /// Where the arrays begin, bytes from the start of the file.
    start: u64,
}

/// What changes when somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
}

impl From<Metadata> for State {
    fn from(metadata: Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl SafetensorsFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The system's; as the inner result, what is wrong with the header or with the file's length, in words.
    pub fn open(path: &Path) -> Result<Result<Self, String>> {
        let file = ordinary::open(path)?;
        let found = State::from(file.metadata().map_err(|e| Error::reading(path, e))?);
        match read_header(&file, found.length) {
            Ok((header, start)) => Ok(Ok(Self { path: path.to_owned(), file, found, header, start })),
            Err(SafeTensorError::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => {
                Ok(Err("it was cut short while it was opened".into()))
            }
            Err(SafeTensorError::IoError(e)) => Err(Error::reading(path, e)),
            Err(fault) => Ok(Err(fault.to_string())),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text that its metadata has under this key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The names of its arrays, in the order in which they lie in the file.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type, shape and place of an array.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// How many bytes an array has; 0 where there is none of this name.
    pub fn bytes_of(&self, name: &str) -> usize {
        self.info(name).map_or(0, |info| info.data_offsets.1 - info.data_offsets.0)
    }

    /// Gives these bytes of an array to `take`, a stretch at a time; every stretch but the last holds whole numbers.
    ///
    /// # Errors
    /// There is no such array, or it has fewer bytes; the file was cut short; the system's.
    pub fn stretches(&mut self, name: &str, bytes: Range<usize>, mut take: impl FnMut(&[u8])) -> Result<()> {
        let first = self.info(name).map_or(0, |info| info.data_offsets.0);
        if bytes.start > bytes.end || bytes.end > self.bytes_of(name) {
            let fault = format!("has no bytes {} to {} of an array {name:?}", bytes.start, bytes.end);
            return Err(Error::file(&self.path, fault, "restore the file"));
        }
        let mut buffer = vec![0; STRETCH.min(bytes.len())];
        self.file
            .seek(SeekFrom::Start(self.start + (first + bytes.start) as u64))
            .map_err(|e| Error::reading(&self.path, e))?;
        let mut left = bytes.len();
        while left > 0 {
            let stretch = &mut buffer[..STRETCH.min(left)];
            self.file.read_exact(stretch).map_err(|e| self.failed(name, e))?;
            take(stretch);
            left -= stretch.len();
        }
        Ok(())
    }

    /// All bytes of an array.
    ///
    /// # Errors
    /// As [`SafetensorsFile::stretches`].
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let length = self.bytes_of(name);
        let mut all = Vec::with_capacity(length);
        self.stretches(name, 0..length, |stretch| all.extend_from_slice(stretch))?;
        Ok(all)
    }

    /// Asked for when all is read: whether the file is still what it was when it was opened.
    ///
    /// # Errors
    /// Somebody wrote to it meanwhile, so that what was read may be of both files; the system's.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = State::from(self.file.metadata().map_err(|e| Error::reading(&self.path, e))?);
        if now == self.found {
            return Ok(());
        }
        let fault = match now.length == self.found.length {
            true => "was written to while it was read".to_owned(),
            false => format!("changed from {} to {} bytes while it was read", self.found.length, now.length),
        };
        Err(Error::file(&self.path, fault, "let nothing write to it, and give the command again"))
    }

    /// The error for numbers that could not be read.
    fn failed(&self, name: &str, source: io::Error) -> Error {
        if source.kind() != ErrorKind::UnexpectedEof {
            return Error::reading(&self.path, source);
        }
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        let fault = format!(
            "was cut short while it was read: it had {} bytes and has {length}, so that array {name:?} is not whole",
            self.found.length
        );
        Error::file(&self.path, fault, "restore the file, and give the command again")
    }
}

/// The header of a file of so many bytes, and where the arrays begin.
fn read_header(mut file: &File, length: u64) -> Result<(Header, u64), SafeTensorError> {
    if length < LENGTH {
        return Err(SafeTensorError::HeaderTooSmall);
    }
    let mut number = [0; LENGTH as usize];
    file.read_exact(&mut number)?;
    let size = u64::from_le_bytes(number);
    if size > LONGEST_HEADER {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    let start = LENGTH + size;
    if start > length {
        return Err(SafeTensorError::InvalidHeaderLength);
    }
    let mut text = vec![0; size as usize];
    file.read_exact(&mut text)?;
    let text = str::from_utf8(&text).map_err(SafeTensorError::InvalidHeader)?;
    // Which also checks that the arrays lie one behind the other, and that each has the bytes that its shape needs.
    let header: Header = serde_json::from_str(text).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    match start.checked_add(header.data_len() as u64) {
        Some(end) if end == length => Ok((header, start)),
        _ => Err(SafeTensorError::MetadataIncompleteBuffer),
    }
}
