//! A domain: a corpus in three splits, given as files or made by document.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive;
use super::corpus::{Collector, Corpus, Document, DocumentRule};
use super::format::{Format, kind_of, split_endings, stem};
use super::source::Watch;
use crate::error::{Error, Result};
use crate::progress::Watched;

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

    /// What its files may be called: the hub says "validation".
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train"],
            Self::Valid => &["valid", "validation"],
            Self::Test => &["test"],
        }
    }

    /// The split of a document that belongs to a corpus without split files: about 80 % train, 10 % valid, 10 % test.
    ///
    /// It depends on the content alone, so a document keeps its split when others are added, and copies of a document
    /// never stand in two splits.
    fn of(document: Document<'_>) -> Self {
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
    Files(ThreeWay<SplitFiles>),
    /// The path is an archive that has all three.
    Archive,
    Divided(Box<ThreeWay<Corpus>>),
}

/// The files that hold a split, in order.
type SplitFiles = Vec<PathBuf>;

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
    /// Names of the hub are known too: `validation` for `valid`, splits of several files in order
    /// (`train-00000-of-00002.parquet`), and all of them in a folder `data`.
    ///
    /// Of an archive's members only the splits are read, straight from it (`S.txt` or `S.jsonl`, at its top or in one
    /// folder); others are passed over.
    ///
    /// # Errors
    /// [`Error::Input`] where a split file is missing, empty or there twice, where dividing leaves a split empty, where
    /// an archive holds a member whose path is absolute or leads upwards, or a link for a split, and as
    /// [`Corpus::read`].
    pub fn open<'m>(path: &Path, rule: impl Into<Watched<'m, DocumentRule>>) -> Result<Self> {
        let mut rule = rule.into();
        let request = rule.request;
        let parts = if is_archive(path) {
            let members = Watch::over(&mut rule, path, &[path.to_owned()], |watch| archive::splits(path, watch))?;
            match Split::ALL.into_iter().find(|split| !members.iter().any(|member| member.split == *split)) {
                Some(split) => return Err(missing_in_archive(path, split, &members)),
                None => Parts::Archive,
            }
        } else if has_split_files(path)? {
            Parts::Files(ThreeWay::make(|split| {
                let files = split_files(path, split)?.ok_or_else(|| missing(path, split))?;
                let mut bytes = 0;
                for file in &files {
                    bytes += fs::metadata(file).map_err(|e| Error::reading(file, e))?.len();
                }
                match bytes {
                    0 => Err(Error::file(&files[0], format!("the {split} split is empty"), "fill it")),
                    _ => Ok(files),
                }
            })?)
        } else {
            Parts::Divided(divide(&Corpus::read(path, rule)?)?.into())
        };
        Ok(Self { name: name_of(path), path: path.to_owned(), rule: request, parts })
    }

    /// Whether the splits were made by document, and not given as files.
    pub fn is_divided(&self) -> bool {
        matches!(self.parts, Parts::Divided(_))
    }

    /// One of the splits.
    ///
    /// # Errors
    /// As [`Corpus::read`], where the split is a file.
    pub fn split<'m>(&self, split: impl Into<Watched<'m, Split>>) -> Result<Corpus> {
        let mut split = split.into();
        let request = split.request;
        let rule = Watched::by(self.rule, &mut split);
        match &self.parts {
            Parts::Files(files) => of_split_files(files.get(request), &self.path, request, rule),
            Parts::Archive => from_archive(&self.path, request, rule),
            Parts::Divided(corpora) => Ok(corpora.get(request).clone()),
        }
    }
}

/// Opens what stands on the command line for a corpus: of a folder with split files, or an archive of them, the
/// `preferred` one, anything else whole.
///
/// # Errors
/// [`Error::Input`] where the folder has split files but not this one, and as [`Domain::open`].
pub fn open_corpus<'m>(path: &Path, preferred: Split, rule: impl Into<Watched<'m, DocumentRule>>) -> Result<Corpus> {
    if is_archive(path) {
        from_archive(path, preferred, rule.into())
    } else if has_split_files(path)? {
        let files = split_files(path, preferred)?.ok_or_else(|| missing(path, preferred))?;
        of_split_files(&files, path, preferred, rule.into())
    } else {
        Corpus::read(path, rule)
    }
}

/// Whether a folder has files named as splits are, itself or in `data`.
///
/// # Errors
/// The folder cannot be listed, or has a split twice.
pub fn has_split_files(path: &Path) -> Result<bool> {
    for split in Split::ALL {
        if split_files(path, split)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A split of `folder`: a corpus of its own where it is one file.
fn of_split_files(files: &[PathBuf], folder: &Path, split: Split, rule: Watched<'_, DocumentRule>) -> Result<Corpus> {
    match files {
        [file] => Corpus::of_files(files, file, None, rule),
        _ => Corpus::of_files(files, folder, Some(split), rule),
    }
}

/// The files of a split in a folder or, as data sets of the hub have it, in `data` below it, if there are any.
fn split_files(folder: &Path, split: Split) -> Result<Option<SplitFiles>> {
    for folder in [folder, &folder.join("data")] {
        let mut found = whole_splits(folder, split);
        found.extend(shards(folder, split)?);
        match &found[..] {
            [] => {}
            [_] => return Ok(found.pop()),
            [first, second, ..] => {
                let [first, second] = [first, second].map(|files| files[0].file_name().unwrap_or_default().display());
                let fault = format!("holds {first} and {second}, expected one {split} split");
                return Err(Error::file(folder, fault, "remove or rename one of them"));
            }
        }
    }
    Ok(None)
}

/// Splits of one file.
fn whole_splits(folder: &Path, split: Split) -> Vec<SplitFiles> {
    let names = split.names().iter().flat_map(|name| split_endings().map(move |(ending, _)| format!("{name}{ending}")));
    names.map(|name| folder.join(name)).filter(|file| file.is_file()).map(|file| vec![file]).collect()
}

/// Splits of several files, `{split}-{number}-of-{count}.{ending}`, each whole and in order.
fn shards(folder: &Path, split: Split) -> Result<Vec<SplitFiles>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    // By what they have in common: the split's name, the count and the ending.
    let mut sets: BTreeMap<(String, usize, String), Vec<(usize, PathBuf)>> = BTreeMap::new();
    for entry in entries {
        let file = entry.map_err(|e| Error::reading(folder, e))?.path();
        let shard = file.file_name().and_then(|name| Shard::of(name.to_str()?, split));
        if let Some(Shard { name, number, count, ending }) = shard.filter(|_| file.is_file()) {
            sets.entry((name, count, ending)).or_default().push((number, file));
        }
    }
    let whole = |((name, count, ending), mut files): ((String, usize, String), Vec<(usize, PathBuf)>)| {
        files.sort();
        match (0..count).find(|&number| files.get(number).is_none_or(|(found, _)| *found != number)) {
            None if files.len() == count => Ok(files.into_iter().map(|(_, file)| file).collect()),
            number => {
                let number = number.unwrap_or(count);
                let fault = format!(
                    "holds {} of the {count} files {name}-…-of-{count:05}{ending}: number {number:05} is missing or there \
                     twice",
                    files.len()
                );
                Err(Error::file(folder, fault, "download the data set again"))
            }
        }
    };
    sets.into_iter().map(whole).collect()
}

/// The name of a file that is a part of a split, taken apart.
struct Shard {
    name: String,
    number: usize,
    count: usize,
    ending: String,
}

impl Shard {
    /// `train-00000-of-00002.parquet`.
    fn of(file: &str, split: Split) -> Option<Self> {
        let (ending, rest) = split_endings().find_map(|(ending, _)| {
            let rest = file.strip_suffix(&ending)?;
            Some((ending, rest))
        })?;
        let (name, rest) = rest.split_once('-')?;
        let (number, count) = rest.split_once("-of-")?;
        let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !split.names().contains(&name) || !is_number(number) || !is_number(count) {
            return None;
        }
        Some(Self { name: name.to_owned(), number: number.parse().ok()?, count: count.parse().ok()?, ending })
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

fn from_archive(path: &Path, split: Split, mut rule: Watched<'_, DocumentRule>) -> Result<Corpus> {
    let mut documents = Collector::new();
    let request = rule.request;
    let members = Watch::over(&mut rule, path, &[path.to_owned()], |watch| {
        archive::read(path, split, request, watch, &mut documents)
    })?;
    match members.iter().any(|member| member.split == split) {
        true => documents.finish(path, Some(split)),
        false => Err(missing_in_archive(path, split, &members)),
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

fn divide(corpus: &Corpus) -> Result<ThreeWay<Corpus>> {
    let [mut train, mut valid, mut test] = Split::ALL.map(|_| Collector::new());
    for document in corpus.documents.iter() {
        let part = match Split::of(document) {
            Split::Train => &mut train,
            Split::Valid => &mut valid,
            Split::Test => &mut test,
        };
        part.push(document, || corpus.to_string())?;
    }
    if [&train, &valid, &test].iter().any(|part| part.len() == 0) {
        let total = corpus.documents.len();
        let [train, valid, test] = [train.len(), valid.len(), test.len()];
        return Err(Error::file(
            &corpus.path,
            format!("too few documents to divide: of {total}, {train} fall to train, {valid} to valid, {test} to test"),
            "add documents (documents of a .txt file are separated by an empty line), or give a folder with the files \
             train.txt, valid.txt and test.txt",
        ));
    }
    let part = |split, documents: Collector| documents.finish(&corpus.path, Some(split));
    Ok(ThreeWay {
        train: part(Split::Train, train)?,
        valid: part(Split::Valid, valid)?,
        test: part(Split::Test, test)?,
    })
}

/// Name of a folder, or of a file without its extensions. A folder may have a dot in its name ("arxiv_cs.CL").
pub fn name_of(path: &Path) -> String {
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
