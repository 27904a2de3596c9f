//! A domain: a corpus in three splits, given as files or made by document.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive;
use super::collector::Collector;
use super::corpus::Corpus;
use super::format::{Format, kind_of, stem};
use super::options::ReadOptions;
use super::split::Split;
use super::split_files::{Divided, SplitFiles};
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::progress::Watched;

/// A text domain: its name and its three splits.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Name of the folder, or of the file without its extensions.
    pub name: String,
    /// The folder or file.
    pub path: PathBuf,
    options: ReadOptions,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    Files(Box<ThreeWay<SplitFiles>>),
    /// The path is an archive that has all three.
    Archive,
    Divided(Box<ThreeWay<Corpus>>),
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
    /// Splits are known by the names that the `datasets` library knows, at any depth: files (`validation.jsonl`,
    /// `train-00000-of-00002-0a1b.parquet`), or folders (`test/`). All files of a split must be there.
    ///
    /// Of an archive's members only the splits are read, straight from it (`S.txt` or `S.jsonl`, at its top or in one
    /// folder); others are passed over.
    ///
    /// # Errors
    /// [`Error::Input`] where a split file is missing, empty or there twice, where dividing leaves a split empty, where
    /// an archive holds a member whose path is absolute or leads upwards, or a link for a split, and as
    /// [`Corpus::read`].
    pub fn open<'m>(path: impl AsRef<Path>, options: impl Into<Watched<'m, ReadOptions>>) -> Result<Self> {
        let path = path.as_ref();
        let mut options = options.into();
        let request = options.request.clone();
        let parts = if is_archive(path) {
            let members = Watch::over(&mut options, path, &[path.to_owned()], |watch| archive::splits(path, watch))?;
            match Split::ALL.into_iter().find(|split| !members.iter().any(|member| member.split == *split)) {
                Some(split) => return Err(missing_in_archive(path, split, &members)),
                None => Parts::Archive,
            }
        } else if let Some(divided) = Divided::of(path)? {
            Parts::Files(Box::new(ThreeWay::make(|split| {
                let found = divided.need(split)?;
                let mut bytes = 0;
                for file in &found.files {
                    bytes += fs::metadata(file).map_err(|e| Error::reading(file, e))?.len();
                }
                match bytes {
                    0 => Err(Error::file(&found.files[0], format!("the {split} split is empty"), "fill it")),
                    _ => Ok(found),
                }
            })?))
        } else {
            Parts::Divided(divide(&Corpus::read(path, options)?)?.into())
        };
        Ok(Self { name: name_of(path), path: path.to_owned(), options: request, parts })
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
        let options = Watched::by(self.options.clone(), &mut split);
        match &self.parts {
            Parts::Files(files) => of_split_files(files.get(request), &self.path, request, options),
            Parts::Archive => from_archive(&self.path, request, options),
            Parts::Divided(corpora) => Ok(corpora.get(request).clone()),
        }
    }
}

/// Opens a corpus given on the command line: the `preferred` split of a folder or archive with splits, and anything
/// else completely.
///
/// # Errors
/// [`Error::Input`] where the folder has split files but not this one, and as [`Domain::open`].
pub fn open_corpus<'m>(path: &Path, preferred: Split, options: impl Into<Watched<'m, ReadOptions>>) -> Result<Corpus> {
    if is_archive(path) {
        from_archive(path, preferred, options.into())
    } else if let Some(divided) = Divided::of(path)? {
        of_split_files(&divided.need(preferred)?, path, preferred, options.into())
    } else {
        Corpus::read(path, options)
    }
}

/// A split of `folder`: a corpus of its own where it is one file.
fn of_split_files(
    split_files: &SplitFiles,
    folder: &Path,
    split: Split,
    options: Watched<'_, ReadOptions>,
) -> Result<Corpus> {
    let SplitFiles { files, left_out } = split_files;
    match &files[..] {
        [file] => Corpus::of_files(files, file, None, left_out.clone(), options),
        _ => Corpus::of_files(files, folder, Some(split), left_out.clone(), options),
    }
}

fn is_archive(path: &Path) -> bool {
    path.is_file() && kind_of(path).is_some_and(|kind| kind.format == Format::Archive)
}

fn from_archive(path: &Path, split: Split, mut options: Watched<'_, ReadOptions>) -> Result<Corpus> {
    let mut documents = Collector::new();
    let request = options.request.clone();
    let members = Watch::over(&mut options, path, &[path.to_owned()], |watch| {
        archive::read(path, split, &request, watch, &mut documents)
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
        let part = match Split::of(document.digest()) {
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
