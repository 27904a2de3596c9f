//! The memory of this process, the room on disks, and how sizes are said.

use std::path::Path;

/// A number of bytes for people: `4.7 GiB`, `160 MiB`.
pub fn bytes(count: u64) -> String {
    match count as f64 / f64::from(1 << 20) {
        mebibytes if mebibytes < 1000.0 => format!("{mebibytes:.0} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

/// The memory this process has now, bytes.
pub fn resident() -> u64 {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

/// The most memory this process ever had, bytes; what it has now where the system does not keep the peak.
pub fn peak_resident() -> u64 {
    // The kernel's own mark, of this program alone: getrusage's would include who started it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = mark.and_then(|mark| mark.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or_else(resident, |kibibytes| kibibytes * 1024)
}

/// Bytes that are free where `path` is or will be; `None` where nobody says.
#[cfg(target_os = "linux")]
pub fn free_disk(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|at| at.exists())?;
    let about = rustix::fs::statvfs(there).ok()?;
    // Some file systems do not tell.
    (about.f_blocks > 0).then(|| about.f_bavail.saturating_mul(about.f_frsize))
}

/// Bytes that are free where `path` is or will be; `None` where nobody says.
#[cfg(not(target_os = "linux"))]
pub fn free_disk(_path: &Path) -> Option<u64> {
    None
}
