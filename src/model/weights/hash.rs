//! What identifies a model.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::files;

/// A hash of the configuration and weight files of a model folder, by their names and contents.
pub fn hash_folder(folder: &Path) -> Result<String> {
    let hashes = weight_files(folder)?
        .iter()
        .map(|path| Ok(format!("{:?} {}", path.file_name(), files::hash_file(path)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(files::hash_bytes(hashes.join("\n").as_bytes()))
}

/// The configuration and weight files of a model folder with their sizes and times of change: files that agree in these are
/// taken for the same, since hashing them anew takes long.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    /// The hash of the files, once it was asked for.
    hash: OnceLock<String>,
}

impl PartialEq for Stamps {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Stamps {}

impl Stamps {
    /// Of the files as they are now.
    ///
    /// # Errors
    /// The folder or a file of it cannot be asked.
    pub fn of(folder: &Path) -> Result<Self> {
        let stamp = |path: PathBuf| {
            let metadata = path.metadata().map_err(|e| Error::reading(&path, e))?;
            Ok((path, metadata.len(), metadata.modified().ok()))
        };
        let files = weight_files(folder)?.into_iter().map(stamp).collect::<Result<_>>()?;
        Ok(Self { files, hash: OnceLock::new() })
    }

    /// The hash of the files, which must still be as they were. They are read at the first call alone.
    ///
    /// # Errors
    /// [`Error::Input`] where they were changed since; as [`hash_folder`].
    pub fn hash(&self, folder: &Path) -> Result<String> {
        let hash = match self.hash.get() {
            Some(hash) => hash.clone(),
            None => hash_folder(folder)?,
        };
        match Self::of(folder)? == *self {
            true => Ok(self.hash.get_or_init(|| hash).clone()),
            false => {
                Err(Error::file(folder, "was changed while it was in use", "leave the model as it is, and start again"))
            }
        }
    }
}

/// The files of a model's folder that [`hash_folder`] hashes, sorted by name.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| Error::reading(folder, e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "config.json")
                || path.extension().is_some_and(|e| e == "safetensors")
        })
        .collect();
    names.sort();
    Ok(names)
}
