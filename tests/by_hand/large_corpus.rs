//! A corpus much larger than the memory that adapting to it takes. It takes minutes and gigabytes of disk:
//! `ODYSSEY_LARGE_BYTES=2000000000 cargo test --release --test by_hand large_corpus -- --nocapture`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::model_folder;

/// Writes documents of invented words, from a seed, until they are so many bytes: `.txt` or `.jsonl.gz`.
fn write_corpus(path: &Path, bytes: u64) {
    let file = BufWriter::new(File::create(path).unwrap());
    let lines = path.extension().is_some_and(|extension| extension == "gz");
    let mut out: Box<dyn Write> = match lines {
        true => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())),
        false => Box::new(file),
    };
    let mut state = 42_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut written = 0;
    while written < bytes {
        let mut document = String::new();
        for _ in 0..100 + next(800) {
            (0..1 + next(4)).for_each(|_| document.push_str(SYLLABLES[next(7) as usize]));
            document.push_str([" ", " ", " ", ", ", ".\n"][next(5) as usize]);
        }
        match lines {
            true => writeln!(out, "{}", serde_json::json!({ "text": document })).unwrap(),
            false => write!(out, "{document}\n\n").unwrap(),
        }
        written += document.len() as u64 + 2;
    }
    out.flush().unwrap();
}

/// What invented words are made of.
const SYLLABLES: [&str; 7] = ["na", "to", "ri", "sel", "mo", "ka", "e"];

/// Byte-level BPE that knows the syllables: some two bytes a token, where real texts have four.
fn tokenizer() -> serde_json::Value {
    let alphabet: BTreeSet<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    let merges = [["n", "a"], ["t", "o"], ["r", "i"], ["s", "e"], ["se", "l"], ["m", "o"], ["k", "a"], ["na", "to"]];
    let pieces = alphabet.into_iter().map(String::from).chain(merges.map(|pair| pair.concat()));
    let vocab: serde_json::Map<_, _> = pieces.zip(0..).map(|(piece, id)| (piece, json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [],
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges}
    })
}

/// A fixture's model with that tokenizer.
fn write_model(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(model_folder("gpt2_tied").join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
}

/// MiB of an entry of `/proc/PID/status`; 0 once the process is gone.
fn status(pid: u32, entry: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(entry));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[test]
fn adapting_to_a_corpus_of_gigabytes_takes_less_than_half_a_gigabyte_of_its_own_memory() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let bytes: u64 = number("ODYSSEY_LARGE_BYTES").unwrap_or(1_000_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| folder.path().join(name);
    write_model(&at("model"));
    write_corpus(&at("valid.txt"), 100_000);
    let program = std::env::var_os("ODYSSEY_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_odyssey").into());
    for (name, join) in [("corpus.txt", "eot"), ("corpus.jsonl.gz", "newline")] {
        write_corpus(&at(name), bytes);
        let started = Instant::now();
        let mut child = Command::new(&program)
            .args(["adapt", "--device", "cpu", "--steps", "3", "--lr", "1e-4", "--join", join, "--context", "64"])
            .args(["--model".as_ref(), at("model").as_os_str(), "--train".as_ref(), at(name).as_os_str()])
            .args(["--valid".as_ref(), at("valid.txt").as_os_str(), "--out".as_ref(), at(join).as_os_str()])
            .env("ODYSSEY_CACHE", at("cache"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut own = 0; // anonymous memory, which only this process can give back
        let mut all = 0;
        let code = loop {
            own = own.max(status(child.id(), "RssAnon:"));
            all = all.max(status(child.id(), "VmHWM:"));
            if let Some(code) = child.try_wait().unwrap() {
                break code;
            }
            sleep(Duration::from_millis(20));
        };
        println!(
            "{name}, {} MB, --join {join}: {own} MiB of its own, {all} MiB with the system's cache, {:.0} s",
            bytes / 1_000_000,
            started.elapsed().as_secs_f64()
        );
        assert!(code.success());
        fs::remove_file(at(name)).unwrap();
        assert!(fs::read_dir(at("cache")).map_or(0, Iterator::count) == 0, "something is left in the cache");
        if std::env::var_os("ODYSSEY_PROGRAM").is_none() {
            assert!(own < 512, "{own} MiB");
        }
    }
}
