//! All errors of the program.
//!
//! An [`Error::Input`] names the place (a file, a line, an option), what is wrong with it, and the cure; the command
//! line turns it into exit status 2. An interruption by the user gives 130, everything else 1.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::message::{Message, Setting, Wording};
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
        /// The file, line or setting at fault.
        place: Message,
        /// What was found, and what was expected.
        fault: Message,
        /// What to do about it.
        cure: Message,
    },
    /// The operating system refused to read or write.
    #[error("{path}: cannot {action}: {source}{cure}", path = quoted(&.path.display().to_string()), cure = cure_of(.source))]
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
        /// The kind of failure.
        kind: DeviceFault,
        /// The message of the device.
        fault: Message,
    },
    /// A computation left the range of numbers (a loss that is not finite, say).
    #[error("{0}")]
    Numeric(Message),
    /// The user asked to stop. The text says what is saved and how to go on.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// Kinds of device failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// It had too little memory; less work at once may fit.
    OutOfMemory,
    /// It is lost with its data: its driver reset it, or it was unplugged.
    Lost,
    /// Anything else, a kernel that it refused for instance.
    Other,
}

impl std::fmt::Display for DeviceFault {
    /// The words before the message of the device.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "out of memory: ",
            Self::Lost => "lost: ",
            Self::Other => "",
        })
    }
}

impl Error {
    /// An [`Error::Input`] about `place`.
    pub fn input(place: impl std::fmt::Display, fault: impl Into<Message>, cure: impl Into<Message>) -> Self {
        Self::at(Message::new(place.to_string()), fault, cure)
    }

    /// An [`Error::Input`] about a file or folder.
    pub fn file(path: &Path, fault: impl Into<Message>, cure: impl Into<Message>) -> Self {
        Self::input(path.display(), fault, cure)
    }

    /// An [`Error::Input`] about a setting with this value. Each face words it in its own way.
    pub fn setting(
        key: &'static str,
        value: impl std::fmt::Display,
        fault: impl Into<Message>,
        cure: impl Into<Message>,
    ) -> Self {
        Self::at(Setting::new(key, value).into(), fault, cure)
    }

    /// The same about a setting whose value the fault names.
    pub fn key(key: &'static str, fault: impl Into<Message>, cure: impl Into<Message>) -> Self {
        Self::at(Message::default().key(key), fault, cure)
    }

    fn at(place: Message, fault: impl Into<Message>, cure: impl Into<Message>) -> Self {
        Self::Input { place, fault: fault.into().map_words(shortened), cure: cure.into() }
    }

    /// An [`Error::Numeric`].
    pub fn numeric(fault: impl Into<Message>) -> Self {
        Self::Numeric(fault.into())
    }

    /// The same, where the place of an [`Error::Input`] lies within another: `outer: place`.
    pub fn within(self, outer: impl std::fmt::Display) -> Self {
        match self {
            Self::Input { place, fault, cure } => {
                Self::Input { place: Message::new(format!("{outer}: ")).then(place), fault, cure }
            }
            other => other,
        }
    }

    /// The error for a path that could not be read: a wrong path is the fault of the request, anything else of the
    /// system.
    pub fn reading(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotFound => match path.read_link() {
                Ok(target) => {
                    let fault = format!("is a link to {}, which does not exist", target.display());
                    Self::file(path, fault, "correct the link, or name the file itself")
                }
                Err(_) => Self::file(path, "no such file or folder", "check the path"),
            },
            ErrorKind::NotADirectory if path.exists() => {
                Self::file(path, "is a file, expected a folder", "name a folder")
            }
            ErrorKind::NotADirectory => Self::file(path, "no such file or folder", "check the path"),
            ErrorKind::IsADirectory => Self::file(path, "is a folder, expected a file", "name a file"),
            ErrorKind::InvalidData => Self::file(path, "not text in UTF-8", "save it as UTF-8 or make it again"),
            ErrorKind::UnexpectedEof => Self::file(path, "ends too early", "copy or make it again"),
            ErrorKind::PermissionDenied => {
                Self::file(path, "cannot be read (permission denied)", "change its permissions")
            }
            _ if path.is_dir() => Self::file(path, "is a folder, expected a file", "name a file"),
            _ => Self::answered(path, "read", source),
        }
    }

    /// The error for a path that could not be written: an impossible place is the fault of the request, anything else
    /// (for example a full disk) of the system.
    pub fn writing(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotFound => Self::file(
                path,
                "cannot be made: its folder does not exist",
                "make the folder, or choose another place",
            ),
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                Self::file(path, "cannot be made: a file stands where a folder is needed", "choose another place")
            }
            ErrorKind::DirectoryNotEmpty => Self::file(path, "exists already and is not empty", "choose another place"),
            ErrorKind::IsADirectory => Self::file(path, "is a folder, expected a file's name", "name a file"),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::file(path, "cannot be written (permission denied)", "choose a place that you may write to")
            }
            _ => Self::answered(path, "write", source),
        }
    }

    /// The error for an answer of the system that means the same for reading and writing.
    fn answered(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        match Answer::of(&source) {
            Some(Answer { fault: Some(fault), cure }) => Self::file(path, fault, cure),
            _ => Self::Io { path: path.to_owned(), action, source },
        }
    }

    /// The same where `bytes` were to be written: a disk or quota without room for them says how many.
    pub fn no_room(path: &Path, source: std::io::Error, bytes: u64) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                let needed = crate::process::bytes(bytes);
                let cure = cure_of(&source);
                let source = std::io::Error::new(
                    source.kind(),
                    format!("{source}; {needed} are needed there, and what stood there before is as it was{cure}"),
                );
                Self::Io { path: path.to_owned(), action: "write", source }
            }
            _ => Self::writing(path, source),
        }
    }

    /// The error for a result that could not be printed.
    pub fn printing(source: std::io::Error) -> Self {
        let words = format!(
            "{source}: the result is not printed, but files that the command was to write are whole; send its output to \
             a file on a disk with room, or to a program that reads it"
        );
        let source = std::io::Error::new(source.kind(), words);
        Self::Io { path: "standard output".into(), action: "write", source }
    }

    /// Its message, with settings as a face words them.
    pub fn worded(&self, wording: &dyn Wording) -> String {
        match self {
            Self::Input { place, fault, cure } => {
                let [place, fault, cure] = [place, fault, cure].map(|part| part.worded(wording));
                format!("{place}: {fault}; {cure}")
            }
            Self::Device { device, kind, fault } => format!("device {device}: {kind}{}", fault.worded(wording)),
            Self::Numeric(fault) => fault.worded(wording),
            Self::Io { .. } | Self::Interrupted(_) => self.to_string(),
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

/// What an answer of the system means, whatever was asked of it.
struct Answer {
    /// What is wrong with the path, where the request is at fault. `None`: the system is.
    fault: Option<&'static str>,
    /// What to do about it.
    cure: &'static str,
}

impl Answer {
    /// The one table of them. `None` for an answer that says nothing more than its own words.
    fn of(source: &std::io::Error) -> Option<Self> {
        let request = |fault, cure| Some(Self { fault: Some(fault), cure });
        let system = |cure| Some(Self { fault: None, cure });
        // Those for which the standard library has no name yet.
        #[cfg(unix)]
        match code_of(source) {
            Some(libc::ELOOP) => {
                return request(
                    "is a link that leads back to itself, or one of too many",
                    "correct the link, or name the file itself",
                );
            }
            Some(libc::ENXIO | libc::ENODEV) => {
                return request(
                    "is a socket or a device, or on a file system that cannot map files; expected an ordinary file",
                    "copy it to an ordinary disk, and name the copy",
                );
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                return system("close other programs, or raise the limit on open files (ulimit -n)");
            }
            Some(libc::EIO) => {
                return system(
                    "the disk or the connection to it fails: check it, and work on a copy of the files elsewhere",
                );
            }
            _ => {}
        }
        match source.kind() {
            ErrorKind::InvalidFilename => request("has a name that is too long or not allowed here", "choose another"),
            ErrorKind::InvalidInput if code_of(source).is_none() => {
                request("is no name that a file can have", "choose another")
            }
            ErrorKind::NotSeekable => {
                request("is a pipe or a device, expected a file", "save it as a file, and name that")
            }
            ErrorKind::StorageFull => system("make room there, or choose another disk"),
            ErrorKind::QuotaExceeded => system("make room within your quota there, or choose another disk"),
            ErrorKind::FileTooLarge => {
                system("raise the limit on the size of files (ulimit -f), or choose a disk that takes larger ones")
            }
            ErrorKind::OutOfMemory => {
                system("close other programs, or raise the limit on memory (ulimit -v, or that of the container)")
            }
            ErrorKind::WouldBlock => system(
                "close other programs, raise the limit on threads (ulimit -u, or that of the container), or set \
                 RAYON_NUM_THREADS=1",
            ),
            ErrorKind::StaleNetworkFileHandle | ErrorKind::NotConnected => {
                system("mount the drive again, then give the same command again")
            }
            ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset => {
                system("check the connection to the drive, then give the same command again")
            }
            ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy | ErrorKind::Deadlock => {
                system("another program uses it: wait until that has ended, or choose another file")
            }
            ErrorKind::Unsupported | ErrorKind::CrossesDevices | ErrorKind::TooManyLinks => {
                system("choose a place on an ordinary disk")
            }
            _ => None,
        }
    }
}

/// The system's number of an error. What wraps one keeps it in its words alone.
fn code_of(source: &std::io::Error) -> Option<i32> {
    let in_words = || {
        let words = source.to_string();
        let (_, after) = words.rsplit_once("(os error ")?;
        after.split_once(')')?.0.parse().ok()
    };
    source.raw_os_error().or_else(in_words)
}

/// The cure that follows an answer of the system. Where this program put it into words of its own, they have their cure.
fn cure_of(source: &std::io::Error) -> String {
    if source.get_ref().is_some_and(|words| words.to_string().contains("; ")) {
        return String::new();
    }
    let usual = "check the disk and the path, then give the same command again";
    format!("; {}", Answer::of(source).map_or(usual, |answer| answer.cure))
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
