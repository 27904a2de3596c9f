//! One file from the hub into the cache: as a stream, resumed where it was cut, checked by its hash, whole or not at all.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cache::Cached;
use super::entry::{Entry, Sum};
use super::name::Name;
use super::patience::{ATTEMPTS, Patience};
use super::remote::Remote;
use super::trouble::Trouble;
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// An attempt that brings less than this is a failure like one that brings nothing: a server that always stops after a
/// few bytes is not asked for ever.
const PROGRESS: u64 = 64 << 10;

/// A file in the cache.
pub(super) struct Blob {
    /// Its name among the blobs.
    pub name: String,
    /// Where its content lies: among the blobs, or in the snapshot itself, where another program found no links there.
    pub path: PathBuf,
    /// SHA-256, where it was computed or is the name.
    pub sha256: Option<String>,
    /// Whether anything was fetched for it.
    pub fetched: bool,
}

/// The transfer and its context.
pub(super) struct Transfer<'a> {
    pub remote: &'a Remote,
    pub name: &'a Name,
    pub commit: &'a str,
    pub cached: &'a Cached,
    /// Whether files in the cache are also checked by their hash, not only by their size.
    pub thorough: bool,
}

/// A file that is being filled.
struct Filling<'a> {
    place: &'a Path,
    entry: &'a Entry,
    file: File,
    sum: Sum,
    /// Bytes that are there, and part of the sum.
    have: u64,
}

impl Transfer<'_> {
    /// Makes sure that the file is among the blobs.
    ///
    /// # Errors
    /// The hub's trouble, a hash that is wrong twice, a disk that is full, a stop. What has arrived stays.
    pub fn blob(&self, entry: &Entry, monitor: &mut dyn Monitor) -> Result<Blob, Failure> {
        if let Some(blob) = self.present(entry)? {
            return Ok(blob);
        }
        let hash = entry.hash();
        let lock = self.cached.lock(hash, monitor)?;
        // Another process may have fetched it meanwhile.
        if let Some(blob) = self.present(entry)? {
            return Ok(blob);
        }
        let (blob, incomplete) = (self.cached.blob(hash), self.cached.incomplete(hash));
        // Without a lock several processes may be here: one of them takes what has arrived, each fills a file of its own.
        let place = if lock.is_some() { incomplete.clone() } else { self.cached.taken(&incomplete)? };
        let filled = self.fill_right(&place, entry, monitor);
        if filled.is_err() && lock.is_none() {
            let _ = fs::rename(&place, &incomplete); // whoever comes next goes on from there
        }
        let sum = filled?;
        match fs::rename(&place, &blob) {
            // Where a lock is given that does not hold, another process has filled the same file.
            Err(e) if e.kind() == ErrorKind::NotFound && self.present(entry)?.is_some() => {}
            renamed => renamed.map_err(|e| Error::writing(&blob, e))?,
        }
        Ok(Blob { name: hash.to_owned(), path: blob, sha256: Some(sum.sha256()), fetched: true })
    }

    /// Fetches the missing part of the file at `place`, which is then right, and returns its hash.
    fn fill_right(&self, place: &Path, entry: &Entry, monitor: &mut dyn Monitor) -> Result<Sum, Failure> {
        let mut sum = self.fill(place, entry, monitor)?;
        if !sum.fits(entry) {
            // The remains of an earlier run may be wrong, or the network: try once more from the beginning.
            tracing::warn!("{}: {} arrived damaged; fetching it anew", self.name, entry.path);
            fs::remove_file(place).map_err(|e| Error::writing(place, e))?;
            sum = self.fill(place, entry, monitor)?;
        }
        if !sum.fits(entry) {
            fs::remove_file(place).map_err(|e| Error::writing(place, e))?;
            return Err(Failure::Wrong);
        }
        Ok(sum)
    }

    /// Bytes that are still to come of a file.
    pub fn missing(&self, entry: &Entry) -> u64 {
        let size = |path: PathBuf| fs::symlink_metadata(path).map(|about| about.len()).ok();
        let hash = entry.hash();
        match size(self.cached.blob(hash)).or_else(|| size(self.cached.snapshot(self.commit).join(&entry.path))) {
            Some(_) => 0,
            None => entry.bytes.saturating_sub(size(self.cached.incomplete(hash)).unwrap_or(0)),
        }
    }

    /// The file in the cache, if it is there and good. A damaged one is removed.
    fn present(&self, entry: &Entry) -> Result<Option<Blob>, Failure> {
        let hash = entry.hash();
        let (blob, place) = (self.cached.blob(hash), self.cached.snapshot(self.commit).join(&entry.path));
        let (path, name) = if blob.exists() && self.cached.holds(&blob) {
            (blob, hash.to_owned())
        } else if place.is_file() && !place.is_symlink() && self.cached.holds(&place) {
            (place, String::new())
        } else {
            return Ok(None);
        };
        let mut sha256 = (name.len() == 64).then(|| name.clone());
        let about = fs::metadata(&path).map_err(|e| Error::reading(&path, e))?;
        let mut good = about.is_file() && about.len() == entry.bytes;
        if good && self.thorough {
            let mut sum = Sum::new(entry);
            let mut file = File::open(&path).map_err(|e| Error::reading(&path, e))?;
            sum.read(&mut file).map_err(|e| Error::reading(&path, e))?;
            good = sum.fits(entry);
            sha256 = Some(sum.sha256());
        }
        if !good {
            tracing::warn!("{}: {} is damaged in the cache; fetching it anew", self.name, entry.path);
            fs::remove_file(&path).map_err(|e| Error::writing(&path, e))?;
            return Ok(None);
        }
        Ok(Some(Blob { name, path, sha256, fetched: false }))
    }

    /// Fetches the missing part of the file at `place`, and returns the hash of the whole.
    fn fill(&self, place: &Path, entry: &Entry, monitor: &mut dyn Monitor) -> Result<Sum, Failure> {
        monitor.begin(&format!("{}: {}", self.name, entry.path), entry.bytes);
        let filled = self.fetch_into(place, entry, monitor);
        monitor.end();
        if matches!(filled, Err(Failure::Hub { have: 0, .. })) {
            let _ = fs::remove_file(place); // nothing to go on from
        }
        filled
    }

    fn fetch_into(&self, place: &Path, entry: &Entry, monitor: &mut dyn Monitor) -> Result<Sum, Failure> {
        let mut filling = Filling::open(place, entry, self.cached)?;
        monitor.advance(filling.have, "");
        let (mut patience, mut anew) = (Patience::new(ATTEMPTS), false);
        while filling.have < entry.bytes {
            let before = filling.have;
            let trouble = match self.go_on(&mut filling, monitor) {
                Ok(()) => continue,
                Err(Failure::Hub { trouble, .. }) => trouble,
                Err(other) => return Err(other),
            };
            if filling.have - before >= PROGRESS {
                patience = Patience::new(ATTEMPTS);
            }
            // There is no such part to the server: what is here may be of another file.
            if matches!(trouble, Trouble::Refused { status: 416, .. }) && before > 0 && !anew {
                tracing::warn!("{}: {} has no byte {before} there; fetching it anew", self.name, entry.path);
                anew = true;
                filling.clear()?;
                continue;
            }
            patience.after(trouble, monitor).map_err(|trouble| Failure::Hub { trouble, have: filling.have })?;
        }
        filling.file.sync_all().map_err(|e| filling.cannot_write(e))?;
        Ok(filling.sum)
    }

    /// One attempt to get the rest.
    fn go_on(&self, filling: &mut Filling<'_>, monitor: &mut dyn Monitor) -> Result<(), Failure> {
        let entry = filling.entry;
        let began_with = filling.have;
        let failed = |trouble| Failure::Hub { trouble, have: began_with };
        let mut download = self.remote.file(self.name, self.commit, entry, began_with, monitor).map_err(failed)?;
        if download.known > 0 {
            let (host, path) = (download.answer.host(), &entry.path);
            tracing::warn!(
                "{}: {host} sends no parts of files, so that {path} comes again from its beginning",
                self.name
            );
        }
        let started = Instant::now();
        while filling.have < entry.bytes {
            let Some(chunk) = download.answer.chunk(monitor).map_err(failed)? else {
                let what = format!("{} ended after {} of {} bytes", entry.path, filling.have, entry.bytes);
                return Err(failed(download.answer.cut_off(&what)));
            };
            // What is here already is passed over; it is not lost if this is cut too.
            let passed = download.known.min(chunk.len() as u64);
            download.known -= passed;
            let new = &chunk[passed as usize..];
            if new.len() as u64 > entry.bytes - filling.have {
                let what = format!("it sends more of {} than the {} bytes that it lists", entry.path, entry.bytes);
                return Err(failed(download.answer.strange(&what)));
            }
            filling.add(new)?;
            let note = speed(filling.have - began_with, entry.bytes, started.elapsed());
            monitor.advance(new.len() as u64, &note);
        }
        Ok(())
    }
}

impl<'a> Filling<'a> {
    /// Goes on with what lies at `place`.
    fn open(place: &'a Path, entry: &'a Entry, cached: &Cached) -> Result<Self> {
        let mut file = cached.open(place)?;
        let mut have = file.metadata().map_err(|e| Error::reading(place, e))?.len();
        if have > entry.bytes {
            file.set_len(0).map_err(|e| Error::writing(place, e))?;
            have = 0;
        }
        let mut sum = Sum::new(entry);
        sum.read(&mut (&mut file).take(have)).map_err(|e| Error::reading(place, e))?;
        file.seek(SeekFrom::Start(have)).map_err(|e| Error::reading(place, e))?;
        Ok(Self { place, entry, file, sum, have })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| self.cannot_write(e))?;
        self.sum.add(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|e| self.cannot_write(e))?;
        (self.sum, self.have) = (Sum::new(self.entry), 0);
        Ok(())
    }

    fn cannot_write(&self, source: std::io::Error) -> Error {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                no_room(self.place, self.entry.bytes - self.have, None)
            }
            _ => Error::writing(self.place, source),
        }
    }
}

/// The error of a disk without room for so many bytes more.
pub(super) fn no_room(path: &Path, missing: u64, free: Option<u64>) -> Error {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let free = free.map_or_else(String::new, |free| format!(", and {} are free", megabytes(free)));
    Error::file(
        path,
        format!("the disk is full: {} more are needed{free}", megabytes(missing)),
        "free as much, or set HF_HUB_CACHE to a folder on another disk, and give the same command again: it goes on from \
         there",
    )
}

/// "12 MB/s, 548 MB in all".
fn speed(bytes: u64, whole: u64, time: Duration) -> String {
    let rate = bytes as f64 / time.as_secs_f64().max(0.1) / 1e6;
    format!("{rate:.1} MB/s, {:.1} MB in all", whole as f64 / 1e6)
}

/// Why a file did not arrive.
pub(super) enum Failure {
    /// The hub did not give it; so many bytes are kept.
    Hub { trouble: Trouble, have: u64 },
    /// What arrived has the wrong hash, twice.
    Wrong,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}
