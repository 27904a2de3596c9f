//! What a command may write over: its own earlier output of the same kind, and nothing else.
//!
//! A file is told by what is in it, never by its name. What the command reads it never writes over, by whatever name or
//! link, even where it is told to write over files of others.

use std::path::{Path, PathBuf};

use super::paths::{is_same, real};
use crate::error::{Error, Result};
use crate::message::Message;

/// Files of a folder that are looked at for one that is to be written, at most.
const MOST_FILES: usize = 1_000_000;

/// Guards the outputs of one command.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Whether files of others may be replaced.
    force: bool,
    inputs: Vec<PathBuf>,
    /// A folder that is made whole at the end, where nothing can lie before.
    new_folder: Option<PathBuf>,
    given: Vec<PathBuf>,
}

impl Outputs {
    /// For a command that reads these files and folders; with `force` it replaces what others wrote, too.
    pub fn new(force: bool, inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let inputs = inputs.into_iter().map(|path| path.as_ref().to_owned()).collect();
        Self { force, inputs, new_folder: None, given: Vec::new() }
    }

    /// Also keeps outputs out of a folder that will be made.
    #[must_use]
    pub fn beside_new_folder(mut self, folder: &Path) -> Self {
        self.new_folder = Some(real(folder));
        self
    }

    /// Where to write the file `path`: a link is followed. `is_own` says whether a file there is an earlier output of the
    /// same kind.
    ///
    /// # Errors
    /// The file may not be replaced, or two outputs are the same; with the reason and the remedy.
    pub fn file(&mut self, path: &Path, is_own: impl FnOnce(&Path) -> bool) -> Result<PathBuf> {
        let place = self.place(path)?;
        let Ok(about) = place.symlink_metadata() else { return Ok(place) };
        let special = |fault: &str| Err(Error::file(path, fault, "name a file"));
        let kind = about.file_type();
        if kind.is_dir() {
            return Err(Error::writing(path, std::io::ErrorKind::IsADirectory.into()));
        }
        if is_device(&about) {
            return special("is a device, expected a file's name");
        }
        if let Some(input) = self.inputs.iter().find(|input| holds(input, &place, has_other_names(&about))) {
            let fault = match is_same(input, &place) {
                true => "is what this command reads".to_owned(),
                false => format!("belongs to {}, which this command reads", input.display()),
            };
            return Err(Error::file(path, fault, "choose another file"));
        }
        if !kind.is_file() && !self.force {
            return special("is a pipe or socket, expected a file's name");
        }
        if self.force || !kind.is_file() || about.len() == 0 || is_own(&place) {
            return Ok(place);
        }
        let fault = "exists already, and is no earlier output of this kind";
        Err(Error::file(path, fault, Message::new("choose another file, or give ").key("force").then(" to replace it")))
    }

    /// Where to write into the folder `path`, in which nothing is replaced.
    ///
    /// # Errors
    /// It would lie in the folder that is made whole at the end.
    pub fn folder(&mut self, path: &Path) -> Result<PathBuf> {
        self.place(path)
    }

    /// `path` with links followed; a place is given once.
    fn place(&mut self, path: &Path) -> Result<PathBuf> {
        if path.is_symlink() && !path.exists() {
            return Err(Error::file(path, "is a link that leads to nothing", "choose another name"));
        }
        let there = real(path);
        if let Some(folder) = &self.new_folder
            && there.starts_with(folder)
        {
            let fault = format!("lies in {}, which is made whole at the end", folder.display());
            return Err(Error::file(path, fault, "choose a place beside it"));
        }
        if self.given.contains(&there) {
            return Err(Error::file(path, "is given for two outputs", "give each a file of its own"));
        }
        self.given.push(there.clone());
        Ok(if path.is_symlink() { there } else { path.to_owned() })
    }
}

#[cfg(unix)]
fn is_device(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = about.file_type();
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(about: &std::fs::Metadata) -> bool {
    !(about.is_file() || about.is_dir() || about.is_symlink())
}

/// Whether other files may be the same by a hard link.
#[cfg(unix)]
fn has_other_names(about: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) > 1
}

#[cfg(not(unix))]
fn has_other_names(_about: &std::fs::Metadata) -> bool {
    true
}

/// Whether `file`, which exists, is `input` or any file in that folder, by whatever name or link.
fn holds(input: &Path, file: &Path, has_other_names: bool) -> bool {
    if is_same(input, file) {
        return true;
    }
    if !input.is_dir() {
        return false;
    }
    let (input, mut left) = (real(input), MOST_FILES);
    let is_linked = |at: &Path| (has_other_names || at.is_symlink()) && is_same(at, file);
    real(file).starts_with(&input) || any_in(&input, &mut left, &is_linked)
}

fn any_in(folder: &Path, left: &mut usize, fits: &dyn Fn(&Path) -> bool) -> bool {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        let at = entry.path();
        // Linked folders are not entered: links may form a loop.
        let found = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => any_in(&at, left, fits),
            false => fits(&at),
        };
        if found {
            return true;
        }
    }
    false
}
