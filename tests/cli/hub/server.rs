//! A hub on the loopback interface: the addresses of the real one that are used, large files from another host, as the
//! real one's are, and faults by script.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Entries on a page of a listing: few, so that pages are turned.
const PAGE: usize = 3;

/// A file of a repository.
#[derive(Clone)]
pub struct Stored {
    pub bytes: Vec<u8>,
    /// Large ones are kept elsewhere; git has a pointer in their place.
    pub large: bool,
}

impl Stored {
    pub fn small(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), large: false }
    }

    pub fn large(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), large: true }
    }

    /// git's hash of what git holds.
    pub fn oid(&self) -> String {
        if self.large { git_hash(&pointer(&self.bytes)) } else { git_hash(&self.bytes) }
    }

    /// What the hub gives as ETag, and the cache as name.
    pub fn etag(&self) -> String {
        if self.large { sha256(&self.bytes) } else { git_hash(&self.bytes) }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// `git hash-object`.
pub fn git_hash(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hexadecimal(&hasher.finalize())
}

fn pointer(bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len();
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {size}\n", sha256(bytes)).into_bytes()
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes nothing comes any more.
    Stall(usize),
    /// Every byte is another one.
    Garble,
    /// Another status, with more headers.
    Status(u16, &'static str),
    /// Another answer: status, headers and body.
    Answer(u16, String, Vec<u8>),
    /// The right answer with more headers.
    Headers(String),
    /// This status and these headers, then bytes without end: this text again and again.
    Endless(u16, String, &'static str),
    /// A byte in every so many milliseconds.
    Drip(u64),
}

/// A fault, and when it strikes: for so many requests of this method whose address contains this, after some others.
struct Script {
    method: &'static str,
    on: String,
    after: usize,
    times: usize,
    fault: Fault,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    /// Where the range begins that it asks for.
    pub from: Option<usize>,
    pub token: Option<String>,
    /// The whole header that says who asks.
    pub authorization: Option<String>,
    /// Whether the other host was asked, which has the large files.
    pub elsewhere: bool,
}

#[derive(Default)]
struct State {
    /// By `models/owner/name`, commit and files.
    repositories: BTreeMap<String, (String, BTreeMap<String, Stored>)>,
    /// Old names of repositories.
    moved: BTreeMap<String, String>,
    scripts: Vec<Script>,
    asked: Vec<Asked>,
    token: Option<String>,
    knows_no_ranges: bool,
}

/// The server; it ends with the test.
pub struct Server {
    state: Arc<Mutex<State>>,
    pub endpoint: String,
    /// The address of the other host.
    pub other: String,
}

impl Server {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [hub, other] = [0, 1].map(|i| format!("http://{}", listeners[i].local_addr().unwrap()));
        for (elsewhere, listener) in [false, true].into_iter().zip(listeners) {
            let (state, hub, other) = (Arc::clone(&state), hub.clone(), other.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, hub, other) = (Arc::clone(&state), hub.clone(), other.clone());
                    std::thread::spawn(move || answer(stream, &state, elsewhere, &hub, &other));
                }
            });
        }
        Self { state, endpoint: hub, other }
    }

    /// Puts a repository (`models/owner/name`) there. Gives its commit, which depends on the files.
    pub fn put(&self, repository: &str, files: &[(&str, Stored)]) -> String {
        let listing: String = files.iter().map(|(path, file)| format!("{path} {}\n", file.oid())).collect();
        let commit = git_hash(listing.as_bytes());
        let files = files.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect();
        self.state.lock().unwrap().repositories.insert(repository.to_owned(), (commit.clone(), files));
        commit
    }

    /// From now on `old` is another name of `new`.
    pub fn moved(&self, old: &str, new: &str) {
        self.state.lock().unwrap().moved.insert(old.to_owned(), new.to_owned());
    }

    /// The next so many GETs whose address contains `on` go wrong.
    pub fn fault(&self, on: &str, times: usize, fault: Fault) {
        self.fault_after(0, on, times, fault);
    }

    /// The same, but `after` of them go well first.
    pub fn fault_after(&self, after: usize, on: &str, times: usize, fault: Fault) {
        let script = Script { method: "GET", on: on.to_owned(), after, times, fault };
        self.state.lock().unwrap().scripts.push(script);
    }

    /// From now on ranges are not heeded.
    pub fn forget_ranges(&self) {
        self.state.lock().unwrap().knows_no_ranges = true;
    }

    /// No faults any more.
    pub fn heal(&self) {
        self.state.lock().unwrap().scripts.clear();
    }

    /// Only who brings this token is served.
    pub fn require(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

struct Request {
    method: String,
    target: String,
    range: Option<(usize, usize)>,
    /// The whole header that says who asks.
    authorization: Option<String>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut range, mut authorization, mut length) = (None, None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(": ")?;
        match key.to_ascii_lowercase().as_str() {
            "range" => {
                let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
                range = Some((from.parse().ok()?, to.parse().map_or(usize::MAX, |to: usize| to + 1)));
            }
            "authorization" => authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(Request { method, target, range, authorization })
}

/// Status, headers, body.
type Answer = (u16, String, Vec<u8>);

fn answer(mut stream: TcpStream, state: &Mutex<State>, elsewhere: bool, hub: &str, other: &str) {
    let Some(mut request) = read(&stream) else { return };
    let (fault, (mut status, mut headers, mut body)) = {
        let mut state = state.lock().unwrap();
        if state.knows_no_ranges {
            request.range = None;
        }
        state.asked.push(Asked {
            method: request.method.clone(),
            target: request.target.clone(),
            from: request.range.map(|(from, _)| from),
            token: request.token(),
            authorization: request.authorization.clone(),
            elsewhere,
        });
        let strikes = |script: &&mut Script| {
            script.times > 0 && script.method == request.method && request.target.contains(&script.on)
        };
        let fault = state.scripts.iter_mut().find(strikes).and_then(|script| {
            if script.after > 0 {
                script.after -= 1;
                return None;
            }
            script.times -= 1;
            Some(script.fault.clone())
        });
        let answer = match (elsewhere, request.target.starts_with("/api/")) {
            (true, true) => route(&state, &request, other, other),
            (true, false) => blob(&state, &request),
            _ => route(&state, &request, hub, other),
        };
        (fault, answer)
    };
    if let Some(Fault::Status(other, more)) = fault {
        (status, headers, body) = (other, more.to_owned(), br#"{"error":"as the test wants it"}"#.to_vec());
    }
    match &fault {
        Some(Fault::Answer(other, more, instead)) => {
            (status, headers, body) = (*other, more.clone(), instead.clone());
        }
        Some(Fault::Headers(more)) => headers.push_str(more),
        Some(Fault::Endless(status, headers, text)) => return endless(stream, *status, headers, text),
        _ => {}
    }
    if matches!(fault, Some(Fault::Garble)) {
        body.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let head = format!("HTTP/1.1 {status} S\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let mut write = |bytes: &[u8]| drop(stream.write_all(bytes)); // the client may be gone
    write(head.as_bytes());
    if request.method == "HEAD" {
        return;
    }
    match fault {
        Some(Fault::Cut(after)) => write(&body[..after.min(body.len())]),
        Some(Fault::Stall(after)) => {
            write(&body[..after.min(body.len())]);
            std::thread::sleep(Duration::from_secs(60));
        }
        Some(Fault::Drip(pause)) => {
            for byte in body {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
        _ => write(&body),
    }
}

/// Sends until nobody takes it any more.
fn endless(mut stream: TcpStream, status: u16, headers: &str, text: &str) {
    let head = format!("HTTP/1.1 {status} S\r\nConnection: close\r\n{headers}\r\n");
    let much = text.repeat((64 << 10) / text.len());
    let mut open = stream.write_all(head.as_bytes()).is_ok();
    while open {
        open = stream.write_all(much.as_bytes()).is_ok();
    }
}

impl Request {
    fn token(&self) -> Option<String> {
        Some(self.authorization.as_ref()?.strip_prefix("Bearer ")?.to_owned())
    }
}

fn route(state: &State, request: &Request, hub: &str, other: &str) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let path = path.trim_start_matches('/');
    if state.token.is_some() && state.token != request.token() {
        return (401, "X-Error-Code: GatedRepo\r\n".into(), br#"{"error":"Access to this is restricted."}"#.to_vec());
    }
    if let Some(rest) = path.strip_prefix("api/") {
        for (old, new) in &state.moved {
            if let Some(rest) = rest.strip_prefix(&format!("{old}/")) {
                return (307, format!("Location: /api/{new}/{rest}?{query}\r\n"), Vec::new());
            }
        }
        for (name, (commit, files)) in &state.repositories {
            let Some(rest) = rest.strip_prefix(&format!("{name}/")) else { continue };
            if let Some(revision) = rest.strip_prefix("revision/") {
                if ![commit.as_str(), "main", "v1"].contains(&revision) {
                    return (404, "X-Error-Code: RevisionNotFound\r\n".into(), Vec::new());
                }
                let (_, id) = name.split_once('/').unwrap();
                return as_json(String::new(), json!({ "_id": "1", "id": id, "sha": commit }));
            }
            let (revision, folder) = rest.strip_prefix("tree/").unwrap().split_once('/').unwrap_or((&rest[5..], ""));
            assert_eq!(revision, commit, "listings are asked of a commit");
            return tree(files, folder, query, &format!("{hub}/{path}"));
        }
        return (404, "X-Error-Code: RepoNotFound\r\n".into(), br#"{"error":"Repository not found"}"#.to_vec());
    }
    let Some((repository, rest)) = path.split_once("/resolve/") else {
        return (404, String::new(), Vec::new());
    };
    let repository =
        if repository.starts_with("datasets/") { repository.to_owned() } else { format!("models/{repository}") };
    let repository = state.moved.get(&repository).cloned().unwrap_or(repository);
    let (revision, path) = rest.split_once('/').unwrap();
    let found = state.repositories.get(&repository).and_then(|(commit, files)| Some((commit, files.get(path)?)));
    let Some((commit, file)) = found else {
        return (404, "X-Error-Code: EntryNotFound\r\n".into(), Vec::new());
    };
    assert_eq!(revision, commit, "files are asked of a commit");
    let headers = format!("X-Repo-Commit: {commit}\r\n");
    if file.large {
        let (etag, size) = (file.etag(), file.bytes.len());
        let headers = format!(
            "{headers}X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {size}\r\nETag: \"{}\"\r\n\
             X-Xet-Hash: {etag}\r\nLocation: {other}/{repository}/{path}?signature=secret\r\n",
            file.oid(),
        );
        return (302, headers, Vec::new());
    }
    part(&file.bytes, request.range, format!("{headers}ETag: \"{}\"\r\n", file.etag()))
}

/// A large file from the other host, whose ETag is its own affair.
fn blob(state: &State, request: &Request) -> Answer {
    let path = request.target.split('?').next().unwrap().trim_start_matches('/');
    let found = state
        .repositories
        .iter()
        .find_map(|(name, (_, files))| files.get(path.strip_prefix(name.as_str())?.strip_prefix('/')?));
    part(&found.unwrap().bytes, request.range, "ETag: \"0123-7\"\r\n".into())
}

fn part(bytes: &[u8], range: Option<(usize, usize)>, headers: String) -> Answer {
    match range {
        Some((from, _)) if from >= bytes.len() => (416, headers, Vec::new()),
        Some((from, to)) => {
            let to = to.min(bytes.len());
            let headers = format!("{headers}Content-Range: bytes {from}-{}/{}\r\n", to - 1, bytes.len());
            (206, headers, bytes[from..to].to_vec())
        }
        None => (200, headers, bytes.to_vec()),
    }
}

fn tree(files: &BTreeMap<String, Stored>, folder: &str, query: &str, address: &str) -> Answer {
    let deep = query.contains("recursive=true");
    let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut entries = Vec::new();
    let mut folders: Vec<&str> = Vec::new();
    for (path, file) in files {
        let Some(rest) = path.strip_prefix(&start) else { continue };
        if let (Some((first, _)), false) = (rest.split_once('/'), deep) {
            if !folders.contains(&first) {
                folders.push(first);
                entries.push(json!({ "type": "directory", "oid": git_hash(b""), "path": format!("{start}{first}") }));
            }
            continue;
        }
        let mut entry = json!({ "type": "file", "oid": file.oid(), "size": file.bytes.len(), "path": path });
        if file.large {
            // As the hub writes it.
            let lfs =
                json!({ "oid": file.etag(), "size": file.bytes.len(), "pointerSize": pointer(&file.bytes).len() });
            (entry["lfs"], entry["xetHash"]) = (lfs, json!("0".repeat(64)));
        }
        entries.push(entry);
    }
    if entries.is_empty() && !folder.is_empty() {
        return (404, "X-Error-Code: EntryNotFound\r\n".into(), Vec::new());
    }
    let from: usize = query.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
    let to = (from + PAGE).min(entries.len());
    let next = if to < entries.len() {
        format!("Link: <{address}?recursive={deep}&cursor={to}>; rel=\"next\"\r\n")
    } else {
        String::new()
    };
    as_json(next, Value::Array(entries[from..to].to_vec()))
}

fn as_json(headers: String, value: Value) -> Answer {
    (200, format!("{headers}Content-Type: application/json\r\n"), value.to_string().into_bytes())
}
