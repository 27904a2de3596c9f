//! How the program ends: asked to by a signal, without anybody who hears what it says, and without what it needs of the
//! system. Nothing of that costs a result.
#![cfg(unix)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cli::Place;
use odyssey::error::Error;
use odyssey::threads::Wanted;

/// A run of some seconds that is only over when it is told to be.
const ENDLESS: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 4 --steps 1000000 \
                       --lr 1e-4";
/// One of a moment.
const SHORT: &str =
    "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 4 --steps 3 --lr 1e-4";
const EVAL: &str = "eval --model model --text test.jsonl";

/// A command line as a shell runs it, where `O` stands for the program.
fn shell(place: &Place, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &script.replace("O ", "\"$O\" ")]).current_dir(place.path("."));
    command
        .env("O", env!("CARGO_BIN_EXE_odyssey"))
        .env("ODYSSEY_DEVICE", "cpu")
        .env("ODYSSEY_CACHE", place.path("cache"));
    command.stdin(Stdio::null());
    // Whatever the tests themselves were started with: nohup ignores HUP, a script's background INT.
    // SAFETY: what is called between fork and exec may be.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

/// What a shell's command line ends with: its status, and what came to standard output and error.
fn said(place: &Place, script: &str) -> (Option<i32>, String, String) {
    let output = shell(place, script).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn send(signal: &str, to: &Child) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &to.id().to_string()]).status().unwrap().success());
}

/// Waits until something is so.
fn until(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How a process ends, which it must within a time.
fn ends(child: &mut Child, within: Duration) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > within {
            child.kill().unwrap();
            panic!("it did not end within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts the endless run, which is in its steps when this returns; what it says goes to `err`.
fn endless(place: &Place, before: &str) -> Child {
    let script = format!("{before} exec O {ENDLESS} --checkpoint-every 1 --resume 2> err > out");
    let child = shell(place, &script).spawn().unwrap();
    until("a checkpoint", || place.path("adapted.checkpoint").exists());
    child
}

#[test]
fn every_signal_that_ends_a_program_saves_the_run_first() {
    for signal in ["HUP", "INT", "TERM", "XCPU"] {
        let place = Place::with_model();
        let mut child = endless(&place, "");
        send(signal, &child);
        let status = ends(&mut child, Duration::from_secs(30));
        let err = String::from_utf8(place.read("err")).unwrap();
        assert_eq!(status.code(), Some(130), "{signal}: {err}");
        let last = err.lines().last().unwrap();
        assert!(last.starts_with("odyssey: interrupted: stopped after step "), "{signal}: {err}");
        assert!(last.contains("saved in adapted.checkpoint"), "{signal}: {err}");
    }
}

#[test]
fn a_signal_that_was_ignored_when_the_program_started_stays_ignored() {
    let place = Place::with_model();
    let mut child = endless(&place, "trap '' HUP;");
    send("HUP", &child);
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it ended: {}", String::from_utf8_lossy(&place.read("err")));
    assert!(!String::from_utf8(place.read("err")).unwrap().contains("stopping"));
    send("TERM", &child);
    assert_eq!(ends(&mut child, Duration::from_secs(30)).code(), Some(130));
}

#[test]
fn the_same_wish_told_twice_is_one_wish() {
    let place = Place::with_model();
    let mut child = endless(&place, "");
    // As a terminal and its shell do, and `timeout`, which asks its child and then the group.
    send("HUP", &child);
    send("TERM", &child);
    assert_eq!(ends(&mut child, Duration::from_secs(30)).code(), Some(130));
    assert!(String::from_utf8(place.read("err")).unwrap().contains("saved in adapted.checkpoint"));
}

/// A command that waits for somebody to write into a pipe.
fn waiting(place: &Place) -> Child {
    let pipe = place.path("pipe.txt");
    let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a string that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let child = shell(place, "exec O study run pipe.txt --out study 2> err > out").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    child
}

#[test]
fn a_program_that_waits_for_a_pipe_ends_within_seconds_when_it_is_asked_to() {
    let place = Place::empty();
    let mut child = waiting(&place);
    send("TERM", &child);
    assert_eq!(ends(&mut child, Duration::from_secs(15)).code(), Some(130));
    assert!(String::from_utf8(place.read("err")).unwrap().contains("odyssey: interrupted: "));
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let place = Place::empty();
    let mut child = waiting(&place);
    send("TERM", &child);
    std::thread::sleep(Duration::from_millis(600));
    let asked = Instant::now();
    send("TERM", &child);
    assert_eq!(ends(&mut child, Duration::from_secs(3)).code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_standard_error_that_takes_nothing_costs_nothing() {
    for (to, name) in [("2> /dev/full", "full"), ("2>&-", "closed"), ("< /dev/null 2> /dev/full", "full, no input")] {
        let place = Place::with_model();
        let (status, out, _) = said(&place, &format!("O {SHORT} --json {to}"));
        assert_eq!(status, Some(0), "{name}");
        assert!(out.contains("odyssey.adapt/1"), "{name}: {out}");
        assert!(place.path("adapted/model.safetensors").exists(), "{name}");
        // What is said of an error is lost, its status is not.
        let nothing = "O eval --model nowhere/at/all --text test.jsonl";
        assert_eq!(said(&place, &format!("{nothing} {to}")).0, Some(2), "{name}");
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_status_1_and_files_are_whole() {
    for to in ["> /dev/full", ">&-", "1< /dev/null"] {
        let place = Place::with_model();
        let (status, _, err) = said(&place, &format!("O {SHORT} --quiet {to}"));
        assert_eq!(status, Some(1), "{to}: {err}");
        assert!(err.starts_with("odyssey: standard output: cannot write: "), "{to}: {err}");
        assert!(err.contains("files that the command was to write are whole"), "{to}: {err}");
        assert_eq!(err.lines().count(), 1, "{to}: {err}");
        assert!(place.path("adapted/model.safetensors").exists() && !place.path("adapted.checkpoint").exists(), "{to}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::with_model();
    let (status, out, err) = said(&place, &format!("O {EVAL} --json --quiet | head -1; exit ${{PIPESTATUS[0]}}"));
    assert_eq!((status, out.as_str(), err.as_str()), (Some(0), "{\n", ""));
    assert_eq!(said(&place, "O --help | true; exit ${PIPESTATUS[0]}").0, Some(0));
    assert_eq!(said(&place, "O --version > /dev/full").0, Some(1));
}

/// A terminal: the end that a program is given, and the end that shows it.
fn terminal() -> (OwnedFd, File) {
    let (mut shown, mut given) = (0, 0);
    let nothing = std::ptr::null_mut();
    // SAFETY: both descriptors are written to places for them, and owned by nobody else.
    unsafe {
        assert_eq!(libc::openpty(&mut shown, &mut given, nothing, nothing.cast(), nothing.cast()), 0);
        (OwnedFd::from_raw_fd(given), File::from_raw_fd(shown))
    }
}

#[test]
fn a_terminal_that_goes_away_ends_nothing_and_its_hangup_saves() {
    for signal in [None, Some("HUP")] {
        let place = Place::with_model();
        let (given, shown) = terminal();
        let line = if signal.is_some() { ENDLESS } else { SHORT };
        let mut command = shell(&place, &format!("exec O {line} --checkpoint-every 1 --resume > out"));
        let mut child = command.stderr(given).spawn().unwrap();
        drop(command);
        if signal.is_some() {
            until("a checkpoint", || place.path("adapted.checkpoint").exists());
        }
        drop(shown);
        if let Some(signal) = signal {
            std::thread::sleep(Duration::from_millis(500));
            send(signal, &child);
        }
        let status = ends(&mut child, Duration::from_secs(60));
        assert_eq!(status.code(), Some(if signal.is_some() { 130 } else { 0 }), "{signal:?}");
        let left = if signal.is_some() { "adapted.checkpoint" } else { "adapted/model.safetensors" };
        assert!(place.path(left).exists());
    }
}

#[test]
fn a_terminal_has_bars_unless_nothing_but_text_is_wanted() {
    for (environment, option, moves) in [
        ("TERM=xterm", "", true),
        ("TERM=dumb", "", false),
        ("NO_COLOR=1", "", false),
        ("TERM=xterm", "--quiet", false),
    ] {
        let place = Place::with_model();
        let (given, mut shown) = terminal();
        let line = SHORT.replace("--steps 3", "--steps 40");
        let script = format!("export TERM=xterm {environment}; exec O {line} {option} > out");
        let mut command = shell(&place, &script);
        let mut child = command.env_remove("NO_COLOR").stderr(given).spawn().unwrap();
        drop(command);
        let mut seen = Vec::new();
        let _ = shown.read_to_end(&mut seen); // an error is how a terminal ends
        assert_eq!(ends(&mut child, Duration::from_secs(60)).code(), Some(0));
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert_eq!(seen.contains('\u{1b}'), moves, "{environment} {option}: {seen:?}");
    }
}

#[test]
fn without_a_terminal_a_long_run_says_now_and_then_how_far_it_is() {
    let place = Place::with_model();
    let is_told = |err: &str| err.lines().filter(|line| line.starts_with("training ")).count() >= 2;
    let said = place.interrupted(&ENDLESS.replace("1000000", "2000"), is_told);
    let Some(said) = said else { return }; // it is too fast here
    assert!(!said.err.contains(['\u{1b}', '\r']), "{}", said.err);
    for line in said.err.lines().filter(|line| line.starts_with("training ")) {
        for part in [" of 2000 (", " %), loss ", " tokens/s, ", " left"] {
            assert!(line.contains(part), "no {part:?}: {line}");
        }
    }
    assert!(said.err.lines().count() <= 30, "{}", said.err);
}

#[test]
fn quiet_means_quiet_also_where_a_device_is_looked_for() {
    let place = Place::with_model();
    for device in ["auto", "cpu"] {
        let script = format!(
            "unset XDG_RUNTIME_DIR DISPLAY WAYLAND_DISPLAY; export ODYSSEY_DEVICE={device}; O {EVAL} --quiet --json"
        );
        let (status, out, err) = said(&place, &script);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{device}");
        assert!(out.starts_with('{') && out.ends_with("}\n"), "{device}: {out}");
    }
    let (status, out, err) = said(&place, "unset XDG_RUNTIME_DIR DISPLAY WAYLAND_DISPLAY; O devices --json");
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.starts_with('{'), "{out}");
}

// ---------------------------------------------------------------------------------------------------------------------
// What the system gives.

#[test]
fn as_many_threads_compute_as_there_are_cores_whatever_is_asked_for() {
    let wanted = |value: &str| Wanted::from("RAYON_NUM_THREADS", value, 8).unwrap();
    for (value, threads, noted) in
        [("1", 1, false), (" 8 ", 8, false), ("", 8, false), ("0", 8, true), ("9", 8, true), ("100000", 8, true)]
    {
        let Wanted { threads: found, note } = wanted(value);
        assert_eq!((found, note.is_some()), (threads, noted), "{value:?}");
    }
    assert_eq!(wanted("99999999999999999999999999").threads, 8);
    for value in ["-1", "two", "2.5", "0x2", "1,2"] {
        assert!(Wanted::from("RAYON_NUM_THREADS", value, 8).is_err(), "{value:?}");
    }

    let place = Place::with_model();
    let (status, out, err) = said(&place, &format!("RAYON_NUM_THREADS=100000 O {EVAL} --json"));
    assert_eq!(status, Some(0), "{err}");
    assert!(err.contains("RAYON_NUM_THREADS=100000 is more than the cores"), "{err}");
    assert!(out.contains("odyssey.eval/1"));
    let (status, out, err) = said(&place, &format!("RAYON_NUM_THREADS=many O {EVAL} --json"));
    assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("RAYON_NUM_THREADS=many: is no number of threads; set it to a number from 1 to "), "{err}");
}

#[machine::needs(strace)]
#[test]
#[cfg(target_os = "linux")]
fn a_system_that_gives_no_threads_gets_the_same_numbers_from_one() {
    let place = Place::with_model();
    let perplexity = |out: &str| {
        let start = out.find("\"ppl\":").unwrap_or_else(|| panic!("no perplexity: {out}"));
        out[start..].lines().next().unwrap().to_owned()
    };
    let expected = perplexity(&said(&place, &format!("O {EVAL} --json --quiet")).1);
    let inject = "inject=clone,clone3:error=EAGAIN:when=1+";
    let script = format!("strace -f -qq -o /dev/null -e trace=clone,clone3 -e {inject} \"$O\" {EVAL} --json");
    let (status, out, err) = said(&place, &script);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(perplexity(&out), expected);
    assert!(err.contains("no more than 0 threads: 1 compute") && !err.contains("panicked"), "{err}");
}

#[test]
fn what_the_system_answers_is_a_sentence_with_a_cure() {
    let place = Place::with_model();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, place.path(at)).unwrap();
    link("b.txt", "a.txt");
    link("a.txt", "b.txt");
    link("nowhere.txt", "dangling.txt");
    let long = "x".repeat(300);
    fs::create_dir(place.path("folder.toml")).unwrap();
    place.write("plain", "text");
    for (line, says) in [
        ("eval --model model --text a.txt".to_owned(), vec!["a.txt: ", "link"]),
        ("eval --model model --text dangling.txt".to_owned(), vec!["dangling.txt: ", "link to nowhere.txt"]),
        (format!("eval --model model --text {long}.txt"), vec!["too long", "choose another"]),
        (format!("{SHORT} --out {long}").replacen("--out adapted", "", 1), vec!["too long"]),
        (
            "study run folder.toml --out study".to_owned(),
            vec!["folder.toml: is a folder, expected a file", "name a file"],
        ),
        ("study status plain".to_owned(), vec!["plain"]),
        (format!("{SHORT} --out plain/below").replacen("--out adapted", "", 1), vec!["plain", "a file stands where"]),
        (format!("{SHORT} --out a.txt/below").replacen("--out adapted", "", 1), vec!["link"]),
    ] {
        place.refused(&line, &says);
    }
}

#[test]
fn limits_of_the_system_are_sentences_too() {
    let place = Place::with_model();
    let (status, out, err) = said(&place, &format!("ulimit -f 100; O {SHORT} --quiet"));
    assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.starts_with("odyssey: ") && err.contains("raise the limit on the size of files (ulimit -f)"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!place.path("adapted").exists());
}

/// Whether the request or the system is at fault, and what helps.
#[test]
fn every_answer_of_the_system_has_a_status_and_a_cure() {
    let path = Path::new("place/file");
    for (code, reading, writing, cure) in [
        (libc::EMFILE, 1, 1, "ulimit -n"),
        (libc::ENFILE, 1, 1, "ulimit -n"),
        (libc::EIO, 1, 1, "check it"),
        (libc::ESTALE, 1, 1, "mount the drive again"),
        (libc::ENOTCONN, 1, 1, "mount the drive again"),
        (libc::ETIMEDOUT, 1, 1, "check the connection"),
        (libc::ENOMEM, 1, 1, "ulimit -v"),
        (libc::EAGAIN, 1, 1, "RAYON_NUM_THREADS=1"),
        (libc::ENOSPC, 1, 1, "make room"),
        (libc::EDQUOT, 1, 1, "quota"),
        (libc::EFBIG, 1, 1, "ulimit -f"),
        (libc::ETXTBSY, 1, 1, "wait until that has ended"),
        (libc::EBUSY, 1, 1, "wait until that has ended"),
        (libc::EXDEV, 1, 1, "ordinary disk"),
        (libc::EOPNOTSUPP, 1, 1, "ordinary disk"),
        (libc::EPROTO, 1, 1, "give the same command again"),
        (libc::ELOOP, 2, 2, "correct the link"),
        (libc::ENAMETOOLONG, 2, 2, "choose another"),
        (libc::ENXIO, 2, 2, "ordinary disk"),
        (libc::ENODEV, 2, 2, "ordinary disk"),
        (libc::ESPIPE, 2, 2, "save it as a file"),
        (libc::ENOENT, 2, 2, "path|make the folder"),
        (libc::ENOTDIR, 2, 2, "path|another place"),
        (libc::EISDIR, 2, 2, "name a file"),
        (libc::EACCES, 2, 2, "permissions|may write to"),
        (libc::EPERM, 2, 2, "permissions|may write to"),
        (libc::EROFS, 1, 2, "again|may write to"),
        (libc::ENOTEMPTY, 1, 2, "again|another place"),
    ] {
        // As the system gives it, and as a library wraps it.
        let given = || std::io::Error::from_raw_os_error(code);
        for source in [
            |given: std::io::Error| given,
            |given: std::io::Error| std::io::Error::new(given.kind(), format!("at a path: {given}")),
        ] {
            for (error, status) in
                [(Error::reading(path, source(given())), reading), (Error::writing(path, source(given())), writing)]
            {
                let words = error.to_string();
                assert_eq!(error.exit_code(), status, "{words}");
                assert!(words.starts_with("place/file: "), "{words}");
                assert!(
                    words.contains("; ") && cure.split('|').any(|cure| words.contains(cure)),
                    "no {cure:?}: {words}"
                );
            }
        }
    }
}

/// Refused before a device is looked for: the name of one that does not exist is not what is said.
#[test]
fn a_setting_out_of_range_is_refused_by_its_name_before_anything_is_opened() {
    let place = Place::with_model();
    let adapt = format!("--device nowhere {SHORT}").replace(" --batch 4 --steps 3 --lr 1e-4", "");
    for (options, key) in [
        ("--batch 0", "--batch"),
        ("--batch 18446744073709551615", "--batch"),
        ("--micro-batch 0", "--micro-batch"),
        ("--micro-batch 18446744073709551615", "--micro-batch"),
        ("--context 0", "--context"),
        ("--context 1", "--context"),
        ("--max-context 1", "--max-context"),
        ("--steps 0", "--steps"),
        ("--steps 18446744073709551615", "--steps"),
        ("--epochs 0", "--epochs"),
        ("--max-steps 0", "--max-steps"),
        ("--warmup-steps 18446744073709551615", "--warmup-steps"),
        ("--validations 18446744073709551615", "--validations"),
        ("--patience 0", "--patience"),
        ("--patience-after 2", "--patience-after"),
        ("--lr nan", "--lr"),
        ("--lr inf", "--lr"),
        ("--lr=-1e-3", "--lr"),
        ("--clip nan", "--clip"),
        ("--clip=-1", "--clip"),
        ("--outlier nan", "--outlier"),
        ("--warmup-ratio 1.5", "--warmup-ratio"),
        ("--min-lr-ratio 2", "--min-lr-ratio"),
        ("--decay-share nan", "--decay-share"),
        ("--beta1 1", "--beta1"),
        ("--beta2 1", "--beta2"),
        ("--epsilon=-1", "--epsilon"),
        ("--weight-decay nan", "--weight-decay"),
        ("--strategy lora --lora-rank 0", "--lora-rank"),
        ("--strategy lora --lora-alpha inf", "--lora-alpha"),
        ("--strategy lora --lora-dropout 1", "--lora-dropout"),
        ("--find-lr --find-lr-from 0", "--find-lr"),
        ("--find-lr --find-lr-to nan", "--find-lr"),
    ] {
        place.refused(&format!("{adapt} {options}"), &[&format!("odyssey: {key}: ")]);
    }
    let eval = "--device nowhere eval --model model --text test.jsonl";
    for options in [
        "--context 0",
        "--context 1",
        "--stride 0 --protocol strided --context 16",
        "--protocol half-window --context 2",
    ] {
        let key = options.split(' ').find(|word| *word != "--protocol" && word.starts_with("--")).unwrap();
        place.refused(&format!("{eval} {options}"), &[&format!("odyssey: {key}")]);
    }
    let similarity = "--device nowhere similarity --features model:model --reference train.jsonl --domain test.jsonl";
    for (options, key) in [
        ("--chunk 0", "--chunk: is 0"),
        ("--samples 1", "--samples: is 1"),
        ("--samples 18446744073709551615", "--samples: is 18446744073709551615"),
        ("--permutations 18446744073709551615", "--permutations: is 18446744073709551615"),
        ("--resamples 18446744073709551615", "--resamples: is 18446744073709551615"),
    ] {
        place.refused(&format!("{similarity} {options}"), &[key]);
    }
}

#[test]
fn scratch_is_not_left_by_a_run_that_ends_so() {
    let place = Place::with_model();
    let mut child = endless(&place, "");
    send("TERM", &child);
    ends(&mut child, Duration::from_secs(30));
    let stray = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".odyssey-"));
    let left: Vec<_> = place.listing().into_iter().filter(|path| stray(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}
