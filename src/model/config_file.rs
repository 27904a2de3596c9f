//! A `config.json` being read: typed keys, and errors that name the file, the architecture and the key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::message::Message;
use crate::notice::warn_once;

/// The largest value of each size, far above that of any model: products of two sizes do not overflow, and tables of
/// one size stay small.
const SIZES: &[(&str, u64)] = &[
    ("vocab_size", i32::MAX as u64), // ids are 32-bit numbers with a sign on the device
    ("n_positions", i32::MAX as u64),
    ("max_position_embeddings", i32::MAX as u64),
    ("n_embd", LARGEST_WIDTH),
    ("n_inner", LARGEST_WIDTH),
    ("n_head", LARGEST_WIDTH),
    ("type_vocab_size", LARGEST_WIDTH),
    ("hidden_size", LARGEST_WIDTH),
    ("intermediate_size", LARGEST_WIDTH),
    ("num_attention_heads", LARGEST_WIDTH),
    ("num_key_value_heads", LARGEST_WIDTH),
    ("head_dim", LARGEST_WIDTH),
    ("n_layer", 1 << 16),
    ("num_hidden_layers", 1 << 16),
];
const LARGEST_WIDTH: u64 = 1 << 24;
/// Bytes of a broken file at most in which its fault is searched for.
const LONGEST_SEARCHED: u64 = 1 << 20;
/// Characters of a value that a message quotes.
const QUOTED: usize = 200;

/// A `config.json` being read, for errors that name file and key.
pub struct ConfigFile {
    path: PathBuf,
    json: Map<String, Value>,
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub fn read(path: PathBuf) -> Result<Self> {
        let json = files::read_json(&path).map_err(|error| no_number(&path).unwrap_or(error))?;
        Ok(Self { path, json })
    }

    /// The same from JSON that is not a file; `path` names it in errors.
    pub(super) fn new(path: PathBuf, json: Map<String, Value>) -> Self {
        Self { path, json }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The value of `key`; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// The same with each first key having the value of the second one, where the file has that.
    pub(super) fn with_aliases(&self, aliases: &[(&str, &str)]) -> Self {
        let mut json = self.json.clone();
        for (key, alias) in aliases {
            if let Some(value) = self.json.get(*alias) {
                json.insert((*key).to_owned(), value.clone());
            }
        }
        Self { path: self.path.clone(), json }
    }

    /// Refuses sizes that no model has.
    pub fn check_sizes(&self) -> Result<()> {
        for (key, most) in SIZES {
            if self.json.get(*key).and_then(Value::as_u64).is_some_and(|size| size > *most) {
                return Err(self.fault(format!("`{key}` is {}, expected at most {most}", self.json[*key])));
            }
        }
        Ok(())
    }

    /// Refuses a `size` of 0.
    pub fn require_some(&self, what: &str, size: usize) -> Result<()> {
        match size {
            0 => Err(Error::file(&self.path, format!("its {what} has size 0"), "restore the file")),
            _ => Ok(()),
        }
    }

    /// The family's keys as a typed structure.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.parse_with(Vec::new())
    }

    /// The same, with these values for keys that the file lacks.
    pub fn parse_with<T: DeserializeOwned>(&self, defaults: Vec<(&str, Value)>) -> Result<T> {
        let mut json = self.json.clone();
        for (key, value) in defaults {
            json.entry(key).or_insert(value);
        }
        // Through text with one key a line, because then the error has a line, which gives the key.
        let text = serde_json::to_string_pretty(&json).unwrap_or_default();
        serde_json::from_str(&text).map_err(|e| {
            let line =
                text.lines().nth(e.line().saturating_sub(1)).map_or("", |line| line.trim().trim_end_matches(','));
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let architecture = self.architecture();
            let Some((key, value)) = line.strip_prefix('"').and_then(|line| line.split_once("\": ")) else {
                return self.fault(format!("{architecture}not a complete configuration: {message}"));
            };
            let fault = format!("{architecture}\"{key}\": {value} does not fit: {message}");
            Error::file(&self.path, fault, cure_of(&serde_json::from_str(value).unwrap_or_default()))
        })
    }

    /// Refuses the file unless `key` is absent, null or `implemented`.
    pub fn refuse_unless(&self, key: &str, implemented: impl Into<Value>) -> Result<()> {
        let implemented = implemented.into();
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if *value == implemented => Ok(()),
            Some(_) => Err(self.refusal(key, &format!("only {implemented} is implemented"))),
        }
    }

    /// Refuses sizes of which the first is not a multiple of the second.
    pub fn require_multiple(&self, key: &str, value: usize, of: &str, divisor: usize) -> Result<()> {
        if divisor != 0 && value != 0 && value.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!("`{key}` = {value} is not a multiple of {of} = {divisor}"),
            "restore the file",
        ))
    }

    /// A key that is text.
    pub fn string(&self, key: &str) -> Result<&str> {
        self.json.get(key).and_then(Value::as_str).ok_or_else(|| {
            Error::file(&self.path, format!("has no `{key}`"), "restore the file from the model's source")
        })
    }

    /// A number that must be there: finite, and no text.
    ///
    /// `name` says where `value` stands, as in `rope_scaling.factor`.
    pub fn number(&self, name: &str, value: Option<&Value>) -> Result<f64> {
        let Some(value) = value else {
            let fault = format!("{}`{name}` is missing", self.architecture());
            return Err(Error::file(&self.path, fault, "restore the file from the model's source"));
        };
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| {
            let fault = format!("{}`{name}` is {}, expected a number", self.architecture(), quoted(value));
            Error::file(&self.path, fault, cure_of(value))
        })
    }

    /// A token id; the first one where the file lists several.
    pub fn token_id(&self, key: &str) -> Result<Option<u32>> {
        let value = match self.json.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items.first().unwrap_or(&Value::Null),
            Some(value) => value,
        };
        if value.as_i64().is_some_and(|id| id < 0) {
            warn_once(format!("{}: `{key}` is {value}, which is no token: taken for none", self.path.display()));
            return Ok(None);
        }
        match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None if value.is_null() => Ok(None),
            None => Err(Error::file(&self.path, format!("`{key}` is {value}, not a token id"), cure_of(value))),
        }
    }

    /// An error about the file as a whole.
    pub fn fault(&self, fault: impl Into<Message>) -> Error {
        Error::file(&self.path, fault, "restore the file from the model's source")
    }

    /// An error that names the architecture, then `key` and its value.
    pub fn refusal(&self, key: &str, why: &str) -> Error {
        self.refusal_with(key, why, "choose a model without this setting")
    }

    /// The same with another cure.
    pub fn refusal_with(&self, key: &str, why: &str, cure: &str) -> Error {
        let value = quoted(self.json.get(key).unwrap_or(&Value::Null));
        Error::file(&self.path, format!("{}`{key}` is {value}: {why}", self.architecture()), cure)
    }

    /// What messages begin with: `architecture "llama": `.
    fn architecture(&self) -> String {
        self.json.get("model_type").and_then(Value::as_str).map_or(String::new(), |model_type| {
            let model_type: String = model_type.chars().take(QUOTED).collect();
            format!("architecture {model_type:?}: ")
        })
    }
}

/// The error where the file at `path` has one of the words that Python writes for what is no number, which JSON does not
/// know.
fn no_number(path: &Path) -> Option<Error> {
    let short = std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() <= LONGEST_SEARCHED);
    let text = short.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    let (line, said) = (1..).zip(text.lines()).find_map(|(line, said)| {
        let value = said.rsplit_once("\": ").map_or(said, |(_, value)| value).trim().trim_end_matches(',');
        ["NaN", "Infinity", "-Infinity"].contains(&value).then_some((line, said))
    })?;
    let fault = format!("line {line}: {}: no number", said.trim().trim_end_matches(','));
    Some(Error::file(path, fault, "write a number there, or null"))
}

/// `value` as JSON, cut where it is long.
fn quoted(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What mends a `value` that is of another type than expected.
fn cure_of(value: &Value) -> &'static str {
    match value {
        Value::String(text) if text.trim().parse::<f64>().is_ok() => "write the number without quotation marks",
        Value::String(text) if ["true", "false"].contains(&text.to_lowercase().as_str()) => {
            "write true or false without quotation marks"
        }
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() > 1.0) => {
            "write it as a whole number, without a point"
        }
        Value::Number(_) => {
            "write true or false where a switch is meant, else restore the file from the model's source"
        }
        Value::Null => "write a value there, or take the key out so that its default applies",
        _ => "restore the file from the model's source",
    }
}
