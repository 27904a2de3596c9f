//! What was fetched, or found in the cache.

use std::path::PathBuf;

use serde::Serialize;

use super::cache::Cached;
use super::name::{Kind, Name};

/// The result of `odyssey fetch`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fetched {
    /// `odyssey.fetch/1`.
    pub schema: String,
    /// The name, as it was given.
    pub name: String,
    /// Model or data set.
    pub kind: Kind,
    /// The commit.
    pub revision: String,
    /// Where the files are.
    pub folder: PathBuf,
    /// What to give to other commands: the folder, or the file in it that was named.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<FetchedFile>,
}

/// A file of a [`Fetched`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FetchedFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// Whether it was there already.
    pub state: FileState,
}

/// Where a file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// From the hub, now.
    Fetched,
    /// From the cache.
    Cached,
}

impl Fetched {
    pub(super) fn new(name: &Name, commit: String, cached: &Cached, files: Vec<FetchedFile>) -> Self {
        let folder = cached.snapshot(&commit);
        let path = if name.inside.is_empty() { folder.clone() } else { folder.join(&name.inside) };
        let (schema, name, kind) = ("odyssey.fetch/1".to_owned(), name.to_string(), name.kind);
        Self { schema, name, kind, revision: commit, folder, path, files }
    }
}
