//! A domain as M2D2 publishes it: `{config}.tar.gz`, which holds `{config}/train.txt`, `valid.txt` and `test.txt`.
//!
//! Splits are read straight from the archive: nothing is ever unpacked to disk. A split is a regular member `S.txt` or
//! `S.jsonl`, S one of train, valid and test (or another of their names), at the top or in one folder; there may be one of each. Other members are
//! passed over, unless their name is absolute or leads upwards (`..`), or a link stands where a split is expected: such an
//! archive is refused, by the member's name.

use std::io::{self, BufReader, Read};
use std::path::Path;

use tar::{EntryType, PaxExtensions};

use super::collector::Collector;
use super::encoding::encoding_fault;
use super::format::{Compression, Format, Kind, kind_of, split_endings};
use super::options::ReadOptions;
use super::read::read_documents;
use super::source::{self, Lines};
use super::split::Split;
use super::watch::Watch;
use crate::error::{Error, Result};

/// The largest header with the name of a member, bytes; a longer one is refused.
const LONGEST_HEADER: u64 = 1 << 16;

/// A split's member.
pub(super) struct Member {
    pub split: Split,
    /// Its path in the archive.
    pub name: String,
    format: Format,
    size: u64,
}

/// The splits of an archive, in its order, each at most once and none empty.
pub(super) fn splits(path: &Path, watch: &Watch<'_>) -> Result<Vec<Member>> {
    walk(path, watch, |_, _| Ok(()))
}

/// Hands the documents of a split to `documents`, and gives the splits that the archive has.
pub(super) fn read(
    path: &Path,
    split: Split,
    options: &ReadOptions,
    watch: &Watch<'_>,
    documents: &mut Collector,
) -> Result<Vec<Member>> {
    walk(path, watch, |member, content| {
        if member.split != split {
            return Ok(());
        }
        documents.count_file(member.size);
        let name = format!("{}: {}", path.display(), member.name);
        let mut counted = Counted { content, bytes: 0 };
        let mut lines = Lines::new(Box::new(BufReader::new(&mut counted)), name, Box::new(|e| damaged(path, e)))?;
        read_documents(&mut lines, member.format, options, documents)?;
        drop(lines);
        match counted.bytes == member.size {
            true => Ok(()),
            false => Err(damaged(path, io::Error::other("it ends early"))),
        }
    })
}

/// Counts what is read.
struct Counted<'a> {
    content: &'a mut dyn Read,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.content.read(buffer)?;
        self.bytes += bytes as u64;
        Ok(bytes)
    }
}

fn compression_of(path: &Path) -> Compression {
    kind_of(path).map_or(Compression::None, |kind| kind.compression)
}

fn damaged(path: &Path, source: io::Error) -> Error {
    let compression = compression_of(path);
    if let Some(error) = encoding_fault(&path.display().to_string(), &source) {
        return error;
    }
    // An error of the decoder. Errors of the system have a number; errors of the archive reader are `Other`.
    let of_archive = source.kind() == io::ErrorKind::Other || compression == Compression::None;
    match source.raw_os_error() {
        None if of_archive => {
            Error::file(path, format!("not a whole tar archive ({source})"), "download it or make it again")
        }
        _ => source::fault(path, compression, source),
    }
}

/// Shows each split's member with its content to `visit`. The whole archive is always read, so that damage and refused
/// members are always found. After its end only padding is allowed.
fn walk(
    path: &Path,
    watch: &Watch<'_>,
    mut visit: impl FnMut(&Member, &mut dyn Read) -> Result<()>,
) -> Result<Vec<Member>> {
    let damaged = |e: io::Error| damaged(path, e);
    let refused = |name: &str, fault: &str| {
        Error::file(path, format!("its member {name:?} {fault}"), "do not trust this archive; download it again")
    };
    let named = Kind { format: Format::Archive, compression: compression_of(path) };
    let (_, reader) = source::open(path, named, watch)?;
    let mut archive = tar::Archive::new(reader);
    let mut found: Vec<Member> = Vec::new();
    let mut long_name = None;
    // Raw entries, because the names that the library assembles have no size limit.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName | EntryType::XHeader => {
                long_name = read_name(&mut entry, kind).map_err(damaged)?.or(long_name);
                continue;
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        let parts: Vec<&str> = name.split(['/', '\\']).collect();
        if parts.first().is_some_and(|first| first.is_empty() || first.contains(':')) {
            return Err(refused(&name, "has an absolute path"));
        }
        if parts.contains(&"..") {
            return Err(refused(&name, "leads out of its folder"));
        }
        let Some((split, Kind { format, .. })) = split_of(&parts) else { continue };
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(refused(&name, "stands where a split is expected and is no regular file"));
        }
        let member = Member { split, format, size: entry.size(), name };
        if let Some(first) = found.iter().find(|other| other.split == split) {
            let fault = format!("holds {} and {}, expected one {split} split", first.name, member.name);
            return Err(Error::file(path, fault, "unpack it and keep one of them"));
        }
        if member.size == 0 {
            return Err(Error::file(path, format!("its {} is empty", member.name), "download it again, or fill it"));
        }
        visit(&member, &mut entry)?;
        found.push(member);
    }
    let mut rest = archive.into_inner();
    let mut buffer = [0; 1 << 13];
    loop {
        match rest.read(&mut buffer).map_err(damaged)? {
            0 => return Ok(found),
            n if buffer[..n].iter().all(|&byte| byte == 0) => {}
            _ => return Err(damaged(io::Error::other("something follows its end"))),
        }
    }
}

/// The name that an extension header gives to the member after it, if it does.
fn read_name(entry: &mut dyn Read, kind: EntryType) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_HEADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_HEADER {
        return Err(io::Error::other("a member's header of more than 64 KiB"));
    }
    if kind == EntryType::GNULongName {
        return Ok(Some(bytes.strip_suffix(b"\0").map_or(bytes.clone(), <[u8]>::to_vec)));
    }
    let mut name = None;
    for extension in PaxExtensions::new(&bytes) {
        let extension = extension?;
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // It would replace the size in the header of the member, which raw entries use.
            b"size" => return Err(io::Error::other("a member of more than 8 GiB")),
            _ => {}
        }
    }
    Ok(name)
}

/// The split that a member of this path is, at the top or in one folder.
fn split_of(parts: &[&str]) -> Option<(Split, Kind)> {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| *part != ".").collect();
    let ([file] | [_, file]) = parts[..] else { return None };
    let mut endings = split_endings().filter(|(_, kind)| {
        kind.compression == Compression::None && matches!(kind.format, Format::Text | Format::JsonLines)
    });
    endings.find_map(|(ending, kind)| {
        let stem = file.strip_suffix(&ending)?;
        Some((Split::ALL.into_iter().find(|split| split.names().contains(&stem))?, kind))
    })
}
