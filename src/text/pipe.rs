//! Standard input and pipes as a text. What comes out of one can be read only once: it is kept, in memory or where it is
//! long on the disk, for everything that reads the same text again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::watch::Watch;
use crate::error::{Error, Result};
use crate::process;
use crate::spool::{Spool, SpoolWriter};

/// What stands for standard input.
const STANDARD_INPUT: [&str; 3] = ["-", "/dev/stdin", "/dev/fd/0"];
/// Bytes that are taken from a pipe: more may well have no end.
const LONGEST: u64 = 4 << 30;
/// Bytes taken at a time.
const AT_ONCE: usize = 1 << 16;

/// What was read, by path.
static KEPT: Mutex<Option<HashMap<PathBuf, Spool<u8>>>> = Mutex::new(None);

/// Whether a path stands for standard input, a pipe or a terminal: something that is read once.
pub fn is_pipe(path: &Path) -> bool {
    is_standard_input(path) || fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn is_standard_input(path: &Path) -> bool {
    STANDARD_INPUT.iter().any(|name| path == Path::new(name))
}

/// Everything that comes out of a pipe.
///
/// # Errors
/// [`Error::Input`] for a device or socket, for more than 4 GiB; no room on the disk; an interruption.
pub(super) fn content(path: &Path, watch: &Watch<'_>) -> Result<Spool<u8>> {
    let key = if is_standard_input(path) { PathBuf::from("-") } else { path.to_owned() };
    if let Some(kept) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().get(&key) {
        return Ok(kept.clone());
    }
    let read = read(path, watch)?;
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(key, read.clone());
    Ok(read)
}

fn read(path: &Path, watch: &Watch<'_>) -> Result<Spool<u8>> {
    let place = if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() };
    let from_input = is_standard_input(path);
    if let Some(what) = device(path, from_input) {
        return Err(Error::input(place, format!("is {what}, expected a text"), "name a file, or pipe a text in"));
    }
    let (sender, chunks) = sync_channel::<io::Result<Vec<u8>>>(4);
    let owned = path.to_owned();
    // A thread of its own, because nothing else ends the wait for a pipe that nobody writes to.
    let reading = move || {
        let mut source: Box<dyn Read> = match from_input {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(&owned)?),
        };
        loop {
            let mut chunk = Vec::with_capacity(AT_ONCE);
            (&mut source).take(AT_ONCE as u64).read_to_end(&mut chunk)?;
            let is_end = chunk.is_empty();
            if sender.send(Ok(chunk)).is_err() || is_end {
                return io::Result::Ok(());
            }
        }
    };
    let failed = |e| Error::reading(path, e);
    let thread = thread::Builder::new().spawn(reading).map_err(failed)?;
    let mut kept = SpoolWriter::default();
    loop {
        match chunks.recv_timeout(Duration::from_millis(100)) {
            Ok(chunk) => {
                let chunk = chunk.map_err(failed)?;
                if chunk.is_empty() {
                    return kept.finish();
                }
                kept.extend_from_slice(&chunk)?;
                watch.advance(chunk.len() as u64).map_err(failed)?;
            }
            Err(RecvTimeoutError::Timeout) => watch.advance(0).map_err(failed)?,
            Err(RecvTimeoutError::Disconnected) => {
                let end = thread.join().unwrap_or_else(|_| Err(io::Error::other("its reader failed")));
                end.map_err(failed)?;
                return kept.finish();
            }
        }
        if kept.len() as u64 > LONGEST {
            let fault = format!("gives more than {}, the most that is read of a pipe", process::bytes(LONGEST));
            return Err(Error::input(place, fault, "write it to a file and name that"));
        }
    }
}

/// What a path is where it is no pipe and no terminal that is typed into.
#[cfg(unix)]
fn device(path: &Path, from_input: bool) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let path = if from_input { Path::new("/dev/stdin") } else { path };
    let kind = fs::metadata(path).ok()?.file_type();
    match () {
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_socket() && !from_input => Some("a socket"),
        () if kind.is_block_device() => Some("a device"),
        () if kind.is_char_device() => {
            let is_terminal = match from_input {
                true => io::stdin().is_terminal(),
                false => File::open(path).is_ok_and(|file| file.is_terminal()),
            };
            (!is_terminal).then_some("a device")
        }
        () => None,
    }
}

#[cfg(not(unix))]
fn device(_path: &Path, _from_input: bool) -> Option<&'static str> {
    None
}
