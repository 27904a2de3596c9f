//! Which process something belongs to, and whether that still runs.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::hashes::hash_bytes;

/// A process, told from all others that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// When it started: ticks since the system did on Linux, seconds since 1970 elsewhere.
    pub started: u64,
    /// The name of its machine.
    pub host: String,
    /// What this start of the machine is called; empty where the system does not say.
    pub boot: String,
    /// The space its number belongs to: containers have their own; empty where the system has none.
    pub space: String,
}

/// What can be said of a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Runs,
    /// It ended.
    Ended,
    /// It is, or was, where this process cannot look.
    Unknown,
}

impl Owner {
    /// This process.
    pub fn this() -> &'static Self {
        static THIS: OnceLock<Owner> = OnceLock::new();
        THIS.get_or_init(|| {
            let pid = std::process::id();
            let host = sysinfo::System::host_name().unwrap_or_default();
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
            let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
            Self { pid, started: start_of(pid).unwrap_or(0), host, boot, space }
        })
    }

    /// Whether it still runs.
    pub fn life(&self) -> Life {
        let here = Self::this();
        if self == here {
            return Life::Runs;
        }
        match (self.host == here.host, self.boot == here.boot) {
            (true, false) => Life::Ended, // the machine was started anew
            (true, true) if self.space == here.space && can_look() => match start_of(self.pid) {
                Some(started) if started == self.started => Life::Runs,
                _ => Life::Ended,
            },
            _ => Life::Unknown,
        }
    }

    /// Whether it ran on this very machine, since that was started.
    pub fn is_of_this_system(&self) -> bool {
        let here = Self::this();
        self.boot == here.boot && (!self.boot.is_empty() || self.host == here.host)
    }

    /// Host, start and space in eight characters each, for names of files.
    pub(super) fn machine(&self) -> String {
        [&self.host, &self.boot, &self.space].map(|text| hash_bytes(text.as_bytes())[..8].to_owned()).concat()
    }
}

/// Whether the system shows other users' processes.
fn can_look() -> bool {
    !cfg!(target_os = "linux") || fs::metadata("/proc/1").is_ok()
}

/// When the process of this number started; `None` where there is none.
#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name, which may hold anything; the third is the state, the 22nd the start.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!["Z", "X", "x"].contains(&state)).then_some(started)
}

/// When the process of this number started; `None` where there is none.
#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<u64> {
    use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};
    let (mut system, pid) = (System::new(), Pid::from_u32(pid));
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    system.process(pid).map(Process::start_time)
}
