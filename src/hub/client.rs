//! A model, adapter or data set by its name: from the cache, or from the hub into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Cached;
use super::choose;
use super::complaint::{by_hand, complaint, said, usual_files};
use super::entry::Entry;
use super::fetched::{Fetched, FetchedFile, FileState};
use super::local::{self, Lack, Wanted};
use super::name::{self, Kind, Name};
use super::remote::Remote;
use super::settings;
use super::transfer::{Blob, Failure, Transfer, no_room};
use super::trouble::Trouble;
use crate::error::{Error, Result};
use crate::message::{Message, Setting};
use crate::process;
use crate::progress::Monitor;

/// A whole data set given as a text is fetched up to this size; above it a file must be named.
const LARGEST_UNASKED: u64 = 5_000_000_000;

/// The hub, and the answers so far: each name is looked up once.
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
            cache: settings::hub_cache(),
            offline: settings::offline(),
            remote: None,
            found: BTreeMap::new(),
            commits: BTreeMap::new(),
            no_network: None,
        }
    }

    /// The folder of a model given by path or name on the hub, if it is on this disk; does not use the network.
    pub fn model_here(&self, path: &Path) -> Option<PathBuf> {
        match Name::of_path(Kind::Model, path).ok()? {
            None => Some(path.to_owned()),
            Some(name) => {
                let cached = Cached::new(&self.cache, &name);
                let wanted = Wanted { name: &name, patterns: &[], thorough: false };
                local::look(&wanted, &cached).ok().map(|found| found.fetched.path)
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

    /// The folder of an adapter: `path` itself, or where the adapter of that name lies in the cache, fetched if need be.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub fn adapter(&mut self, path: &Path, monitor: &mut dyn Monitor) -> Result<PathBuf> {
        self.path(Kind::Adapter, path, monitor)
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
                    Error::Input { place, fault, cure }
                        if !name::has_prefix(path) && place == Message::new(name.to_string()) =>
                    {
                        let what = match kind {
                            Kind::Model => "no such model folder",
                            Kind::Adapter => "no such adapter's folder",
                            Kind::Dataset => "no such file or folder",
                        };
                        Error::Input { place, fault: Message::new(format!("{what} here, and ")).then(fault), cure }
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
            return match local::look(wanted, &cached) {
                Ok(found) => Ok(found.said(name)),
                Err(lack) => Err(self.lacking(name, lack)),
            };
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

    /// The error for what the cache lacks of a name, where the hub must not be asked.
    fn lacking(&self, name: &Name, lack: Lack) -> Error {
        let cache = self.cache.display();
        match lack {
            Lack::Refused(error) => error,
            Lack::OneOf(commits) => Error::input(
                name,
                format!("the hub's cache ({cache}) does not say which commit {:?} is", name.revision),
                format!("name one of those that it has, as in {}@COMMIT: {}", name.repository, commits.join(", ")),
            ),
            Lack::Files { missing, present } => {
                let what = match present {
                    0 => String::new(),
                    _ => format!(" ({present} files are there, {} are missing)", missing.len()),
                };
                let fault = format!(
                    "HF_HUB_OFFLINE forbids to fetch it, and the hub's cache ({cache}) does not have all of it{what}"
                );
                Error::input(name, fault, format!("unset HF_HUB_OFFLINE, or {}", by_hand(name, &missing)))
            }
        }
    }

    /// The commit of a name's revision, requested once, so that all files of a data set are of one commit. A missing
    /// network is also detected once.
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

    /// Asks the hub for the present commit of the name and fetches the files that the cache lacks.
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
            let listing = choose::listing(remote, name, &commit, patterns, monitor)?;
            Ok((commit, listing))
        });
        let (commit, listing) = match listed {
            Ok(listed) => listed,
            Err(trouble) if trouble.is_passing() => {
                return match local::look(wanted, cached) {
                    Ok(found) => {
                        tracing::warn!("{name}: {}; using what is in the cache", said(remote, &trouble));
                        Ok(found.said(name))
                    }
                    Err(Lack::Refused(error)) => Err(error),
                    Err(_) => Err(complaint(remote, name, &trouble, &usual_files(name))),
                };
            }
            Err(trouble) => return Err(complaint(remote, name, &trouble, &usual_files(name))),
        };
        let entries = listing.entries;
        let transfer = Transfer { remote, name, commit: &commit, cached, thorough };
        let mut files: Vec<(Entry, Blob)> = Vec::new();
        let first = choose::first(name, &entries, patterns)?;
        if !thorough && name.kind == Kind::Dataset && first.len() > 1 {
            refuse_huge(name, &first)?;
        }
        choose::refuse_unusable(name, &first)?;
        get_all(&transfer, first, &mut files, monitor)?;
        // What else is needed stands in a file that is there only now.
        let more = match files.iter().find(|(entry, _)| patterns.is_empty() && choose::is_index(name, &entry.path)) {
            Some((_, blob)) => choose::shards(name, &blob.path, &entries)?,
            None => Vec::new(),
        };
        get_all(&transfer, more, &mut files, monitor)?;

        for (entry, blob) in &files {
            let place = cached.snapshot(&commit).join(&entry.path);
            let is_link = fs::canonicalize(&place).ok().is_some_and(|to| fs::canonicalize(&blob.path).ok() == Some(to));
            // A copy, where there are no links, may be damaged in its own right.
            let is_copy = !thorough
                && fs::symlink_metadata(&place).is_ok_and(|about| about.is_file() && about.len() == entry.bytes)
                && cached.holds(&place);
            if blob.path != place && (blob.fetched || !is_link && !is_copy) {
                cached.point(&commit, &entry.path, &blob.name)?;
            }
        }
        if listing.whole {
            cached.note_tree(&commit, &entries, monitor);
        }
        // What others put there is read too, where a folder is named.
        local::walk(cached, &commit, name)?;
        cached.note_commit(&name.revision, &commit, monitor)?;
        let files = files.into_iter().map(|(entry, blob)| FetchedFile {
            path: entry.path,
            bytes: entry.bytes,
            sha256: blob.sha256,
            state: if blob.fetched { FileState::Fetched } else { FileState::Cached },
        });
        Ok(Fetched::new(name, commit, cached, files.collect()))
    }
}

fn get_all(
    transfer: &Transfer<'_>,
    entries: Vec<Entry>,
    files: &mut Vec<(Entry, Blob)>,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    refuse_full_disk(transfer, &entries)?;
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
                    format!("cut off at {have} of {} bytes, again and again ({})", entry.bytes, trouble.reason()),
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

/// Refuses to begin what the disk has no room for.
fn refuse_full_disk(transfer: &Transfer<'_>, entries: &[Entry]) -> Result<()> {
    let missing = entries.iter().map(|entry| transfer.missing(entry)).fold(0, u64::saturating_add);
    let place = transfer.cached.blob("");
    match process::free_disk(&place) {
        Some(free) if missing > free => Err(no_room(&place, missing, Some(free))),
        _ => Ok(()),
    }
}

fn refuse_huge(name: &Name, entries: &[Entry]) -> Result<()> {
    let bytes = entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add);
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
        Message::new(format!("name one of them, as in {}/{}, or get all with ", name.repository, some[0]))
            .command("fetch", [Setting::new("dataset", true)]),
    ))
}
