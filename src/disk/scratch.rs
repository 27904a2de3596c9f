//! Files and folders that are not whole yet: beside the place they are for, named by it and by the process that writes
//! them, so that whoever writes there next removes what a dead process left, and nothing else.
//!
//! ```text
//! .odyssey-6d1f0c2b9a3e-4711-81234567-0f3a…-Xa3b9Q
//!          the place    |    |        |     made up
//!                       |    start    machine, its start, space of process numbers
//!                       process
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::{Builder, NamedTempFile, TempDir};

use super::hashes::hash_bytes;
use super::owner::{Life, Owner};
use super::paths::{name_bytes, parent};

const PREFIX: &str = ".odyssey-";

/// How long what belongs to a process of another machine stays at least, where nothing else says that it is dead.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// The same where the lock on the place is held.
const PATIENCE_WITH_LOCK: Duration = Duration::from_secs(600);

/// A new file beside `path`. Its mode is what the umask makes of a new file.
pub(crate) fn file_for(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    if let Some(mode) = mode(0o666) {
        builder.permissions(mode);
    }
    builder.prefix(&prefix).tempfile_in(parent(path))
}

/// A new folder beside `path`. Its mode is what the umask makes of a new folder.
pub(crate) fn folder_for(path: &Path) -> io::Result<TempDir> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    if let Some(mode) = mode(0o777) {
        builder.permissions(mode);
    }
    builder.prefix(&prefix).tempdir_in(parent(path))
}

/// A name beside `path` that nothing has, for what is neither file nor folder.
pub(crate) fn name_for(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    parent(path).join(format!("{}{number}", prefix(path)))
}

#[cfg(unix)]
fn mode(mode: u32) -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn mode(_mode: u32) -> Option<Permissions> {
    None
}

/// What stands for a place in names: the same length for all, and another for any other name.
pub(super) fn place_in_names(path: &Path) -> String {
    hash_bytes(name_bytes(path))[..12].to_owned()
}

fn prefix(path: &Path) -> String {
    let owner = Owner::this();
    format!("{PREFIX}{}-{}-{}-{}-", place_in_names(path), owner.pid, owner.started, owner.machine())
}

/// What a name says.
struct Scratch<'a> {
    place: &'a str,
    pid: u32,
    started: u64,
    machine: &'a str,
}

impl<'a> Scratch<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_prefix(PREFIX)?.split('-').collect();
        let [place, pid, started, machine, _] = parts[..] else { return None };
        let is_hash = |text: &str, len| text.len() == len && text.chars().all(|c| c.is_ascii_hexdigit());
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        (is_hash(place, 12) && is_hash(machine, 24)).then_some(Self { place, pid, started, machine })
    }

    fn life(&self) -> Life {
        let here = Owner::this();
        let machine = here.machine();
        let same = |part: std::ops::Range<usize>| self.machine.get(part.clone()) == machine.get(part);
        match (same(0..8), same(8..16), same(16..24)) {
            (true, true, true) => Owner { pid: self.pid, started: self.started, ..here.clone() }.life(),
            (true, false, _) => Life::Ended,
            _ => Life::Unknown,
        }
    }
}

/// Removes what dead processes left of `path` beside it.
pub fn sweep(path: &Path) {
    let place = place_in_names(path);
    sweep_in(&parent(path), |scratch| scratch.place == place, PATIENCE);
}

/// The same where this process holds the lock on `path`: who else wrote there is dead, unless it plainly runs.
pub fn sweep_locked(path: &Path) {
    let place = place_in_names(path);
    sweep_in(&parent(path), |scratch| scratch.place == place, PATIENCE_WITH_LOCK);
}

/// Removes what dead processes left of anything in `folder`, whose lock this process holds.
pub fn sweep_folder(folder: &Path) {
    sweep_in(folder, |_| true, PATIENCE_WITH_LOCK);
}

fn sweep_in(folder: &Path, fits: impl Fn(&Scratch<'_>) -> bool, patience: Duration) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(scratch) = name.to_str().and_then(Scratch::parse).filter(&fits) else { continue };
        let left = entry.path();
        let is_dead = match scratch.life() {
            Life::Runs => false,
            Life::Ended => true,
            Life::Unknown => is_older(&left, patience),
        };
        if !is_dead {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match if is_folder { fs::remove_dir_all(&left) } else { fs::remove_file(&left) } {
            Ok(()) => tracing::info!("removed {}, left by a process that was killed", left.display()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // somebody else did
            Err(e) => {
                tracing::warn!("{}: left by a process that was killed, and cannot be removed: {e}", left.display());
            }
        }
    }
}

fn is_older(path: &Path, than: Duration) -> bool {
    let changed = path.symlink_metadata().and_then(|about| about.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age > than))
}
