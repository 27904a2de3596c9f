//! Keeps from standard output and error what graphics drivers and their loaders print while they are looked for, such as
//! complaints about displays that nobody wants to draw on. It goes to this program's log.

/// Does `work`; what is printed meanwhile past this program is logged.
pub(super) fn hushed<T>(work: impl FnOnce() -> T) -> T {
    let _hush = system::Hush::begin();
    work()
}

#[cfg(unix)]
mod system {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Seek, Write};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
    use std::sync::{Mutex, MutexGuard};

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// While it is held, both streams lead to a file.
    pub struct Hush {
        heard: File,
        /// Where they led before.
        kept: Vec<(RawFd, OwnedFd)>,
        _only: MutexGuard<'static, ()>,
    }

    impl Hush {
        /// `None` where the streams cannot be led elsewhere, or are already.
        pub fn begin() -> Option<Self> {
            let only = ONE_AT_A_TIME.try_lock().ok()?;
            let nowhere = || OpenOptions::new().read(true).write(true).open("/dev/null");
            let heard = tempfile::tempfile().or_else(|_| nowhere()).ok()?;
            let mut hush = Self { heard, kept: Vec::new(), _only: only };
            let _ = io::stdout().flush();
            let streams = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
            for (stream, kept) in [1, 2].into_iter().zip(streams) {
                if let Ok(kept) = kept
                    && lead(stream, hush.heard.as_raw_fd())
                {
                    hush.kept.push((stream, kept));
                }
            }
            Some(hush)
        }
    }

    /// Makes the descriptor `stream` lead where `to` does.
    fn lead(stream: RawFd, to: RawFd) -> bool {
        // SAFETY: both are open descriptors, and nobody owns the streams' numbers.
        unsafe { libc::dup2(to, stream) == stream }
    }

    impl Drop for Hush {
        fn drop(&mut self) {
            for (stream, kept) in &self.kept {
                lead(*stream, kept.as_raw_fd());
            }
            let mut heard = Vec::new();
            if self.heard.rewind().is_ok() {
                let _ = self.heard.read_to_end(&mut heard);
            }
            if std::thread::panicking() {
                // The message of the panic is among it.
                let _ = io::stderr().write_all(&heard);
                return;
            }
            for line in String::from_utf8_lossy(&heard).lines().filter(|line| !line.trim().is_empty()) {
                tracing::debug!("a graphics driver says: {line}");
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    /// Drivers are quiet here.
    pub struct Hush;

    impl Hush {
        pub fn begin() -> Option<Self> {
            None
        }
    }
}
