//! Models and data sets by name, from the Hugging Face hub into its ordinary cache.
//!
//! [`name`] says what a name is and what a path, `cache` where files lie (as Python's `huggingface_hub` has them, so
//! that either finds what the other fetched), `remote` asks the hub, `transfer` brings a file, resumed and checked,
//! and `choose` says which files of a repository are used.
//!
//! A revision's newest commit is asked for once; where the hub cannot be reached, what the cache has serves. A commit's
//! links appear when all its files are there, so an interrupted fetch never looks like a whole one.

mod cache;
mod choose;
pub mod name;
mod remote;
mod transfer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::progress::Monitor;
use cache::Cached;
pub use name::{Kind, Name};
use remote::{Entry, Remote, Trouble};
use transfer::{Blob, Failure, Transfer};

/// A data set that is named whole where a text is expected is fetched up to this size; beyond it a file must be named.
const LARGEST_UNASKED: u64 = 5_000_000_000;

/// What `odyssey fetch` says.
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

/// What is to be had.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    name: &'a Name,
    /// Only the files that fit one of these, if there are any.
    patterns: &'a [String],
    /// Whether what the cache has is checked by its hash.
    thorough: bool,
}

/// The hub, and what was asked of it so far: a name is looked up once.
#[derive(Debug)]
pub struct Hub {
    cache: PathBuf,
    offline: bool,
    remote: Option<Remote>,
    found: BTreeMap<Name, PathBuf>,
    commits: BTreeMap<Name, String>,
    no_network: Option<Trouble>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// As the environment has it: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`. Asks nothing yet.
    pub fn new() -> Self {
        Self {
            cache: cache::hub_cache(),
            offline: cache::offline(),
            remote: None,
            found: BTreeMap::new(),
            commits: BTreeMap::new(),
            no_network: None,
        }
    }

    /// Where a model lies that is given by its path or its name on the hub, if it is here; asks nothing.
    pub fn model_here(&self, path: &Path) -> Option<PathBuf> {
        match Name::of_path(Kind::Model, path).ok()? {
            None => Some(path.to_owned()),
            Some(name) => {
                let cached = Cached::new(&self.cache, &name);
                self.look(&Wanted { name: &name, patterns: &[], thorough: false }, &cached)
                    .ok()
                    .map(|fetched| fetched.path)
            }
        }
    }

    /// The folder of a model: `path` itself, or where the model of that name lies in the cache, fetched if need be.
    ///
    /// # Errors
    /// [`Error::Input`] that says what to do where the model cannot be had; [`Error::Interrupted`].
    pub fn model(&mut self, path: &Path, monitor: &mut dyn Monitor) -> Result<PathBuf> {
        self.path(Kind::Model, path, monitor)
    }

    /// The path of a corpus or domain: `path` itself, or where the data set's file or folder of that name lies in the
    /// cache, fetched if need be.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub fn corpus(&mut self, path: &Path, monitor: &mut dyn Monitor) -> Result<PathBuf> {
        self.path(Kind::Dataset, path, monitor)
    }

    fn path(&mut self, kind: Kind, path: &Path, monitor: &mut dyn Monitor) -> Result<PathBuf> {
        let Some(name) = Name::of_path(kind, path)? else { return Ok(path.to_owned()) };
        if let Some(found) = self.found.get(&name) {
            return Ok(found.clone());
        }
        let fetched =
            self.get(&Wanted { name: &name, patterns: &[], thorough: false }, monitor).map_err(
                |error| match error {
                    Error::Input { place, fault, cure } if !name::has_prefix(path) && place == name.to_string() => {
                        let what = if kind == Kind::Model { "no such model folder" } else { "no such file or folder" };
                        Error::Input { place, fault: format!("{what} here, and {fault}"), cure }
                    }
                    other => other,
                },
            )?;
        self.found.insert(name, fetched.path.clone());
        Ok(fetched.path)
    }

    /// Fetches what is missing of a model or data set, or of it the files that fit one of the `patterns`, and checks
    /// every file by its hash.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub fn fetch(&mut self, name: &Name, patterns: &[String], monitor: &mut dyn Monitor) -> Result<Fetched> {
        self.get(&Wanted { name, patterns, thorough: true }, monitor)
    }

    fn get(&mut self, wanted: &Wanted<'_>, monitor: &mut dyn Monitor) -> Result<Fetched> {
        let name = wanted.name;
        let cached = Cached::new(&self.cache, name);
        if self.offline {
            return self.look(wanted, &cached).map_err(|missing| {
                let fault = format!(
                    "HF_HUB_OFFLINE forbids to fetch it, and the hub's cache ({}) does not have all of it",
                    self.cache.display()
                );
                Error::input(name, fault, format!("unset HF_HUB_OFFLINE, or {}", by_hand(name, &missing)))
            });
        }
        let remote = match self.remote.take() {
            Some(remote) => remote,
            None => Remote::new()?,
        };
        let commit = self.commit(&remote, name, monitor);
        let done = self.ask(&remote, wanted, commit, &cached, monitor);
        self.remote = Some(remote);
        done
    }

    /// The commit of a name's revision, asked for once, so that all files of a data set are of one commit; where there
    /// is no network, that is found out once.
    fn commit(&mut self, remote: &Remote, name: &Name, monitor: &mut dyn Monitor) -> Result<String, Trouble> {
        let repository = Name { inside: String::new(), ..name.clone() };
        if let Some(commit) = self.commits.get(&repository) {
            return Ok(commit.clone());
        }
        if let Some(trouble) = &self.no_network {
            return Err(trouble.clone());
        }
        let answer = remote.commit(name, monitor);
        match &answer {
            Ok(commit) => drop(self.commits.insert(repository, commit.clone())),
            Err(trouble @ Trouble::Unreachable(_)) => self.no_network = Some(trouble.clone()),
            Err(_) => {}
        }
        answer
    }

    /// Asks the hub what the name is now, and fetches what the cache lacks of it.
    fn ask(
        &self,
        remote: &Remote,
        wanted: &Wanted<'_>,
        commit: Result<String, Trouble>,
        cached: &Cached,
        monitor: &mut dyn Monitor,
    ) -> Result<Fetched> {
        let Wanted { name, patterns, thorough } = *wanted;
        let listed = commit.and_then(|commit| {
            let entries = choose::listing(remote, name, &commit, patterns, monitor)?;
            Ok((commit, entries))
        });
        let (commit, entries) = match listed {
            Ok(listed) => listed,
            Err(trouble) => {
                return match self.look(wanted, cached) {
                    Ok(found) if trouble.is_passing() => {
                        tracing::warn!("{name}: {}; using what is in the cache", said(remote, &trouble));
                        Ok(found)
                    }
                    _ => Err(complaint(remote, name, &trouble, &usual_files(name))),
                };
            }
        };
        let transfer = Transfer { remote, name, commit: &commit, cached, thorough };
        let mut files: Vec<(Entry, Blob)> = Vec::new();
        let first = choose::first(name, &entries, patterns)?;
        if !thorough && name.kind == Kind::Dataset && first.len() > 1 {
            refuse_huge(name, &first)?;
        }
        get_all(&transfer, first, &mut files, monitor)?;
        // What else is needed stands in a file that is there only now.
        let more = match files.iter().find(|(entry, _)| patterns.is_empty() && choose::is_index(name, &entry.path)) {
            Some((_, blob)) => choose::shards(name, &blob.path, &entries)?,
            None => Vec::new(),
        };
        get_all(&transfer, more, &mut files, monitor)?;

        for (entry, blob) in &files {
            let place = cached.snapshot(&commit).join(&entry.path);
            // A copy, where there are no links, may be damaged in its own right.
            let is_link = place.is_symlink() && place.exists();
            let is_copy = !thorough && fs::metadata(&place).is_ok_and(|about| about.len() == entry.bytes);
            if blob.path != place && (blob.fetched || !is_link && !is_copy) {
                cached.point(&commit, &entry.path, &blob.name)?;
            }
        }
        cached.note_commit(&name.revision, &commit)?;
        let files = files.into_iter().map(|(entry, blob)| FetchedFile {
            path: entry.path,
            bytes: entry.bytes,
            sha256: blob.sha256,
            state: if blob.fetched { FileState::Fetched } else { FileState::Cached },
        });
        Ok(fetched(name, commit, cached, files.collect()))
    }

    /// What the cache has of a name, without asking; the files that are missing otherwise.
    fn look(&self, wanted: &Wanted<'_>, cached: &Cached) -> Result<Fetched, Vec<String>> {
        let Wanted { name, patterns, thorough } = *wanted;
        let commit = cached.commit_of(&name.revision).ok_or_else(|| usual_files(name))?;
        let folder = cached.snapshot(&commit);
        let mut present = Vec::new();
        files_of(&folder, "", &mut present);
        let chosen = choose::of_present(name, &folder, present, patterns)?;
        let files = chosen.into_iter().map(|path| {
            let at = folder.join(&path);
            let bytes = fs::metadata(&at).map_or(0, |about| about.len());
            let sha256 = if thorough { files::hash_file(&at).ok() } else { None };
            FetchedFile { path, bytes, sha256, state: FileState::Cached }
        });
        Ok(fetched(name, commit, cached, files.collect()))
    }
}

fn fetched(name: &Name, commit: String, cached: &Cached, files: Vec<FetchedFile>) -> Fetched {
    let folder = cached.snapshot(&commit);
    let path = if name.inside.is_empty() { folder.clone() } else { folder.join(&name.inside) };
    let (schema, name, kind) = ("odyssey.fetch/1".to_owned(), name.to_string(), name.kind);
    Fetched { schema, name, kind, revision: commit, folder, path, files }
}

fn get_all(
    transfer: &Transfer<'_>,
    entries: Vec<Entry>,
    files: &mut Vec<(Entry, Blob)>,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("{}: {}", transfer.name, entry.path);
        let blob = transfer.blob(entry, monitor).map_err(|failure| match failure {
            Failure::Other(error) => error,
            Failure::Wrong => Error::input(
                place,
                "what arrived is not what the hub lists: its hash was wrong twice",
                "try again later or over another network; nothing of it was kept",
            ),
            Failure::Hub { trouble: Trouble::Stopped, have } => Error::Interrupted(format!(
                "{place}: {have} of {} bytes are there; give the same command again to go on",
                entry.bytes
            )),
            Failure::Hub { trouble: trouble @ Trouble::Unreachable(_), have } => {
                let missing: Vec<String> = entries[at..].iter().map(|entry| entry.path.clone()).collect();
                Error::input(
                    place,
                    format!("cut off at {have} of {} bytes, again and again ({})", entry.bytes, reason(&trouble)),
                    format!("give the same command again to go on from there, or {}", by_hand(transfer.name, &missing)),
                )
            }
            Failure::Hub { trouble, .. } => {
                complaint(transfer.remote, transfer.name, &trouble, std::slice::from_ref(&entry.path))
            }
        })?;
        files.push((entry.clone(), blob));
    }
    Ok(())
}

fn refuse_huge(name: &Name, entries: &[Entry]) -> Result<()> {
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    if bytes <= LARGEST_UNASKED {
        return Ok(());
    }
    let some: Vec<&str> = entries.iter().take(5).map(|entry| entry.path.as_str()).collect();
    Err(Error::input(
        name,
        format!(
            "holds {} files of {:.0} GB on the hub, such as {}",
            entries.len(),
            bytes as f64 / 1e9,
            some.join(", ")
        ),
        format!("name one of them, as in {}/{}, or get all with `odyssey fetch --dataset`", name.repository, some[0]),
    ))
}

/// The files of a folder and below it, by their paths from there; links to files count.
fn files_of(folder: &Path, before: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if before.is_empty() { name } else { format!("{before}/{name}") };
        match fs::metadata(entry.path()) {
            Ok(about) if about.is_dir() => files_of(&entry.path(), &path, found),
            Ok(_) => found.push(path),
            Err(_) => {} // a link to a blob that is gone
        }
    }
    found.sort();
}

/// The files that are most likely needed of a name, where nothing is known about it.
fn usual_files(name: &Name) -> Vec<String> {
    match name.kind {
        Kind::Model => ["config.json", "model.safetensors", "tokenizer.json"].map(str::to_owned).into(),
        Kind::Dataset if name.inside.is_empty() => Vec::new(),
        Kind::Dataset => vec![name.inside.clone()],
    }
}

/// How to get files without this program.
fn by_hand(name: &Name, missing: &[String]) -> String {
    let endpoint = remote::endpoint();
    let repository = match name.kind {
        Kind::Model => format!("{endpoint}/{}", name.repository),
        Kind::Dataset => format!("{endpoint}/datasets/{}", name.repository),
    };
    let of = |path: &String| format!("{repository}/resolve/{}/{path}", name.revision);
    let shown: Vec<String> = missing.iter().take(8).map(of).collect();
    let more = if missing.len() > shown.len() {
        format!(" and {} more files", missing.len() - shown.len())
    } else {
        String::new()
    };
    match (name.kind, shown.as_slice()) {
        (_, []) => format!("download the files wanted from {repository}/tree/{} and name their folder", name.revision),
        (Kind::Dataset, [one]) => format!("download {one} and name that file"),
        _ => format!("download {}{more} into one folder, whichever you like, and name that folder", shown.join(" ")),
    }
}

/// The trouble's own words.
fn reason(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Stopped => "stopped".to_owned(),
        Trouble::Unreachable(why) | Trouble::Strange(why) => why.clone(),
        Trouble::Refused { status, message, .. } if message.is_empty() => format!("status {status}"),
        Trouble::Refused { status, message, .. } => format!("status {status}: {message}"),
    }
}

fn said(remote: &Remote, trouble: &Trouble) -> String {
    let what = match trouble {
        Trouble::Unreachable(_) => "cannot be reached",
        _ => "does not serve it now",
    };
    format!("the hub {} {what} ({})", remote.endpoint, reason(trouble))
}

/// The error for a name that could not be had: what the hub said, and the cure.
fn complaint(remote: &Remote, name: &Name, trouble: &Trouble, missing: &[String]) -> Error {
    let Remote { endpoint, has_token, .. } = remote;
    let page = match name.kind {
        Kind::Model => format!("{endpoint}/{}", name.repository),
        Kind::Dataset => format!("{endpoint}/datasets/{}", name.repository),
    };
    let said = reason(trouble);
    let kind = name.kind;
    let spelling = match kind {
        Kind::Model => {
            "check the name (OWNER/NAME; a data set needs --dataset), set HF_TOKEN if it is private, or name a folder with \
             config.json, model.safetensors and tokenizer.json"
        }
        Kind::Dataset => {
            "check the name (OWNER/NAME), set HF_TOKEN if it is private, or name a file or folder that is here"
        }
    };
    match trouble {
        Trouble::Stopped => Error::Interrupted(format!("{name}: nothing was fetched")),
        Trouble::Unreachable(_) => {
            let fault = format!("the hub {endpoint} cannot be reached ({said})");
            Error::input(name, fault, format!("check the network, or {}", by_hand(name, missing)))
        }
        Trouble::Strange(_) => Error::input(
            name,
            format!("the hub {endpoint} gives an answer that cannot be understood ({said})"),
            "check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use what is in the cache",
        ),
        Trouble::Refused { status, code, .. } => match (status, code.as_str()) {
            (401 | 403, "GatedRepo") => Error::input(
                name,
                format!("the hub gives this {kind} only to those who accepted its licence ({said})"),
                match has_token {
                    true => format!("accept it on {page} with the account that HF_TOKEN belongs to"),
                    false => format!(
                        "accept it on {page}, make a token on {endpoint}/settings/tokens, and set HF_TOKEN to it"
                    ),
                },
            ),
            // The hub answers 401 also for what does not exist, so as not to say what is private.
            (401, "") | (401, "RepoNotFound") if !has_token => {
                Error::input(name, format!("the hub {endpoint} has no public {kind} of this name ({said})"), spelling)
            }
            (401 | 403, _) => Error::input(
                name,
                format!("the hub refuses it ({said})"),
                match has_token {
                    true => format!("check that HF_TOKEN is valid and may read {page}"),
                    false => format!("ask for access on {page}, and set HF_TOKEN"),
                },
            ),
            (404, "RevisionNotFound") => Error::input(
                name,
                format!("the hub's {kind} has no revision {:?}", name.revision),
                format!("see {page}/tree/main for its branches and tags"),
            ),
            (404, "EntryNotFound") => Error::input(
                name,
                format!("the hub's {kind} has no such file or folder"),
                format!("see {page}/tree/{} for what it has", name.revision),
            ),
            (404, _) => Error::input(name, format!("the hub {endpoint} has no {kind} of this name ({said})"), spelling),
            (429, _) => {
                let token = if *has_token { "" } else { ", or set HF_TOKEN: the hub allows more to those it knows" };
                let wait = match trouble {
                    Trouble::Refused { wait: Some(wait), .. } => format!("it asks to wait {} s", wait.as_secs()),
                    _ => said,
                };
                Error::input(
                    name,
                    format!("the hub has had too many questions ({wait})"),
                    format!("try again then{token}"),
                )
            }
            (500.., _) => Error::input(
                name,
                format!("the hub {endpoint} fails again and again ({said})"),
                "try again later; what has arrived is kept",
            ),
            _ => Error::input(name, format!("the hub refuses it ({said})"), format!("see {page}")),
        },
    }
}
