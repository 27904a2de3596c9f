//! Asking the hub: questions that are repeated while it makes sense, watched so that a stop or a stall ends them.
//!
//! The client is hf-hub's. It has no timeouts, and its own repetition knows neither a stop nor `Retry-After`, so every
//! request runs on a thread of its own here and is repeated from here. Redirects to another host lose the token: that
//! is the HTTP library's doing, and tests hold it to it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClientSync, HFError, HFRepositorySync, RepoType};

use super::cache::{is_git_hash, setting, token};
use super::name::{Kind, Name, is_path_inside};
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::threads;

/// The hub itself; `HF_ENDPOINT` names a mirror.
const ENDPOINT: &str = "https://huggingface.co";

/// How often a request is made before its failure counts.
const ATTEMPTS: u32 = 5;
/// The same for the first question, which tells whether there is a network at all.
const FIRST_ATTEMPTS: u32 = 2;
/// The pause before the second attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that the hub may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// A request that brings nothing for so long is given up.
const STALL: Duration = Duration::from_secs(30);
/// How often a running request is looked after.
const TICK: Duration = Duration::from_millis(100);

/// Why the hub did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The user wants to stop.
    Stopped,
    /// No answer, or one that was cut off: no network, no such host, a connection that breaks.
    Unreachable(String),
    /// An answer that says no.
    Refused {
        status: u16,
        /// The hub's own code, such as `GatedRepo`.
        code: String,
        message: String,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// An answer that cannot be understood.
    Strange(String),
}

impl Trouble {
    /// Whether what is in the cache may be used instead: the hub cannot answer now, but does not say no.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => is_passing(*status),
            Self::Stopped | Self::Strange(_) => false,
        }
    }

    fn of(error: HFError) -> Self {
        match error {
            HFError::RateLimited { retry_after, context } => {
                let code = context.error_code.unwrap_or_default();
                Self::Refused { status: 429, code, message: one_line(context.server_message), wait: retry_after }
            }
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RepoNotFound { context: Some(context), .. }
            | HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. } => Self::Refused {
                status: context.status.as_u16(),
                code: context.error_code.unwrap_or_default(),
                message: one_line(context.server_message),
                wait: None,
            },
            // A body that ends early is a connection's fault; one that is no JSON is the server's.
            HFError::Request { source, .. } => match deepest(&source).downcast_ref::<serde_json::Error>() {
                Some(error) if !error.is_eof() => Self::Strange(one_line(Some(error.to_string()))),
                _ => Self::Unreachable(innermost(&source)),
            },
            HFError::Json(error) => Self::Strange(error.to_string()),
            other => Self::Strange(one_line(Some(other.to_string()))),
        }
    }
}

/// Whether a status is worth another attempt.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The deepest reason of an error, which says most: "Connection refused" and not "error sending request".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    one_line(Some(deepest(error).to_string()))
}

fn deepest<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// What a server said, short and on one line.
fn one_line(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

/// A file of a repository, as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: String,
    pub bytes: u64,
    pub hash: Hash,
}

/// What tells that a file arrived whole. The hub lists the SHA-256 of a large file too, but hf-hub 1.0 drops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// git's hash of the file.
    Git(String),
    /// git's hash of the pointer that stands for a large file; the pointer gives its SHA-256 and size.
    Pointer(String),
}

/// The hub at one address.
#[derive(Debug)]
pub(super) struct Remote {
    client: HFClientSync,
    pub endpoint: String,
    pub has_token: bool,
}

/// Where the hub is.
pub(super) fn endpoint() -> String {
    setting("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned()
}

impl Remote {
    pub fn new() -> Result<Self> {
        let (endpoint, token) = (endpoint(), token());
        let agent = concat!("odyssey/", env!("CARGO_PKG_VERSION"));
        let mut builder = hf_hub::HFClient::builder()
            .endpoint(endpoint.as_str())
            .user_agent(agent)
            .cache_enabled(false)
            .retry_max_attempts(0);
        let has_token = token.is_some();
        if let Some(token) = token {
            builder = builder.token(token);
        }
        let client = builder.build_sync().map_err(|e| {
            let words = innermost(&e).to_string();
            threads::refused(&words).unwrap_or_else(|| {
                Error::input(
                    format!("HF_ENDPOINT {endpoint}"),
                    format!("the hub cannot be asked: {words}"),
                    "set it to an address such as https://huggingface.co, or unset it",
                )
            })
        })?;
        Ok(Self { client, endpoint, has_token })
    }

    /// The commit that the name's revision is now. The first question.
    pub fn commit(&self, name: &Name, monitor: &mut dyn Monitor) -> Result<String, Trouble> {
        let (owner, short) = name.split();
        let commit = repeated(FIRST_ATTEMPTS, monitor, |monitor| {
            let (owner, short, revision) = (owner.to_owned(), short.to_owned(), name.revision.clone());
            let client = self.client.clone();
            let kind = name.kind;
            watched(monitor, None, move || {
                let only = vec!["sha".to_owned()]; // all the rest is not needed
                match kind {
                    Kind::Model => Ok(client.model(owner, short).info().revision(revision).expand(only).send()?.sha),
                    Kind::Dataset => {
                        Ok(client.dataset(owner, short).info().revision(revision).expand(only).send()?.sha)
                    }
                }
            })
        })?;
        commit.filter(|commit| is_git_hash(commit)).ok_or_else(|| Trouble::Strange("it names no commit".into()))
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
        let (owner, short) = name.split();
        let entries = repeated(ATTEMPTS, monitor, |monitor| match name.kind {
            Kind::Model => list(self.client.model(owner, short), commit, folder, deep, monitor),
            Kind::Dataset => list(self.client.dataset(owner, short), commit, folder, deep, monitor),
        })?;
        let files = entries.into_iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { path, size, oid, lfs, .. } => Some((path, size, oid, lfs.is_some())),
            RepoTreeEntry::Directory { .. } => None,
        });
        files
            .map(|(path, bytes, oid, is_large)| {
                // Paths and hashes become names of files here.
                if !is_path_inside(&path) || !is_git_hash(&oid) {
                    return Err(Trouble::Strange(format!("it lists {path:?} with the hash {oid:?}")));
                }
                let hash = if is_large { Hash::Pointer(oid) } else { Hash::Git(oid) };
                Ok(Entry { path, bytes, hash })
            })
            .collect()
    }

    /// Some bytes of a file. `arrived` hears how many of them there are so far.
    pub fn piece(
        &self,
        name: &Name,
        commit: &str,
        path: &str,
        range: Range<u64>,
        monitor: &mut dyn Monitor,
        arrived: &mut dyn FnMut(u64, &mut dyn Monitor),
    ) -> Result<Bytes, Trouble> {
        let (owner, short) = name.split();
        match name.kind {
            Kind::Model => bytes_of(self.client.model(owner, short), commit, path, range, monitor, arrived),
            Kind::Dataset => bytes_of(self.client.dataset(owner, short), commit, path, range, monitor, arrived),
        }
    }
}

// By the repository's own type, and not `RepoTypeAny`: with that hf-hub 1.0 takes every file for a model's.

fn list<T: RepoType>(
    repository: HFRepositorySync<T>,
    commit: &str,
    folder: &str,
    deep: bool,
    monitor: &mut dyn Monitor,
) -> Result<Vec<RepoTreeEntry>, Trouble> {
    let commit = commit.to_owned();
    let folder = (!folder.is_empty()).then(|| folder.to_owned());
    watched(monitor, None, move || {
        repository.list_tree().revision(commit).maybe_path_in_repo(folder).recursive(deep).send()
    })
}

fn bytes_of<T: RepoType>(
    repository: HFRepositorySync<T>,
    commit: &str,
    path: &str,
    range: Range<u64>,
    monitor: &mut dyn Monitor,
    arrived: &mut dyn FnMut(u64, &mut dyn Monitor),
) -> Result<Bytes, Trouble> {
    let (commit, path) = (commit.to_owned(), path.to_owned());
    let count = Arc::new(Arrived::default());
    let handler = Arc::clone(&count);
    watched(monitor, Some((&count, arrived)), move || {
        repository.download_file_to_bytes().filename(path).revision(commit).range(range).progress(handler).send()
    })
}

/// Bytes of a running request.
#[derive(Debug, Default)]
struct Arrived(AtomicU64);

impl ProgressHandler for Arrived {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Download(DownloadEvent::Progress { files }) = event {
            self.0.store(files.iter().map(|file| file.bytes_completed).sum(), Ordering::Relaxed);
        }
    }
}

/// What watches a request with a body: its bytes so far, and who hears of them.
type Watch<'a> = (&'a Arrived, &'a mut dyn FnMut(u64, &mut dyn Monitor));

/// Runs a request on a thread of its own, and leaves it there if the user stops it or nothing arrives any more.
fn watched<T: Send + 'static>(
    monitor: &mut dyn Monitor,
    mut watch: Option<Watch<'_>>,
    request: impl FnOnce() -> Result<T, HFError> + Send + 'static,
) -> Result<T, Trouble> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || drop(sender.send(request()))); // nobody listens any more where it was given up
    let (mut latest, mut since) = (0, Instant::now());
    loop {
        let answer = receiver.recv_timeout(TICK);
        if let Some((count, arrived)) = &mut watch {
            let bytes = count.0.load(Ordering::Relaxed);
            if bytes > latest {
                (latest, since) = (bytes, Instant::now());
                arrived(bytes, monitor);
            }
        }
        match answer {
            Ok(answer) => return answer.map_err(Trouble::of),
            Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Strange("the request failed".into())),
            Err(RecvTimeoutError::Timeout) if monitor.stopped() => return Err(Trouble::Stopped),
            Err(RecvTimeoutError::Timeout) if since.elapsed() > STALL => {
                return Err(Trouble::Unreachable(format!("nothing arrived for {} s", STALL.as_secs())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Asks up to `attempts` times while the trouble is one that passes.
fn repeated<T>(
    attempts: u32,
    monitor: &mut dyn Monitor,
    mut ask: impl FnMut(&mut dyn Monitor) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut patience = Patience::new(attempts);
    loop {
        match ask(monitor) {
            Ok(answer) => return Ok(answer),
            Err(trouble) => patience.after(trouble, monitor)?,
        }
    }
}

/// How long to go on trying.
pub(super) struct Patience {
    failures: u32,
    attempts: u32,
}

impl Patience {
    /// For a question.
    pub fn new(attempts: u32) -> Self {
        Self { failures: 0, attempts }
    }

    /// For a piece of a file; begins anew with every one that arrives.
    pub fn for_piece() -> Self {
        Self::new(ATTEMPTS)
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The trouble, where another attempt makes no sense.
    pub fn after(&mut self, trouble: Trouble, monitor: &mut dyn Monitor) -> Result<(), Trouble> {
        self.failures += 1;
        let asked = match &trouble {
            Trouble::Refused { wait, .. } => *wait,
            _ => None,
        };
        // Where the hub answers at all there is a network, and it is asked as often as anything else.
        let attempts = if matches!(trouble, Trouble::Refused { .. }) { ATTEMPTS } else { self.attempts };
        let wait = asked.unwrap_or(PAUSE * 2_u32.pow(self.failures - 1));
        if !trouble.is_passing() || self.failures >= attempts || wait > LONGEST_WAIT {
            return Err(trouble);
        }
        tracing::debug!(?trouble, ?wait, "asking the hub again");
        if asked.is_some() {
            tracing::warn!("the hub asks to wait {} s", wait.as_secs());
        }
        let since = Instant::now();
        while since.elapsed() < wait {
            if monitor.stopped() {
                return Err(Trouble::Stopped);
            }
            std::thread::sleep(TICK.min(wait - since.elapsed().min(wait)));
        }
        Ok(())
    }
}
