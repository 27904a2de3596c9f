//! A run that is killed at any moment, or whose disk is full, loses nothing: what follows gives the same bits.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cli::Place;

/// A short run that saves where it is after every step.
const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 4 --steps 6 \
                     --lr 1e-3 --validations 3 --checkpoint-every 1 --quiet";

/// Everything a finished run leaves behind, without the figures of its speed: names and bytes.
fn result(place: &Place) -> Vec<(String, Vec<u8>)> {
    let left = place.listing().into_iter().filter(|path| path.starts_with("adapted") || is_scratch(path));
    let files = left.filter(|path| place.path(path.to_str().unwrap()).is_file());
    files
        .filter(|path| path.file_name().unwrap() != "adapt.json")
        .map(|path| (path.display().to_string(), place.read(path.to_str().unwrap())))
        .collect()
}

fn is_scratch(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".odyssey-"))
}

/// What the run leaves when nothing happens to it, and how long it takes.
fn undisturbed() -> (Vec<(String, Vec<u8>)>, Duration) {
    let place = Place::with_model();
    let started = Instant::now();
    let said = place.odyssey(ADAPT);
    assert_eq!(said.status, Some(0), "{}", said.err);
    let result = result(&place);
    assert!(result.iter().any(|(name, _)| name == "adapted/model.safetensors"));
    assert!(!result.iter().any(|(name, _)| name.contains("checkpoint") || name.contains(".odyssey-")), "{result:?}");
    (result, started.elapsed())
}

fn start(place: &Place, program: &[&str]) -> Command {
    let mut line = program.to_vec();
    line.push(env!("CARGO_BIN_EXE_odyssey"));
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).args(ADAPT.split_whitespace()).arg("--resume").current_dir(place.path("."));
    command.env("ODYSSEY_DEVICE", "cpu").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Goes on, also where the run was killed after it had written its result, and compares what it leaves.
fn ends_with(place: &Place, expected: &[(String, Vec<u8>)], after: &str) {
    let done = start(place, &[]).output().unwrap();
    assert!(done.status.success(), "{after}: {}", String::from_utf8_lossy(&done.stderr));
    let result = result(place);
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&result), names(expected), "{after}: other files");
    assert!(result == expected, "{after}: other bytes");
}

#[test]
fn a_run_killed_a_hundred_times_at_random_instants_ends_with_the_bits_of_one_that_was_not() {
    let (expected, time) = undisturbed();
    let mut random = ChaCha8Rng::seed_from_u64(42);
    let (mut kills, mut runs, mut gone_on) = (0, 0, 0);
    while kills < 100 {
        let place = Place::with_model();
        // Killed until it has been killed five times or is done all the same.
        for _ in 0..5 {
            let mut child = start(&place, &[]).spawn().unwrap();
            std::thread::sleep(time.mul_f64(random.random_range(0.0..1.0)));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
            kills += 1;
            gone_on += u32::from(place.path("adapted.checkpoint").exists());
        }
        ends_with(&place, &expected, &format!("after kill {kills}"));
        runs += 1;
    }
    println!("{kills} kills in {runs} runs, {gone_on} of them with a checkpoint to go on from");
    assert!(gone_on >= 20, "only {gone_on} kills came after a checkpoint");
}

/// What changes files.
#[cfg(target_os = "linux")]
const CHANGES: [&str; 12] = [
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat2",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "fchmodat",
];

/// Runs under strace, which does `what` to the `n`-th call of `call`. `None` where there are fewer calls.
#[cfg(target_os = "linux")]
fn disturbed(place: &Place, call: &str, what: &str, n: &str) -> std::process::Output {
    let inject = format!("inject={call}:{what}:when={n}");
    let trace = format!("trace={call}");
    start(place, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]).output().unwrap()
}

#[machine::needs(strace)]
#[test]
#[cfg(target_os = "linux")]
fn a_run_killed_at_any_single_change_of_a_file_ends_with_the_same_bits() {
    let (expected, _) = undisturbed();
    let mut kills = 0;
    for call in CHANGES {
        for n in 1.. {
            let place = Place::with_model();
            let killed = disturbed(&place, call, "signal=SIGKILL", &n.to_string());
            if killed.status.success() {
                break; // there is no such call
            }
            kills += 1;
            ends_with(&place, &expected, &format!("{call} {n}"));
        }
    }
    println!("killed at {kills} changes of files");
    assert!(kills > 40, "only {kills} changes were found");
}

#[machine::needs(strace)]
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_or_quota_at_any_write_is_said_and_what_was_saved_before_goes_on() {
    let (expected, _) = undisturbed();
    for (error, says, step) in [("ENOSPC", "No space left on device", 1), ("EDQUOT", "quota exceeded", 5)] {
        let mut failures = 0;
        for n in (1..).step_by(step) {
            let place = Place::with_model();
            let failed = disturbed(&place, "write", &format!("error={error}"), &n.to_string());
            if failed.status.success() {
                break; // there is no such write
            }
            failures += 1;
            let words = String::from_utf8_lossy(&failed.stderr).into_owned();
            assert!(words.contains(says) && !words.contains("panicked"), "{error} {n}: {words}");
            ends_with(&place, &expected, &format!("{error} {n}"));
        }
        println!("{error} at {failures} writes");
        assert!(failures * step >= 15, "only {failures} writes were found");
    }
}

#[machine::needs(may_mount)]
#[test]
#[cfg(target_os = "linux")]
fn a_small_disk_says_how_much_is_needed_and_keeps_the_last_checkpoint() {
    let place = Place::with_model();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).arg(&disk).status().unwrap().success();
    // A checkpoint of the small model takes 1.8 MB, and the next is written beside it.
    assert!(mount(&["-t", "tmpfs", "-o", "size=2600k", "tmpfs"]));
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0).status();
        }
    }
    let _unmount = Unmount(&disk);
    let line = ADAPT.replace("--out adapted", "--out disk/adapted");
    let said = place.odyssey(&line);
    assert_eq!(said.status, Some(1), "{}", said.err);
    assert!(said.err.contains("No space left") && said.err.contains("are needed"), "{}", said.err);
    assert!(place.path("disk/adapted.checkpoint").exists(), "the checkpoint of an earlier step is gone");
    assert!(mount(&["-o", "remount,size=20m"]));
    let said = place.odyssey(&format!("{line} --resume"));
    assert_eq!(said.status, Some(0), "{}", said.err);
    let (expected, _) = undisturbed();
    let weights = expected.iter().find(|(name, _)| name == "adapted/model.safetensors").unwrap();
    assert!(place.read("disk/adapted/model.safetensors") == weights.1, "other bits");

    assert!(mount(&["-o", "remount,ro"]));
    place.refused(&ADAPT.replace("--out adapted", "--out disk/again").replace(" --quiet", ""), &["cannot be written"]);
}
