//! What can go wrong, said once and in full.
//!
//! An [`Error::Input`] names the place (a file, a line, an option), what is wrong with it, and the cure; the command
//! line turns it into exit status 2. Everything else is not the user's fault (1) or a wish of theirs (130).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::shown::quoted;

/// Result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request, or a file it names, is at fault.
    #[error("{place}: {fault}; {cure}")]
    Input {
        /// The file, line, key or option at fault.
        place: String,
        /// What was found, and what was expected.
        fault: String,
        /// What to do about it.
        cure: String,
    },
    /// The operating system refused to read or write.
    #[error("{path}: cannot {action}: {source}", path = quoted(&.path.display().to_string()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted, as in "cannot …".
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The device failed while computing.
    #[error("device {device}: {kind}{fault}")]
    Device {
        /// The device's name.
        device: String,
        /// What befell it.
        kind: DeviceFault,
        /// What it said.
        fault: String,
    },
    /// A computation left the range of numbers (a loss that is not finite, say).
    #[error("{0}")]
    Numeric(String),
    /// The user asked to stop. The text says what is saved and how to go on.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// What can befall a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// It had too little memory; less work at once may fit.
    OutOfMemory,
    /// It is gone, and what was on it: reset by its driver, or unplugged.
    Lost,
    /// Anything else, a kernel that it refused for instance.
    Other,
}

impl std::fmt::Display for DeviceFault {
    /// What stands before the device's own words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "out of memory: ",
            Self::Lost => "lost: ",
            Self::Other => "",
        })
    }
}

impl Error {
    /// An [`Error::Input`] about `place`. What it quotes of a file may hold line breaks or commands to a terminal: what is
    /// invisible is escaped.
    pub fn input(place: impl std::fmt::Display, fault: impl Into<String>, cure: impl Into<String>) -> Self {
        let [place, fault, cure] = [place.to_string(), shortened(fault.into()), cure.into()].map(|text| quoted(&text));
        Self::Input { place, fault, cure }
    }

    /// An [`Error::Input`] about a file or folder.
    pub fn file(path: &Path, fault: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::input(path.display(), fault, cure)
    }

    /// The error for a path that could not be read: what the path names may be the request's fault, anything else is
    /// the system's.
    pub fn reading(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Self::file(path, "no such file or folder", "check the path")
            }
            ErrorKind::IsADirectory => Self::file(path, "is a folder, expected a file", "name a file"),
            ErrorKind::InvalidData => Self::file(path, "not text in UTF-8", "save it as UTF-8 or make it again"),
            ErrorKind::PermissionDenied => {
                Self::file(path, "cannot be read (permission denied)", "change its permissions")
            }
            _ => Self::Io { path: path.to_owned(), action: "read", source },
        }
    }

    /// The error for a path that could not be written: a place where nothing can be is the request's fault, anything
    /// else (a full disk, say) the system's.
    pub fn writing(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                Self::file(path, "cannot be made: a file stands where a folder is needed", "choose another place")
            }
            ErrorKind::IsADirectory => Self::file(path, "is a folder, expected a file's name", "name a file"),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::file(path, "cannot be written (permission denied)", "choose a place that you may write to")
            }
            _ => Self::Io { path: path.to_owned(), action: "write", source },
        }
    }

    /// The same where `bytes` were to be written: a disk or quota without room for them says how many.
    pub fn no_room(path: &Path, source: std::io::Error, bytes: u64) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                let needed = crate::process::bytes(bytes);
                let source = std::io::Error::new(
                    source.kind(),
                    format!("{source}; {needed} are needed there, and what stood there before is as it was"),
                );
                Self::Io { path: path.to_owned(), action: "write", source }
            }
            _ => Self::writing(path, source),
        }
    }

    /// Whether a device had too little memory.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Device { kind: DeviceFault::OutOfMemory, .. })
    }

    /// Whether a device is gone, and what was on it.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Device { kind: DeviceFault::Lost, .. })
    }

    /// The process exit status that scripts may rely on (interface: 2 input, 130 interrupted, 1 anything else).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input { .. } => 2,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }
}

/// The most characters of a fault: what a file holds in the place of a word may be the length of a book.
const LONGEST_FAULT: usize = 1000;

/// The beginning and the end of a fault that is too long to be read.
fn shortened(fault: String) -> String {
    let characters = fault.chars().count();
    if characters <= LONGEST_FAULT {
        return fault;
    }
    let part = LONGEST_FAULT / 2;
    let (begin, end) = (fault.chars().take(part), fault.chars().skip(characters - part));
    begin.chain(" … ".chars()).chain(end).collect()
}
