//! Kills at random instants, and at random calls of the system, of all that runs for long: what follows ends with the
//! result of a run that was left alone, and with no stray file.
//!
//! A few kills of each by default; `ODYSSEY_RANDOM_KILLS=100 cargo test --release --test cli random_kills -- --nocapture`
//! shares out a hundred, the demo among them, and prints how many came where.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::Place;
use crate::hub::server::{Server, Stored};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Something that is killed.
struct Work {
    name: &'static str,
    prepare: fn() -> Place,
    line: &'static str,
    /// What of the place it makes.
    makes: &'static [&'static str],
}

const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out out --batch 4 --steps 6 --lr 1e-3 \
                     --validations 3 --checkpoint-every 1 --resume --metrics m.jsonl";

const PRETRAIN: &str = r#"
corpus = "languages/base"
tokenizer = "languages/tokenizer.json"
[model]
model_type = "gpt2"
vocab_size = 224
n_positions = 32
n_embd = 16
n_layer = 1
n_head = 2
eos_token_id = 0
[recipe]
steps = 8
batch = 4
validations = 2
"#;

const STUDY: &str = r#"
name = "Two languages"
[similarity]
chunk = 32
samples = 16
reference_samples = 32
permutations = 20
resamples = 20
[[models]]
name = "golden"
path = "model"
reference = "languages/base"
[[domains]]
path = "languages/lambda-0.25"
[[domains]]
path = "languages/lambda-1"
[[strategies]]
name = "full"
[strategies.recipe]
steps = 4
batch = 4
"#;

fn with_texts() -> Place {
    let place = Place::with_languages();
    place.write("pretrain.toml", PRETRAIN);
    place.write("study.toml", STUDY);
    place
}

const WORKS: [Work; 6] = [
    Work { name: "adapt", prepare: Place::with_model, line: ADAPT, makes: &["out", "m.jsonl"] },
    Work {
        name: "adapt, adapters",
        prepare: Place::with_model,
        line: "adapt --model model --train train.jsonl --valid valid.jsonl --out out/ --batch 4 --steps 6 --strategy lora \
               --validations 3 --checkpoint-every 1 --resume",
        makes: &["out"],
    },
    Work {
        name: "adapt, checkpointing",
        prepare: Place::with_model,
        line: "adapt --model model --train train.jsonl --valid valid.jsonl --out x/../out --batch 4 --steps 6 \
               --gradient-checkpointing --validations 3 --checkpoint-every 1 --resume",
        makes: &["out"],
    },
    Work {
        name: "pretrain",
        prepare: with_texts,
        line: "pretrain pretrain.toml --out out --checkpoint-every 1 --resume",
        makes: &["out"],
    },
    Work { name: "study", prepare: with_texts, line: "study run study.toml --out out", makes: &["out"] },
    Work { name: "synth", prepare: Place::empty, line: "synth languages --out out --lambda 0 0.5", makes: &["out"] },
];

const DEMO: Work = Work { name: "demo", prepare: Place::empty, line: "demo --out out", makes: &["out"] };

/// Calls of the system that change files.
const CALLS: [&str; 9] = ["write", "pwrite64", "fsync", "rename", "mkdir", "unlink", "rmdir", "openat", "flock"];

fn start(place: &Place, line: &str, under: &[String], more: &[(&str, String)]) -> Child {
    let mut words: Vec<&str> = under.iter().map(String::as_str).collect();
    words.push(env!("CARGO_BIN_EXE_odyssey"));
    words.extend(line.split_whitespace());
    fs::create_dir_all(place.path("tmp")).unwrap();
    Command::new(words[0])
        .args(&words[1..])
        .arg("--quiet")
        .current_dir(place.path("."))
        .env("ODYSSEY_DEVICE", "cpu")
        .env("ODYSSEY_CACHE", place.path("cache"))
        .env("TMPDIR", place.path("tmp"))
        .env("XDG_RUNTIME_DIR", place.path("."))
        .env("HF_HUB_OFFLINE", "1")
        .envs(more.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(place: &Place, line: &str, more: &[(&str, String)], after: &str) -> Duration {
    let started = Instant::now();
    let done = start(place, line, &[], more).wait_with_output().unwrap();
    assert!(done.status.success(), "{after}: {}", String::from_utf8_lossy(&done.stderr));
    started.elapsed()
}

/// Everything in a place, what is measured of time and memory left out.
fn result(place: &Place, makes: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in place.listing() {
        let name = path.display().to_string();
        let kept = match makes.iter().any(|made| path.starts_with(made)) && place.path(&name).is_file() {
            true => timeless(&path, place.read(&name)),
            false => Vec::new(), // that it is there
        };
        found.insert(name, kept);
    }
    found
}

/// Bytes of the checksum that closes a sealed file.
const SEAL: usize = 32;

fn timeless(path: &Path, bytes: Vec<u8>) -> Vec<u8> {
    match path.extension().and_then(|ending| ending.to_str()) {
        // Of files that hold times.
        Some("json") if path.ends_with("checksums.json") => Vec::new(),
        Some("json") => {
            let mut value: Value = serde_json::from_slice(&bytes).unwrap();
            drop_times(&mut value);
            value.to_string().into_bytes()
        }
        Some("jsonl") if path.starts_with("m.jsonl") => {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let values = lines.map(|line| {
                let mut value: Value = serde_json::from_slice(line).unwrap();
                drop_times(&mut value);
                value.to_string() + "\n"
            });
            values.collect::<String>().into_bytes()
        }
        Some("csv") => {
            let mut reader = csv::Reader::from_reader(bytes.as_slice());
            let timed: Vec<bool> = reader.headers().unwrap().iter().map(|name| name.contains("second")).collect();
            let rows = reader.records().map(|row| {
                let row = row.unwrap();
                let kept = row.iter().zip(&timed).filter(|(_, timed)| !**timed).map(|(cell, _)| cell);
                kept.collect::<Vec<_>>().join(",") + "\n"
            });
            rows.collect::<String>().into_bytes()
        }
        // Its header holds the JSON of the evaluation.
        Some("safetensors") if path.ends_with("per_token.safetensors") => {
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..bytes.len() - SEAL].to_vec() // the checksum is of the times too
        }
        Some("html") => Vec::new(), // it shows times
        _ => bytes,
    }
}

/// Removes what is different each time.
fn drop_times(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let measured = |key: &str| {
                key.contains("second") || ["peak_memory_bytes", "base_model_name_or_path", "sha256"].contains(&key)
            };
            object.retain(|key, _| !measured(key));
            object.values_mut().for_each(drop_times);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_times),
        _ => {}
    }
}

fn compare(place: &Place, makes: &[&str], expected: &BTreeMap<String, Vec<u8>>, after: &str) {
    let result = result(place, makes);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&result), names(expected), "{after}: other files");
    for (name, content) in &result {
        assert!(*content == expected[name], "{after}: other bytes in {name}");
    }
}

/// Kills a run before it is done; whether that could be.
fn kill(place: &Place, line: &str, more: &[(&str, String)], time: Duration, random: &mut ChaCha8Rng) -> bool {
    if machine::has!(strace) && random.random_range(0..2) == 0 {
        let call = CALLS[random.random_range(0..CALLS.len())];
        let inject = format!("inject={call}:signal=KILL:when={}", random.random_range(1..40));
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]
            .map(str::to_owned);
        return !start(place, line, &strace, more).wait_with_output().unwrap().status.success();
    }
    let mut child = start(place, line, &[], more);
    std::thread::sleep(time.mul_f64(random.random_range(0.0..1.0)));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Kills `work` so often, up to four times a run, and looks at what each run ends with.
fn harry(work: &Work, kills: usize, random: &mut ChaCha8Rng) -> usize {
    let Work { name, prepare, line, makes } = work;
    let left_alone = prepare();
    let time = finish(&left_alone, line, &[], name);
    let expected = result(&left_alone, makes);
    assert!(expected.keys().all(|name| !name.contains(".odyssey") && !name.contains(".checkpoint")), "{expected:?}");
    let mut done = 0;
    let mut runs = 0;
    while done < kills && runs < 10 * kills {
        let place = prepare();
        for _ in 0..random.random_range(1..=4) {
            done += usize::from(kill(&place, line, &[], time, random));
        }
        runs += 1;
        let after = format!("{name} after kill {done}");
        finish(&place, line, &[], &after);
        compare(&place, makes, &expected, &after);
        // And once more: it is done, and says so.
        finish(&place, line, &[], &after);
        compare(&place, makes, &expected, &after);
    }
    println!("{name}: {done} kills in {runs} runs");
    done
}

fn harry_fetch(kills: usize, random: &mut ChaCha8Rng) -> usize {
    let hub = Server::start();
    let weights: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    hub.put(
        "models/org/tiny",
        &[
            ("config.json", Stored::small("{}")),
            ("generation_config.json", Stored::small("{}")),
            ("tokenizer.json", Stored::small("{}")),
            ("model.safetensors", Stored::large(weights)),
        ],
    );
    let prepare = || {
        let place = Place::empty();
        let more = [
            ("HF_HOME", place.path("home").display().to_string()),
            ("HF_ENDPOINT", hub.endpoint.clone()),
            ("HF_HUB_OFFLINE", String::new()),
        ];
        (place, more)
    };
    let line = "fetch org/tiny";
    let (left_alone, more) = prepare();
    let time = finish(&left_alone, line, &more, "fetch");
    let makes = ["home/hub/models--org--tiny"];
    let expected = result(&left_alone, &makes);
    let (mut done, mut runs) = (0, 0);
    while done < kills && runs < 10 * kills {
        let (place, more) = prepare();
        for _ in 0..random.random_range(1..=4) {
            done += usize::from(kill(&place, line, &more, time, random));
        }
        runs += 1;
        let after = format!("fetch after kill {done}");
        finish(&place, line, &more, &after);
        compare(&place, &makes, &expected, &after);
    }
    println!("fetch: {done} kills in {runs} runs");
    done
}

#[test]
fn whatever_is_killed_ends_with_the_same_result_and_leaves_nothing_else() {
    let wanted: Option<usize> = std::env::var("ODYSSEY_RANDOM_KILLS").ok().map(|n| n.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(wanted.unwrap_or(7) as u64);
    let each = wanted.map_or(2, |n| n.div_ceil(WORKS.len() + 1));
    let mut kills: usize = WORKS.iter().map(|work| harry(work, each, &mut random)).sum();
    kills += harry_fetch(each, &mut random);
    if wanted.is_some() {
        kills += harry(&DEMO, each.min(6), &mut random);
    }
    println!("{kills} kills in all");
}
