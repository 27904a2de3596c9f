//! Memory limits that are set for a process are found where Linux says them, and bound what a run may take.

use crate::cli;
use std::fs;
use std::path::Path;

use odyssey::device::limits::{Bound, FreeMemory};

const MIB: u64 = 1 << 20;

/// The files of a system, by their paths.
fn system(files: &[(&str, String)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// What is left within each limit, MiB, and the limit.
fn left(root: &Path) -> Vec<(u64, String)> {
    let limit = |free: &FreeMemory| match &free.bound_by {
        Bound::Limit(limit) => limit.clone(),
        other => panic!("{other} is no limit"),
    };
    FreeMemory::limits(root).iter().map(|free| (free.bytes / MIB, limit(free))).collect()
}

const VERSION_2: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

fn bytes(mebibytes: u64) -> String {
    format!("{}\n", mebibytes * MIB)
}

#[test]
fn limits_of_a_control_group_and_of_those_above_it_count() {
    let root = system(&[
        ("proc/self/cgroup", "0::/batch/job 7\n".into()),
        ("proc/self/mountinfo", VERSION_2.into()),
        ("sys/fs/cgroup/batch/memory.max", bytes(1000)),
        ("sys/fs/cgroup/batch/memory.high", "max\n".into()),
        ("sys/fs/cgroup/batch/memory.current", bytes(900)),
        ("sys/fs/cgroup/batch/memory.stat", format!("anon 5\nfile 7\nactive_file {}\n", 500 * MIB)),
        ("sys/fs/cgroup/batch/job 7/memory.max", "max\n".into()),
        ("sys/fs/cgroup/batch/job 7/memory.high", bytes(600)),
        ("sys/fs/cgroup/batch/job 7/memory.current", bytes(100)),
        ("sys/fs/cgroup/batch/job 7/memory.stat", format!("inactive_file {}\nactive_file 0\n", 20 * MIB)),
    ]);
    // Files that are cached give way: 1000 − (900 − 500), and 600 − (100 − 20).
    let found = left(root.path());
    let high = "the control group's /sys/fs/cgroup/batch/job 7/memory.high, 600 MiB";
    let max = "the control group's /sys/fs/cgroup/batch/memory.max, 1.0 GiB";
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.contains(&(520, high.into())), "{found:?}");
    assert!(found.contains(&(600, max.into())), "{found:?}");
}

#[test]
fn limits_of_the_first_version_of_control_groups_count_too() {
    let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
    let own = "9:cpu:/elsewhere\n4:memory:/slurm/uid_1000\n0::/\n";
    let root = system(&[
        ("proc/self/cgroup", own.into()),
        ("proc/self/mountinfo", mounts.into()),
        ("sys/fs/cgroup/memory/slurm/uid_1000/memory.limit_in_bytes", bytes(300)),
        ("sys/fs/cgroup/memory/slurm/uid_1000/memory.usage_in_bytes", bytes(50)),
        ("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "9223372036854771712\n".into()),
        ("sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", bytes(50)),
    ]);
    let limit = "the control group's /sys/fs/cgroup/memory/slurm/uid_1000/memory.limit_in_bytes, 300 MiB";
    assert_eq!(left(root.path()), [(250, limit.to_owned())]);
}

#[test]
fn a_container_finds_its_limit_at_the_top_of_what_it_sees() {
    // Its own group is mounted as the top, though its path is still that of the host.
    let mounts = "35 31 0:32 /docker/0a1b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    for own in ["4:memory:/docker/0a1b\n", "4:memory:/\n", "4:memory:/../other\n", "4:memory:/gone/from/here\n"] {
        let root = system(&[
            ("proc/self/cgroup", own.into()),
            ("proc/self/mountinfo", mounts.into()),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", bytes(512)),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(12)),
        ]);
        let found: Vec<u64> = left(root.path()).into_iter().map(|(left, _)| left).collect();
        assert_eq!(found, [500], "{own}");
    }
}

#[test]
fn a_group_that_has_more_than_its_limit_has_nothing_left() {
    let root = system(&[
        ("proc/self/cgroup", "0::/\n".into()),
        ("proc/self/mountinfo", VERSION_2.into()),
        ("sys/fs/cgroup/memory.max", bytes(100)),
        ("sys/fs/cgroup/memory.current", bytes(120)),
    ]);
    assert_eq!(left(root.path())[0].0, 0);
}

#[test]
fn limits_of_the_shell_count() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max data size             1048576000           unlimited            bytes     \n\
                  Max address space         unlimited            unlimited            bytes     \n";
    let status = "Name:\todyssey\nVmSize:\t  204800 kB\nVmData:\t   51200 kB\n";
    let root = system(&[("proc/self/limits", limits.into()), ("proc/self/status", status.into())]);
    assert_eq!(left(root.path()), [(950, "ulimit -d, 1.0 GiB".to_owned())]);
    let strict = [
        ("proc/sys/vm/overcommit_memory", "2\n".to_owned()),
        ("proc/meminfo", "MemTotal: 1 kB\nCommitLimit:     2097152 kB\nCommitted_AS:   1048576 kB\n".to_owned()),
    ];
    assert_eq!(left(system(&strict).path())[0].0, 1024);
    assert_eq!(left(system(&[]).path()), [], "a system that says nothing");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_a_limit_has_no_room_for_is_refused_with_the_limit() {
    let place = cli::Place::with_model();
    let limited = |mebibytes: u64, line: &str| {
        let program = env!("CARGO_BIN_EXE_odyssey");
        let script = format!("ulimit -v {}; exec {program} -q {line}", mebibytes << 10);
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.path("."))
            .envs([("ODYSSEY_DEVICE", "cpu"), ("HF_HUB_OFFLINE", "1"), ("RAYON_NUM_THREADS", "2")])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    // GPT-2 XL: 6 GiB of weights.
    std::fs::create_dir(place.path("large")).unwrap();
    let sizes = serde_json::json!({
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 1600, "n_layer": 48, "n_head": 25,
        "eos_token_id": 0,
    });
    place.write("large/config.json", sizes.to_string());
    let (status, _, said) = limited(2000, "eval --model large --text test.jsonl");
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("are free (ulimit -v, 2.0 GiB)") && said.contains("raise that limit"), "{said}");
    let (status, plan, said) = limited(2000, "eval --model large --text test.jsonl --dry-run --json");
    assert_eq!(status, Some(0), "{said}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["fits"], &plan["bound_by"]), (&false.into(), &"ulimit -v, 2.0 GiB".into()));
    // And what fits runs.
    let (status, _, said) = limited(2000, "eval --model model --text test.jsonl");
    assert_eq!(status, Some(0), "{said}");
}
