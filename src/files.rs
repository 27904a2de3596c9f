//! Files appear whole or not at all: written aside in the same folder, synced, then renamed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Writes `path` whole: `write` fills a temporary file beside it, which then takes its name in one step.
///
/// The rename also protects readers that have the old file mapped.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> Result<()> {
    let folder = parent(path);
    let failed = |source| Error::writing(path, source);
    fs::create_dir_all(&folder).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix(".odyssey-").tempfile_in(&folder).map_err(failed)?;
    let mut writer = BufWriter::new(scratch.as_file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    scratch.as_file().sync_all().map_err(failed)?;
    allow_reading(scratch.path()).map_err(failed)?;
    scratch.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(&folder);
    Ok(())
}

/// An array of a safetensors file.
pub struct Array<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, little-endian, row-major.
    pub bytes: &'a [u8],
}

/// Writes `arrays` as a safetensors file with one entry of metadata, key and text, whole.
pub fn write_safetensors<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = Array<'a>>,
    metadata: (&str, String),
) -> Result<()> {
    // Arrays that do not fit together are a fault of this program, not of its input.
    let impossible = |e| Error::Numeric(format!("{}: cannot be laid out: {e}", path.display()));
    let views = arrays
        .into_iter()
        .map(|Array { name, dtype, shape, bytes }| Ok((name, TensorView::new(dtype, shape, bytes)?)))
        .collect::<std::result::Result<Vec<_>, SafeTensorError>>()
        .map_err(impossible)?;
    let metadata = HashMap::from([(metadata.0.to_owned(), metadata.1)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(impossible)?;
    write_whole(path, |out| out.write_all(&bytes))
}

/// Writes `value` as indented JSON, whole.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_whole(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Reads `path` as JSON of type `T`. What does not fit is the file's fault.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::reading(path, e))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("not the JSON expected here: {e}"), "restore the file or make it again"))
}

/// Reads `path` as TOML of type `T`. What does not fit is the file's fault, named by its line.
pub fn read_toml<T: DeserializeOwned>(path: &Path, what: &str, cure: &str) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::reading(path, e))?;
    toml::from_str(&text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        // One line: the parser's own display draws the place over several.
        let fault = e.message().replace('\n', ", ");
        Error::input(format!("{}: line {line}", path.display()), format!("not {what}: {fault}"), cure)
    })
}

/// Fills a new folder whole: `fill` writes into a folder beside it, which then takes the name `path`.
///
/// A folder that exists already is refused, so that nothing is ever overwritten.
pub fn folder_whole<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    refuse_existing(path)?;
    let beside = parent(path);
    fs::create_dir_all(&beside).map_err(|e| Error::writing(&beside, e))?;
    let scratch =
        tempfile::Builder::new().prefix(".odyssey-").tempdir_in(&beside).map_err(|e| Error::writing(path, e))?;
    let value = fill(scratch.path())?;
    sync_folder(scratch.path());
    allow_reading(scratch.path()).map_err(|e| Error::writing(path, e))?;
    fs::rename(scratch.path(), path).map_err(|e| Error::writing(path, e))?;
    let _ = scratch.keep(); // it has its new name; there is nothing left to clean up
    sync_folder(&beside);
    Ok(value)
}

/// Refuses a path that is already taken, with the remedy.
pub fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Error::file(path, "exists already", "choose another folder or remove it first")),
        Err(_) => Ok(()),
    }
}

/// Refuses a new folder that could not be written later: the path is taken, or its place takes no new files. Asked
/// before work that takes hours.
pub fn check_new_folder(path: &Path) -> Result<()> {
    refuse_existing(path)?;
    let mut place = parent(path);
    while place.symlink_metadata().is_err() {
        place = parent(&place);
    }
    // Permissions tell less than trying.
    tempfile::Builder::new().prefix(".odyssey-").tempfile_in(&place).map_err(|e| Error::writing(path, e))?;
    Ok(())
}

/// SHA-256 of a file's bytes, in hexadecimal.
pub fn hash_file(path: &Path) -> Result<String> {
    let failed = |e| Error::reading(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder a path lies in; "." for a bare name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes a rename durable. Some systems cannot sync a folder; they order renames by themselves.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// Temporary files are private to their owner; results are for everybody the umask allows, as any new file is.
#[cfg(unix)]
fn allow_reading(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn allow_reading(_path: &Path) -> std::io::Result<()> {
    Ok(())
}
