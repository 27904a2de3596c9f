//! The files of a folder and of all below it, and which of them are a corpus.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::format::{Format, READABLE, divide, kind_of, unsupported};
use super::reading::Reading;
use crate::error::{Error, Result};

/// Files and folders that are looked at below one folder: more are no corpus, but a disk that was named by mistake.
const MOST_ENTRIES: usize = 1_000_000;

/// What a folder describes itself with, in these names and any ending: no part of the corpus. Without a full stop.
const ABOUT: [&str; 6] = ["readme", "license", "licence", "copying", "notice", "citation"];
/// The same by whole names, as `datasets` has them.
const IGNORED: [&str; 5] =
    ["config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dummy_data.zip"];

/// A folder's files.
pub(super) struct Listing {
    /// Those that can be read as a corpus, sorted by path.
    pub files: Vec<PathBuf>,
    /// Those of another kind, sorted by path.
    pub others: Vec<PathBuf>,
    /// What is not read, counted.
    pub left_out: Reading,
}

impl Listing {
    /// Lists `folder` and all below it. Hidden files, and folders that are hidden or begin with two underscores, are
    /// passed over, as `datasets` does; links to folders are not followed.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut listing = Self { files: Vec::new(), others: Vec::new(), left_out: Reading::default() };
        let mut about = Vec::new();
        let mut folders = vec![folder.to_owned()];
        let mut entries = 0_usize;
        while let Some(inner) = folders.pop() {
            let failed = |e| Error::reading(&inner, e);
            for entry in fs::read_dir(&inner).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                entries += 1;
                if entries > MOST_ENTRIES {
                    let fault = format!("holds more than {MOST_ENTRIES} files and folders");
                    return Err(Error::file(folder, fault, "name the folder of the corpus itself"));
                }
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = entry.path();
                // The type of a link is "link", so a link to a parent folder cannot cause an endless loop.
                let kind = entry.file_type().map_err(failed)?;
                if name.starts_with('.') || kind.is_dir() && name.starts_with("__") {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else {
                    listing.take(path, &name, &mut about)?;
                }
            }
        }
        // Where there is nothing else, they are what was meant.
        if listing.files.is_empty() {
            listing.files = about;
        } else {
            about.sort();
            about.iter().for_each(|path| listing.leave_out("about the corpus", path));
        }
        listing.files.sort();
        listing.others.sort();
        for path in std::mem::take(&mut listing.others) {
            listing.leave_out("of another kind", &path);
            listing.others.push(path);
        }
        Ok(listing)
    }

    fn take(&mut self, path: PathBuf, name: &str, about: &mut Vec<PathBuf>) -> Result<()> {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) if path.is_symlink() && e.kind() == std::io::ErrorKind::NotFound => {
                return self.refuse(&path, "a link to what is not there");
            }
            Err(e) => return Err(Error::reading(&path, e)),
        };
        if metadata.is_dir() {
            return self.refuse(&path, "a link to a folder, not followed");
        }
        if !metadata.is_file() {
            return self.refuse(&path, "a pipe, a socket or a device, which is not opened");
        }
        let lower = name.to_lowercase();
        if IGNORED.contains(&lower.as_str()) {
            return Ok(());
        }
        let stem = lower.split('.').next().unwrap_or_default();
        let is_corpus = kind_of(&path).is_some_and(|kind| kind.format != Format::Archive);
        match is_corpus {
            true if ABOUT.contains(&stem) => about.push(path),
            true => self.files.push(path),
            false if ABOUT.contains(&stem) => {}
            false => self.others.push(path),
        }
        Ok(())
    }

    fn refuse(&mut self, path: &Path, what: &str) -> Result<()> {
        tracing::debug!("{}: {what}", path.display());
        self.leave_out(what.split(',').next().unwrap_or(what), path);
        Ok(())
    }

    /// Counts a file that is not read.
    pub(super) fn leave_out(&mut self, kind: &str, path: &Path) {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.left_out.leave_out(kind, || name);
    }

    /// The files of all, where there are any and no part of a set of files is missing.
    pub(super) fn whole(self, folder: &Path) -> Result<(Vec<PathBuf>, Reading)> {
        if self.files.is_empty() {
            return Err(match self.others.first() {
                Some(other) => unsupported(other),
                None => Error::file(folder, "holds no file to read", format!("what is read is {READABLE}")),
            });
        }
        check_shards(&self.files)?;
        Ok((self.files, self.left_out))
    }
}

/// The name of a file that is one of several, taken apart: `train-00000-of-00002-0a1b.parquet`.
struct Shard {
    /// What stands before the number: "train".
    name: String,
    number: usize,
    count: usize,
    /// The ending, without what may stand between it and the count.
    ending: String,
}

impl Shard {
    fn of(path: &Path) -> Option<Self> {
        let file = path.file_name()?.to_string_lossy().into_owned();
        let stem = divide(&file).map_or(file.as_str(), |(stem, _)| stem);
        let ending = file[stem.len()..].to_owned();
        let (before, after) = stem.split_once("-of-")?;
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count = &after[..digits(after)];
        let name = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &before[name.len()..];
        let name = name.strip_suffix(['-', '.', '_', ' ']).unwrap_or(name);
        Some(Self { name: name.to_owned(), number: number.parse().ok()?, count: count.parse().ok()?, ending })
    }
}

/// Refuses files of which one is "number 3 of 5" and others of the five are missing or there twice: a part of a data set
/// is never taken for the whole.
pub(super) fn check_shards(files: &[PathBuf]) -> Result<()> {
    // By what they have in common: folder, name, count and ending.
    let mut sets: BTreeMap<(PathBuf, String, usize, String), Vec<usize>> = BTreeMap::new();
    for file in files {
        if let Some(Shard { name, number, count, ending }) = Shard::of(file) {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            sets.entry((folder, name, count, ending)).or_default().push(number);
        }
    }
    for ((folder, name, count, ending), mut numbers) in sets {
        numbers.sort_unstable();
        // Some count from 1.
        let first = usize::from(!numbers.contains(&0) && numbers.contains(&count));
        let expected = first..first + count;
        let is_whole = numbers.len() == count && numbers.iter().copied().eq(expected.clone());
        if !is_whole {
            let number = expected.clone().zip(&numbers).find(|(expected, found)| expected != *found);
            let number = number.map_or(expected.start + numbers.len().min(count), |(expected, &found)| {
                if found < expected { found } else { expected }
            });
            let fault = format!(
                "holds {} of the {count} files {name}-…-of-{count:05}{ending}: number {number:05} is missing or there \
                 twice",
                numbers.len()
            );
            let cure = "download the data set again, or name the files that are to be read one by one";
            return Err(Error::file(&folder, fault, cure));
        }
    }
    Ok(())
}
