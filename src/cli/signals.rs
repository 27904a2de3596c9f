//! What asks the program to end: Ctrl-C, SIGTERM of a scheduler or container, SIGHUP of a terminal that is closed, SIGXCPU
//! of a limit on time.
//!
//! The first asks work to stop and save. Work that does not hear it within seconds, because it waits for a pipe say, is cut
//! off, unless that would lose something ([`Unbroken`]). A second one ends the program at once. One that whoever started the
//! program had ignored (nohup, a shell's background job) stays ignored.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use odyssey::process::Unbroken;

/// When the program was first asked to end, milliseconds of the system's clock; 0: not yet.
static ASKED: AtomicI64 = AtomicI64::new(0);
static QUIET: AtomicBool = AtomicBool::new(false);

/// Seconds that work has to hear that it should stop.
const PATIENCE: u32 = 2;
/// What comes within so many milliseconds is the same wish: a terminal and a shell both tell of one that is closed, and
/// `timeout` asks the program and then its group.
const SAME_WISH: i64 = 400;

const FIRST: &str =
    "\nodyssey: stopping as soon as the work at hand can be saved; Ctrl-C or a signal again ends it at once\n";
const CUT_OFF: &str = "odyssey: interrupted: the work at hand could not be left in time and was cut off; whatever stood in \
                       files before is as it was, give the same command again\n";
const AT_ONCE: &str = "odyssey: interrupted: ended at once, without saving; what was saved before is whole\n";

/// From here on whoever asks the program to end is heard.
pub fn listen(quiet: bool) {
    QUIET.store(quiet, Ordering::SeqCst);
    system::listen();
}

/// Whether the program was asked to end.
pub fn is_interrupted() -> bool {
    ASKED.load(Ordering::SeqCst) != 0
}

/// What to do about being asked.
enum Answer {
    /// It is the first time: say so, and see after [`PATIENCE`] whether it was heard.
    Wait,
    /// It is the same wish.
    Nothing,
    /// It is the second.
    EndAtOnce,
}

/// The program is asked at `now`.
fn asked(now: i64) -> Answer {
    match ASKED.compare_exchange(0, now.max(1), Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => Answer::Wait,
        Err(first) if now - first < SAME_WISH => Answer::Nothing,
        Err(_) => Answer::EndAtOnce,
    }
}

#[cfg(unix)]
mod system {
    //! All in signal handlers, which need no thread, and so nothing but calls that are safe there (signal-safety(7)).

    use super::*;

    pub fn listen() {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGXCPU] {
            if !is_ignored(signal) {
                handle(signal, on_asked);
            }
        }
        handle(libc::SIGALRM, on_late);
        // A file that may grow no further is an error of the write, with a sentence.
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }

    fn is_ignored(signal: libc::c_int) -> bool {
        // SAFETY: an action of zeros is a valid one to be written over, and none is set.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
        }
    }

    fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
        // SAFETY: the handler lives as long as the program, and calls nothing that is not safe in one. Calls that it
        // breaks into go on after it.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if set != 0 {
            tracing::warn!("signal {signal} will end the program without saving");
        }
    }

    extern "C" fn on_asked(_signal: libc::c_int) {
        let _errno = Errno::keep();
        match asked(now()) {
            Answer::Wait => {
                say(FIRST);
                // SAFETY: it takes no pointer.
                unsafe { libc::alarm(PATIENCE) };
            }
            Answer::Nothing => {}
            Answer::EndAtOnce => end(AT_ONCE),
        }
    }

    extern "C" fn on_late(_signal: libc::c_int) {
        let _errno = Errno::keep();
        match is_interrupted() {
            true if Unbroken::is_any() => {
                // SAFETY: it takes no pointer.
                unsafe { libc::alarm(1) };
            }
            true => end(CUT_OFF),
            false => {} // somebody else's
        }
    }

    fn end(words: &str) -> ! {
        say(words);
        // SAFETY: it ends the process. What would be done at its end is of no use, and graphics drivers may hang in it.
        unsafe { libc::_exit(130) }
    }

    /// Writes to standard error where that takes it at once; a pipe that nobody reads must not keep the program.
    fn say(words: &str) {
        if QUIET.load(Ordering::SeqCst) && !words.starts_with("odyssey: interrupted") {
            return;
        }
        let mut standard_error = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one descriptor is given, and words that live as long as the program.
        unsafe {
            if libc::poll(&mut standard_error, 1, 0) == 1 && standard_error.revents & libc::POLLOUT != 0 {
                libc::write(2, words.as_ptr().cast(), words.len());
            }
        }
    }

    /// Milliseconds of a clock that is never set back.
    #[allow(clippy::unnecessary_cast)] // these are of 32 bits on some systems
    fn now() -> i64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a place for it.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
        time.tv_sec as i64 * 1000 + time.tv_nsec as i64 / 1_000_000
    }

    /// The number of the latest error: whoever a handler breaks into may be about to read it.
    struct Errno(libc::c_int);

    impl Errno {
        fn keep() -> Self {
            // SAFETY: the pointer is this thread's own, and always valid.
            Self(unsafe { *place() })
        }
    }

    impl Drop for Errno {
        fn drop(&mut self) {
            // SAFETY: as above.
            unsafe { *place() = self.0 };
        }
    }

    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    use libc::__errno as place;
    #[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "dragonfly"))]
    use libc::__errno_location as place;
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    use libc::__error as place;
}

#[cfg(not(unix))]
mod system {
    use std::time::{Duration, Instant};

    use super::*;

    pub fn listen() {
        let started = Instant::now();
        let handler = move || match asked(1 + started.elapsed().as_millis() as i64) {
            Answer::Wait => {
                if !QUIET.load(Ordering::SeqCst) {
                    crate::cli::say::note(FIRST.trim_end());
                }
                let _ = std::thread::Builder::new().spawn(cut_off_when_late);
            }
            Answer::Nothing => {}
            Answer::EndAtOnce => end(AT_ONCE),
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!(%error, "Ctrl-C will end the program without saving");
        }
    }

    fn cut_off_when_late() {
        std::thread::sleep(Duration::from_secs(PATIENCE.into()));
        while Unbroken::is_any() {
            std::thread::sleep(Duration::from_secs(1));
        }
        end(CUT_OFF);
    }

    fn end(words: &str) -> ! {
        crate::cli::say::note(words.trim_end());
        std::process::exit(130)
    }
}
