//! What is in the cache: without a network, half of something, or planted by somebody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use super::place::{ALWAYS, PIECE, Place, listing, states};
use super::server::{Fault, Stored, git_hash, sha256};

const OFFLINE: [(&str, &str); 1] = [("HF_HUB_OFFLINE", "1")];
const EVAL: &str = "eval --model org/tiny --text test.jsonl";

impl Place {
    fn data(&self, name: &str) -> PathBuf {
        self.path("home/hub/datasets--org--texts").join(name)
    }
}

#[test]
fn a_cache_that_does_not_say_what_main_is_serves_its_only_commit_and_else_asks_which() {
    let place = Place::new();
    place.result("fetch org/tiny");
    fs::remove_dir_all(place.cached("refs")).unwrap();
    place.hub.asked();
    let said = place.run_with(EVAL, &OFFLINE);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("does not say which commit main is") && said.err.contains(&place.commit), "{}", said.err);
    place.refused_with("eval --model org/tiny@v1 --text test.jsonl", &OFFLINE, &["does not have all of it"]);

    let other = "0123456789abcdef0123456789abcdef01234567";
    fs::create_dir(place.cached(&format!("snapshots/{other}"))).unwrap();
    let says = ["does not say which commit \"main\" is", other, &place.commit, "org/tiny@COMMIT"];
    place.refused_with(EVAL, &OFFLINE, &says);
    place.result_with(&format!("eval --model org/tiny@{} --text test.jsonl", place.commit), &OFFLINE);
    assert!(place.hub.asked().is_empty());
    // Written by hand, with a line's end.
    fs::create_dir(place.cached("refs")).unwrap();
    fs::write(place.cached("refs/main"), format!("{}\n", place.commit)).unwrap();
    place.result_with(EVAL, &OFFLINE);
    place.result_with(EVAL, &[("HF_DATASETS_OFFLINE", "1")]);
}

#[test]
fn half_a_data_set_is_not_taken_for_the_whole() {
    let place = Place::new();
    place.result("fetch --dataset org/texts");
    // What the hub lists is noted as Python's library notes it.
    let trees: Vec<PathBuf> = fs::read_dir(place.data("trees")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let tree: Value = serde_json::from_slice(&fs::read(&trees[0]).unwrap()).unwrap();
    let other = b"A text.\n\nAnother.";
    assert_eq!(tree["format_version"], 1);
    assert_eq!(tree["files"]["other.txt"], json!({ "size": other.len(), "blob_id": git_hash(other) }));
    assert_eq!(tree["files"]["data/more/ids.jsonl"]["lfs_size"], tree["files"]["data/more/ids.jsonl"]["size"]);
    assert_eq!(trees[0].file_stem().unwrap().len(), 40);

    let snapshot = fs::read_dir(place.data("snapshots")).unwrap().next().unwrap().unwrap().path();
    let line = "eval --model local --text org/texts/data";
    place.result_with(line, &OFFLINE);
    fs::remove_file(snapshot.join("data/more/ids.jsonl")).unwrap();
    let says = ["does not have all of it", "1 are missing", "/resolve/main/data/more/ids.jsonl"];
    place.refused_with(line, &OFFLINE, &says);
    place.refused_with("fetch --dataset org/texts", &OFFLINE, &says);
    place.result_with("eval --model local --text org/texts/data/ids.jsonl", &OFFLINE);
    // A file that was cut short is missing, too.
    fs::remove_file(snapshot.join("data/ids.jsonl")).unwrap();
    fs::write(snapshot.join("data/ids.jsonl"), "[1, 2]\n").unwrap();
    place.refused_with(line, &OFFLINE, &["2 are missing"]);
    place.result(line);
    place.result_with(line, &OFFLINE);
}

#[test]
fn shards_tell_by_their_names_what_is_missing_where_nothing_else_does() {
    let place = Place::new();
    let names = ["train-00000-of-00003.txt", "train-00001-of-00003.txt", "train-00002-of-00003.txt"];
    let texts = names.map(|name| (name, Stored::small(format!("A text of {name}."))));
    let (texts, hub) = ([("x/train-00000-of-00002-ab.txt", texts[0].1.clone())].into_iter().chain(texts), &place.hub);
    hub.put("datasets/org/shards", &texts.collect::<Vec<_>>());
    place.result("fetch org/shards/train-00000-of-00003.txt");
    place.result("fetch org/shards/train-00002-of-00003.txt");
    let trees = place.path("home/hub/datasets--org--shards/trees");
    fs::remove_dir_all(trees).unwrap();
    let says = ["2 files are there, 1 are missing", "train-00001-of-00003"];
    place.refused_with("fetch --dataset org/shards", &OFFLINE, &says);
    place.refused_with("fetch --dataset org/shards --file *.txt", &OFFLINE, &says);
    place.result_with("fetch org/shards/train-00000-of-00003.txt", &OFFLINE);
    place.result("fetch org/shards/train-00001-of-00003.txt");
    fs::remove_dir_all(place.path("home/hub/datasets--org--shards/trees")).unwrap();
    let said = place.run_with("fetch --dataset org/shards", &OFFLINE);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("nothing in the cache says whether this is all of it: 3 files"), "{}", said.err);
    // Counted from 1, with hashes; and what only looks like a number of shards.
    let hub = &place.hub;
    let names = ["a-1-of-3-1f.txt", "a-2-of-3-2e.txt", "a-3-of-3-3d.txt", "best-of-5.txt", "out-of-office.txt"];
    hub.put("datasets/org/more", &names.map(|name| (name, Stored::small(format!("A text of {name}.")))));
    let forget = || fs::remove_dir_all(place.path("home/hub/datasets--org--more/trees")).unwrap();
    place.result("fetch --dataset org/more --file *-of-3-?f.txt *-of-3-?d.txt best* out*");
    forget();
    place.refused_with("fetch --dataset org/more", &OFFLINE, &["1 are missing", "a-2-of-3*"]);
    place.result("fetch --dataset org/more");
    forget();
    place.result_with("fetch --dataset org/more", &OFFLINE);
}

#[test]
fn a_damaged_file_is_noticed_by_fetch_without_the_hub() {
    let place = Place::new();
    let weights = place.weights();
    place.result("fetch org/tiny");
    let blob = place.cached(&format!("blobs/{}", sha256(&weights)));
    let mut damaged = weights;
    damaged[1000] ^= 1;
    fs::write(&blob, damaged).unwrap();
    place.refused_with("fetch org/tiny", &OFFLINE, &["model.safetensors", "is damaged", "fetch it again"]);
}

// ---------------------------------------------------------------------------------------------------------------------
// Links that somebody planted.

#[cfg(unix)]
use std::os::unix::fs::symlink;

#[cfg(unix)]
impl Place {
    /// A file outside of the cache that nobody may read or change through it.
    fn secret(&self) -> PathBuf {
        let secret = self.path("outside/secret.txt");
        fs::create_dir_all(secret.parent().unwrap()).unwrap();
        fs::write(&secret, "A secret text.").unwrap();
        secret
    }

    fn check_outside(&self) {
        assert_eq!(listing(&self.path("outside")), ["secret.txt".to_owned()].into());
        assert_eq!(fs::read(self.path("outside/secret.txt")).unwrap(), b"A secret text.");
    }

    /// Puts a link in the place of a file or folder of the cache.
    fn plant(&self, at: &Path, to: &Path) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(at);
        let _ = fs::remove_dir_all(at);
        symlink(to, at).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_out_of_the_cache_is_not_read_through() {
    let place = Place::new();
    let secret = place.secret();
    place.result("fetch org/tiny");
    place.result("fetch --dataset org/texts");
    let snapshot = fs::read_dir(place.data("snapshots")).unwrap().next().unwrap().unwrap().path();
    let text = "eval --model local --text org/texts/data";
    for planted in ["data/ids.jsonl", "data/more.txt", "data/folder/b.txt"] {
        let before = fs::read_link(snapshot.join(planted)).ok();
        place.plant(&snapshot.join(planted), &secret);
        place.refused_with(text, &OFFLINE, &[planted, "leads out of the hub's cache"]);
        fs::remove_file(snapshot.join(planted)).unwrap();
        if let Some(before) = before {
            symlink(before, snapshot.join(planted)).unwrap();
        }
    }
    for (folder, says) in [(place.path("outside"), "leads out of"), (snapshot.join("data/more"), "a link to a folder")]
    {
        place.plant(&snapshot.join("data/again"), &folder);
        place.refused_with(text, &OFFLINE, &["data/again", says]);
        place.refused(text, &["data/again", says]);
        fs::remove_file(snapshot.join("data/again")).unwrap();
    }
    // Of a model, whose configuration is fetched again while there is a network.
    let config = place.cached(&format!("snapshots/{}/config.json", place.commit));
    place.plant(&config, &secret);
    place.refused_with(EVAL, &OFFLINE, &["config.json", "leads out of the hub's cache"]);
    place.result(EVAL);
    place.result_with(EVAL, &OFFLINE);
    // A link to another file of the cache is no link to this one.
    let weights = place.cached(&format!("blobs/{}", sha256(&place.weights())));
    place.plant(&config, &weights);
    place.result(EVAL);
    place.check_outside();
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    let config = |place: &Place| git_hash(&fs::read(place.path("local/config.json")).unwrap());
    // Links where files belong are removed.
    for planted in ["blobs/HASH", "blobs/HASH.incomplete", "LOCK", "refs/main", "snapshots/COMMIT/config.json"] {
        let place = Place::new();
        let secret = place.secret();
        let at = match planted {
            "LOCK" => place.path(&format!("home/hub/.locks/models--org--tiny/{}.lock", config(&place))),
            _ => place.cached(&planted.replace("HASH", &config(&place)).replace("COMMIT", &place.commit)),
        };
        place.plant(&at, &secret);
        let fetched = place.result("fetch org/tiny");
        assert!(states(&fetched).contains(&("config.json", "fetched")), "{planted}: {fetched:#}");
        assert!(fs::canonicalize(&at).is_err() || fs::canonicalize(&at).unwrap() != secret, "{planted}");
        place.check_outside();
        place.result_with(EVAL, &OFFLINE);
    }
    // Links where folders belong are named.
    for planted in ["", "blobs", "refs", "snapshots", "snapshots/COMMIT", "LOCKS"] {
        let place = Place::new();
        place.secret();
        let at = match planted {
            "LOCKS" => place.path("home/hub/.locks"),
            _ => place.cached(planted.replace("COMMIT", &place.commit).trim_end_matches('/')),
        };
        let at = PathBuf::from(at.to_str().unwrap().trim_end_matches('/'));
        place.plant(&at, &place.path("outside"));
        place.refused("fetch org/tiny", &["leads out of the hub's cache", "remove the link"]);
        place.check_outside();
    }
}

#[cfg(unix)]
#[test]
fn a_cache_that_is_a_link_itself_is_a_cache() {
    let place = Place::new();
    fs::create_dir_all(place.path("disk")).unwrap();
    place.plant(&place.path("home/hub"), &place.path("disk"));
    place.result("fetch org/tiny");
    place.result_with(EVAL, &OFFLINE);
    place.result_with("fetch org/tiny", &[("HF_HUB_CACHE", place.path("disk").to_str().unwrap())]);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_cache_is_no_file_of_it() {
    let place = Place::new();
    place.result("fetch --dataset org/texts");
    let snapshot = fs::read_dir(place.data("snapshots")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(snapshot.join("other.txt")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(snapshot.join("other.txt")).status().unwrap().success());
    place.refused_with("fetch --dataset org/texts", &OFFLINE, &["1 are missing"]);
}

#[cfg(unix)]
#[test]
fn a_cache_that_may_not_be_written_serves_what_it_has_and_says_what_to_do_for_more() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.result("fetch org/tiny");
    let mode = |mode: u32| {
        for folder in ["home/hub", "home/hub/models--org--tiny", "home/hub/models--org--tiny/blobs"] {
            fs::set_permissions(place.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    mode(0o555);
    // Who may do anything is not kept out by that.
    if fs::write(place.path("home/hub/probe"), "").is_err() {
        place.result("fetch org/tiny");
        place.refused("fetch org/texts/data/ids.jsonl", &["may write to", "HF_HUB_CACHE"]);
    }
    mode(0o755);
}

/// `line` with every lock that it asks for refused by `error`.
#[cfg(target_os = "linux")]
fn without_locks(place: &Place, line: &str, error: &str) -> std::process::Command {
    let command = place.command(line, &[]);
    let mut traced = std::process::Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", &format!("inject=flock:error={error}")])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(place.folder.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

#[machine::needs(strace)]
#[test]
#[cfg(target_os = "linux")]
fn a_cache_on_a_file_system_without_locks_is_filled_all_the_same() {
    for (error, is_without_locks) in [("ENOLCK", true), ("ENOSYS", true), ("EIO", false)] {
        let place = Place::new();
        let output = without_locks(&place, "fetch org/tiny --json --quiet", error).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_without_locks, "{error}: {err}");
        if is_without_locks {
            assert_eq!(err, "", "{error}");
            let weights = place.cached(&format!("snapshots/{}/model.safetensors", place.commit));
            assert_eq!(fs::read(weights).unwrap(), place.weights());
        } else {
            assert!(err.contains(".lock: "), "{err}");
        }
    }
}

#[machine::needs(strace)]
#[test]
#[cfg(target_os = "linux")]
fn where_nothing_can_be_locked_each_process_fills_a_file_of_its_own_and_what_is_not_whole_stays_for_the_next() {
    let place = Place::new();
    let weights = place.weights();
    let incomplete = place.cached(&format!("blobs/{}.incomplete", sha256(&weights)));
    place.hub.fault("/org/tiny/model.safetensors?", 1, Fault::Cut(PIECE));
    place.hub.fault("/org/tiny/model.safetensors?", ALWAYS, Fault::Cut(10));
    let output = without_locks(&place, "fetch org/tiny --quiet", "ENOLCK").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(&incomplete).unwrap(), weights[..PIECE + 40]);

    place.hub.heal();
    place.hub.asked();
    let start = || {
        let mut command = without_locks(&place, "fetch org/tiny --json --quiet", "ENOLCK");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start(), start(), start()] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    let from = place.hub.asked().into_iter().filter(|asked| asked.elsewhere && asked.method == "GET");
    assert!(from.filter_map(|asked| asked.from).min() == Some(PIECE + 40), "what was there is fetched once");
    assert_eq!(fs::read(place.cached(&format!("blobs/{}", sha256(&weights)))).unwrap(), weights);
    let blobs = listing(&place.cached("blobs"));
    assert!(blobs.iter().all(|name| !name.contains("incomplete") && !name.starts_with('.')), "{blobs:?}");
}
