//! Memory that this process can still take: of the machine's, and within the limits that are set for the process.
//!
//! On Linux these are the limits of `ulimit` (address space and data), the memory limits of its control group and of those
//! above it, which containers and batch systems set, and the system's own where it promises no more than it has. Elsewhere
//! it is what the system calls available.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::process::bytes;

/// Memory that is free, and what bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeMemory {
    /// Bytes.
    pub bytes: u64,
    /// What sets the bound.
    pub bound_by: Bound,
}

/// What sets a bound to the memory that a process can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// What the machine has.
    Machine,
    /// What the graphics card has.
    Card,
    /// A limit that somebody set, in words: "ulimit -v, 586 MiB".
    Limit(String),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("the memory of this machine"),
            Self::Card => f.write_str("the memory of this card"),
            Self::Limit(limit) => f.write_str(limit),
        }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FreeMemory {
    /// What this process can still take; `None` where the system does not say.
    pub fn now() -> Option<Self> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let available = Some(system.available_memory()).filter(|&available| available > 0);
        let machine = available.map(|bytes| Self { bytes, bound_by: Bound::Machine });
        machine.into_iter().chain(Self::limits(Path::new("/"))).min_by_key(|free| free.bytes)
    }

    /// What is left within each limit, by the files of a Linux system whose root is `root`.
    pub fn limits(root: &Path) -> Vec<Self> {
        let process = root.join("proc/self");
        let mut found = ulimits(&process);
        found.extend(promised(root));
        for group in groups(root, &process) {
            group.add_limits(root, &mut found);
        }
        found
    }
}

/// A file's text; empty where there is none.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number behind `key` in lines of keys and numbers.
fn number(lines: &str, key: &str) -> Option<u64> {
    let line = lines.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What `ulimit` leaves.
fn ulimits(process: &Path) -> Vec<FreeMemory> {
    let (limits, status) = (text(&process.join("limits")), text(&process.join("status")));
    let left = |(limit, option, used): (&str, &str, &str)| {
        let limit = number(&limits, limit)?; // which is no number where it is "unlimited"
        let used = number(&status, used)? << 10;
        let bound_by = Bound::Limit(format!("ulimit {option}, {}", bytes(limit)));
        Some(FreeMemory { bytes: limit.saturating_sub(used), bound_by })
    };
    [("Max address space", "-v", "VmSize:"), ("Max data size", "-d", "VmData:")].into_iter().filter_map(left).collect()
}

/// What a system has left that promises no more memory than it has.
fn promised(root: &Path) -> Option<FreeMemory> {
    if text(&root.join("proc/sys/vm/overcommit_memory")).trim() != "2" {
        return None;
    }
    let memory = text(&root.join("proc/meminfo"));
    let limit = number(&memory, "CommitLimit:")? << 10;
    let used = number(&memory, "Committed_AS:")? << 10;
    let bound_by = Bound::Limit(format!("vm.overcommit_memory=2, {}", bytes(limit)));
    Some(FreeMemory { bytes: limit.saturating_sub(used), bound_by })
}

/// The control group of a process in one hierarchy.
struct Group {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group's folder below that.
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups that bound the memory of the process in `process`.
fn groups(root: &Path, process: &Path) -> Vec<Group> {
    let (own, mounts) = (text(&process.join("cgroup")), text(&process.join("mountinfo")));
    let mut found = Vec::new();
    for mount in mounts.lines() {
        // Fields, optional ones, a dash, then type, source and options of the file system.
        let Some((before, after)) = mount.split_once(" - ") else { continue };
        let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
        let (&[_, _, _, top, point, ..], &[kind, _, options, ..]) = (&before[..], &after[..]) else { continue };
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
            _ => continue,
        };
        let group = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let wanted = match version {
                Version::One => controllers.split(',').any(|controller| controller == "memory"),
                Version::Two => controllers.is_empty(),
            };
            wanted.then_some(path)
        });
        let Some(group) = group else { continue };
        // A container sees a part of the hierarchy, whose top may be its own group.
        let below = Path::new(group).strip_prefix(unescaped(top)).ok().filter(|path| is_plain(path));
        let below = below.or_else(|| Path::new(group).strip_prefix("/").ok()).filter(|path| is_plain(path));
        let mount = root.join(unescaped(point).trim_start_matches('/'));
        let path = below.filter(|path| mount.join(path).is_dir()).unwrap_or(Path::new("")).to_owned();
        found.push(Group { mount, path, version });
    }
    found
}

/// Whether a path stays where it begins.
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// A path of `mountinfo`, in which blanks are written as numbers.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(path.to_owned(), |path, (escape, blank)| path.replace(escape, blank))
}

impl Group {
    /// Adds what is left within each limit of this group and of those above it.
    fn add_limits(&self, root: &Path, found: &mut Vec<FreeMemory>) {
        let (limits, used): (&[&str], &str) = match self.version {
            Version::One => (&["memory.limit_in_bytes"], "memory.usage_in_bytes"),
            Version::Two => (&["memory.max", "memory.high"], "memory.current"),
        };
        for below in self.path.ancestors() {
            let folder = self.mount.join(below);
            let value = |name: &str| text(&folder.join(name)).trim().parse::<u64>().ok();
            let Some(used) = value(used) else { continue };
            for name in limits {
                // Without a limit version 1 has a number of the size of the address space, and version 2 "max".
                let Some(limit) = value(name).filter(|&limit| limit < 1 << 60) else { continue };
                let shown = Path::new("/").join(folder.strip_prefix(root).unwrap_or(&folder)).join(name);
                let left = limit.saturating_sub(used.saturating_sub(self.cached(&folder)));
                let bound_by = format!("the control group's {}, {}", shown.display(), bytes(limit));
                found.push(FreeMemory { bytes: left, bound_by: Bound::Limit(bound_by) });
            }
        }
    }

    /// Bytes of files that count against the limit and give way when others need the memory.
    fn cached(&self, folder: &Path) -> u64 {
        let statistics = text(&folder.join("memory.stat"));
        let keys = match self.version {
            Version::One => ["total_active_file ", "total_inactive_file "],
            Version::Two => ["active_file ", "inactive_file "],
        };
        keys.into_iter().filter_map(|key| number(&statistics, key)).sum()
    }
}
