//! What is kept is known to be what was written: a bit that flipped, a cut or a file in another's place is noticed whenever
//! it is read, and the hash of a text is that of what was read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::Place;
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::error::Error;
use odyssey::evaluate::per_token;
use odyssey::progress::Silent;
use odyssey::seal::{self, Folder};
use odyssey::study::run::run_task;
use odyssey::study::runner::Runner;
use odyssey::study::{Plan, StudyConfig, TaskKind};
use serde_json::{Value, json};

const STUDY: &str = r#"
name = "kept"
seeds = [1]
restart_control = false

[similarity]
chunk = 32
samples = 20
reference_samples = 40
permutations = 9
resamples = 9

[[models]]
name = "golden"
path = "model"
reference = "languages/base"

[[domains]]
path = "languages/lambda-0"

[[domains]]
path = "languages/lambda-1"

[[strategies]]
name = "full"
recipe = { steps = 2, batch = 2, lr = 1e-3, validations = 1, valid_tokens = 200 }
"#;

const RUN: &str = "study run study.toml --out study";

fn planned() -> Place {
    let place = Place::with_languages();
    place.write("study.toml", STUDY);
    place
}

/// Every way to flip one bit of `bytes`, of every `step`-th byte.
fn flips(bytes: &[u8], step: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).step_by(step).flat_map(move |at| {
        (0..8).map(move |bit| {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            flipped
        })
    })
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_kept_document_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.json");
    let value =
        json!({ "numbers": [1.5, -2.25e-7], "name": "a\u{301} \"quoted\"", "nested": { "sha256": "of its own" } });
    seal::write_json(&path, &value).unwrap();
    let whole = fs::read(&path).unwrap();
    let (mut read, sealed): (Value, bool) = seal::read_json(&path).unwrap();
    read.as_object_mut().unwrap().remove("sha256");
    assert!(sealed && read == value, "{read}");

    let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
    let text = String::from_utf8(whole.clone()).unwrap();
    let others = [
        text.clone() + "\n",
        text.replace("\n", "\r\n"),
        serde_json::from_str::<Value>(&text).unwrap().to_string(),
        text.replacen("{\n", "{\n  \"numbers\": [9],\n", 1), // a key twice
    ];
    for changed in flips(&whole, 1).chain(cuts).chain(others.map(String::into_bytes)) {
        fs::write(&path, &changed).unwrap();
        let read = seal::read_json::<Value>(&path);
        assert!(read.is_err(), "{}", String::from_utf8_lossy(&changed));
    }
    // What has no checksum is said to have none.
    fs::write(&path, value.to_string()).unwrap();
    assert_eq!(seal::read_json::<Value>(&path).unwrap(), (value, false));
}

#[test]
fn every_change_to_a_folder_of_results_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let made_with = BTreeMap::from([("tokenizer".to_owned(), "abc".to_owned())]);
    for (folder, number) in [(&first, 1), (&second, 2)] {
        seal::folder_whole(folder, &made_with, |folder| {
            fs::write(folder.join("a.json"), format!("{{\"value\": {number}}}")).unwrap();
            fs::write(folder.join("b.bin"), [number; 40]).unwrap();
            Ok(())
        })
        .unwrap();
    }
    let check = || seal::check_folder(&first, &made_with).unwrap();
    assert_eq!(check(), Folder::Whole);
    let is_damaged = |name: &str| match check() {
        Folder::Damaged(damage) => assert_eq!(damage.file, first.join(name), "{damage}"),
        other => panic!("{name}: {other:?}"),
    };
    for name in ["a.json", "b.bin", seal::LIST] {
        let whole = fs::read(first.join(name)).unwrap();
        let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
        let others = [fs::read(second.join(name)).unwrap()];
        for changed in flips(&whole, 1).chain(cuts).chain(others) {
            fs::write(first.join(name), changed).unwrap();
            is_damaged(name);
        }
        fs::write(first.join(name), &whole).unwrap();
        assert_eq!(check(), Folder::Whole);
    }
    fs::rename(first.join("b.bin"), place.path().join("away")).unwrap();
    is_damaged("b.bin");
    fs::rename(place.path().join("away"), first.join("b.bin")).unwrap();

    let other = BTreeMap::from([("tokenizer".to_owned(), "abd".to_owned())]);
    assert!(matches!(seal::check_folder(&first, &other).unwrap(), Folder::Damaged(_)));
    fs::remove_file(first.join(seal::LIST)).unwrap();
    assert_eq!(check(), Folder::Unlisted);
    fs::remove_dir_all(&first).unwrap();
    assert_eq!(check(), Folder::Missing);
    fs::rename(&second, &first).unwrap();
    is_damaged(seal::LIST); // a whole folder in another's place
}

#[test]
fn every_flipped_bit_of_a_per_token_file_is_noticed() {
    let place = Place::with_model();
    place.write("short.jsonl", "{\"ids\": [5, 6, 7, 8, 9, 10]}\n");
    place.result("eval --model model --text short.jsonl --per-token kept.safetensors");
    let path = place.path("kept.safetensors");
    per_token::read(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for (at, changed) in flips(&whole, 1).enumerate() {
        fs::write(&path, changed).unwrap();
        assert!(per_token::read(&path).is_err(), "bit {} of byte {} of {}", at % 8, at / 8, whole.len());
    }
    // In a comparison it is the file that is named.
    let mut changed = whole;
    let last = changed.len() - 50;
    changed[last] ^= 4;
    fs::write(&path, changed).unwrap();
    place.refused("compare --before kept.safetensors --after model --text short.jsonl", &["kept.safetensors"]);
}

/// The one file whose path in the study begins and ends like this.
fn find(place: &Place, begins: &str, ends: &str) -> String {
    let tasks = fs::read_dir(place.path("study/tasks")).unwrap();
    let mut names = tasks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.starts_with(begins)).unwrap();
    format!("study/tasks/{name}/{ends}")
}

/// Results without what differs from run to run.
fn numbers(mut results: Value) -> Value {
    for row in results["rows"].as_array_mut().unwrap() {
        row["seconds"] = Value::Null;
    }
    results
}

#[test]
fn a_damaged_result_of_a_study_is_computed_again_alone_and_that_is_said() {
    let place = planned();
    let found = numbers(place.result(RUN));
    let flip = |path: &str| {
        let mut bytes = place.read(path);
        let at = bytes.len() * 2 / 3;
        bytes[at] ^= 8;
        place.write(path, bytes);
    };
    let cut = |path: &str| place.write(path, &place.read(path)[..40]);
    let digit = |path: &str| {
        let text = String::from_utf8(place.read(path)).unwrap();
        place.write(path, text.replacen("0.0", "0.4", 1));
    };
    let other = |path: &str| place.write(path, place.read(&find(&place, "zero-shot-golden-lambda-1", "eval.json")));
    let remove = |path: &str| fs::remove_file(place.path(path)).unwrap();
    type Harm<'a> = &'a dyn Fn(&str);
    let cases: [(&str, &str, Harm<'_>); 8] = [
        ("zero-shot-golden-lambda-0", "per_token.safetensors", &flip),
        ("reference", "sample.safetensors", &flip),
        ("similarity-golden-lambda-0", "similarity.json", &digit),
        ("adapt-golden-lambda-1", "adapt.json", &flip),
        ("adapt-golden-lambda-0", "adapt.json", &cut),
        ("zero-shot-golden-lambda-0", "eval.json", &other),
        ("adapt-golden-lambda-0", "per_token.safetensors", &remove),
        ("similarity-golden-lambda-1", "checksums.json", &remove),
    ];
    for (task, file, damage) in cases {
        let path = find(&place, task, file);
        let before = modified(&place, &path);
        damage(&path);
        place.refused("study report study", &[&path, "run the study again"]);
        let status = place.result("study status study");
        let damaged: Vec<&Value> =
            status["tasks"].as_array().unwrap().iter().filter(|task| task.get("damaged").is_some()).collect();
        assert_eq!(damaged.len(), 1, "{path}: {status}");
        assert_eq!(damaged[0]["done"], false);

        let said = place.odyssey(&format!("{RUN} --json"));
        assert_eq!(said.status, Some(0), "{path}: {}", said.err);
        assert!(said.err.contains(&path) && said.err.contains("computed anew"), "{path}: {}", said.err);
        assert_eq!(numbers(serde_json::from_str(&said.out).unwrap()), found, "{path}");
        let after = modified(&place, &path);
        let anew: Vec<&PathBuf> =
            after.iter().filter(|(name, time)| before.get(*name) != Some(time)).map(|(name, _)| name).collect();
        assert!(anew.iter().all(|name| name.starts_with(Path::new(&path).parent().unwrap())), "{path}: {anew:?}");
    }
    // Of a plan that is damaged nothing is taken.
    flip("study/plan.json");
    place.refused("study report study", &["plan.json"]);
    let said = place.odyssey(&format!("{RUN} --json"));
    assert!(said.err.contains("plan.json") && said.err.contains("planned anew"), "{}", said.err);
    assert_eq!(numbers(serde_json::from_str(&said.out).unwrap()), found);
    flip("study/results.json");
    assert_eq!(numbers(place.result("study report study")), found, "results are put together from their tasks");
}

/// Files below the tasks' folders with the time of their change; `path` is left out, which a test changes itself.
fn modified(place: &Place, path: &str) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let files = place.listing().into_iter().filter(|name| name.starts_with("study/tasks") && *name != Path::new(path));
    files
        .filter(|name| place.path(name.to_str().unwrap()).is_file())
        .map(|name| (name.clone(), fs::metadata(place.path(name.to_str().unwrap())).unwrap().modified().unwrap()))
        .collect()
}

#[test]
fn a_study_without_checksums_is_taken_as_it_is_with_a_note_and_has_them_after_the_next_run() {
    let place = planned();
    let found = numbers(place.result(RUN));
    let lists: Vec<PathBuf> = place.listing().into_iter().filter(|name| name.ends_with(seal::LIST)).collect();
    assert_eq!(lists.len(), 1 + 2 * 3);
    lists.iter().for_each(|list| fs::remove_file(place.path(list.to_str().unwrap())).unwrap());
    let mut plan = place.json("study/plan.json");
    let plan_keys = plan.as_object_mut().unwrap();
    plan_keys.remove("sha256");
    plan_keys.remove("contents");
    place.write("study/plan.json", plan.to_string());

    let said = place.odyssey("study report study --json");
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("7 results") && said.err.contains("no checksums"), "{}", said.err);
    assert_eq!(numbers(serde_json::from_str(&said.out).unwrap()), found);

    let cut = find(&place, "similarity-golden-lambda-1", "similarity.json");
    place.write(&cut, "{");
    let said = place.odyssey(&format!("{RUN} --json"));
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("6 results of an older version"), "{}", said.err);
    assert!(said.err.contains(&cut), "what cannot be read is no result: {}", said.err);
    assert_eq!(numbers(serde_json::from_str(&said.out).unwrap()), found);
    place.result(RUN); // without a word
}

/// Plans the study, lets `change` happen, and runs the first task of `kind`.
fn run_after(place: &Place, kind: TaskKind, change: impl FnOnce()) -> Result<(), Error> {
    let mut config = StudyConfig::read(&place.path("study.toml")).unwrap();
    config.devices = vec![DeviceChoice::Cpu];
    let devices: Vec<ChosenDevice> = vec![DeviceChoice::Cpu.open().unwrap()];
    let plan = Plan::new(config, &devices, &mut Silent).unwrap();
    let study = place.path("fresh");
    plan.write(&study).unwrap();
    change();
    let task = plan.tasks.iter().find(|task| task.kind() == kind).unwrap();
    let done = run_task(&mut Runner::new(&plan, &study, &devices), task, &mut Silent);
    assert_eq!(done.is_ok(), study.join(&task.folder).exists(), "nothing is kept of what was refused");
    fs::remove_dir_all(study).unwrap();
    done
}

#[test]
fn what_changes_between_planning_and_reading_is_refused_by_name_and_not_kept() {
    let place = planned();
    let text = |split: &str| format!("languages/lambda-0/{split}.txt");
    let swap = |name: &str| {
        let before = place.read(name);
        let mut after = before.clone();
        let digit = after.iter().rposition(u8::is_ascii_alphabetic).unwrap();
        after[digit] = if after[digit] == b'a' { b'b' } else { b'a' };
        place.write(name, after);
        before
    };
    let base = |split: &str| format!("languages/base/{split}.txt");
    let existing = |name: String| match place.path(&name).exists() {
        true => name,
        false => name.replace(".txt", ".jsonl"),
    };
    for (kind, name) in [
        (TaskKind::ZeroShot, existing(text("test"))),
        (TaskKind::Similarity, existing(text("train"))),
        (TaskKind::Reference, existing(base("train"))),
        (TaskKind::Adapt, existing(text("train"))),
    ] {
        let mut before = Vec::new();
        let error = run_after(&place, kind, || before = swap(&name)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&name) && message.contains("changed after"), "{kind:?}: {message}");
        assert_eq!(error.exit_code(), 2);
        place.write(&name, before);
    }
    run_after(&place, TaskKind::ZeroShot, || ()).unwrap();

    // The model: its weights, then its tokenizer.
    for name in ["model/model.safetensors", "model/tokenizer.json"] {
        let before = place.read(name);
        let change = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut after = before.clone();
            match name.ends_with(".json") {
                true => after.push(b'\n'),
                false => *after.last_mut().unwrap() ^= 1,
            }
            place.write(name, after);
        };
        let message = run_after(&place, TaskKind::ZeroShot, change).unwrap_err().to_string();
        assert!(message.contains("model") && message.contains("changed after"), "{message}");
        place.write(name, before);
    }
    // Written anew with the same content it is the same model.
    let same = place.read("model/model.safetensors");
    run_after(&place, TaskKind::ZeroShot, || place.write("model/model.safetensors", &same)).unwrap();
}

#[test]
fn results_made_with_another_tokenizer_are_not_taken() {
    let place = planned();
    place.result(RUN);
    let tokenizer = [place.read("model/tokenizer.json"), b"\n".to_vec()].concat();
    place.write("model/tokenizer.json", tokenizer);
    let said = place.odyssey(RUN);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("another tokenizer"), "{}", said.err);
    assert_eq!(said.err.matches("computed anew").count(), 7, "{}", said.err);
}
