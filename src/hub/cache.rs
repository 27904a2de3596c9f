//! The hub's cache on the disk, as Python's `huggingface_hub` has it, so that either finds what the other fetched.
//!
//! ```text
//! models--org--name/refs/main                    the commit that `main` was when it was last asked for
//! models--org--name/blobs/HASH                   a file's content; HASH is its SHA-256 (large) or git's hash (small)
//! models--org--name/blobs/HASH.incomplete        what has arrived of one
//! models--org--name/snapshots/COMMIT/config.json a link to its blob
//! .locks/models--org--name/HASH.lock             held while a file is fetched
//! ```

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::Name;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// A setting of the environment; empty counts as absent.
pub(super) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A folder that the environment names; `~/` is the home folder, as in Python.
fn folder_setting(name: &str) -> Option<PathBuf> {
    let text = setting(name)?;
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(text.into()),
    }
}

/// Where the hub's programs keep their things: `HF_HOME`, or `huggingface` in the user's cache.
pub(super) fn hub_home() -> PathBuf {
    folder_setting("HF_HOME").unwrap_or_else(|| {
        let caches = folder_setting("XDG_CACHE_HOME");
        caches.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache")).join("huggingface")
    })
}

/// The cache: `HF_HUB_CACHE`, or `hub` in the hub's home.
pub(super) fn hub_cache() -> PathBuf {
    let named = folder_setting("HF_HUB_CACHE").or_else(|| folder_setting("HUGGINGFACE_HUB_CACHE"));
    named.unwrap_or_else(|| hub_home().join("hub"))
}

/// The token, if the user has one: `HF_TOKEN`, or the file that `hf auth login` writes.
pub(super) fn token() -> Option<String> {
    if setting("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_yes(&value)) {
        return None;
    }
    setting("HF_TOKEN").or_else(|| setting("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
        let file = folder_setting("HF_TOKEN_PATH").unwrap_or_else(|| hub_home().join("token"));
        let text = fs::read_to_string(file).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    })
}

/// Whether the environment forbids to use the network.
pub(super) fn offline() -> bool {
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|name| setting(name).is_some_and(|value| is_yes(&value)))
}

fn is_yes(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

/// Whether this is a full hash of git's.
pub(super) fn is_git_hash(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// A repository's part of the cache.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    root: PathBuf,
    locks: PathBuf,
}

impl Cached {
    pub fn new(cache: &Path, name: &Name) -> Self {
        let folder = format!("{}--{}", name.kind.plural(), name.repository.replace('/', "--"));
        Self { root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The files of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// A file's content.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(hash)
    }

    /// What has arrived of a file.
    pub fn incomplete(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// The commit a revision was when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_git_hash(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_git_hash(commit))
    }

    /// Notes the commit that a revision is.
    pub fn note_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        crate::files::write_whole(&path, |out| std::io::Write::write_all(out, commit.as_bytes()))
    }

    /// The blob of this many bytes whose name, which is its SHA-256, `fits`.
    pub fn find_blob(&self, bytes: u64, fits: impl Fn(&str) -> bool) -> Option<String> {
        fs::read_dir(self.root.join("blobs")).ok()?.filter_map(|entry| entry.ok()).find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let found = name.len() == 64 && entry.metadata().ok()?.len() == bytes && fits(&name);
            found.then_some(name)
        })
    }

    /// Gives a blob its name in a commit: a relative link, or a copy where links are not allowed (as on most Windows).
    pub fn point(&self, commit: &str, path: &str, hash: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(path);
        let folder = pointer.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|e| Error::writing(folder, e))?;
        // Beside it first, then renamed: another program never sees it missing.
        scratch::sweep(&pointer);
        let scratch = scratch::name_for(&pointer);
        let above = 2 + path.matches('/').count();
        let target: PathBuf = std::iter::repeat_n("..", above).collect::<PathBuf>().join("blobs").join(hash);
        link(&target, &scratch)
            .or_else(|_| fs::copy(self.blob(hash), &scratch).map(drop))
            .and_then(|()| fs::rename(&scratch, &pointer))
            .map_err(|e| {
                let _ = fs::remove_file(&scratch);
                Error::writing(&pointer, e)
            })
    }

    /// Waits until no other process fetches the file of this hash, and keeps others waiting while it is held.
    /// `None` where the file system knows no locks: then two may fetch the same, and one of them wins.
    pub fn lock(&self, hash: &str, monitor: &dyn Monitor) -> Result<Option<File>> {
        let path = self.locks.join(format!("{hash}.lock"));
        fs::create_dir_all(&self.locks).map_err(|e| Error::writing(&self.locks, e))?;
        let file = File::create(&path).map_err(|e| Error::writing(&path, e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if monitor.stopped() => {
                    return Err(Error::Interrupted("nothing was fetched; another process is fetching it".into()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(Error::writing(&path, e)),
            }
        }
    }
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn link(target: &Path, at: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, at)
}
