//! The hub's cache on the disk, as Python's `huggingface_hub` has it, so that each program finds the files that the
//! other fetched.
//!
//! ```text
//! models--org--name/refs/main                    the commit that `main` was when it was last asked for
//! models--org--name/blobs/HASH                   a file's content; HASH is its SHA-256 (large) or git's hash (small)
//! models--org--name/blobs/HASH.incomplete        what has arrived of one
//! models--org--name/snapshots/COMMIT/config.json a link to its blob
//! models--org--name/trees/COMMIT.json            what the commit has, all of it
//! .locks/models--org--name/HASH.lock             held while a file is fetched
//! ```
//!
//! Who else writes there may have planted links. Nothing is written through a link, and nothing is read that a link
//! leads to outside of the cache.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::name::{Name, is_git_hash, is_path_inside, is_sha256};
use crate::disk::lock::knows_no_locks;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Monitor;

/// The format of `trees/COMMIT.json` that is known.
const TREE_FORMAT: u32 = 1;
/// The largest of them that is read.
const LARGEST_TREE: u64 = 256 << 20;

/// A repository's part of the cache.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    cache: PathBuf,
    root: PathBuf,
    locks: PathBuf,
}

/// What the cache knows of a revision.
pub(super) enum Known {
    /// The commit that it is.
    Commit(String),
    /// Nothing says so, but there is only this commit.
    Only(String),
    /// Nothing says so, and there are several commits.
    OneOf(Vec<String>),
    /// Nothing.
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, TreeFile>,
}

#[derive(Serialize, Deserialize)]
struct TreeFile {
    size: u64,
    blob_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

impl Cached {
    pub fn new(cache: &Path, name: &Name) -> Self {
        let folder = format!("{}--{}", name.kind.plural(), name.repository.replace('/', "--"));
        Self { cache: cache.to_owned(), root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The files of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// A file's content.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(hash)
    }

    /// The part of a file that has arrived.
    pub fn incomplete(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// Whether `path`, or as much of it as exists, is in the cache when all links are followed.
    pub fn holds(&self, path: &Path) -> bool {
        let Ok(cache) = fs::canonicalize(&self.cache) else { return true }; // nothing there yet
        let mut above = path.ancestors().take_while(|at| at.starts_with(&self.cache));
        above.find_map(|at| fs::canonicalize(at).ok()).is_none_or(|there| there.starts_with(&cache))
    }

    /// Refuses a path that a link leads out of the cache.
    pub fn check(&self, path: &Path) -> Result<()> {
        if self.holds(path) {
            return Ok(());
        }
        let cure = "remove the link that leads there, or set HF_HUB_CACHE to the folder where the files really are";
        Err(Error::file(path, format!("leads out of the hub's cache, {}", self.cache.display()), cure))
    }

    /// Makes a place in the cache ready to be written: its folder is there, and no link stands in its place.
    fn prepare(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        self.check(folder)?;
        fs::create_dir_all(folder).map_err(|e| cannot_write(folder, e))?;
        if path.is_symlink() {
            tracing::warn!("{}: removing a link where none belongs", path.display());
            fs::remove_file(path).map_err(|e| cannot_write(path, e))?;
        }
        Ok(())
    }

    /// Opens a file of the cache for reading and writing; what it holds stays.
    pub fn open(&self, path: &Path) -> Result<File> {
        self.prepare(path)?;
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        opened.map_err(|e| cannot_write(path, e))
    }

    /// A place of this process alone beside `path`, with what lay there, if anything. What dead processes left of the same
    /// goes.
    pub fn taken(&self, path: &Path) -> Result<PathBuf> {
        self.prepare(path)?;
        scratch::sweep(path);
        let own = scratch::name_for(path);
        let _ = fs::rename(path, &own); // in most cases nothing lies there
        Ok(own)
    }

    /// The commit a revision was when it was last asked for.
    pub fn known(&self, revision: &str) -> Known {
        if is_git_hash(revision) {
            return Known::Commit(revision.to_owned());
        }
        if let Some(commit) = self.noted(revision) {
            return Known::Commit(commit);
        }
        let entries = fs::read_dir(self.root.join("snapshots")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut commits: Vec<String> = names.filter(|name| is_git_hash(name)).collect();
        commits.sort();
        match commits.len() {
            0 => Known::Nothing,
            1 => Known::Only(commits.remove(0)),
            _ => Known::OneOf(commits),
        }
    }

    fn noted(&self, revision: &str) -> Option<String> {
        let path = self.root.join("refs").join(revision);
        let about = fs::metadata(&path).ok()?;
        if !about.is_file() || about.len() > 100 || !self.holds(&path) {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_git_hash(commit))
    }

    /// Stores the commit of a revision.
    pub fn note_commit(&self, revision: &str, commit: &str, monitor: &dyn Monitor) -> Result<()> {
        if revision == commit || self.noted(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        self.note(&path, monitor, || files::write_whole(&path, |out| std::io::Write::write_all(out, commit.as_bytes())))
    }

    /// Writes a small file whole, alone, and without what a process that was killed while it did the same left there.
    fn note(&self, path: &Path, monitor: &dyn Monitor, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let _lock = self.lock("notes", monitor)?;
        self.prepare(path)?;
        scratch::sweep(path);
        write()
    }

    /// All that a commit has, where that was noted.
    pub fn tree(&self, commit: &str) -> Option<Vec<Entry>> {
        let path = self.root.join("trees").join(format!("{commit}.json"));
        let about = fs::metadata(&path).ok()?;
        if !about.is_file() || about.len() > LARGEST_TREE || !self.holds(&path) {
            return None;
        }
        let tree: Tree = files::read_json(&path).ok()?;
        let is_good = |(path, file): (&String, &TreeFile)| {
            is_path_inside(path) && is_git_hash(&file.blob_id) && file.lfs_sha256.as_deref().is_none_or(is_sha256)
        };
        if tree.format_version != TREE_FORMAT || !tree.files.iter().all(is_good) {
            return None;
        }
        let entry = |(path, file): (String, TreeFile)| Entry {
            path,
            bytes: file.size,
            oid: file.blob_id,
            sha256: file.lfs_sha256,
            xet: file.xet_hash,
        };
        Some(tree.files.into_iter().map(entry).collect())
    }

    /// Notes all that a commit has. That helps later and is no reason to fail now.
    pub fn note_tree(&self, commit: &str, entries: &[Entry], monitor: &dyn Monitor) {
        let path = self.root.join("trees").join(format!("{commit}.json"));
        if self.tree(commit).is_some() {
            return;
        }
        let file = |entry: &Entry| TreeFile {
            size: entry.bytes,
            blob_id: entry.oid.clone(),
            lfs_sha256: entry.sha256.clone(),
            lfs_size: entry.sha256.as_ref().map(|_| entry.bytes),
            xet_hash: entry.xet.clone(),
        };
        let files = entries.iter().map(|entry| (entry.path.clone(), file(entry))).collect();
        let tree = Tree { format_version: TREE_FORMAT, files };
        let noted = self.note(&path, monitor, || files::write_json(&path, &tree));
        if let Err(error) = noted {
            tracing::debug!("the listing is not noted: {error}");
        }
    }

    /// Gives a blob its name in a commit: a relative link, or a copy where links are not allowed (as on most Windows).
    pub fn point(&self, commit: &str, path: &str, hash: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(path);
        self.prepare(&pointer)?;
        let above = 2 + path.matches('/').count();
        let target: PathBuf = std::iter::repeat_n("..", above).collect::<PathBuf>().join("blobs").join(hash);
        if link(&target, &pointer).is_ok() {
            return Ok(()); // in one step
        }
        // Beside it first, then renamed: another program never sees it missing.
        scratch::sweep(&pointer);
        let scratch = scratch::name_for(&pointer);
        link(&target, &scratch)
            .or_else(|_| copy_new(&self.blob(hash), &scratch))
            .and_then(|()| fs::rename(&scratch, &pointer))
            .map_err(|e| {
                let _ = fs::remove_file(&scratch);
                cannot_write(&pointer, e)
            })
    }

    /// Waits until no other process fetches the file of this hash, and lets others wait while it is held. `None` if the
    /// file system has no locks: then two processes may fetch the same file, each into a place of its own.
    pub fn lock(&self, hash: &str, monitor: &dyn Monitor) -> Result<Option<File>> {
        let path = self.locks.join(format!("{hash}.lock"));
        let file = self.open(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if monitor.stopped() => {
                    return Err(Error::Interrupted("nothing was fetched; another process is fetching it".into()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
                Err(TryLockError::Error(e)) if knows_no_locks(&e) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(Error::writing(&path, e)),
            }
        }
    }
}

/// The error for a place in the cache that cannot be written.
fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::file(
            path,
            "the hub's cache cannot be written there (permission denied)",
            "set HF_HUB_CACHE to a folder that you may write to, or HF_HUB_OFFLINE=1 to use what the cache has",
        ),
        _ => Error::writing(path, source),
    }
}

/// Copies a file to a place where nothing is, so that it goes through no link.
fn copy_new(from: &Path, to: &Path) -> std::io::Result<()> {
    std::io::copy(&mut File::open(from)?, &mut File::create_new(to)?).map(drop)
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, at)
}
