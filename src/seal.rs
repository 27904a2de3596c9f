//! Checksums of what is kept: a result that lost a bit, was cut or stands in another's place is recognised when it is read.
//!
//! A JSON document carries its checksum as its last key, `sha256`: of every byte before that key. A folder of results
//! carries a list of its files with the checksum of each, [`LIST`], which is itself such a document and names its folder.
//! (Safetensors files have their own, see [`crate::files::write_sealed`].)

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;

/// The file in a folder of results that lists its files and their checksums.
pub const LIST: &str = "checksums.json";

const SCHEMA: &str = "odyssey.checksums/1";

/// What stands before and after the checksum at the end of a document.
const HEAD: &str = ",\n  \"sha256\": \"";
const TAIL: &str = "\"\n}\n";
/// Characters of a SHA-256 in hexadecimal.
const DIGITS: usize = 64;
/// With at most so many bytes of [`HEAD`] and [`TAIL`] changed, a document had a checksum.
const FEW_BYTES: usize = 4;

/// Writes `value`, which must become a JSON object, as indented JSON with its checksum, whole.
///
/// # Errors
/// The file's; a value that becomes no object, which is a fault of this program.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let laid_out = serde_json::to_string_pretty(value).map_err(|e| Error::numeric(e.to_string()))?;
    let Some(body) = laid_out.strip_suffix("\n}") else {
        return Err(Error::numeric(format!("{}: a checksum needs a JSON object with a key", path.display())));
    };
    let hash = files::hash_bytes(body.as_bytes());
    files::write_whole(path, |out| {
        [body, HEAD, &hash, TAIL].into_iter().try_for_each(|part| out.write_all(part.as_bytes()))
    })
}

/// Reads what [`write_json`] wrote, and says whether it has a checksum: documents of older versions have none. The checksum
/// of one that has is right.
///
/// # Errors
/// [`Error::Input`] for a document that was changed or cut since it was written, and as [`files::read_json`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<(T, bool)> {
    let text = files::read_text(path)?;
    let sealed =
        is_sealed(&text).map_err(|fault| Error::file(path, fault, "make it again with the command that made it"))?;
    files::parse_json(path, &text).map(|value| (value, sealed))
}

/// Whether a document has a checksum, which is then right.
fn is_sealed(text: &str) -> Result<bool, &'static str> {
    const CHANGED: &str = "was changed since it was written: its checksum is not that of its content";
    let bytes = text.as_bytes();
    if let Some(body) = bytes.len().checked_sub(HEAD.len() + DIGITS + TAIL.len()) {
        let (body, end) = bytes.split_at(body);
        let (head, rest) = end.split_at(HEAD.len());
        let (digits, tail) = rest.split_at(DIGITS);
        let differ = |a: &[u8], b: &str| a.iter().zip(b.as_bytes()).filter(|(a, b)| a != b).count();
        match differ(head, HEAD) + differ(tail, TAIL) {
            0 if files::hash_bytes(body).as_bytes() == digits => return Ok(true),
            0..=FEW_BYTES => return Err(CHANGED),
            _ => {}
        }
    }
    // A checksum elsewhere: something was added, or all of it laid out anew.
    match serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(text) {
        Ok(keys) if keys.contains_key("sha256") => Err(CHANGED),
        _ => Ok(false),
    }
}

/// [`LIST`].
#[derive(Debug, Serialize, Deserialize)]
struct List {
    schema: String,
    /// The name of the folder.
    folder: String,
    /// What the results were made with beside what the folder's name stands for, such as the tokenizer's hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    made_with: BTreeMap<String, String>,
    /// SHA-256 of every file, by its name.
    files: BTreeMap<String, String>,
}

/// Fills a new folder of results whole, as [`files::folder_whole`] does, with a list of checksums.
///
/// # Errors
/// As [`files::folder_whole`].
pub fn folder_whole<T>(
    path: &Path,
    made_with: &BTreeMap<String, String>,
    fill: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    files::folder_whole(path, |folder| {
        let value = fill(folder)?;
        write_list(folder, &name_of(path), made_with)?;
        Ok(value)
    })
}

/// Gives a folder of results that has no list of checksums one, of its files as they are.
///
/// # Errors
/// The folder cannot be read or written.
pub fn adopt(folder: &Path) -> Result<()> {
    write_list(folder, &name_of(folder), &BTreeMap::new())
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_list(folder: &Path, name: &str, made_with: &BTreeMap<String, String>) -> Result<()> {
    let mut listed = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::reading(folder, e))? {
        let path = entry.map_err(|e| Error::reading(folder, e))?.path();
        let name = name_of(&path);
        if name != LIST && !name.starts_with('.') && path.is_file() {
            listed.insert(name, files::hash_file(&path)?);
        }
    }
    let list = List { schema: SCHEMA.to_owned(), folder: name.to_owned(), made_with: made_with.clone(), files: listed };
    write_json(&folder.join(LIST), &list)
}

/// What is to be thought of a folder of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// It is not there.
    Missing,
    /// Every file is as it was written.
    Whole,
    /// It has no list of checksums.
    Unlisted,
    /// A file of it was changed, cut, lost, or belongs elsewhere; or it was made with something else.
    Damaged(Damage),
}

/// Why a kept result must not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, in words.
    pub fault: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.fault)
    }
}

/// Compares a folder of results with its list of checksums; `made_with` is what a result would be made with now.
///
/// # Errors
/// The system's, where something cannot be read.
pub fn check_folder(folder: &Path, made_with: &BTreeMap<String, String>) -> Result<Folder> {
    let list = folder.join(LIST);
    match folder.symlink_metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Folder::Missing),
        Err(e) => return Err(Error::reading(folder, e)),
        Ok(_) if !folder.is_dir() => return Ok(Folder::Damaged(damage(folder, "is no folder"))),
        Ok(_) if list.symlink_metadata().is_err() => return Ok(Folder::Unlisted),
        Ok(_) => {}
    }
    let damaged = |name: &str, fault: &str| Ok(Folder::Damaged(damage(&folder.join(name), fault)));
    let List { folder: of, made_with: made, files, .. } = match read_json::<Value>(&list) {
        Ok((value, true)) => match serde_json::from_value(value) {
            Ok(list) => list,
            Err(_) => return damaged(LIST, "is no list of checksums"),
        },
        Ok((_, false)) => return damaged(LIST, "has no checksum of its own"),
        Err(Error::Input { fault, .. }) => return damaged(LIST, &fault.to_string()),
        Err(other) => return Err(other),
    };
    if of != name_of(folder) {
        return damaged(LIST, &format!("belongs to the folder {of}"));
    }
    for (name, hash) in &files {
        match files::hash_file(&folder.join(name)) {
            Ok(found) if found == *hash => {}
            Ok(_) => return damaged(name, "was changed since it was written: its checksum is another"),
            Err(Error::Input { fault, .. }) => return damaged(name, &fault.to_string()),
            Err(other) => return Err(other),
        }
    }
    for (what, now) in made_with {
        if made.get(what).is_some_and(|then| then != now) {
            return Ok(Folder::Damaged(damage(folder, &format!("was made with another {what}"))));
        }
    }
    Ok(Folder::Whole)
}

fn damage(file: &Path, fault: &str) -> Damage {
    Damage { file: file.to_owned(), fault: fault.to_owned() }
}
