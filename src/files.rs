//! Files appear whole or not at all: written to a temporary file in the same folder, synced, then renamed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::rc::Rc;

use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

pub(crate) use crate::disk::hashes::hexadecimal;
pub use crate::disk::hashes::{hash_bytes, hash_file};
pub use crate::disk::ordinary::{is_pointer_line, open, pointer, read};
use crate::disk::paths::parent;
use crate::disk::{mounts, paths, scratch};
use crate::error::{Error, Result};
use crate::process::Unbroken;
use crate::safetensors_file::SafetensorsFile;

/// Writes `path` whole: `write` fills a temporary file beside it, which then takes its name in one step.
///
/// The rename also protects readers that have the old file open.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> Result<()> {
    let _unbroken = Unbroken::begin();
    let folder = parent(path);
    let failed = |source| Error::writing(path, source);
    refuse_special(path)?;
    fs::create_dir_all(&folder).map_err(failed)?;
    scratch::sweep(path);
    let scratch = scratch::file_for(path).map_err(failed)?;
    let mut writer = BufWriter::new(scratch.as_file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    scratch.as_file().sync_all().map_err(failed)?;
    scratch.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(&folder);
    Ok(())
}

/// Refuses to put a file in the place of something that is none: a device, a pipe, a folder.
pub fn refuse_special(path: &Path) -> Result<()> {
    // A link is replaced, not what it leads to.
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    let kind = about.file_type();
    match kind.is_file() || kind.is_symlink() {
        true => Ok(()),
        false if kind.is_dir() => Err(Error::writing(path, std::io::ErrorKind::IsADirectory.into())),
        false => Err(Error::file(path, "is a device, pipe or socket, expected a file's name", "name a file")),
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
    /// Gives its numbers, little-endian, row-major. It is called when the array is written, so only one array is held
    /// at a time.
    pub bytes: Box<dyn Fn() -> Result<Cow<'a, [u8]>> + 'a>,
}

impl<'a> Array<'a> {
    /// An array whose numbers are in memory.
    pub fn of(name: &str, dtype: Dtype, shape: Vec<usize>, bytes: &'a [u8]) -> Self {
        Self { name: name.to_owned(), dtype, shape, bytes: Box::new(move || Ok(Cow::Borrowed(bytes))) }
    }

    /// An array of f32 whose numbers are computed, or fetched from a device, when the array is written.
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
    /// Asked for its bytes when they are written. The library's interface cannot return an error. So a failure is
    /// stored and empty bytes are written instead; the file is then never renamed to its place.
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
    let _unbroken = Unbroken::begin();
    let metadata = HashMap::from([(metadata.0.to_owned(), metadata.1)]);
    let folder = parent(path);
    let failed = |source| Error::writing(path, source);
    refuse_special(path)?;
    fs::create_dir_all(&folder).map_err(failed)?;
    scratch::sweep(path);
    let scratch = scratch::folder_for(path).map_err(failed)?;
    let aside = scratch.path().join("arrays");
    let written = safetensors::serialize_to_file(views, Some(metadata), &aside);
    if let Some(error) = failure.take() {
        return Err(error);
    }
    written.map_err(|e| match e {
        SafeTensorError::IoError(e) => Error::no_room(path, e, size as u64),
        // Arrays that do not fit together are a fault of this program, not of its input.
        e => Error::numeric(format!("{}: cannot be laid out: {e}", path.display())),
    })?;
    // The library keeps the file to its owner; it gets what the umask makes of any new file.
    let permissions = File::create(scratch.path().join("new")).and_then(|new| Ok(new.metadata()?.permissions()));
    permissions.and_then(|permissions| fs::set_permissions(&aside, permissions)).map_err(failed)?;
    File::open(&aside).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)?;
    sync_folder(&folder);
    Ok(())
}

/// The array that closes a sealed file: a SHA-256 of everything before it.
const SEAL: &str = "sha256";

/// The content that a seal covers, in the order of the file.
#[derive(Clone)]
struct SealHasher(Sha256);

impl SealHasher {
    fn new(metadata: &str) -> Self {
        Self(Sha256::new_with_prefix(metadata))
    }

    /// Adds the name and shape of an array, whose bytes follow.
    fn begin(&mut self, name: &str, shape: &[usize]) {
        self.0.update(format!("{name} {shape:?}"));
    }

    fn add(&mut self, bytes: &[u8]) {
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
            let mut hasher = hasher.borrow_mut();
            hasher.begin(&name, &shape);
            hasher.add(&bytes);
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

/// Why a file is not accepted as sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsealed {
    /// Whole, with this metadata, but without a checksum.
    WithoutSeal(String),
    /// A safetensors file of another kind.
    OtherKind,
    /// Not whole, or changed since it was written; in words.
    Damaged(String),
}

/// A sealed safetensors file whose checksum is right. Its arrays are read one at a time.
pub struct Sealed {
    file: SafetensorsFile,
    /// The text of its metadata.
    pub metadata: String,
}

impl Sealed {
    /// Opens a file that [`write_sealed`] made with this key of its metadata.
    ///
    /// # Errors
    /// Errors of the system. The inner result says what is wrong with the file.
    pub fn open(path: &Path, key: &str) -> Result<std::result::Result<Self, Unsealed>> {
        let mut file = match SafetensorsFile::open(path)? {
            Ok(file) => file,
            Err(fault) => return Ok(Err(Unsealed::Damaged(format!("not a whole safetensors file ({fault})")))),
        };
        let Some(metadata) = file.metadata(key).map(str::to_owned) else { return Ok(Err(Unsealed::OtherKind)) };
        let mut names = file.names();
        if names.pop().is_none_or(|last| last != SEAL) {
            return Ok(Err(Unsealed::WithoutSeal(metadata)));
        }
        let mut hasher = SealHasher::new(&metadata);
        for name in names {
            let shape = file.info(&name).map_or_else(Vec::new, |info| info.shape.clone());
            hasher.begin(&name, &shape);
            let length = file.bytes_of(&name);
            file.stretches(&name, 0..length, |stretch| hasher.add(stretch))?;
        }
        match hasher.0.finalize().as_slice() == file.read(SEAL)? {
            true => Ok(Ok(Self { file, metadata })),
            false => Ok(Err(Unsealed::Damaged("its checksum is not that of its content".into()))),
        }
    }

    /// The names of its arrays in the order of the file, but for the checksum's.
    pub fn names(&self) -> Vec<String> {
        self.file.names().into_iter().filter(|name| name != SEAL).collect()
    }

    /// Type and shape of an array.
    pub fn kind_of(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.file.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// The bytes of an array.
    ///
    /// # Errors
    /// There is none; the file was cut short since its checksum was found right; the system's.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        self.file.read(name)
    }

    /// Asked for when all is read: whether the file is still the one whose checksum was right.
    ///
    /// # Errors
    /// Somebody wrote to it meanwhile; the system's.
    pub fn check_unchanged(&self) -> Result<()> {
        self.file.check_unchanged()
    }
}

/// Writes `value` as indented JSON, whole.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_whole(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// The largest file of JSON or TOML that is read, bytes: more than the results of any study, and small enough for
/// memory.
const LARGEST_TEXT: u64 = 1 << 28;

/// The text of a small file.
///
/// # Errors
/// As [`open`]; [`Error::Input`] for what is larger than 256 MiB, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    text_of(path, open(path)?)
}

fn text_of(path: &Path, file: File) -> Result<String> {
    let failed = |e| Error::reading(path, e);
    let mut text = String::new();
    // A pipe has no size, so the bytes that are read are counted too.
    if file.metadata().map_err(failed)?.len() <= LARGEST_TEXT {
        file.take(LARGEST_TEXT + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 <= LARGEST_TEXT {
            return Ok(text);
        }
    }
    Err(Error::file(path, "is larger than 256 MiB, expected a small file", "name another file"))
}

/// Reads `path` as JSON of type `T`. Wrong content is an input error about the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse_json(path, &read_text(path)?)
}

/// The same of `text`, which was read from `path`.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::file(path, format!("not the JSON expected here: {e}"), "restore the file or make it again"))
}

/// Reads `path` as TOML of type `T`. Wrong content is an input error that names the line.
pub fn read_toml<T: DeserializeOwned>(path: &Path, what: &str, cure: &str) -> Result<T> {
    // Its path was given by the user, so that it may be a pipe: `study run <(…)`.
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
    let file = if is_pipe { File::open(path).map_err(|e| Error::reading(path, e))? } else { open(path)? };
    let text = text_of(path, file)?;
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
/// A folder with anything in it is refused, so that nothing is ever overwritten. An empty one is filled: the new folder
/// takes its place and its permissions.
pub fn folder_whole<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    refuse_taken(path)?;
    let beside = parent(path);
    let failed = |e| Error::writing(path, e);
    fs::create_dir_all(&beside).map_err(|e| Error::writing(&beside, e))?;
    scratch::sweep(path);
    let scratch = scratch::folder_for(path).map_err(failed)?;
    let value = fill(scratch.path())?;
    if let Ok(empty) = path.metadata() {
        fs::set_permissions(scratch.path(), empty.permissions()).map_err(failed)?;
        if cfg!(windows) {
            fs::remove_dir(path).map_err(failed)?; // there a name that is taken is never given anew
        }
    }
    let _unbroken = Unbroken::begin();
    sync_folder(scratch.path());
    refuse_taken(path)?; // who came meanwhile
    fs::rename(scratch.path(), path).map_err(failed)?;
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

/// Refuses a path that already exists, and names the cure.
pub fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Error::file(path, "exists already", "choose another folder or remove it first")),
        Err(_) => Ok(()),
    }
}

/// The same for a folder that is to be filled: an empty one is as good as none.
fn refuse_taken(path: &Path) -> Result<()> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) if !path.is_symlink() => refuse_fixed(path),
        _ => refuse_existing(path),
    }
}

/// Refuses an empty folder that another cannot take the place of.
fn refuse_fixed(path: &Path) -> Result<()> {
    let cure = || format!("name a new folder in it: {}", path.join("new").display());
    if std::env::current_dir().is_ok_and(|here| paths::is_same(&here, path)) {
        return Err(Error::file(path, "is the folder where the program runs, and cannot be replaced", cure()));
    }
    if mounts::is_mount_point(path) {
        return Err(Error::file(path, "is where a disk is mounted, and cannot be replaced", cure()));
    }
    Ok(())
}

/// Refuses a new folder that could not be written later: the path exists, or its parent folder is not writable. Called
/// before work that takes hours.
pub fn check_new_folder(path: &Path) -> Result<()> {
    refuse_taken(path)?;
    let mut place = parent(path);
    while place.symlink_metadata().is_err() {
        place = parent(&place);
    }
    // Permissions tell less than trying; the file has no name.
    tempfile::tempfile_in(&place).map_err(|e| Error::writing(path, e))?;
    Ok(())
}

/// Whether both folders hold the same files and folders, byte for byte.
pub fn is_same_tree(a: &Path, b: &Path) -> std::io::Result<bool> {
    let names = |folder: &Path| -> std::io::Result<Vec<OsString>> {
        let mut names =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let all = names(a)?;
    if all != names(b)? {
        return Ok(false);
    }
    for name in all {
        let [a, b] = [a, b].map(|folder| folder.join(&name));
        let same = match (a.is_dir(), b.is_dir()) {
            (true, true) => is_same_tree(&a, &b)?,
            (false, false) => a.metadata()?.len() == b.metadata()?.len() && fs::read(&a)? == fs::read(&b)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a rename durable. Some systems cannot sync a folder; they order renames by themselves.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}
