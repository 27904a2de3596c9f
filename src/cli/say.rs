//! Printing: on standard output, where a failure counts, and on standard error, where it costs nothing.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use odyssey::error::{Error, Result};
use odyssey::shown::visible_lines;

/// What came of printing something on standard output.
pub fn printed(print: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    let closed = || Err(std::io::Error::other("it is closed"));
    match if standard_output::was_closed() { closed() } else { print() } {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()), // the reader closed the pipe
        done => done.map_err(Error::printing),
    }
}

/// Writes to standard output, also to one that takes a part at a time and asks to come again.
pub fn print(mut text: &[u8]) -> std::io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut out = std::io::stdout().lock();
    loop {
        let done = if text.is_empty() { out.flush().map(|()| 0) } else { out.write(text) };
        match done {
            Ok(0) if text.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(e) => return Err(e),
        }
    }
}

/// Says a line on standard error. Where that is full, closed, or a terminal that is gone, nobody hears it, and work goes on.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", visible_lines(text));
}

/// Standard error for logs, which never fails.
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether standard output was there when the program started. Rust opens /dev/null in the place of one that is closed, and
/// takes one that cannot be written to for written: a result would be gone without a word.
mod standard_output {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    pub fn was_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    extern "C" fn look() {
        // SAFETY: it asks for the state of a descriptor, which need not be open.
        let flags = unsafe { libc::fcntl(1, libc::F_GETFL) };
        CLOSED.store(flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY, Ordering::Relaxed);
    }

    // Called before `main`, and so before Rust looks.
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;
}
