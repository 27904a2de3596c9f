//! Stored features: a corpus goes through a model once, also if several runs compare with it.
//!
//! One file for a corpus, named by a hash of all that determines its features: the texts, the model's weights, the
//! settings and the device. It is written completely, sealed with a checksum, and used only if the checksum is right.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;

use super::Features;
use crate::disk::scratch;
use crate::error::Result;
use crate::files::{self, Array, Sealed};

/// Increased when the computation of features changes.
const VERSION: u32 = 1;
/// The key of the files' metadata.
const KEY: &str = "odyssey.features";

/// The folder they are kept in.
pub fn folder() -> PathBuf {
    crate::spool::cache_folder().join("features")
}

/// The features with the key `determined_by`: read from `folder`, or computed and stored there. The second value says
/// whether they were read. If the folder cannot be written, a warning says so.
///
/// # Errors
/// Those of `compute`.
pub fn features(
    folder: &Path,
    determined_by: &Value,
    compute: impl FnOnce() -> Result<Result<Features, String>>,
) -> Result<(Result<Features, String>, bool)> {
    let key = serde_json::json!({ "version": VERSION, "program": env!("CARGO_PKG_VERSION"), "of": determined_by });
    let key = key.to_string();
    let path = folder.join(format!("{}.safetensors", &files::hash_bytes(key.as_bytes())[..32]));
    scratch::sweep(&path); // a process killed after the file had its name leaves its folder
    if path.exists() {
        match read(&path, &key) {
            Ok(features) => return Ok((Ok(features), true)),
            Err(fault) => tracing::warn!("{}: stored features are computed again: {fault}", path.display()),
        }
    }
    let computed = compute()?;
    if let Ok(features) = &computed
        && let Err(error) = write(&path, &key, features)
    {
        tracing::warn!("features are not kept: {error}");
    }
    Ok((computed, false))
}

fn write(path: &Path, key: &str, features: &Features) -> Result<()> {
    let (shape, documents) = (vec![features.samples, features.dimension], features.documents());
    let caveats = features.caveats.join("\n");
    let mut arrays = vec![
        Array::of("features", Dtype::F32, shape, bytemuck::cast_slice(&features.values)),
        Array::of("documents", Dtype::U32, vec![features.samples], bytemuck::cast_slice(documents)),
    ];
    if !caveats.is_empty() {
        arrays.push(Array::of("caveats", Dtype::U8, vec![caveats.len()], caveats.as_bytes()));
    }
    files::write_sealed(path, arrays, (KEY, key.to_owned()))
}

fn read(path: &Path, key: &str) -> Result<Features, String> {
    let mut sealed = Sealed::open(path, KEY).map_err(|e| e.to_string())?.map_err(|fault| format!("{fault:?}"))?;
    if sealed.metadata != key {
        return Err("made of something else".into());
    }
    let mut find = |name: &str, dtype: Dtype| {
        let shape = match sealed.kind_of(name) {
            Some((found, shape)) if found == dtype => shape.to_vec(),
            _ => return Err(format!("has no {name}")),
        };
        sealed.read(name).map(|bytes| (shape, bytes)).map_err(|e| e.to_string())
    };
    let ((shape, features), (_, documents)) = (find("features", Dtype::F32)?, find("documents", Dtype::U32)?);
    let [samples, dimension] = shape[..] else { return Err("features are not a matrix".into()) };
    let caveats = find("caveats", Dtype::U8).map_or(String::new(), |(_, text)| String::from_utf8_lossy(&text).into());
    sealed.check_unchanged().map_err(|e| e.to_string())?;
    let caveats = caveats.lines().map(str::to_owned).collect();
    Features::new(samples, dimension, bytemuck::pod_collect_to_vec(&features))
        .and_then(|features| features.of_documents(bytemuck::pod_collect_to_vec(&documents)))
        .map(|features| features.with_caveats(caveats))
        .map_err(|e| e.to_string())
}
