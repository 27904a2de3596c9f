//! What is asked of the hub: which commit a revision is, what a commit holds, and files.

use std::collections::BTreeSet;

use reqwest::Url;
use reqwest::header::CONTENT_RANGE;
use serde::Deserialize;

use super::entry::Entry;
use super::http::{Answer, Http, origin, same_origin};
use super::name::{Kind, Name, is_git_hash, is_path_inside, is_sha256};
use super::patience::{ATTEMPTS, FIRST_ATTEMPTS, repeated};
use super::settings::{self, Endpoint, forget_login};
use super::trouble::Trouble;
use crate::error::Result;
use crate::progress::Monitor;

/// Bytes of one page of a listing at most; the hub's have a thousand entries of some hundred bytes.
const LONGEST_PAGE: usize = 4 << 20;
/// Pages of a listing at most.
const MOST_PAGES: usize = 1000;
/// Entries of a listing at most.
const MOST_ENTRIES: usize = 200_000;
/// Bytes of a whole listing at most.
const LONGEST_LISTING: usize = 128 << 20;

/// The hub at one address.
#[derive(Debug)]
pub(super) struct Remote {
    http: Http,
}

/// The answer about a revision, as far as it is needed.
#[derive(Deserialize)]
struct Revision {
    sha: Option<String>,
}

/// An entry of a listing, as far as it is needed.
#[derive(Deserialize)]
struct Listed {
    r#type: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Large>,
    #[serde(rename = "xetHash")]
    xet: Option<String>,
}

/// What a listing says of a large file.
#[derive(Deserialize)]
struct Large {
    oid: String,
    size: u64,
}

/// A file on its way.
pub(super) struct Download<'a> {
    pub answer: Answer<'a>,
    /// Bytes at its beginning that were not asked for, because they are here already.
    pub known: u64,
}

impl Remote {
    /// As the environment has it; asks nothing yet.
    pub fn new() -> Result<Self> {
        let (endpoint, token) = (Endpoint::from_environment()?, settings::token()?);
        if (token.is_some() || endpoint.login.is_some()) && !endpoint.is_protected() {
            tracing::warn!("{endpoint} is not https: whoever is on the way there can read the access token");
        }
        Ok(Self { http: Http::new(endpoint, token)? })
    }

    /// The hub's address, for people.
    pub fn endpoint(&self) -> String {
        self.http.endpoint().to_string()
    }

    /// Whether the user has a token.
    pub fn has_token(&self) -> bool {
        self.http.has_token()
    }

    /// The commit that the name's revision is now. The first question.
    pub fn commit(&self, name: &Name, monitor: &mut dyn Monitor) -> Result<String, Trouble> {
        let mut url = self.of(name, true, ["revision", name.revision.as_str()]);
        url.set_query(Some("expand=sha")); // all the rest is not needed
        let told =
            repeated(FIRST_ATTEMPTS, monitor, |monitor| self.http.json::<Revision>(&url, LONGEST_PAGE, monitor))?;
        let commit = told.value.sha.filter(|commit| is_git_hash(commit));
        commit.ok_or_else(|| Trouble::Strange("it names no commit".into()))
    }

    /// The files of a commit in `folder` (all of it where that is empty), and below it if `deep`.
    pub fn files(
        &self,
        name: &Name,
        commit: &str,
        folder: &str,
        deep: bool,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Entry>, Trouble> {
        let inside = folder.split('/').filter(|part| !part.is_empty());
        let mut first = self.of(name, true, ["tree", commit].into_iter().chain(inside));
        first.set_query(Some(&format!("recursive={deep}")));
        let mut next = Some(first);
        let (mut files, mut asked, mut bytes, mut entries) = (Vec::new(), BTreeSet::new(), 0, 0);
        while let Some(url) = next.take() {
            let told =
                repeated(ATTEMPTS, monitor, |monitor| self.http.json::<Vec<Listed>>(&url, LONGEST_PAGE, monitor))?;
            asked.insert(url);
            (bytes, entries) = (bytes + told.bytes, entries + told.value.len());
            if asked.len() > MOST_PAGES || bytes > LONGEST_LISTING || entries > MOST_ENTRIES {
                return Err(Trouble::Strange(format!(
                    "its listing does not end: {entries} entries on {} pages so far; of a data set name a folder or file",
                    asked.len()
                )));
            }
            for listed in told.value {
                files.extend(file_of(listed)?);
            }
            next = told.next.map(|link| next_page(&told.url, &link)).transpose()?;
            if next.as_ref().is_some_and(|next| asked.contains(next)) {
                return Err(Trouble::Strange("its listing goes round in a circle".into()));
            }
        }
        let paths: BTreeSet<&str> = files.iter().map(|entry: &Entry| entry.path.as_str()).collect();
        if paths.len() < files.len() {
            return Err(Trouble::Strange("it lists a file twice".into()));
        }
        Ok(files)
    }

    /// Begins a file at byte `from`, as far as the server can do that.
    pub fn file(
        &self,
        name: &Name,
        commit: &str,
        entry: &Entry,
        from: u64,
        monitor: &dyn Monitor,
    ) -> Result<Download<'_>, Trouble> {
        let url = self.of(name, false, ["resolve", commit].into_iter().chain(entry.path.split('/')));
        let answer = self.http.get(&url, from, monitor)?;
        answer.check_plain()?;
        let known = match (answer.status(), answer.header(CONTENT_RANGE.as_str())) {
            (200, _) => from,
            (206, Some(range)) => {
                let (first, whole) = range_of(range)
                    .ok_or_else(|| answer.strange(&format!("it sends a part of a file, {:?}", short(range))))?;
                if first != from {
                    let what = format!("it sends a file from byte {first} on, where byte {from} was asked for");
                    return Err(answer.strange(&what));
                }
                if whole.is_some_and(|whole| whole != entry.bytes) {
                    return Err(other_size(&answer, whole.unwrap_or_default(), entry));
                }
                0
            }
            (206, None) => return Err(answer.strange("it sends a part of a file and does not say which")),
            (other, _) => return Err(answer.strange(&format!("it answers a request for a file with status {other}"))),
        };
        let begins_at = from - known;
        match answer.announced() {
            Some(bytes) if bytes.saturating_add(begins_at) != entry.bytes && answer.status() == 200 => {
                Err(other_size(&answer, bytes, entry))
            }
            Some(bytes) if bytes.saturating_add(begins_at) > entry.bytes => {
                Err(other_size(&answer, bytes.saturating_add(begins_at), entry))
            }
            _ => Ok(Download { answer, known }),
        }
    }

    /// An address of the repository.
    fn of<'a>(&self, name: &'a Name, ask: bool, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let before: &[&str] = match (ask, name.kind) {
            (true, Kind::Model | Kind::Adapter) => &["api", "models"],
            (true, Kind::Dataset) => &["api", "datasets"],
            (false, Kind::Model | Kind::Adapter) => &[],
            (false, Kind::Dataset) => &["datasets"],
        };
        let repository = name.repository.split('/');
        self.http.endpoint().at(before.iter().copied().chain(repository).chain(parts))
    }
}

fn other_size(answer: &Answer<'_>, bytes: u64, entry: &Entry) -> Trouble {
    answer.strange(&format!("it sends {} with {bytes} bytes, and lists it with {}", entry.path, entry.bytes))
}

/// Where a listing goes on. Only at the host that gave it: another one is not who was asked.
fn next_page(page: &Url, link: &str) -> Result<Url, Trouble> {
    let mut next = page.join(link).map_err(|_| Trouble::Strange("its listing goes on at what is no address".into()))?;
    if !same_origin(&next, page) {
        let there = origin(&next);
        return Err(Trouble::Strange(format!("its listing goes on at another host, {there}, which is not asked")));
    }
    forget_login(&mut next);
    Ok(next)
}

/// A file that is listed, and nothing for a folder.
fn file_of(listed: Listed) -> Result<Option<Entry>, Trouble> {
    let Listed { r#type, path, size, oid, lfs, xet } = listed;
    if r#type != "file" {
        return Ok(None);
    }
    // Paths and hashes become names of files here.
    let is_good_hash = lfs.as_ref().is_none_or(|large| is_sha256(&large.oid));
    if !is_path_inside(&path) || !is_git_hash(&oid) || !is_good_hash {
        let hash = lfs.map_or(oid, |large| large.oid);
        return Err(Trouble::Strange(format!("it lists {:?} with the hash {:?}", short(&path), short(&hash))));
    }
    if let Some(large) = lfs.as_ref().filter(|large| large.size != size) {
        return Err(Trouble::Strange(format!("it lists {:?} with {size} bytes and with {}", short(&path), large.size)));
    }
    let (sha256, xet) = (lfs.map(|large| large.oid), xet.filter(|hash| is_sha256(hash)));
    Ok(Some(Entry { path, bytes: size, oid, sha256, xet }))
}

/// The first byte and the whole size of `bytes 5-9/20`; the size may be `*`.
fn range_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes")?.trim().split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    match whole.trim() {
        "*" => Some((first, None)),
        whole => Some((first, Some(whole.parse().ok()?))),
    }
}

/// What is shown of a text that a server chose.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
