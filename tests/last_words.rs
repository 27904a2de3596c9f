//! Ends that no error can be made of are a sentence and status 1, and no signal. Each is tried in a process of its own: this
//! program again.
#![cfg(unix)]

use std::process::Command;

use odyssey::last_words::{TellingAllocator, listen_for_unreadable_maps};

#[global_allocator]
static ALLOCATOR: TellingAllocator = TellingAllocator;

const CHILD: &str = "ODYSSEY_TEST_LAST_WORDS";

/// Runs the test of this name again, with the environment that tells it to end; what it said.
fn last_words(test: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn memory_that_nobody_has_is_said() {
    if is_child() {
        let huge: Vec<u8> = std::hint::black_box(Vec::with_capacity(1 << 62));
        panic!("{} bytes were had", huge.capacity());
    }
    let said = last_words("memory_that_nobody_has_is_said");
    assert!(said.starts_with("odyssey: out of memory: 4398046511104 MiB more were asked for"), "{said}");
    assert!(said.ends_with("shows it\n"), "{said}");
}

#[test]
fn a_mapped_file_that_is_cut_short_is_said() {
    if is_child() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        // SAFETY: what befalls a reader of a map that its file no longer covers is what is tested.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        listen_for_unreadable_maps();
        file.set_len(0).unwrap();
        panic!("read {}", std::hint::black_box(&map)[1 << 19]);
    }
    let said = last_words("a_mapped_file_that_is_cut_short_is_said");
    assert!(said.starts_with("odyssey: a file that was mapped into memory cannot be read any more"), "{said}");
}
