//! Warnings: in the words of the face, and those said once, however often a file is read.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::message::{Keys, Message, Wording};

static WORDING: OnceLock<Box<dyn Wording + Send + Sync>> = OnceLock::new();
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Warnings of this process name settings as `wording` does; before, and without a face, as in TOML. A process has one
/// face, so only the first call counts.
pub fn word_by(wording: impl Wording + Send + Sync + 'static) {
    let _ = WORDING.set(Box::new(wording));
}

/// Logs `message` as a warning.
pub fn warn(message: impl Into<Message>) {
    tracing::warn!("{}", worded(&message.into()));
}

/// The same, unless this process has said it before.
pub fn warn_once(message: impl Into<Message>) {
    let text = worded(&message.into());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&text) {
        tracing::warn!("{text}");
        said.insert(text);
    }
}

fn worded(message: &Message) -> String {
    match WORDING.get() {
        Some(wording) => message.worded(wording.as_ref()),
        None => message.worded(&Keys),
    }
}
