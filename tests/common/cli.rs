//! Runs the real binary in a folder of its own, and makes what it reads.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use odyssey::synth::{Sizes, Splits, write_family};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the binary said.
#[derive(Debug)]
pub struct Said {
    /// Exit status; `None` where a signal ended it.
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A folder of its own for a test. Command lines run in it, so they name files as a user would.
pub struct Place {
    folder: TempDir,
}

/// `odyssey` as a user without settings of their own would start it, on the CPU.
fn environment(folder: &Path) -> [(&'static str, PathBuf); 4] {
    // Vulkan loaders complain on standard error without a runtime folder. Names that are no paths stay off the network.
    [
        ("ODYSSEY_DEVICE", "cpu".into()),
        ("XDG_RUNTIME_DIR", folder.to_owned()),
        ("HF_HUB_OFFLINE", "1".into()),
        ("ODYSSEY_CACHE", folder.join("cache")),
    ]
}

impl Place {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with the golden GPT-2 (512 tokens, windows of 64) in `model`, and random ids in `train.jsonl`,
    /// `valid.jsonl` and `test.jsonl`.
    pub fn with_model() -> Self {
        let place = Self::empty();
        copy_model("gpt2_tied", &place.path("model"));
        for (seed, split, documents) in [(1, "train", 40), (2, "valid", 6), (3, "test", 14)] {
            place.write(&format!("{split}.jsonl"), id_documents(seed, documents));
        }
        place
    }

    /// The same with a family of synthetic languages in `languages`, whose tokenizer the model has: its ids fit.
    pub fn with_languages() -> Self {
        let place = Self::with_model();
        let sizes = Sizes {
            base: Splits { train: 12_000, valid: 1000, test: 1000 },
            domain: Splits { train: 4000, valid: 1000, test: 2500 },
        };
        write_family(&place.path("languages"), 3, &[0.0, 0.25, 0.5, 1.0], sizes).unwrap();
        fs::copy(place.path("languages/tokenizer.json"), place.path("model/tokenizer.json")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// A document that carries its checksum, without it.
    pub fn kept(&self, name: &str) -> Value {
        let mut value = self.json(name);
        assert!(value.as_object_mut().unwrap().shift_remove("sha256").is_some(), "{name} has no checksum");
        value
    }

    /// Runs a command line, words separated by spaces. One that hangs fails.
    pub fn odyssey(&self, line: &str) -> Said {
        self.run_with(line, |_| {})
    }

    /// The same where no display is.
    pub fn without_display(&self, line: &str) -> Said {
        self.run_with(line, |command| {
            for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
                command.env_remove(name);
            }
        })
    }

    fn run_with(&self, line: &str, change: impl FnOnce(&mut Command)) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odyssey"));
        command
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .envs(environment(self.folder.path()))
            .timeout(Duration::from_secs(300));
        change(&mut command);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command line that must succeed, and reads what it prints as one JSON document.
    pub fn result(&self, line: &str) -> Value {
        let said = self.odyssey(&format!("{line} --json --quiet"));
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{line}");
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{line}: {e}\n{}", said.out))
    }

    /// Runs a command line that must be refused: status 2, nothing on standard output, on standard error one line that
    /// says all of `says`, and every file and folder as it was.
    pub fn refused(&self, line: &str, says: &[&str]) {
        let before = self.listing();
        let said = self.odyssey(&format!("{line} --quiet"));
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
        assert!(said.err.starts_with("odyssey: ") && said.err.lines().count() == 1, "{line}: {}", said.err);
        assert!(said.err.contains("; "), "{line} names no cure: {}", said.err);
        assert!(!said.err.contains("panicked"), "{line}: {}", said.err);
        for part in says {
            assert!(said.err.contains(part), "{line} does not say {part:?}: {}", said.err);
        }
        let after = self.listing();
        let changed: Vec<_> = before.symmetric_difference(&after).collect();
        assert!(changed.is_empty(), "{line} leaves {changed:?}");
    }

    /// Every file and folder, hidden ones too.
    pub fn listing(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path.strip_prefix(&self.folder).unwrap().to_owned());
            }
        }
        found
    }

    /// Starts a command line, and interrupts it as Ctrl-C does as soon as `ready` is true of what it has said on
    /// standard error. `None` where it ended before.
    #[cfg(unix)]
    pub fn interrupted(&self, line: &str, ready: impl Fn(&str) -> bool) -> Option<Said> {
        self.interrupted_in(line, &[], ready)
    }

    /// The same with more in the environment.
    #[cfg(unix)]
    pub fn interrupted_in(&self, line: &str, more: &[(&str, String)], ready: impl Fn(&str) -> bool) -> Option<Said> {
        use std::process::{Command, Stdio};
        let err = tempfile::NamedTempFile::new().unwrap();
        let said = || fs::read_to_string(err.path()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_odyssey"))
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .envs(environment(self.folder.path()))
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(err.reopen().unwrap())
            .spawn()
            .unwrap();
        let started = std::time::Instant::now();
        while !ready(&said()) {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{line} never got so far");
            std::thread::sleep(Duration::from_millis(2));
        }
        // Not INT, which is ignored by what a shell started in the background, and so by this test's children too.
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        Some(Said { status: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err: said() })
    }
}

/// Copies a model of `tests/fixtures`.
pub fn copy_model(case: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        // By content, so that the copy can be written to whatever the original's permissions are.
        if !name.to_string_lossy().starts_with("golden") {
            fs::write(to.join(name), fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// Documents of 50 random ids from 1 to 511, one a line.
pub fn id_documents(seed: u64, documents: usize) -> String {
    // Knuth's MMIX generator; its high bits are random enough.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) % 511
    };
    let document = |_| json!({ "ids": (0..50).map(|_| next()).collect::<Vec<_>>() }).to_string() + "\n";
    (0..documents).map(document).collect()
}

/// Asserts that `value` has something other than null at each of these JSON pointers.
pub fn assert_has(value: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let found = value.pointer(pointer);
        assert!(found.is_some_and(|found| !found.is_null()), "{pointer} is {found:?} in {value:#}");
    }
}
