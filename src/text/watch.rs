//! Progress of reading files, and its interruption.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::progress::{MaybeLong, Monitor};

/// Reports to a monitor how much of some files is read, and stops reading if the user wants to stop.
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
            // The result of the reader is passed on unchanged.
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
