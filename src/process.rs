//! The memory of this process, and how sizes are said.

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

/// The most memory this process ever had, bytes; what it has now where the system does not keep the peak.
pub fn peak_resident() -> u64 {
    // The kernel's own mark, of this program alone: getrusage's would include who started it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = mark.and_then(|mark| mark.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or_else(resident, |kibibytes| kibibytes * 1024)
}
