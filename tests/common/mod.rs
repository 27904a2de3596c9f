//! Shared by the integration tests.

use std::path::PathBuf;

/// The folder of models, texts and reference values that tests marked `test_data` need.
pub fn test_data() -> PathBuf {
    match std::env::var_os("ODYSSEY_TEST_DATA") {
        Some(folder) => folder.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
    }
}
