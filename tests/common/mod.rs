//! Shared by the integration tests.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use odyssey::adapt::events::Event;
use odyssey::progress::Monitor;
use odyssey::text::TokenStream;

/// The folder of models, texts and reference values that tests marked `test_data` need.
pub fn test_data() -> PathBuf {
    match std::env::var_os("ODYSSEY_TEST_DATA") {
        Some(folder) => folder.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
    }
}

/// A file of `tests/fixtures`.
pub fn fixture(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// The folder of a small model with random weights.
pub fn model_folder(case: &str) -> PathBuf {
    fixture("models").join(case)
}

/// A stream of documents of these lengths, token ids below 512, that a model can learn something of.
pub fn id_stream(documents: &[usize]) -> TokenStream {
    let mut ids = Vec::new();
    let mut document = Vec::new();
    for (index, &length) in documents.iter().enumerate() {
        for position in 0..length {
            ids.push(((position * position * 7 + position * 3 + index * 11) % 512) as u32);
            document.push(index as u32);
        }
    }
    let byte = vec![0; ids.len()].into();
    let (ids, document) = (ids.into(), document.into());
    TokenStream {
        ids,
        document,
        byte,
        bytes: 0,
        words: 0,
        letters: Default::default(),
        documents: documents.len(),
        corpus_hash: "test".into(),
        reading: Default::default(),
    }
}

/// Asks to stop after so many training steps.
pub struct StopAfter(pub u64);

impl Monitor for StopAfter {
    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } = event {
            self.0 -= 1;
        }
    }

    fn stopped(&self) -> bool {
        self.0 == 0
    }
}
