//! Arrays that can be computed again and are kept, because that takes long: one sealed file for each, named by a hash of all
//! that determines it.

use std::path::Path;

use safetensors::Dtype;
use serde_json::{Value, json};

use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::files::{self, Array, Sealed};

/// Increased when what is computed changes.
const VERSION: u32 = 1;
/// The key of the files' metadata.
const KEY: &str = "odyssey.kept";

/// Something that consists of arrays.
pub trait Keep: Sized {
    /// Its arrays: name, type and bytes.
    fn arrays(&self) -> Vec<(&'static str, Dtype, Vec<u8>)>;

    /// It again, from the bytes of its arrays by name.
    ///
    /// # Errors
    /// What does not fit together.
    fn of(array: impl FnMut(&str) -> Result<Vec<u8>, String>) -> Result<Self, String>;
}

/// What is kept in `folder` under `kind` and `determined_by`; what `compute` gives where nothing is, or what is there was
/// changed. Without a folder nothing is kept. If it cannot be written, a warning says so.
///
/// # Errors
/// Those of `compute`.
pub fn kept<T: Keep>(
    folder: Option<&Path>,
    kind: &str,
    determined_by: &Value,
    compute: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(folder) = folder.map(|folder| folder.join(kind)) else { return compute() };
    let key = json!({ "version": VERSION, "program": env!("CARGO_PKG_VERSION"), "of": determined_by }).to_string();
    let name = format!("{}.safetensors", &files::hash_bytes(key.as_bytes())[..32]);
    let path = folder.join(name);
    scratch::sweep(&path);
    if path.exists() {
        match read(&path, &key) {
            Ok(found) => return Ok(found),
            Err(fault) => tracing::warn!("{}: it is computed again: {fault}", path.display()),
        }
    }
    let computed = compute()?;
    let arrays = computed.arrays();
    let arrays = arrays
        .iter()
        .map(|(name, dtype, bytes)| Array::of(name, *dtype, vec![bytes.len() / (dtype.bitsize() / 8).max(1)], bytes));
    let written = std::fs::create_dir_all(&folder)
        .map_err(|e| Error::writing(&folder, e))
        .and_then(|()| files::write_sealed(&path, arrays.collect::<Vec<_>>(), (KEY, key)));
    if let Err(error) = written {
        tracing::warn!("{kind} are not kept: {error}");
    }
    Ok(computed)
}

fn read<T: Keep>(path: &Path, key: &str) -> Result<T, String> {
    let sealed = Sealed::open(path, KEY).map_err(|e| e.to_string())?;
    let mut sealed = sealed.map_err(|_| "it was changed or cut since it was written".to_owned())?;
    if sealed.metadata != key {
        return Err("it is of something else".into());
    }
    T::of(|name| sealed.read(name).map_err(|e| e.to_string()))
}
