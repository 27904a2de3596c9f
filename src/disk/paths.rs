//! Paths in one form, whatever way they are written.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// `path` without what changes nothing: slashes at its end or in a row, `.` and `..` parts. Links are followed only where
/// a `..` stands behind them, as the system does.
///
/// A path that was plainly one (`./gpt2`, `gpt2/`, `x/../gpt2`) never comes out as a bare name, which may mean something on
/// the hub: it keeps or gets a `./` unless it exists. What is no path (an address, a name after `hub:`) stays as it is.
pub fn normal(path: &Path) -> PathBuf {
    if path.to_str().is_some_and(|text| text.is_empty() || text.contains("://") || text.starts_with("hub:")) {
        return path.to_owned();
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => ascend(&mut plain),
            // "./x" keeps its sign, "x/.." leaves one.
            Component::Normal(name) if plain.as_os_str().is_empty() => plain = name.into(),
            part => plain.push(part),
        }
    }
    let is_bare = matches!(plain.components().next(), Some(Component::Normal(_)));
    if is_bare && plain.as_os_str() != path.as_os_str() && plain.symlink_metadata().is_err() {
        return Path::new(".").join(plain);
    }
    plain
}

/// Goes one folder up.
fn ascend(path: &mut PathBuf) {
    match path.components().next_back() {
        Some(Component::RootDir | Component::Prefix(_)) => {}
        Some(Component::Normal(_)) => {
            if path.is_symlink()
                && let Ok(real) = path.canonicalize()
            {
                *path = real;
            }
            path.pop();
            if path.as_os_str().is_empty() {
                path.push(".");
            }
        }
        Some(Component::CurDir) => *path = "..".into(),
        Some(Component::ParentDir) | None => path.push(".."),
    }
}

/// The place of a folder that is written: in its normal form, with a name of its own. A link to a folder stands for that
/// folder, and `.` and `..` for what they are.
///
/// # Errors
/// A link that leads to nothing.
pub fn folder_place(path: &Path) -> Result<PathBuf> {
    let path = normal(path);
    let path =
        path.strip_prefix(".").ok().filter(|rest| !rest.as_os_str().is_empty()).map(Path::to_owned).unwrap_or(path);
    let is_link = path.is_symlink();
    if !is_link && path.file_name().is_some() {
        return Ok(path);
    }
    match path.canonicalize() {
        Ok(real) => Ok(real),
        Err(_) if is_link => Err(Error::file(&path, "is a link that leads to nothing", "choose another folder")),
        Err(error) => Err(Error::writing(&path, error)),
    }
}

/// `path` with `ending` after its name.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder a path lies in; "." for a bare name.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Where `path` is or would be, links in it followed as far as they exist.
pub fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if folder != Path::new("") => real(folder).join(name),
        (_, Some(name)) => real(Path::new(".")).join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// Whether both are the same file or folder, by whatever name or link.
pub fn is_same(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if let (Ok(a), Ok(b)) = (a.metadata(), b.metadata()) {
            return (a.dev(), a.ino()) == (b.dev(), b.ino());
        }
    }
    real(a) == real(b)
}

/// What a path's last part is called, as bytes that tell any two names apart.
pub(super) fn name_bytes(path: &Path) -> &[u8] {
    path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default()
}
