//! How many threads compute: as many as there are cores for this program, or as few as `RAYON_NUM_THREADS` says.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// What says how many threads compute, the first that is set.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS"];
/// Threads of other use that must remain: progress, the network, a graphics device.
const OTHERS: usize = 4;

/// The cores that this program may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts the threads that compute. Where the system gives fewer than are wanted, it is those, with a warning.
///
/// # Errors
/// A number of threads that is none; a system that gives nothing at all.
pub fn start() -> Result<()> {
    let given = VARIABLES.iter().find_map(|name| Some((*name, std::env::var_os(name)?.to_string_lossy().into_owned())));
    let Wanted { threads: wanted, note } = match &given {
        Some((name, value)) => Wanted::from(name, value, cores())?,
        None => Wanted { threads: cores(), note: None },
    };
    if let Some(note) = note {
        tracing::warn!("{note}");
    }
    let there = available(wanted + OTHERS);
    let threads = if there < wanted + OTHERS { there.saturating_sub(OTHERS).max(1) } else { wanted };
    if threads < wanted {
        tracing::warn!("the system gives this program no more than {there} threads: {threads} compute, slower");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    // Without a single thread more, it is this one that computes.
    let pool = if there == 0 { pool.use_current_thread() } else { pool };
    pool.build_global().map_err(|e| none(e.to_string()))
}

/// How many threads are wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many.
    pub threads: usize,
    /// What is to be said of that.
    pub note: Option<String>,
}

impl Wanted {
    /// By the `value` of the variable `name`, where there are so many cores.
    ///
    /// # Errors
    /// [`Error::Input`] for what is no number.
    pub fn from(name: &str, value: &str, cores: usize) -> Result<Self> {
        let value = value.trim();
        let all = |note: Option<String>| Ok(Self { threads: cores, note });
        if value.is_empty() {
            return all(None);
        }
        if !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::input(
                format!("{name}={value}"),
                "is no number of threads",
                format!("set it to a number from 1 to {cores}, the cores here, or leave it unset"),
            ));
        }
        match value.parse::<usize>() {
            Ok(0) => all(Some(format!("{name}=0 stands for all cores: {cores} threads compute"))),
            Ok(threads) if threads <= cores => Ok(Self { threads, note: None }),
            // What does not fit a number is more than there are, too.
            _ => all(Some(format!(
                "{name}={value} is more than the cores that this program may use: {cores} threads compute"
            ))),
        }
    }
}

/// How many of so many threads the system gives, all at once.
fn available(wanted: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let waiting = || {
        let gate = Arc::clone(&gate);
        thread::Builder::new().spawn(move || drop(gate.lock())).ok()
    };
    let threads: Vec<_> = std::iter::repeat_with(waiting).take(wanted).map_while(|thread| thread).collect();
    drop(closed);
    let there = threads.len();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    there
}

/// The error for a thread that the system did not give.
fn none(words: String) -> Error {
    let source = io::Error::new(ErrorKind::WouldBlock, words);
    Error::Io { path: "a thread".into(), action: "start", source }
}

/// The error for these words of a library, which failed or panicked because the system gave it no thread.
pub fn refused(words: &str) -> Option<Error> {
    const PHRASES: [&str; 5] =
        ["failed to spawn", "can't spawn", "could not spawn", "cannot spawn", "kind: wouldblock"];
    let words = words.to_lowercase();
    let is_meant = PHRASES.iter().any(|phrase| words.contains(phrase));
    is_meant.then(|| none("the system gives this program no more".to_owned()))
}
