//! A last sentence where no error can be made any more: there is no memory, or a mapped file cannot be read.
//!
//! Both would end the program without a word that helps. They end it here with status 1; what was written stays whole, as
//! after any other end.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// The system's allocator, for a program that says so where there is no memory. Its users need no other answer: what would
/// be too much is refused before it is asked for.
pub struct TellingAllocator;

// SAFETY: all is done by the system's allocator; where that has nothing, the program ends.
unsafe impl GlobalAlloc for TellingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        told(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        told(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        told(unsafe { System.realloc(memory, layout, size) }, size)
    }
}

/// `memory`, if there is any.
fn told(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        out_of_memory(size);
    }
    memory
}

#[cold]
fn out_of_memory(size: usize) -> ! {
    // Without memory nothing can be put together but in place.
    let mut sentence = [0; 400];
    let left = {
        let mut rest = &mut sentence[..];
        let _ = writeln!(
            rest,
            "odyssey: out of memory: {} MiB more were asked for, and the system or a limit (ulimit -v, ulimit -d, a control \
             group) gives no more; close other programs, raise the limit, or use what takes less: a dry run of eval or adapt \
             shows it",
            size.div_ceil(1 << 20)
        );
        rest.len()
    };
    end(&sentence[..sentence.len() - left])
}

/// Says `sentence` on standard error and ends the program.
fn end(sentence: &[u8]) -> ! {
    #[cfg(unix)]
    // SAFETY: both only call the system, and may be called at any time, in a handler of signals too.
    unsafe {
        libc::write(libc::STDERR_FILENO, sentence.as_ptr().cast(), sentence.len());
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    {
        let _ = std::io::stderr().write_all(sentence);
        std::process::exit(1)
    }
}

/// From now on a mapped file that cannot be read ends the program with a sentence: long texts are mapped while they are
/// used, and their disk may fail. Systems without such signals have nothing to listen for.
pub fn listen_for_unreadable_maps() {
    #[cfg(unix)]
    {
        extern "C" fn say(_: libc::c_int) {
            end(b"odyssey: a file that was mapped into memory cannot be read any more: its disk failed, or somebody cut it \
                  short; check the disk of the folder that ODYSSEY_CACHE names, and give the command again\n")
        }
        // SAFETY: the handler calls nothing but what may be called in one, and the structure is filled as the system asks.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = say as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }
}
