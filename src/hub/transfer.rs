//! One file from the hub into the cache: in pieces, resumed where it was cut, checked by its hash, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::Cached;
use super::name::Name;
use super::remote::{Entry, Hash, Patience, Remote, Trouble};
use crate::error::{Error, Result};
use crate::files::hexadecimal;
use crate::progress::Monitor;

/// Bytes of the first piece. What has not arrived whole of a piece is lost when it is cut, so that pieces are no larger
/// than what takes a few seconds.
const FIRST_PIECE: u64 = 256 << 10;
/// The smallest piece, for connections that break all the time.
const SMALLEST_PIECE: u64 = 64 << 10;
/// The largest piece; one is held in memory.
const LARGEST_PIECE: u64 = 128 << 20;
/// A piece that takes less than this makes the next one larger.
const QUICK: Duration = Duration::from_secs(2);
/// A piece that takes more than this makes the next one smaller.
const SLOW: Duration = Duration::from_secs(6);

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

/// What is done, for whom.
pub(super) struct Transfer<'a> {
    pub remote: &'a Remote,
    pub name: &'a Name,
    pub commit: &'a str,
    pub cached: &'a Cached,
    /// Whether what the cache has is read and checked by its hash too, and not by its size alone.
    pub thorough: bool,
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
        let (Hash::Git(hash) | Hash::Pointer(hash)) = &entry.hash;
        let _lock = self.cached.lock(hash, monitor)?;
        // Another process may have fetched it meanwhile.
        if let Some(blob) = self.present(entry)? {
            return Ok(blob);
        }
        let place = self.cached.incomplete(hash);
        let mut sum = self.fill(&place, entry, monitor)?;
        if !sum.fits(entry) {
            // What an earlier run left may be at fault, or the network: once more from nothing.
            tracing::warn!("{}: {} arrived damaged; fetching it anew", self.name, entry.path);
            fs::remove_file(&place).map_err(|e| Error::writing(&place, e))?;
            sum = self.fill(&place, entry, monitor)?;
        }
        if !sum.fits(entry) {
            fs::remove_file(&place).map_err(|e| Error::writing(&place, e))?;
            return Err(Failure::Wrong);
        }
        let sha256 = sum.sha256();
        let name = match &entry.hash {
            Hash::Git(hash) => hash.clone(),
            Hash::Pointer(_) => sha256.clone(),
        };
        let blob = self.cached.blob(&name);
        fs::rename(&place, &blob).map_err(|e| Error::writing(&blob, e))?;
        Ok(Blob { name, path: blob, sha256: Some(sha256), fetched: true })
    }

    /// The file in the cache, if it is there and good. A damaged one is removed.
    fn present(&self, entry: &Entry) -> Result<Option<Blob>, Failure> {
        let blob = match &entry.hash {
            Hash::Git(hash) => Some(hash.clone()),
            Hash::Pointer(hash) => {
                self.cached.find_blob(entry.bytes, |sha256| pointer_hash(sha256, entry.bytes) == *hash)
            }
        };
        let blob = blob.map(|name| (self.cached.blob(&name), name)).filter(|(path, _)| path.exists());
        let place = self.cached.snapshot(self.commit).join(&entry.path);
        let (path, name) = match blob {
            Some(blob) => blob,
            None if place.is_file() && !place.is_symlink() => (place, String::new()),
            None => return Ok(None),
        };
        let mut sha256 = (name.len() == 64).then(|| name.clone());
        let mut good = fs::metadata(&path).map_err(|e| Error::reading(&path, e))?.len() == entry.bytes;
        if good && self.thorough {
            let mut sum = Sum::new(entry.bytes);
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

    /// Fetches what is missing of the file at `place`, and gives the sum of all of it.
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
        let writing = |e: std::io::Error, have: u64| writing(place, e, entry.bytes - have);
        let folder = place.parent().unwrap_or(place);
        fs::create_dir_all(folder).map_err(|e| Error::writing(folder, e))?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(place)
            .map_err(|e| Error::writing(place, e))?;
        let mut sum = Sum::new(entry.bytes);
        let mut have = file.metadata().map_err(|e| Error::reading(place, e))?.len();
        if have > entry.bytes {
            file.set_len(0).map_err(|e| writing(e, 0))?;
            have = 0;
        }
        sum.read(&mut file).map_err(|e| Error::reading(place, e))?;
        file.seek(SeekFrom::Start(have)).map_err(|e| Error::reading(place, e))?;

        monitor.advance(have, "");
        let mut shown = have;
        let mut length = FIRST_PIECE;
        let mut patience = Patience::for_piece();
        let started = Instant::now();
        let resumed = have;
        while have < entry.bytes {
            let end = entry.bytes.min(have + length);
            let begun = Instant::now();
            let mut arrived = |bytes: u64, monitor: &mut dyn Monitor| {
                let now = (have + bytes).min(end);
                // A piece that is fetched again does not count again.
                if now > shown {
                    let note = speed(now - resumed, entry.bytes, started.elapsed());
                    monitor.advance(now - shown, &note);
                    shown = now;
                }
            };
            let answer = self.remote.piece(self.name, self.commit, &entry.path, have..end, monitor, &mut arrived);
            match answer.and_then(|bytes| asked_for(bytes, have..end, entry.bytes)) {
                Ok(bytes) => {
                    arrived(end - have, monitor);
                    file.write_all(&bytes).map_err(|e| writing(e, have))?;
                    sum.add(&bytes);
                    have = end;
                    patience = Patience::for_piece();
                    length = match begun.elapsed() {
                        quick if quick < QUICK => (length * 2).min(LARGEST_PIECE),
                        slow if slow > SLOW => (length / 2).max(SMALLEST_PIECE),
                        _ => length,
                    };
                    if monitor.stopped() && have < entry.bytes {
                        return Err(Failure::Hub { trouble: Trouble::Stopped, have });
                    }
                }
                Err(trouble) => {
                    length = (length / 2).max(SMALLEST_PIECE);
                    patience.after(trouble, monitor).map_err(|trouble| Failure::Hub { trouble, have })?;
                }
            }
        }
        file.sync_all().map_err(|e| writing(e, have))?;
        Ok(sum)
    }
}

/// The bytes asked for, out of an answer that may be the whole file: not every server knows ranges.
fn asked_for(bytes: bytes::Bytes, range: std::ops::Range<u64>, whole: u64) -> Result<bytes::Bytes, Trouble> {
    let (got, wanted) = (bytes.len() as u64, range.end - range.start);
    if got == wanted {
        Ok(bytes)
    } else if got == whole {
        Ok(bytes.slice(range.start as usize..range.end as usize))
    } else {
        Err(Trouble::Unreachable(format!("{got} bytes arrived where {wanted} were asked for")))
    }
}

/// "12 MB/s, 548 MB in all".
fn speed(bytes: u64, whole: u64, time: Duration) -> String {
    let rate = bytes as f64 / time.as_secs_f64().max(0.1) / 1e6;
    format!("{rate:.1} MB/s, {:.1} MB in all", whole as f64 / 1e6)
}

/// The error of a file that could not be written; a full disk says how much it would have to hold.
fn writing(path: &Path, source: std::io::Error, missing: u64) -> Error {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::file(
            path,
            format!("the disk is full: {:.1} MB more are needed", missing as f64 / 1e6),
            "free as much, or set HF_HUB_CACHE to a folder on another disk, and give the same command again: it goes on \
             from there",
        ),
        _ => Error::writing(path, source),
    }
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

/// The hashes of a file of known size, of its bytes in order.
struct Sum {
    sha256: Sha256,
    /// git's: of "blob", the size and the bytes.
    git: Sha1,
    bytes: u64,
}

impl Sum {
    fn new(bytes: u64) -> Self {
        Self { sha256: Sha256::new(), git: git_hasher(bytes), bytes }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.git.update(bytes);
    }

    /// Adds what is left of a file.
    fn read(&mut self, file: &mut File) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.add(&buffer[..n]),
            }
        }
    }

    fn sha256(&self) -> String {
        hexadecimal(&self.sha256.clone().finalize())
    }

    fn fits(&self, entry: &Entry) -> bool {
        match &entry.hash {
            Hash::Git(hash) => hexadecimal(&self.git.clone().finalize()) == *hash,
            Hash::Pointer(hash) => pointer_hash(&self.sha256(), self.bytes) == *hash,
        }
    }
}

fn git_hasher(bytes: u64) -> Sha1 {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {bytes}\0"));
    hasher
}

/// git's hash of the pointer to a large file (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>): git holds the
/// pointer in its place, so the hash that the hub lists for such a file is the pointer's, which binds the SHA-256.
fn pointer_hash(sha256: &str, bytes: u64) -> String {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {bytes}\n");
    let mut hasher = git_hasher(pointer.len() as u64);
    hasher.update(pointer);
    hexadecimal(&hasher.finalize())
}
