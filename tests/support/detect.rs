//! Build script: tells the tests what of the things that not every machine has is there.
//!
//! Tests that need what is not there are compiled as ignored, so that the summary counts them honestly.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ODYSSEY_TEST_DATA");
    // Watching a path that may not exist would run this again at every build; this one always exists.
    println!("cargo::rerun-if-changed=tests/support/detect.rs");

    let folder = match std::env::var_os("ODYSSEY_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from("../shared"),
    };
    // The shared models, texts and reference values.
    tell("test_data", folder.join("reference/README.md").is_file());
    // A program that makes single calls of the system fail.
    tell("strace", says("strace", "-V").is_some());
    // A display in memory, for windows that nobody sees.
    tell("xvfb", cfg!(target_os = "linux") && is_there("Xvfb"));
    // The right to mount a file system.
    tell("may_mount", cfg!(target_os = "linux") && says("id", "-u").is_some_and(|id| id.trim() == "0"));
}

fn tell(name: &str, is_there: bool) {
    println!("cargo::rustc-check-cfg=cfg({name})");
    if is_there {
        println!("cargo::rustc-cfg={name}");
    }
}

/// Whether a program is there.
fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What a program says, if it is there.
fn says(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
