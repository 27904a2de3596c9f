//! Arrays that take little memory: short ones are held in memory, long ones in a file without a name.
//!
//! The file lies in the folder of `ODYSSEY_CACHE`, by default the platform's cache folder (a folder of temporary files
//! may itself be memory). It is mapped for reading: the system may drop its pages and read them again. It has no name,
//! so it disappears when the process ends in any way.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::process::bytes;

/// Bytes up to which an array stays in memory. A corpus and its tokens are five arrays.
pub const BUDGET: usize = 32 << 20;
/// Bytes written to the file at a time.
const AT_ONCE: usize = 1 << 20;

/// The folder for files that can be computed again: `ODYSSEY_CACHE`, or `odyssey` in the platform's cache folder.
pub fn cache_folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let platform = || match () {
        () if cfg!(windows) => set("LOCALAPPDATA"),
        () if cfg!(target_os = "macos") => set("HOME").map(|home| home.join("Library/Caches")),
        () => set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))),
    };
    set("ODYSSEY_CACHE").unwrap_or_else(|| platform().unwrap_or_else(env::temp_dir).join("odyssey"))
}

/// An array that does not change any more, `[n]`. Copies share the same memory or file.
#[derive(Clone)]
pub struct Spool<T> {
    held: Held<T>,
    len: usize,
}

#[derive(Clone)]
enum Held<T> {
    Memory(Arc<Vec<T>>),
    File(Arc<Mmap>),
}

impl<T: Pod> Spool<T> {
    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Whether it is held in a file.
    pub fn is_file(&self) -> bool {
        matches!(self.held, Held::File(_))
    }
}

impl<T: Pod> Deref for Spool<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let all = match &self.held {
            Held::Memory(all) => all.as_slice(),
            Held::File(map) => bytemuck::cast_slice(map),
        };
        &all[..self.len]
    }
}

impl<T: Pod> AsRef<[T]> for Spool<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> From<Vec<T>> for Spool<T> {
    /// Held in memory for any length.
    fn from(all: Vec<T>) -> Self {
        Self { len: all.len(), held: Held::Memory(Arc::new(all)) }
    }
}

impl<'a, T: Pod> IntoIterator for &'a Spool<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + PartialEq, U: AsRef<[T]> + ?Sized> PartialEq<U> for Spool<T> {
    fn eq(&self, other: &U) -> bool {
        **self == *other.as_ref()
    }
}

impl<T: Pod + Eq> Eq for Spool<T> {}

impl<T: Pod + fmt::Debug> fmt::Debug for Spool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Fills a [`Spool`] from its start to its end.
#[derive(Debug)]
pub struct SpoolWriter<T> {
    /// Elements that are not in the file yet.
    pending: Vec<T>,
    /// Bytes up to which everything stays in memory.
    budget: usize,
    folder: PathBuf,
    file: Option<File>,
    /// Elements in the file.
    written: usize,
}

impl<T: Pod> Default for SpoolWriter<T> {
    fn default() -> Self {
        Self::new(BUDGET, cache_folder())
    }
}

impl<T: Pod> SpoolWriter<T> {
    /// Up to `budget` bytes stay in memory, more than that goes to a file in `folder`.
    pub fn new(budget: usize, folder: PathBuf) -> Self {
        Self { pending: Vec::new(), budget, folder, file: None, written: 0 }
    }

    /// Elements so far.
    pub fn len(&self) -> usize {
        self.written + self.pending.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an element.
    ///
    /// # Errors
    /// The file cannot be made or written: the disk is full, say.
    pub fn push(&mut self, element: T) -> Result<()> {
        self.pending.push(element);
        self.make_room()
    }

    /// Adds elements.
    ///
    /// # Errors
    /// As [`SpoolWriter::push`].
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<()> {
        self.pending.extend_from_slice(elements);
        self.make_room()
    }

    fn make_room(&mut self) -> Result<()> {
        let limit = if self.file.is_some() { AT_ONCE.min(self.budget) } else { self.budget };
        if self.pending.len() * size_of::<T>() > limit { self.write() } else { Ok(()) }
    }

    /// Moves the pending elements to the file.
    fn write(&mut self) -> Result<()> {
        let folder = &self.folder;
        let bytes: &[u8] = bytemuck::cast_slice(&self.pending);
        let needed = self.written * size_of::<T>() + bytes.len();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless_file(folder)?),
        };
        file.write_all(bytes).map_err(|source| full(folder, needed, source))?;
        self.written += self.pending.len();
        self.pending.clear();
        self.pending.shrink_to(AT_ONCE.div_ceil(size_of::<T>()));
        Ok(())
    }

    /// The array.
    ///
    /// # Errors
    /// As [`SpoolWriter::push`].
    pub fn finish(mut self) -> Result<Spool<T>> {
        if self.file.is_some() && !self.pending.is_empty() {
            self.write()?;
        }
        let Self { mut pending, folder, file, written, .. } = self;
        let Some(file) = file else {
            pending.shrink_to_fit();
            return Ok(pending.into());
        };
        // SAFETY: the file has no name, so that nobody else changes it, and this was its only handle.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::reading(&folder, source))?;
        Ok(Spool { held: Held::File(Arc::new(map)), len: written })
    }
}

fn nameless_file(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder)).map_err(|e| Error::writing(folder, e))
}

/// The error for a file that cannot grow.
fn full(folder: &Path, needed: usize, source: io::Error) -> Error {
    let words = format!(
        "{source}: a long text is kept there while it is used, and so far {} of it are needed; make room, or set \
         ODYSSEY_CACHE to a folder with more",
        bytes(needed as u64)
    );
    Error::Io { path: folder.to_owned(), action: "write", source: io::Error::new(source.kind(), words) }
}
