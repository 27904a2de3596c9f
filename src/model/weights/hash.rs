//! What identifies a model.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;

/// A hash of the configuration and weight files of a model folder, by their names and contents.
pub fn hash_folder(folder: &Path) -> Result<String> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| Error::reading(folder, e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "config.json")
                || path.extension().is_some_and(|e| e == "safetensors")
        })
        .collect();
    names.sort();
    let hashes = names
        .iter()
        .map(|path| Ok(format!("{:?} {}", path.file_name(), files::hash_file(path)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(files::hash_bytes(hashes.join("\n").as_bytes()))
}
