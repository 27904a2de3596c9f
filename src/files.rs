//! Files appear whole or not at all: written aside in the same folder, synced, then renamed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use memmap2::Mmap;
use safetensors::tensor::{TensorView, View};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
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
    let scratch = tempfile::Builder::new().prefix(&scratch_prefix(path)).tempfile_in(&folder).map_err(failed)?;
    let mut writer = BufWriter::new(scratch.as_file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    scratch.as_file().sync_all().map_err(failed)?;
    allow_reading(scratch.path()).map_err(failed)?;
    scratch.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(&folder);
    Ok(())
}

/// What scratch files and folders for `path`, beside it, begin with.
fn scratch_prefix(path: &Path) -> String {
    let name: String = path.file_name().unwrap_or_default().to_string_lossy().chars().take(60).collect();
    format!(".odyssey-{name}-")
}

/// Removes what a process that was killed while it wrote `path` left beside it. Only for a path that no other process
/// writes.
pub fn sweep(path: &Path) {
    let prefix = scratch_prefix(path);
    let entries = fs::read_dir(parent(path)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        let left = entry.path();
        let removed = if left.is_dir() { fs::remove_dir_all(&left) } else { fs::remove_file(&left) };
        match removed {
            Ok(()) => tracing::info!("removed {}, left by a process that was killed", left.display()),
            Err(e) => {
                tracing::warn!("{}: left by a process that was killed, and cannot be removed: {e}", left.display())
            }
        }
    }
}

/// An array of a safetensors file.
pub struct Array<'a> {
    /// Its name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Gives its numbers, little-endian, row-major, when its turn comes: only one array is held at a time.
    pub bytes: Box<dyn Fn() -> Result<Cow<'a, [u8]>> + 'a>,
}

impl<'a> Array<'a> {
    /// An array whose numbers are at hand.
    pub fn of(name: &str, dtype: Dtype, shape: Vec<usize>, bytes: &'a [u8]) -> Self {
        Self { name: name.to_owned(), dtype, shape, bytes: Box::new(move || Ok(Cow::Borrowed(bytes))) }
    }

    /// An array of f32 whose numbers are computed, or fetched from a device, when their turn comes.
    pub fn computed(name: String, shape: Vec<usize>, values: impl Fn() -> Result<Vec<f32>> + 'a) -> Self {
        let bytes = move || Ok(Cow::Owned(bytemuck::cast_slice(&values()?).to_vec()));
        Self { name, dtype: Dtype::F32, shape, bytes: Box::new(bytes) }
    }

    /// Its bytes in the file.
    fn size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Writes `arrays` as a safetensors file with one entry of metadata, key and text, whole.
pub fn write_safetensors<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = Array<'a>>,
    metadata: (&str, String),
) -> Result<()> {
    /// Asked for its bytes when they are written. The library's own way cannot fail: a failure is kept, and empty
    /// bytes written in their stead, into a file that never gets its name.
    struct Lazy<'a, 'b> {
        array: Array<'a>,
        failure: &'b RefCell<Option<Error>>,
    }

    impl View for Lazy<'_, '_> {
        fn dtype(&self) -> Dtype {
            self.array.dtype
        }

        fn shape(&self) -> &[usize] {
            &self.array.shape
        }

        fn data(&self) -> Cow<'_, [u8]> {
            if self.failure.borrow().is_some() {
                return Cow::Borrowed(&[]);
            }
            (self.array.bytes)().unwrap_or_else(|error| {
                *self.failure.borrow_mut() = Some(error);
                Cow::Borrowed(&[])
            })
        }

        fn data_len(&self) -> usize {
            self.array.size()
        }
    }

    let failure = RefCell::new(None);
    let mut size = 0;
    let arrays = arrays.into_iter().inspect(|array| size += array.size());
    let views: Vec<_> = arrays.map(|array| (array.name.clone(), Lazy { array, failure: &failure })).collect();
    let metadata = HashMap::from([(metadata.0.to_owned(), metadata.1)]);
    let folder = parent(path);
    let failed = |source| Error::writing(path, source);
    fs::create_dir_all(&folder).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix(&scratch_prefix(path)).tempdir_in(&folder).map_err(failed)?;
    let aside = scratch.path().join("arrays");
    let written = safetensors::serialize_to_file(views, Some(metadata), &aside);
    if let Some(error) = failure.take() {
        return Err(error);
    }
    written.map_err(|e| match e {
        SafeTensorError::IoError(e) => Error::no_room(path, e, size as u64),
        // Arrays that do not fit together are a fault of this program, not of its input.
        e => Error::Numeric(format!("{}: cannot be laid out: {e}", path.display())),
    })?;
    File::open(&aside).and_then(|file| file.sync_all()).map_err(failed)?;
    allow_reading(&aside).map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)?;
    sync_folder(&folder);
    Ok(())
}

/// The array that closes a sealed file: a SHA-256 of all before it.
const SEAL: &str = "sha256";

/// What a seal covers, in the order in which it stands in the file.
#[derive(Clone)]
struct SealHasher(Sha256);

impl SealHasher {
    fn new(metadata: &str) -> Self {
        Self(Sha256::new_with_prefix(metadata))
    }

    fn add(&mut self, name: &str, shape: &[usize], bytes: &[u8]) {
        self.0.update(format!("{name} {shape:?}"));
        self.0.update(bytes);
    }
}

/// Writes a safetensors file as [`write_safetensors`] does, with a checksum of everything in it; for arrays of numbers
/// wider than a byte.
pub fn write_sealed<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = Array<'a>>,
    metadata: (&str, String),
) -> Result<()> {
    let hasher = Rc::new(RefCell::new(SealHasher::new(&metadata.1)));
    let hashed = |array: Array<'a>| {
        let (name, shape, hasher) = (array.name.clone(), array.shape.clone(), Rc::clone(&hasher));
        let bytes = array.bytes;
        let bytes = move || {
            let bytes = bytes()?;
            hasher.borrow_mut().add(&name, &shape, &bytes);
            Ok(bytes)
        };
        Array { name: array.name, dtype: array.dtype, shape: array.shape, bytes: Box::new(bytes) }
    };
    // The library writes the widest types first and asks for the bytes of each array once: this one comes last.
    let sealing = Rc::clone(&hasher);
    let seal = Array {
        name: SEAL.to_owned(),
        dtype: Dtype::U8,
        shape: vec![32],
        bytes: Box::new(move || Ok(Cow::Owned(sealing.borrow().0.clone().finalize().to_vec()))),
    };
    let arrays: Vec<Array<'a>> = arrays.into_iter().map(hashed).chain([seal]).collect();
    write_safetensors(path, arrays, metadata)
}

/// Why a file is not taken for a sealed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsealed {
    /// Whole, with this metadata, but without a checksum.
    WithoutSeal(String),
    /// A safetensors file of another kind.
    OtherKind,
    /// Not whole, or changed since it was written; in words.
    Damaged(String),
}

/// A sealed safetensors file, mapped or read, whose checksum is right.
pub struct Sealed<B = Mmap> {
    bytes: B,
    /// The text of its metadata.
    pub metadata: String,
}

impl Sealed {
    /// Opens a file that [`write_sealed`] made with this key of its metadata.
    ///
    /// # Errors
    /// What is wrong with the file, as the inner result; the system's.
    pub fn open(path: &Path, key: &str) -> Result<std::result::Result<Self, Unsealed>> {
        let file = File::open(path).map_err(|e| Error::reading(path, e))?;
        // SAFETY: the map is read-only, and this program replaces such files by renaming, never in place.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::reading(path, e))?;
        Ok(Self::of(map, key))
    }
}

impl<B: Deref<Target = [u8]>> Sealed<B> {
    /// Checks the bytes of a file that [`write_sealed`] made with this key of its metadata.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(bytes: B, key: &str) -> std::result::Result<Self, Unsealed> {
        let damaged = |e: SafeTensorError| Unsealed::Damaged(format!("not a whole safetensors file ({e})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let metadata = header.metadata().as_ref().and_then(|m| m.get(key)).cloned();
        let sealed = Self { metadata: metadata.ok_or(Unsealed::OtherKind)?, bytes };
        let mut tensors = sealed.tensors().map_err(damaged)?;
        let place = |view: &TensorView<'_>| view.data().as_ptr() as usize;
        // In the order in which the library writes them; empty arrays stand where the next one begins.
        tensors
            .sort_by(|(a, x), (b, y)| place(x).cmp(&place(y)).then(y.dtype().cmp(&x.dtype())).then_with(|| a.cmp(b)));
        let mut hasher = SealHasher::new(&sealed.metadata);
        match tensors.pop() {
            Some((name, seal)) if name == SEAL => {
                tensors.iter().for_each(|(name, view)| hasher.add(name, view.shape(), view.data()));
                match hasher.0.finalize().as_slice() == seal.data() {
                    true => Ok(sealed),
                    false => Err(Unsealed::Damaged("its checksum is not that of its content".into())),
                }
            }
            _ => Err(Unsealed::WithoutSeal(sealed.metadata.clone())),
        }
    }

    /// Its arrays and their names, the checksum among them.
    pub fn tensors(&self) -> std::result::Result<Vec<(String, TensorView<'_>)>, SafeTensorError> {
        Ok(SafeTensors::deserialize(&self.bytes)?.tensors())
    }
}

/// Writes `value` as indented JSON, whole.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_whole(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// The largest file of JSON or TOML that is read, bytes: more than the results of any study, and little enough to hold.
const LARGEST_TEXT: u64 = 1 << 28;

/// The text of a small file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let failed = |e| Error::reading(path, e);
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    // Pipes claim no size, so that what is read is counted too.
    if file.metadata().map_err(failed)?.len() <= LARGEST_TEXT {
        file.take(LARGEST_TEXT + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 <= LARGEST_TEXT {
            return Ok(text);
        }
    }
    Err(Error::file(path, "is larger than 256 MiB, expected a small file", "name another file"))
}

/// Reads `path` as JSON of type `T`. What does not fit is the file's fault.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse_json(path, &read_text(path)?)
}

/// The same of `text`, which was read from `path`.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::file(path, format!("not the JSON expected here: {e}"), "restore the file or make it again"))
}

/// Reads `path` as TOML of type `T`. What does not fit is the file's fault, named by its line.
pub fn read_toml<T: DeserializeOwned>(path: &Path, what: &str, cure: &str) -> Result<T> {
    let text = read_text(path)?;
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
    let scratch = tempfile::Builder::new()
        .prefix(&scratch_prefix(path))
        .tempdir_in(&beside)
        .map_err(|e| Error::writing(path, e))?;
    let value = fill(scratch.path())?;
    sync_folder(scratch.path());
    allow_reading(scratch.path()).map_err(|e| Error::writing(path, e))?;
    fs::rename(scratch.path(), path).map_err(|e| Error::writing(path, e))?;
    let _ = scratch.keep(); // it has its new name; there is nothing left to clean up
    sync_folder(&beside);
    Ok(value)
}

/// Removes a file, a link, or a folder with all that is in it.
///
/// # Errors
/// The system's.
pub fn remove(path: &Path) -> Result<()> {
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|e| Error::writing(path, e))
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
    tempfile::Builder::new().prefix(&scratch_prefix(path)).tempfile_in(&place).map_err(|e| Error::writing(path, e))?;
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

/// Bytes in hexadecimal.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
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
