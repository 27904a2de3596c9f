//! The memory of this process, the room on disks, how sizes are said, and what of its work must not be cut off.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Work under way that must not be cut off: a run that can be saved, a file that is being written. Who is asked to end
/// waits until there is none; it lasts as long as this is held.
#[derive(Debug)]
pub struct Unbroken(());

static UNBROKEN: AtomicUsize = AtomicUsize::new(0);

impl Unbroken {
    /// It begins.
    pub fn begin() -> Self {
        UNBROKEN.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// Whether there is any.
    pub fn is_any() -> bool {
        UNBROKEN.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Unbroken {
    fn drop(&mut self) {
        UNBROKEN.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A number of bytes for people: `4.7 GiB`, `160 MiB`, `12 KiB`, `7 bytes`. Never 0 of something larger than it is.
pub fn bytes(count: u64) -> String {
    match count as f64 / f64::from(1 << 20) {
        _ if count == 1 => "1 byte".to_owned(),
        _ if count < 1 << 10 => format!("{count} bytes"),
        // What would be rounded to 1024 KiB is a mebibyte.
        mebibytes if mebibytes < 0.9995 => format!("{:.0} KiB", count as f64 / 1024.0),
        mebibytes if mebibytes < 1000.0 => format!("{mebibytes:.0} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

/// The memory this process has now, bytes.
pub fn resident() -> u64 {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

/// The most memory this process ever had, bytes; its present memory if the system does not store the peak.
pub fn peak_resident() -> u64 {
    // The kernel's own mark, of this program alone: getrusage would include the parent process.
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
