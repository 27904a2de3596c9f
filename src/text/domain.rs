//! A domain: a corpus in three splits, given as files or made by document.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive;
use super::corpus::{Corpus, Document, DocumentRule};
use super::format::{Format, kind_of, split_endings, stem};
use crate::error::{Error, Result};

/// A part of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What models are adapted on
    Train,
    /// What settings are chosen on
    Valid,
    /// What results are reported on
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// "train", "valid" or "test": the stem of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }

    /// The split of a document that belongs to a corpus without split files: about 80 % train, 10 % valid, 10 % test.
    ///
    /// It depends on the content alone, so a document keeps its split when others are added, and copies of a document
    /// never stand in two splits.
    fn of(document: &Document) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = document.digest();
        match u64::from_le_bytes([a, b, c, d, e, f, g, h]) % 10 {
            8 => Self::Valid,
            9 => Self::Test,
            _ => Self::Train,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text domain: its name and its three splits.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Name of the folder, or of the file without its extensions.
    pub name: String,
    /// The folder or file.
    pub path: PathBuf,
    rule: DocumentRule,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    Files(ThreeWay<PathBuf>),
    /// The path is an archive that has all three.
    Archive,
    Divided(ThreeWay<Corpus>),
}

#[derive(Debug, Clone)]
struct ThreeWay<T> {
    train: T,
    valid: T,
    test: T,
}

impl<T> ThreeWay<T> {
    fn make(mut part: impl FnMut(Split) -> Result<T>) -> Result<Self> {
        Ok(Self { train: part(Split::Train)?, valid: part(Split::Valid)?, test: part(Split::Test)? })
    }

    fn get(&self, split: Split) -> &T {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }
}

impl Domain {
    /// Opens a folder with `train`, `valid` and `test` as `.txt`, `.jsonl` or `.parquet` files, compressed or not, or a
    /// `.tar.gz` as M2D2 publishes them, which holds such a folder: splits are read when asked for. Reads any other corpus
    /// and divides it by document, deterministically, about 80/10/10.
    ///
    /// Of an archive's members only the splits are read, straight from it (`S.txt` or `S.jsonl`, at its top or in one
    /// folder); others are passed over.
    ///
    /// # Errors
    /// [`Error::Input`] where a split file is missing, empty or there twice, where dividing leaves a split empty, where
    /// an archive holds a member whose path is absolute or leads upwards, or a link for a split, and as
    /// [`Corpus::read`].
    pub fn open(path: &Path, rule: DocumentRule) -> Result<Self> {
        let parts = if is_archive(path) {
            let members = archive::splits(path)?;
            match Split::ALL.into_iter().find(|split| !members.iter().any(|member| member.split == *split)) {
                Some(split) => return Err(missing_in_archive(path, split, &members)),
                None => Parts::Archive,
            }
        } else if has_split_files(path)? {
            Parts::Files(ThreeWay::make(|split| {
                let file = split_file(path, split)?.ok_or_else(|| missing(path, split))?;
                match fs::metadata(&file).map_err(|e| Error::reading(&file, e))?.len() {
                    0 => Err(Error::file(&file, format!("the {split} split is empty"), "fill it")),
                    _ => Ok(file),
                }
            })?)
        } else {
            Parts::Divided(divide(Corpus::read(path, rule)?)?)
        };
        Ok(Self { name: name_of(path), path: path.to_owned(), rule, parts })
    }

    /// One of the splits.
    ///
    /// # Errors
    /// As [`Corpus::read`], where the split is a file.
    pub fn split(&self, split: Split) -> Result<Corpus> {
        match &self.parts {
            Parts::Files(files) => Corpus::read(files.get(split), self.rule),
            Parts::Archive => from_archive(&self.path, split, self.rule),
            Parts::Divided(corpora) => Ok(corpora.get(split).clone()),
        }
    }
}

/// Opens what stands on the command line for a corpus: of a folder with split files, or an archive of them, the
/// `preferred` one, anything else whole.
///
/// # Errors
/// [`Error::Input`] where the folder has split files but not this one, and as [`Domain::open`].
pub fn open_corpus(path: &Path, preferred: Split, rule: DocumentRule) -> Result<Corpus> {
    if is_archive(path) {
        from_archive(path, preferred, rule)
    } else if has_split_files(path)? {
        Corpus::read(&split_file(path, preferred)?.ok_or_else(|| missing(path, preferred))?, rule)
    } else {
        Corpus::read(path, rule)
    }
}

fn has_split_files(path: &Path) -> Result<bool> {
    for split in Split::ALL {
        if split_file(path, split)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The file of a split in a folder, if there is one.
fn split_file(folder: &Path, split: Split) -> Result<Option<PathBuf>> {
    let names = split_endings().map(|(ending, _)| format!("{split}{ending}"));
    let mut found = names.filter(|name| folder.join(name).is_file());
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let fault = format!("holds {first} and {second}, expected one {split} split");
            Err(Error::file(folder, fault, "remove or rename one of them"))
        }
        (first, _) => Ok(first.map(|name| folder.join(name))),
    }
}

fn missing(folder: &Path, split: Split) -> Error {
    Error::file(
        folder,
        format!("has split files but no {split}.txt, {split}.jsonl or {split}.parquet (or one of them as .gz or .zst)"),
        "add it, or name one of the files, which is then taken as a corpus of its own",
    )
}

fn is_archive(path: &Path) -> bool {
    path.is_file() && kind_of(path).is_some_and(|kind| kind.format == Format::Archive)
}

fn from_archive(path: &Path, split: Split, rule: DocumentRule) -> Result<Corpus> {
    match archive::read(path, split, rule)? {
        Some(documents) => Corpus::new(path, Some(split), documents),
        None => Err(missing_in_archive(path, split, &archive::splits(path)?)),
    }
}

fn missing_in_archive(path: &Path, split: Split, members: &[archive::Member]) -> Error {
    let found = match members {
        [] => "no split".to_owned(),
        members => members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(" and "),
    };
    Error::file(
        path,
        format!("holds {found}, but no {split}.txt or {split}.jsonl at its top or in one folder"),
        "download it again, or unpack it and name what is in it",
    )
}

fn divide(corpus: Corpus) -> Result<ThreeWay<Corpus>> {
    let total = corpus.documents.len();
    let [mut train, mut valid, mut test] = [const { Vec::new() }; 3];
    for document in corpus.documents {
        match Split::of(&document) {
            Split::Train => train.push(document),
            Split::Valid => valid.push(document),
            Split::Test => test.push(document),
        }
    }
    if [&train, &valid, &test].iter().any(|part| part.is_empty()) {
        let [train, valid, test] = [train.len(), valid.len(), test.len()];
        return Err(Error::file(
            &corpus.path,
            format!("too few documents to divide: of {total}, {train} fall to train, {valid} to valid, {test} to test"),
            "add documents (documents of a .txt file are separated by an empty line), or give a folder with the files \
             train.txt, valid.txt and test.txt",
        ));
    }
    let part = |split, documents| Corpus::new(&corpus.path, Some(split), documents);
    Ok(ThreeWay {
        train: part(Split::Train, train)?,
        valid: part(Split::Valid, valid)?,
        test: part(Split::Test, test)?,
    })
}

/// Name of a folder, or of a file without its extensions. A folder may have a dot in its name ("arxiv_cs.CL").
pub(crate) fn name_of(path: &Path) -> String {
    // "." and ".." have no name of their own.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let named = if path.file_name().is_some() { path } else { &whole };
    let of_corpus = named.file_name().and_then(|name| stem(name.to_str()?)).filter(|_| !named.is_dir());
    if let Some(name) = of_corpus {
        return name.to_owned();
    }
    let name = if named.is_dir() { named.file_name() } else { named.file_stem() };
    name.map_or_else(|| named.display().to_string(), |name| name.to_string_lossy().into_owned())
}
