//! Files that are read whole: opening a pipe or a device instead would wait for somebody, or never end.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a file of a model or result, which has to be an ordinary one. A folder is refused, a device too, and a named pipe:
/// to open one waits for somebody who writes into it.
///
/// # Errors
/// What it is instead; the system's.
pub fn open_ordinary(path: &Path) -> Result<File> {
    let failed = |e| Error::reading(path, e);
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    match kind.is_file() || kind.is_dir() {
        true if kind.is_dir() => Err(failed(ErrorKind::IsADirectory.into())),
        true => File::open(path).map_err(failed),
        false => Err(Error::file(
            path,
            "is a pipe, a socket or a device, expected an ordinary file",
            "save what comes from it as a file",
        )),
    }
}

/// Reads a file of a model or result whole.
///
/// # Errors
/// As [`open_ordinary`].
pub fn read_ordinary(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_ordinary(path)?.read_to_end(&mut bytes).map_err(|e| Error::reading(path, e))?;
    Ok(bytes)
}
