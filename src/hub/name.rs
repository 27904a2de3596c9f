//! Distinguishes names on the hub from paths.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::disk::paths::normal;
use crate::error::{Error, Result};

/// Says that what follows is a name on the hub, whatever lies on the disk.
const PREFIX: &str = "hub:";

/// The revision of a name that gives none.
const DEFAULT_REVISION: &str = "main";

/// Longest part of a repository's name; the hub's own limit.
const LONGEST_PART: usize = 96;

/// Bytes of a path in a repository at most, and of a name in it; file systems hold no longer ones.
const LONGEST_PATH: usize = 1000;
const LONGEST_NAME: usize = 255;

/// Endings of files that a command reads or writes: a name with such an ending means a file, not a repository.
const FILE_ENDINGS: [&str; 12] =
    [".txt", ".jsonl", ".json", ".parquet", ".csv", ".toml", ".html", ".safetensors", ".gz", ".zst", ".tgz", ".tar"];

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model.
    Model,
    /// An adapter, which the hub keeps among its models; also in a folder of a repository.
    Adapter,
    /// Texts.
    Dataset,
}

impl Kind {
    /// How the hub's addresses and its cache call them.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model | Self::Adapter => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Adapter => "adapter",
            Self::Dataset => "data set",
        })
    }
}

/// A model (`gpt2`, `EleutherAI/pythia-70m@step1000`), a data set or a part of one
/// (`machelreid/m2d2/data/cs.CL.tar.gz`) on the hub. A revision follows the repository after an `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The kind.
    pub kind: Kind,
    /// `name` or `owner/name`.
    pub repository: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// A file or folder in a data set; empty for all of it.
    pub inside: String,
}

impl Name {
    /// Reads a name, with or without `hub:`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is impossible on the hub.
    pub fn parse(kind: Kind, text: &str) -> Result<Self> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        Self::read(kind, bare).ok_or_else(|| {
            let form = match kind {
                Kind::Model => "NAME or OWNER/NAME, as in gpt2 or EleutherAI/pythia-70m, with @REVISION if need be",
                Kind::Adapter => "OWNER/NAME or OWNER/NAME/FOLDER, with @REVISION after NAME if need be",
                Kind::Dataset => "OWNER/NAME or OWNER/NAME/FILE, as in machelreid/m2d2/data/cs.CL.tar.gz",
            };
            Error::input(text, format!("is not the name of a {kind} on the hub"), format!("write {form}"))
        })
    }

    fn read(kind: Kind, text: &str) -> Option<Self> {
        let (before, after) = match text.split_once('@') {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let parts: Vec<&str> = before.split('/').collect();
        let (repository, mut inside) = match (kind, parts.as_slice()) {
            (_, [] | [_] | [_, _]) => (before.to_owned(), String::new()),
            (Kind::Dataset | Kind::Adapter, [owner, name, inside @ ..]) => {
                (format!("{owner}/{name}"), inside.join("/"))
            }
            (Kind::Model, _) => return None,
        };
        // A model's revision may hold slashes (refs/pr/1); a data set's ends where the path in it begins.
        let revision = match (kind, after) {
            (_, None) => DEFAULT_REVISION,
            (_, Some(_)) if !inside.is_empty() => return None,
            (Kind::Model, Some(revision)) => revision,
            (Kind::Adapter, Some(revision)) if revision.starts_with("refs/") => revision,
            (Kind::Dataset | Kind::Adapter, Some(rest)) => {
                let (revision, path) = rest.split_once('/').unwrap_or((rest, ""));
                inside = path.to_owned();
                revision
            }
        };
        let good = repository.split('/').all(is_part)
            && is_revision(revision)
            && (inside.is_empty() || is_path_inside(&inside));
        good.then(|| Self { kind, repository, revision: revision.to_owned(), inside })
    }

    /// The name that `path` means, or `None` where it means a file or folder.
    ///
    /// What exists is a path, and so is what looks like one: it starts with `.`, `/` or `~`, has a backslash or a
    /// colon, its first folder exists, or it ends as a file does. A model's name has one or two parts, a data set's two
    /// or more, an adapter's any number. After `hub:` it is always a name.
    ///
    /// # Errors
    /// [`Error::Input`] for `hub:` with something that is not a name.
    pub fn of_path(kind: Kind, path: &Path) -> Result<Option<Self>> {
        let Some(text) = path.to_str() else { return Ok(None) };
        if text.starts_with(PREFIX) {
            return Self::parse(kind, text).map(Some);
        }
        let parts: Vec<&str> = text.split('@').next().unwrap_or_default().split('/').collect();
        let few = match kind {
            Kind::Model => parts.len() <= 2,
            Kind::Adapter => true,
            Kind::Dataset => parts.len() >= 2,
        };
        let is_file = parts.len() <= 2 && parts.last().is_some_and(|last| is_file_name(last));
        let path_like = text.starts_with(['.', '/', '~']) || text.contains(['\\', ':']);
        let below = parts.len() > 1 && Path::new(parts[0]).exists();
        if !few || path_like || below || path.symlink_metadata().is_ok() || is_file {
            return Ok(None);
        }
        Ok(Self::read(kind, text))
    }

    /// Whether it gives no revision of its own.
    pub fn has_default_revision(&self) -> bool {
        self.revision == DEFAULT_REVISION
    }

    /// The same at another revision.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not a revision, or if the name already has one.
    pub fn at(self, revision: &str) -> Result<Self> {
        if !is_revision(revision) || ![DEFAULT_REVISION, revision].contains(&self.revision.as_str()) {
            let fault = format!("the revision {revision:?} is none, or not the one that the name gives");
            return Err(Error::input(self, fault, "give one branch, tag or commit"));
        }
        Ok(Self { revision: revision.to_owned(), ..self })
    }
}

/// The name as users write it.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision != DEFAULT_REVISION {
            write!(f, "@{}", self.revision)?;
        }
        if !self.inside.is_empty() {
            write!(f, "/{}", self.inside)?;
        }
        Ok(())
    }
}

/// `path` as it stands in the file of a study, whose other paths are relative to `folder`: a name on the hub only after
/// `hub:`, so that a folder that is missing never becomes a download.
pub fn beside(folder: &Path, path: &Path) -> PathBuf {
    if has_prefix(path) { path.to_owned() } else { normal(&folder.join(path)) }
}

/// Whether `path` says by `hub:` that it is a name on the hub.
pub fn has_prefix(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(PREFIX))
}

fn is_part(part: &str) -> bool {
    let ends_well = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !part.is_empty()
        && part.len() <= LONGEST_PART
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && part.starts_with(ends_well)
        && part.ends_with(ends_well)
        && !part.contains("--")
        && !part.contains("..")
}

/// A revision becomes a file name in the cache, so it must not point outside.
pub(super) fn is_revision(revision: &str) -> bool {
    revision.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c)) && is_path_inside(revision)
}

/// Whether this is a full hash of git's.
pub(super) fn is_git_hash(text: &str) -> bool {
    text.len() == 40 && is_hexadecimal(text)
}

/// Whether this is a SHA-256.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// Whether this is a path below a folder, on every system, without detours and not longer than systems allow.
pub(super) fn is_path_inside(path: &str) -> bool {
    !path.contains(|c: char| c == '\\' || c == ':' || c.is_control())
        && path.len() <= LONGEST_PATH
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= LONGEST_NAME)
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FILE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file of a data set is one that corpora are read from.
pub(super) fn is_readable(path: &str) -> bool {
    let name = path.to_ascii_lowercase();
    let inner = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    name.ends_with(".tgz") || [".txt", ".jsonl", ".parquet", ".tar"].iter().any(|ending| inner.ends_with(ending))
}

/// Whether `text` is what `pattern` says: `*` stands for any characters, `/` too, and `?` for one.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None; // the latest star, and the end of the text that it matches
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, end)) => {
                    star = Some((at, end + 1));
                    (p, t) = (at + 1, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Why a system cannot hold files side by side, if it cannot: Windows keeps some names for devices, and where the case of
/// names does not count, two may be one.
pub fn unusable(paths: &[&str], windows: bool, folds_case: bool) -> Option<String> {
    let is_device = |part: &str| {
        let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
        let numbered = ["COM", "LPT"].iter().any(|device| {
            stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
        });
        ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered
    };
    let is_bad =
        |part: &str| is_device(part) || part.ends_with(['.', ' ']) || part.contains(['<', '>', '"', '|', '?', '*']);
    if let Some(path) = paths.iter().find(|path| windows && path.split('/').any(is_bad)) {
        return Some(format!("has the file {path:?}, which Windows cannot hold"));
    }
    let mut seen = BTreeMap::new();
    let twice = paths.iter().find_map(|path| Some((seen.insert(path.to_lowercase(), *path)?, path)));
    let (one, other) = twice.filter(|_| folds_case)?;
    Some(format!("has the files {one:?} and {other:?}, whose names differ in case only, which this system cannot hold"))
}
