//! One run at a time: a lock that the system takes from a dead process, and in its file who holds it.
//!
//! The file exists only while it is held, or after its owner was killed: the next owner takes it over. File systems
//! without locks are judged by what the file says.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::mounts;
use super::owner::{Life, Owner};
use super::paths::parent;
use super::scratch::place_in_names;
use crate::error::{Error, Result};

const SCHEMA: &str = "odyssey.lock/1";
/// Times that a lock is tried for whose file goes away meanwhile.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// A claim has a few hundred bytes.
const LONGEST: u64 = 1 << 16;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    schema: String,
    /// What the owner does: "adapt", say.
    work: String,
    /// When it took the lock, seconds since 1970.
    since: u64,
    /// Tells this claim from any other of the same process.
    nonce: u128,
    owner: Owner,
}

/// A place that this process alone works on, until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: PathBuf,
    _held: File,
    /// Folders that were made for the file, the innermost first: they go where nothing else came into them.
    made: Vec<PathBuf>,
}

impl Lock {
    /// The lock on a file or folder that is to be made at `path`, for `work` (a word: "adapt", say).
    ///
    /// # Errors
    /// Another run holds it, which is named; the place cannot be written.
    pub fn beside(path: &Path, work: &str) -> Result<Self> {
        let file = parent(path).join(format!(".odyssey-{}.lock", place_in_names(path)));
        Self::take(file, path, work)
    }

    /// The lock on what is done in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// As [`Self::beside`].
    pub fn inside(folder: &Path, work: &str) -> Result<Self> {
        Self::take(folder.join(".odyssey.lock"), folder, work)
    }

    fn take(file: PathBuf, place: &Path, work: &str) -> Result<Self> {
        let failed = |e| Error::writing(place, e);
        let folder = parent(&file);
        let made = missing(&folder);
        fs::create_dir_all(&folder).map_err(failed)?;
        let nonce = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let owner = Owner::this().clone();
        let claim =
            Claim { schema: SCHEMA.into(), work: work.into(), since: nonce.as_secs(), nonce: nonce.as_nanos(), owner };
        for _ in 0..TRIES {
            if let Some(held) = attempt(&file, place, &claim)? {
                return Ok(Self { file, _held: held, made });
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::file(place, "another run took it again and again", "try once more"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: whoever opened the file before sees that it is gone, and tries anew.
        let _ = fs::remove_file(&self.file);
        for folder in &self.made {
            let _ = fs::remove_dir(folder); // only if it is empty
        }
    }
}

/// The folders of `folder` and above it that do not exist, the innermost first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).map(Path::to_owned).collect()
}

/// Tries once; `None` where the file was another's when it was opened and gone when it was locked.
fn attempt(path: &Path, place: &Path, claim: &Claim) -> Result<Option<File>> {
    let failed = |e| Error::writing(place, e);
    if path.symlink_metadata().is_ok_and(|about| !about.is_file()) {
        let fault = "stands where the lock of a run belongs";
        return Err(Error::file(path, fault, "remove it"));
    }
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let can_lock = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return busy(path, place),
        Err(TryLockError::Error(error)) if knows_no_locks(&error) => false,
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    };
    if let Some(before) = read(&mut file, path)? {
        if !can_lock && before.owner == claim.owner {
            return Err(taken(place, &before)); // by another thread, or window
        }
        judge(&before, can_lock, path, place)?;
        tracing::info!("{}: taken over from {}, which has ended", place.display(), before.words());
    }
    write(&mut file, claim).map_err(|e| {
        let _ = fs::remove_file(path);
        failed(e)
    })?;
    if !can_lock {
        std::thread::sleep(PAUSE); // who claims it at the same instant has done so now
    }
    // An owner that ended meanwhile removed the file: then this is not what others see.
    let seen = File::open(path).ok().and_then(|mut seen| read(&mut seen, path).ok().flatten());
    Ok((seen.as_ref() == Some(claim)).then_some(file))
}

/// The error for a lock that is held. `None` where its owner is letting go of it.
fn busy(path: &Path, place: &Path) -> Result<Option<File>> {
    for _ in 0..5 {
        match File::open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(mut file) => {
                if let Ok(Some(claim)) = read(&mut file, path) {
                    return Err(taken(place, &claim));
                }
            }
            Err(_) => {}
        }
        std::thread::sleep(PAUSE); // it has not said who it is yet
    }
    Err(Error::file(place, "another run is at work there", CURE))
}

const CURE: &str = "wait until it has ended, or choose another place";

fn taken(place: &Path, claim: &Claim) -> Error {
    Error::file(place, format!("another run is at work there: {}", claim.words()), CURE)
}

/// What is known of a lock's earlier owner by who can take it: `can_lock` says that the system gave the lock, `is_shared`
/// that other machines use the same file system, which may not see each other's locks.
pub fn life_of(owner: &Owner, can_lock: bool, is_shared: bool) -> Life {
    match owner.life() {
        _ if can_lock && (owner.is_of_this_system() || !is_shared) => Life::Ended,
        life => life,
    }
}

/// Refuses to take over from `before`, unless that has ended.
fn judge(before: &Claim, can_lock: bool, path: &Path, place: &Path) -> Result<()> {
    match life_of(&before.owner, can_lock, mounts::is_shared(path)) {
        Life::Ended => Ok(()),
        Life::Runs => Err(taken(place, before)),
        Life::Unknown => {
            let fault = format!(
                "another machine's run may be at work there: {}, which cannot be seen from here",
                before.words()
            );
            Err(Error::file(place, fault, format!("if it has ended, remove {} and try again", path.display())))
        }
    }
}

impl Claim {
    fn words(&self) -> String {
        let Self { work, since, owner, .. } = self;
        format!("`{work}`, process {} on {}, since {}", owner.pid, owner.host, in_words(*since))
    }
}

/// Whether a lock was refused because the file system has none, as some network file systems do.
pub fn knows_no_locks(error: &std::io::Error) -> bool {
    const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(ENOLCK))
}

/// What the file says; `None` where it is empty.
fn read(file: &mut File, path: &Path) -> Result<Option<Claim>> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|e| Error::reading(path, e))?;
    if text.is_empty() {
        return Ok(None);
    }
    let claim: Option<Claim> = serde_json::from_slice(&text).ok();
    // Its owner may have been killed while it wrote.
    let is_cut = text.starts_with(b"{\"schema\":\"odyssey.lock/") || b"{\"schema\":\"odyssey.lock/".starts_with(&text);
    match claim.filter(|claim| claim.schema == SCHEMA) {
        None if !is_cut => {
            Err(Error::file(path, "is no lock of this program", "move it away, or choose another place"))
        }
        claim => Ok(claim),
    }
}

fn write(file: &mut File, claim: &Claim) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    let text = serde_json::to_string(claim)?;
    file.write_all(text.as_bytes())?;
    file.flush()
}

/// Seconds since 1970 as people read them.
fn in_words(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since March of the year 0, in eras of 400 years (Hinnant, chrono-compatible low-level date algorithms).
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year + 400 * era, month + 3) } else { (year + 400 * era + 1, month - 9) };
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}
