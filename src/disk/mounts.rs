//! Which file system a path is on.

use std::path::Path;

/// File systems that several machines may have mounted at once.
const SHARED: [&str; 16] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse",
    "glusterfs",
    "gfs2",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "virtiofs",
];

/// A line of Linux's table.
struct Mount {
    at: String,
    kind: String,
}

fn mounts() -> Vec<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        Some(Mount { at: unescaped(before.split(' ').nth(4)?), kind: after.split(' ').next()?.to_owned() })
    };
    table.lines().filter_map(mount).collect()
}

/// The table writes blanks and the like as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, is)| text.replace(code, is))
}

/// Whether other machines may see the same files. `false` where the system does not say.
pub(super) fn is_shared(path: &Path) -> bool {
    let path = super::paths::real(path);
    let of_path = mounts().into_iter().filter(|mount| path.starts_with(&mount.at)).max_by_key(|mount| mount.at.len());
    of_path.is_some_and(|Mount { kind, .. }| SHARED.iter().any(|shared| kind.split('.').next() == Some(*shared)))
}

/// Whether a file system begins at this folder, so that it cannot be renamed.
pub(crate) fn is_mount_point(folder: &Path) -> bool {
    let folder = super::paths::real(folder);
    mounts().iter().any(|mount| Path::new(&mount.at) == folder)
}
