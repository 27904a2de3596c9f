//! Build script: tells the tests whether the shared models, texts and reference values are there.
//!
//! Tests that need them are compiled as ignored where they are not, so that the summary counts them honestly.

use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(test_data)");
    println!("cargo::rerun-if-env-changed=ODYSSEY_TEST_DATA");
    let folder = match std::env::var_os("ODYSSEY_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from("../shared"),
    };
    // Watching a path that may not exist would run this again at every build; the folder above always exists.
    println!("cargo::rerun-if-changed=tests/support/detect_test_data.rs");
    if folder.join("reference/README.md").is_file() {
        println!("cargo::rustc-cfg=test_data");
    }
}
