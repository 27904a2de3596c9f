//! How a training text becomes windows, and in which order they are read.

use serde::{Deserialize, Serialize};

/// How documents fill windows of the context length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One stream of all documents; every token but the first is a target exactly once, nothing is dropped.
    #[default]
    Stream,
    /// One stream cut side by side, as run_clm does: the first token of a window is not a target, and the last partial
    /// window is dropped.
    Blocks,
    /// Every document starts a window of its own; nothing is read across documents.
    Document,
}

/// The order of windows within an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Shuffled anew each epoch, from the seed.
    #[default]
    Shuffle,
    /// As in the file.
    File,
}
