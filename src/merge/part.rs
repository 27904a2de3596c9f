//! A model that is merged, by name.

use std::path::PathBuf;

/// A model that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the user calls it.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}
