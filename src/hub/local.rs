//! What the cache has of a name, and whether that is all of it.

use std::fs;
use std::path::Path;

use super::cache::{Cached, Known};
use super::choose;
use super::complaint::usual_files;
use super::fetched::{Fetched, FetchedFile, FileState};
use super::name::{Kind, Name, is_sha256, matches};
use crate::error::{Error, Result};
use crate::files;

/// What to fetch.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub name: &'a Name,
    /// Only the files that fit one of these, if there are any.
    pub patterns: &'a [String],
    /// Whether what the cache has is checked by its hash.
    pub thorough: bool,
}

/// What the cache has.
pub(super) struct Found {
    pub fetched: Fetched,
    /// What could not be made sure of.
    notes: Vec<String>,
}

impl Found {
    /// Says what could not be made sure of.
    pub fn said(self, name: &Name) -> Fetched {
        self.notes.iter().for_each(|note| tracing::warn!("{name}: {note}"));
        self.fetched
    }
}

/// Why the cache cannot give a name.
pub(super) enum Lack {
    /// Files are missing, or may be: these, as far as is known; so many others are there.
    Files { missing: Vec<String>, present: usize },
    /// It has several commits, and nothing says which is meant.
    OneOf(Vec<String>),
    /// What is there must not be used.
    Refused(Error),
}

impl Lack {
    fn files(missing: Vec<String>, present: usize) -> Self {
        Self::Files { missing, present }
    }
}

/// What the cache has of a name, without asking the hub.
pub(super) fn look(wanted: &Wanted<'_>, cached: &Cached) -> Result<Found, Lack> {
    let Wanted { name, patterns, thorough } = *wanted;
    let mut notes = Vec::new();
    let commit = match cached.known(&name.revision) {
        Known::Commit(commit) => commit,
        Known::Only(commit) if name.has_default_revision() => {
            let revision = &name.revision;
            notes.push(format!(
                "the cache does not say which commit {revision} is; using the only one it has, {commit}"
            ));
            commit
        }
        Known::OneOf(commits) if name.has_default_revision() => return Err(Lack::OneOf(commits)),
        _ => return Err(Lack::files(usual_files(name), 0)),
    };
    let folder = cached.snapshot(&commit);
    let present = walk(cached, &commit, name).map_err(Lack::Refused)?;
    let count = present.len();
    let chosen =
        choose::of_present(name, &folder, present.clone(), patterns).map_err(|missing| Lack::files(missing, count))?;
    notes.extend(completeness(wanted, cached, &commit, &present, &chosen)?);
    let mut files = Vec::new();
    for path in chosen {
        let at = folder.join(&path);
        let bytes = fs::metadata(&at).map_or(0, |about| about.len());
        let sha256 = if thorough { files::hash_file(&at).ok() } else { None };
        check_sum(&at, sha256.as_deref()).map_err(Lack::Refused)?;
        files.push(FetchedFile { path, bytes, sha256, state: FileState::Cached });
    }
    Ok(Found { fetched: Fetched::new(name, commit, cached, files), notes })
}

/// A link's target is named by its content's SHA-256, if it is a large file's.
fn check_sum(path: &Path, sha256: Option<&str>) -> Result<()> {
    let there = fs::canonicalize(path).unwrap_or_default();
    let named = there.file_name().and_then(|name| name.to_str()).filter(|name| is_sha256(name));
    match (named, sha256) {
        (Some(named), Some(sum)) if named != sum => {
            let fault = format!("is damaged: its SHA-256 is {sum}, expected {named}");
            Err(Error::file(path, fault, "unset HF_HUB_OFFLINE and fetch it again, which replaces it"))
        }
        _ => Ok(()),
    }
}

/// Whether what is there is all of it, where the cache can tell: an error where it is not, and what to say where nobody
/// knows.
fn completeness(
    wanted: &Wanted<'_>,
    cached: &Cached,
    commit: &str,
    present: &[String],
    chosen: &[String],
) -> Result<Option<String>, Lack> {
    let Wanted { name, patterns, .. } = *wanted;
    let folder = cached.snapshot(commit);
    if let Some(entries) = cached.tree(commit) {
        let Ok(expected) = choose::first(name, &entries, patterns) else { return Ok(None) };
        let is_there = |path: &str, bytes: u64| {
            present.iter().any(|there| there == path)
                && fs::metadata(folder.join(path)).is_ok_and(|about| about.len() == bytes)
        };
        let missing: Vec<String> =
            expected.into_iter().filter(|entry| !is_there(&entry.path, entry.bytes)).map(|entry| entry.path).collect();
        let needed = name.kind != Kind::Model || missing.iter().any(|path| chosen.contains(path));
        return match missing.as_slice() {
            [] => Ok(None),
            _ if needed => Err(Lack::files(missing, present.len())),
            _ => Ok(Some(format!("the cache lacks files that the hub has of it: {}", missing.join(", ")))),
        };
    }
    let is_one_file = chosen == [name.inside.as_str()];
    if name.kind != Kind::Dataset || is_one_file {
        return Ok(None);
    }
    let is_wanted = |path: &String| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, path));
    let missing: Vec<String> = choose::missing_shards(chosen).into_iter().filter(is_wanted).collect();
    match missing.as_slice() {
        [] if patterns.is_empty() => Ok(Some(format!(
            "nothing in the cache says whether this is all of it: {} files, such as {}",
            chosen.len(),
            chosen.first().map_or("", String::as_str)
        ))),
        [] => Ok(None),
        _ => Err(Lack::files(missing, present.len())),
    }
}

/// The files of a commit that a name can mean, by their paths in it; links to files count.
///
/// # Errors
/// A link that leads out of the cache, or to a folder: the hub's programs make neither.
pub(super) fn walk(cached: &Cached, commit: &str, name: &Name) -> Result<Vec<String>> {
    let snapshot = cached.snapshot(commit);
    cached.check(&snapshot)?;
    let inside = if name.kind == Kind::Dataset { name.inside.as_str() } else { "" };
    let mut found = Vec::new();
    if inside.is_empty() {
        files_of(cached, &snapshot, "", &mut found)?;
    } else {
        cached.check(&snapshot.join(inside))?;
        match fs::metadata(snapshot.join(inside)) {
            Ok(about) if about.is_dir() => files_of(cached, &snapshot.join(inside), inside, &mut found)?,
            Ok(_) => found.push(inside.to_owned()),
            Err(_) => {}
        }
    }
    found.sort();
    Ok(found)
}

fn files_of(cached: &Cached, folder: &Path, before: &str, found: &mut Vec<String>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (at, path) = (entry.path(), if before.is_empty() { name } else { format!("{before}/{name}") });
        let is_link = at.is_symlink();
        match fs::metadata(&at) {
            Ok(_) if is_link && !cached.holds(&at) => cached.check(&at)?,
            Ok(about) if about.is_dir() && is_link => {
                let cure = "remove it, and fetch again what is missing then";
                return Err(Error::file(&at, "is a link to a folder, which the hub's cache never has", cure));
            }
            Ok(about) if about.is_dir() => files_of(cached, &at, &path, found)?,
            Ok(about) if about.is_file() => found.push(path),
            Ok(_) => {}  // a pipe or a device: no file of a repository
            Err(_) => {} // a link to a blob that is gone
        }
    }
    Ok(())
}
