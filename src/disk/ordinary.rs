//! Ordinary files: opening a pipe or a device instead would wait for somebody, or never end; a Git LFS pointer only stands
//! for a file.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

use crate::error::{Error, Result};

/// How the first line of a Git LFS pointer begins: what Git leaves in place of a large file that it has not fetched.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// Bytes of the longest pointer, as Git LFS itself has it.
const LONGEST_POINTER: u64 = 1024;

/// Whether these bytes, the first of a file, are those of a Git LFS pointer.
fn is_pointer(start: &[u8]) -> bool {
    let end = start.iter().position(|&byte| byte == b'\n').map_or(start.len(), |end| end + 1);
    is_pointer_line(&start[..end], &start[end..])
}

/// The same of a text's first line and what follows it.
pub fn is_pointer_line(line: &[u8], after: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    // Extensions may stand before the object's id.
    line.starts_with(POINTER) && (after.starts_with(b"oid ") || after.starts_with(b"ext-"))
}

/// The error for a Git LFS pointer where `place` should hold content.
pub fn pointer(place: impl std::fmt::Display) -> Error {
    Error::input(
        place,
        "is a Git LFS pointer: three lines that stand for a file which was not fetched",
        "run `git lfs pull` in its repository (`git lfs install` before, if that is new), or download the file itself",
    )
}

/// Opens a file that is to be read. Every reader of this program opens its files here.
///
/// # Errors
/// [`Error::Input`] for what is no regular file (opening a pipe may wait for ever), and for a Git LFS pointer; the
/// system's.
pub fn open(path: &Path) -> Result<File> {
    let failed = |e| Error::reading(path, e);
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Error::reading(path, ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(Error::file(path, "is a pipe, a socket or a device, expected a file", "name a file"));
    }
    let mut file = File::open(path).map_err(failed)?;
    if (POINTER.len() as u64..=LONGEST_POINTER).contains(&metadata.len()) {
        let mut start = Vec::new();
        (&mut file).take(LONGEST_POINTER).read_to_end(&mut start).map_err(failed)?;
        if is_pointer(&start) {
            return Err(pointer(path.display()));
        }
        file.rewind().map_err(failed)?;
    }
    Ok(file)
}

/// The bytes of a file; see [`open`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|e| Error::reading(path, e))?;
    Ok(bytes)
}
