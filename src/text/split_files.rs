//! Which files of a folder are which split, by the names that the `datasets` library knows.
//!
//! A split's folder (`test/`, `data/my-test_2/`) counts before a split's file (`test.txt`, `data/books_test.jsonl`), at any
//! depth; the word must stand by itself: at an end of the name or beside one of `-._ ` and digits. Files
//! `data/NAME-00000-of-00002.parquet` are named exactly: `train_extra` is no `train`. Capitals are no split names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{Listing, check_shards};
use super::format::kind_of;
use super::reading::Reading;
use super::split::Split;
use crate::error::{Error, Result};
use crate::files;

/// The files of a split.
#[derive(Debug, Clone)]
pub(super) struct SplitFiles {
    /// In order.
    pub files: Vec<PathBuf>,
    /// What else the folder holds.
    pub left_out: Reading,
}

/// The files of a folder by split.
pub(super) struct Divided {
    folder: PathBuf,
    listing: Listing,
    /// Each file that belongs to a split, by which name.
    found: Vec<(Split, &'static str, PathBuf)>,
    /// Names of splits that are none of the three: `train_sft`.
    other_splits: Vec<String>,
}

impl Divided {
    /// Looks which files of a folder are splits; `None` where none is, and for what is no folder.
    ///
    /// # Errors
    /// The folder cannot be listed; a name that says two splits.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let listing = Listing::of(folder)?;
        let mut divided = Self { folder: folder.to_owned(), listing, found: Vec::new(), other_splits: Vec::new() };
        if !divided.find_exact() && !divided.find(in_folders)? && !divided.find(in_file)? {
            divided.warn_of_capitals();
            return Ok(None);
        }
        check_subsets(folder)?;
        Ok(Some(divided))
    }

    /// Whether there are files `data/NAME-00000-of-00002…`. Then a file's whole name before the number is its split's.
    fn find_exact(&mut self) -> bool {
        let data = self.folder.join("data");
        let mut any = false;
        let mut found = Vec::new();
        for file in &self.listing.files {
            let name = name_of(file);
            if file.parent() != Some(&data) {
                continue;
            }
            let sharded = sharded(&name);
            any |= sharded.is_some();
            let word = sharded.unwrap_or_else(|| name.split('.').next().unwrap_or_default());
            match Split::all_names().find(|(_, name)| *name == word) {
                Some((split, word)) => found.push((split, word, file.clone())),
                None if sharded.is_some() && !self.other_splits.iter().any(|other| other == word) => {
                    self.other_splits.push(word.to_owned());
                }
                None => {}
            }
        }
        if any {
            self.found = found;
        }
        any
    }

    /// Finds the files that `words` of their path below the folder give a split; whether there are any.
    fn find(&mut self, words: fn(&Path) -> Vec<(Split, &'static str)>) -> Result<bool> {
        for file in &self.listing.files {
            let below = file.strip_prefix(&self.folder).unwrap_or(file);
            let words = words(below);
            let Some(&(split, word)) = words.first() else { continue };
            if let Some((other, _)) = words.iter().find(|(other, _)| *other != split) {
                let fault = format!("its name says {split} and {other}, expected one split");
                return Err(Error::file(file, fault, "rename it, or name the files one by one"));
            }
            self.found.push((split, word, file.clone()));
        }
        Ok(!self.found.is_empty())
    }

    /// `datasets` takes `TEST.txt` for no split, and reads it with everything else.
    fn warn_of_capitals(&self) {
        let mut names = self.listing.files.iter().map(|file| name_of(file));
        let is_split = |name: &str| !words_of(&name.to_lowercase(), false).is_empty();
        if let Some(name) = names.find(|name| is_split(name)) {
            tracing::warn!(
                "{}: {name} is not taken for a split, because split names are written in small letters; everything in \
                 the folder is read",
                self.folder.display()
            );
        }
    }

    /// The files of a split; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Input`] where it is there twice, in two formats or under two names, or where one of several files is
    /// missing.
    pub(super) fn get(&self, split: Split) -> Result<Option<SplitFiles>> {
        let mut of_split: Vec<_> = self.found.iter().filter(|(of, ..)| *of == split).collect();
        let Some((_, word, first)) = of_split.first() else { return Ok(None) };
        let files: Vec<PathBuf> = of_split.iter().map(|(.., file)| file.clone()).collect();
        // First by kind: a part that has another ending is missing among its own.
        check_shards(&files)?;
        let differs = |other: &(Split, &str, PathBuf)| other.1 != *word || kind_of(&other.2) != kind_of(first);
        if of_split.iter().any(|other| differs(other)) {
            // The shortest name first: whole files before those of several.
            of_split.sort_by_key(|(.., file)| name_of(file).len());
            let kind = |file: &Path, word: &str| (kind_of(file), word.to_owned());
            let (_, word, first) = of_split[0];
            let second =
                of_split.iter().find(|(_, w, file)| kind(file, w) != kind(first, word)).map_or(first, |o| &o.2);
            let beside = first.parent() == second.parent();
            let [first, second] = [first, second].map(|file| if beside { name_of(file) } else { self.below(file) });
            let fault = format!("holds {first} and {second}, expected one {split} split");
            return Err(Error::file(&self.folder, fault, "remove or rename one of them"));
        }
        let mut left_out = Reading { left_out: self.listing.left_out.left_out.clone(), ..Reading::default() };
        let unused = |file: &&PathBuf| !self.found.iter().any(|(.., found)| found == *file);
        for file in self.listing.files.iter().filter(unused) {
            left_out.leave_out("of no split", || self.below(file));
        }
        Ok(Some(SplitFiles { files, left_out }))
    }

    /// The same.
    ///
    /// # Errors
    /// Also where the split has no file.
    pub(super) fn need(&self, split: Split) -> Result<SplitFiles> {
        self.get(split)?.ok_or_else(|| {
            let others = match &self.other_splits[..] {
                [] => String::new(),
                others => format!(" (its splits are called {})", others.join(", ")),
            };
            Error::file(
                &self.folder,
                format!(
                    "has split files but no {split}.txt, {split}.jsonl or {split}.parquet (or one of them as .gz or \
                     .zst){others}"
                ),
                "add it, or name one of the files, which is then taken as a corpus of its own",
            )
        })
    }

    fn below(&self, file: &Path) -> String {
        file.strip_prefix(&self.folder).unwrap_or(file).display().to_string()
    }
}

/// Whether a folder has files named as splits are, itself, or in `data` or a split's folder right below it.
///
/// # Errors
/// The folder cannot be listed.
pub fn has_split_files(path: &Path) -> Result<bool> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(false) };
    for entry in entries {
        let path = entry.map_err(|e| Error::reading(path, e))?.path();
        let name = name_of(&path);
        let found = match path.is_dir() {
            true if name == "data" => has_split_files(&path)?,
            true => !words_of(&name, true).is_empty() && has_corpus(&path),
            false => !words_of(&name, false).is_empty() && kind_of(&path).is_some(),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a data set of several subsets, which its card names: `datasets` asks which one is meant, too.
fn check_subsets(folder: &Path) -> Result<()> {
    const LONGEST: u64 = 1 << 20;
    let card = folder.join("README.md");
    if !card.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() < LONGEST) {
        return Ok(());
    }
    let bytes = files::read(&card)?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(head) = text.strip_prefix("---").and_then(|rest| rest.split_once("\n---")).map(|(head, _)| head) else {
        return Ok(());
    };
    if !head.contains("data_files:") {
        return Ok(());
    }
    let name = |line: &str| {
        let line = line.trim_start_matches([' ', '-']);
        let name = line.strip_prefix("config_name:")?.trim().trim_matches(['"', '\'']).to_owned();
        (!name.is_empty()).then_some(name)
    };
    // `dataset_info` names them again.
    let names: BTreeSet<String> = head.lines().filter_map(name).collect();
    if names.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().take(12).collect();
    let fault = format!("names the subsets {}, expected one corpus", names.join(", "));
    Err(Error::file(&card, fault, "name the folder of one subset, or one of its files"))
}

fn has_corpus(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| kind_of(&e.path()).is_some())))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What stands before the numbers of `NAME-00000-of-00002…`.
fn sharded(name: &str) -> Option<&str> {
    let (before, after) = name.split_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && after.get(..5).is_some_and(is_number)).then_some(name)
}

/// What the folders on the way to a file say.
fn in_folders(below: &Path) -> Vec<(Split, &'static str)> {
    let folders = below.parent().unwrap_or(Path::new("")).components();
    folders.flat_map(|part| words_of(&part.as_os_str().to_string_lossy(), true)).collect()
}

/// What a file's own name says.
fn in_file(below: &Path) -> Vec<(Split, &'static str)> {
    words_of(&name_of(below), false)
}

/// The split names that stand by themselves in a name; that of a folder may end with one.
fn words_of(name: &str, is_folder: bool) -> Vec<(Split, &'static str)> {
    let parts_words = |c: char| c.is_ascii_digit() || "-._ ".contains(c);
    let stands_alone = |word: &str| {
        name.match_indices(word).any(|(start, _)| {
            let after = name[start + word.len()..].chars().next();
            name[..start].chars().next_back().is_none_or(parts_words) && after.map_or(is_folder, parts_words)
        })
    };
    Split::all_names().filter(|(_, word)| stands_alone(word)).collect()
}
