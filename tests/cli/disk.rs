//! Paths in one form, locks and scratch files by their owners, and what must not be written over.

use std::fs;
use std::path::{Path, PathBuf};

use odyssey::disk::lock::{Lock, life_of};
use odyssey::disk::outputs::Outputs;
use odyssey::disk::owner::{Life, Owner};
use odyssey::disk::{paths, scratch};
use odyssey::files;

#[test]
fn a_path_comes_out_in_one_form_however_it_is_written() {
    let here = tempfile::tempdir().unwrap();
    let base = here.path().display().to_string();
    fs::create_dir_all(here.path().join("deep/folder")).unwrap();
    for (written, means) in [
        ("a", "a"),
        ("a/", "./a"), // plainly a folder, and missing: no name on the hub
        ("a//b/", "./a/b"),
        ("a/./b", "./a/b"),
        ("./a", "./a"),
        ("./a/", "./a"),
        ("./", "."),
        (".", "."),
        ("..", ".."),
        ("../", ".."),
        ("./..", ".."),
        ("../..", "../.."),
        ("x/../a", "./a"),
        ("x/..", "."),
        ("x/../../a", "../a"),
        ("/..", "/"),
        ("/a/../b/.", "/b"),
        ("-", "-"),
        ("hub:owner/name", "hub:owner/name"),
        ("owner/name@rev", "owner/name@rev"),
        ("https://host//a/", "https://host//a/"),
        ("src/", "src"), // it is there
        ("src/../tests/", "./tests"),
        (&format!("{base}/deep//folder/"), &format!("{base}/deep/folder")),
    ] {
        assert_eq!(paths::normal(Path::new(written)), PathBuf::from(means), "{written}");
    }
}

#[cfg(unix)]
#[test]
fn a_step_up_behind_a_link_goes_where_the_system_goes() {
    use std::os::unix::fs::symlink;
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().canonicalize().unwrap().join(name);
    fs::create_dir_all(at("far/away")).unwrap();
    symlink("far/away", at("link")).unwrap();
    symlink("nowhere", at("broken")).unwrap();
    assert_eq!(paths::normal(&at("link/../x")), at("far/x"));
    // A folder that is written is the one that a link leads to.
    assert_eq!(paths::folder_place(&at("link/")).unwrap(), at("far/away"));
    assert_eq!(paths::folder_place(&at("far/away/..")).unwrap(), at("far"));
    assert_eq!(paths::folder_place(&at("link/../new/")).unwrap(), at("far/new"));
    assert!(paths::folder_place(Path::new("..")).unwrap().file_name().is_some());
    let refusal = paths::folder_place(&at("broken")).unwrap_err().to_string();
    assert!(refusal.contains("is a link that leads to nothing; choose"), "{refusal}");
}

#[test]
fn a_second_run_is_refused_and_told_who_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    let first = Lock::beside(&out, "adapt").unwrap();
    let refusal = Lock::beside(&out, "pretrain").unwrap_err().to_string();
    let process = format!("`adapt`, process {} on ", std::process::id());
    assert!(refusal.contains(&process) && refusal.contains(" UTC; wait"), "{refusal}");
    assert!(Lock::beside(&folder.path().join("new/out-2"), "adapt").is_ok(), "another place");
    drop(first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a stray file or folder");
    drop(Lock::beside(&out, "pretrain").unwrap());
}

/// What is in the file of a lock that is held.
fn claim(folder: &Path) -> String {
    let _lock = Lock::inside(folder, "study").unwrap();
    fs::read_to_string(folder.join(".odyssey.lock")).unwrap()
}

#[test]
fn what_a_dead_process_left_is_taken_over_and_goes_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let claim = claim(folder.path());
    let path = folder.path().join(".odyssey.lock");
    for left in [claim.as_str(), &claim[..40], &claim[..3], ""] {
        fs::write(&path, left).unwrap();
        drop(Lock::inside(folder.path(), "study").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_owner_is_told_from_those_that_had_its_number_and_one_elsewhere_is_not_declared_dead() {
    let here = Owner::this().clone();
    let dead = Owner { started: here.started + 1, ..here.clone() };
    let before = Owner { boot: "an earlier start".into(), ..here.clone() };
    let far = Owner { host: "far".into(), boot: "its own".into(), ..here.clone() };
    let container = Owner { space: "its own".into(), ..here.clone() };
    for (owner, life) in [
        (&here, Life::Runs),
        (&dead, Life::Ended),
        (&Owner { pid: u32::MAX - 1, ..here.clone() }, Life::Ended),
        (&before, Life::Ended),
        (&far, Life::Unknown),
        (&container, Life::Unknown),
    ] {
        assert_eq!(owner.life(), life, "{owner:?}");
    }
    // A lock that the system gives says more, where all who use the disk share this system's locks.
    assert_eq!(life_of(&container, true, true), Life::Ended);
    assert_eq!(life_of(&far, true, false), Life::Ended);
    assert_eq!(life_of(&far, true, true), Life::Unknown);
    assert_eq!(life_of(&here, false, false), Life::Runs);
}

#[test]
fn a_file_that_is_no_lock_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".odyssey.lock");
    fs::write(&path, "a diary").unwrap();
    assert!(Lock::inside(folder.path(), "study").unwrap_err().to_string().contains("is no lock of this program"));
    #[cfg(unix)]
    {
        fs::rename(&path, folder.path().join("diary")).unwrap();
        std::os::unix::fs::symlink("diary", &path).unwrap();
        assert!(Lock::inside(folder.path(), "study").is_err());
        assert_eq!(fs::read(folder.path().join("diary")).unwrap(), b"a diary");
    }
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a process that is killed while it writes `path` leaves beside it: the name a live one uses, with the number of
/// one that is gone.
fn left_by_dead(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap();
    let mut name = String::new();
    let pid = format!("-{}-", std::process::id());
    files::write_whole(path, |_| {
        name = names(folder).into_iter().find(|name| name.contains(&pid)).unwrap();
        Ok(())
    })
    .unwrap();
    fs::remove_file(path).unwrap();
    let left = folder.join(name.replacen(&pid, "-4294967294-", 1));
    fs::write(&left, "half").unwrap();
    left
}

#[test]
fn a_sweep_takes_what_the_dead_left_of_that_very_name() {
    let folder = tempfile::tempdir().unwrap();
    let long = "m".repeat(60);
    let all = ["a", "a-b", "a-b.checkpoint", &format!("{long}1"), &format!("{long}2")].map(|n| folder.path().join(n));
    let left = all.each_ref().map(|path| left_by_dead(path));
    let of_today = [".odyssey-a-Xy12Zq", ".odyssey-a-b-Xy12Zq", ".odyssey", "notes.txt"].map(|n| folder.path().join(n));
    of_today.iter().for_each(|path| fs::write(path, "other").unwrap());
    for (gone, swept) in all.iter().enumerate() {
        scratch::sweep(swept);
        for (index, path) in left.iter().enumerate() {
            assert_eq!(path.exists(), index > gone, "{} after {}", path.display(), swept.display());
        }
    }
    assert!(of_today.iter().all(|path| path.exists()));
}

#[test]
fn a_sweep_leaves_what_a_living_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    files::write_whole(&path, |out| {
        scratch::sweep(&path);
        scratch::sweep_locked(&path);
        scratch::sweep_folder(folder.path());
        std::io::Write::write_all(out, b"whole")
    })
    .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn an_empty_folder_is_filled_and_one_with_anything_in_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let fill = |at: &Path| files::write_json(&at.join("new.json"), &1);
    files::folder_whole(&out, fill).unwrap();
    assert_eq!(names(&out), ["new.json"]);
    assert!(files::folder_whole(&out, fill).unwrap_err().to_string().contains("exists already"));
    assert_eq!(names(folder.path()), ["out"]);

    // Filled by somebody else meanwhile.
    let busy = folder.path().join("busy");
    let late = files::folder_whole(&busy, |at| {
        fs::create_dir(&busy).unwrap();
        fs::write(busy.join("theirs"), "").unwrap();
        fill(at)
    });
    assert!(late.is_err());
    assert_eq!((names(&busy), names(folder.path())), (vec!["theirs".to_owned()], vec!["busy".into(), "out".into()]));
}

#[test]
fn an_output_replaces_its_own_kind_alone_and_never_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("corpus")).unwrap();
    for name in ["corpus/text.txt", "own", "theirs", "table"] {
        fs::write(at(name), name).unwrap();
    }
    fs::write(at("empty"), "").unwrap();
    let inputs = [at("corpus"), at("table")];
    let is_own = |path: &Path| fs::read(path).is_ok_and(|content| content == b"own");
    let ask = |force, path: &Path| Outputs::new(force, &inputs).file(path, is_own).map_err(|e| e.to_string());
    for free in ["new", "own", "empty", "corpus/new"] {
        assert_eq!(ask(false, &at(free)), Ok(at(free)));
    }
    assert!(ask(false, &at("theirs")).unwrap_err().contains("theirs: exists already, and is no earlier output"));
    assert_eq!(ask(true, &at("theirs")), Ok(at("theirs")));
    let mut read = vec![at("table"), at("corpus/text.txt"), at("corpus/../table"), at("corpus/../corpus/text.txt")];
    #[cfg(unix)]
    {
        fs::hard_link(at("corpus/text.txt"), at("hard")).unwrap();
        std::os::unix::fs::symlink("corpus/text.txt", at("soft")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("broken")).unwrap();
        std::os::unix::fs::symlink("own", at("to-own")).unwrap();
        read.extend([at("hard"), at("soft")]);
        for force in [false, true] {
            assert!(ask(force, Path::new("/dev/null")).unwrap_err().contains("is a device"));
            assert!(ask(force, &at("broken")).unwrap_err().contains("leads to nothing"));
        }
        let real = folder.path().canonicalize().unwrap().join("own");
        assert_eq!(ask(false, &at("to-own")), Ok(real), "a link is followed, and stays");
    }
    for path in &read {
        for force in [false, true] {
            assert!(ask(force, path).unwrap_err().contains("this command reads"), "{}", path.display());
        }
    }
    assert!(ask(true, &at("corpus")).unwrap_err().contains("is a folder"));

    let mut outputs = Outputs::new(false, &inputs).beside_new_folder(&at("result"));
    assert!(outputs.file(&at("result/metrics.jsonl"), is_own).unwrap_err().to_string().contains("lies in "));
    assert!(outputs.folder(&at("result")).is_err());
    outputs.file(&at("one"), is_own).unwrap();
    let twice = outputs.file(&at("corpus/../one"), is_own).unwrap_err().to_string();
    assert!(twice.contains("is given for two outputs"), "{twice}");
}

#[cfg(unix)]
#[test]
fn nothing_but_a_file_is_replaced_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [socket.as_path(), Path::new("/dev/null"), folder.path()] {
        let refusal = files::write_json(path, &1).unwrap_err().to_string();
        assert!(refusal.contains("expected a file's name"), "{refusal}");
        assert!(files::write_safetensors(path, [], ("format", String::new())).is_err());
    }
    assert_eq!(names(folder.path()), ["socket"]);
}
