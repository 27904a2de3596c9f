//! A hub with a model and a data set, and a folder to run the binary in, with a cache of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::server::{Asked, Server, Stored};
use crate::cli::{copy_model, id_documents};

pub const ALWAYS: usize = usize::MAX;

/// The first piece of a file.
pub const PIECE: usize = 256 << 10;

/// A hub with a model and a data set, and a folder to run the binary in, with a cache of its own.
pub struct Place {
    pub hub: Server,
    pub folder: TempDir,
    pub commit: String,
}

pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let (hub, folder) = (Server::start(), tempfile::tempdir().unwrap());
        copy_model("gpt2_tied", &folder.path().join("local"));
        fs::write(folder.path().join("test.jsonl"), id_documents(3, 14)).unwrap();
        let file = |name: &str| fs::read(folder.path().join("local").join(name)).unwrap();
        let commit = hub.put(
            "models/org/tiny",
            &[
                ("README.md", Stored::small("read me")),
                ("config.json", Stored::small(file("config.json"))),
                ("generation_config.json", Stored::small("{}")),
                ("model.safetensors", Stored::large(file("model.safetensors"))),
                ("onnx/model.onnx", Stored::large("another format")),
                ("pytorch_model.bin", Stored::large("the same in another format")),
            ],
        );
        hub.put(
            "datasets/org/texts",
            &[
                (".gitattributes", Stored::small("")),
                ("data/ids.jsonl", Stored::small(id_documents(3, 14))),
                ("data/more/ids.jsonl", Stored::large(id_documents(4, 5))),
                ("data/picture.png", Stored::large("not a text")),
                ("other.txt", Stored::small("A text.\n\nAnother.")),
            ],
        );
        Self { hub, folder, commit }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The cache's folder of the model.
    pub fn cached(&self, name: &str) -> PathBuf {
        self.path("home/hub/models--org--tiny").join(name)
    }

    pub fn command(&self, line: &str, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odyssey"));
        // Nothing of the user's own settings.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name.ends_with("_OFFLINE")) {
            command.env_remove(name);
        }
        for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        command
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .env("ODYSSEY_DEVICE", "cpu")
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("HF_HOME", self.path("home"))
            .env("HF_ENDPOINT", &self.hub.endpoint)
            .envs(settings.iter().copied());
        command
    }

    pub fn run_with(&self, line: &str, settings: &[(&str, &str)]) -> Said {
        let output = assert_cmd::Command::from_std(self.command(line, settings))
            .timeout(Duration::from_secs(100))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command line that must succeed in silence, and gives its JSON.
    pub fn result_with(&self, line: &str, settings: &[(&str, &str)]) -> Value {
        let said = self.run_with(&format!("{line} --json --quiet"), settings);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{line}");
        serde_json::from_str(&said.out).unwrap()
    }

    pub fn result(&self, line: &str) -> Value {
        self.result_with(line, &[])
    }

    /// Runs a command line that must be refused with one line that says all of `says`.
    pub fn refused_with(&self, line: &str, settings: &[(&str, &str)], says: &[&str]) -> String {
        let said = self.run_with(&format!("{line} --quiet"), settings);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
        assert!(said.err.starts_with("odyssey: ") && said.err.lines().count() == 1, "{line}: {}", said.err);
        for part in says {
            assert!(said.err.contains(part), "{line} does not say {part:?}: {}", said.err);
        }
        said.err
    }

    pub fn refused(&self, line: &str, says: &[&str]) -> String {
        self.refused_with(line, &[], says)
    }

    pub fn weights(&self) -> Vec<u8> {
        fs::read(self.path("local/model.safetensors")).unwrap()
    }
}

/// Everything below a folder that is no folder itself.
pub fn listing(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found
}

/// Which files were downloaded.
pub fn downloads(asked: &[Asked]) -> BTreeSet<&str> {
    let files = asked.iter().filter(|asked| asked.method == "GET" && !asked.elsewhere);
    files.filter_map(|asked| asked.target.split_once("/resolve/")?.1.split_once('/')).map(|(_, path)| path).collect()
}

pub fn states(fetched: &Value) -> BTreeSet<(&str, &str)> {
    let files = fetched["files"].as_array().unwrap();
    files.iter().map(|file| (file["path"].as_str().unwrap(), file["state"].as_str().unwrap())).collect()
}
