//! What to do about an error, as data: the library names settings, and each face words them in its own way.

use std::fmt;

use crate::shown::quoted;

/// A setting with the value that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in TOML, as `micro_batch`.
    pub key: &'static str,
    /// The value; `true` for what is only switched on.
    pub value: String,
}

impl Setting {
    /// The setting `key` with this value.
    pub fn new(key: &'static str, value: impl fmt::Display) -> Self {
        Self { key, value: value.to_string() }
    }
}

/// How a face words settings.
pub trait Wording {
    /// A setting with its value.
    fn setting(&self, setting: &Setting) -> String;
    /// A setting alone.
    fn key(&self, key: &str) -> String;
}

/// As in TOML: `dtype = "f32"`.
pub struct Keys;

impl Wording for Keys {
    fn setting(&self, Setting { key, value }: &Setting) -> String {
        let is_bare = value == "true" || value == "false" || value.parse::<f64>().is_ok();
        if is_bare { format!("{key} = {value}") } else { format!("{key} = \"{value}\"") }
    }

    fn key(&self, key: &str) -> String {
        format!("`{key}`")
    }
}

/// As on a command line: `--dtype f32`.
pub struct Flags;

impl Wording for Flags {
    fn setting(&self, Setting { key, value }: &Setting) -> String {
        match value.as_str() {
            "true" => self.key(key),
            value => format!("{} {value}", self.key(key)),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("--{}", key.replace('_', "-"))
    }
}

/// A cure: words, and settings among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cure(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Words(String),
    Set(Setting),
    Key(&'static str),
}

impl Cure {
    /// Begins with these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(vec![Part::Words(words.into())])
    }

    /// More words.
    pub fn then(mut self, words: impl Into<String>) -> Self {
        self.0.push(Part::Words(words.into()));
        self
    }

    /// A setting with the value that helps.
    pub fn set(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.push(Part::Set(Setting::new(key, value)));
        self
    }

    /// A setting without a value: "leave … out", "a smaller …".
    pub fn key(mut self, key: &'static str) -> Self {
        self.0.push(Part::Key(key));
        self
    }

    /// Settings that help together.
    pub fn all(mut self, settings: &[Setting]) -> Self {
        for (index, setting) in settings.iter().enumerate() {
            self.0.extend((index > 0).then(|| Part::Words(" ".to_owned())));
            self.0.push(Part::Set(setting.clone()));
        }
        self
    }

    /// The words of a face.
    pub fn worded(&self, wording: &dyn Wording) -> String {
        let part = |part: &Part| match part {
            Part::Words(words) => quoted(words),
            Part::Set(setting) => quoted(&wording.setting(setting)),
            Part::Key(key) => wording.key(key),
        };
        self.0.iter().map(part).collect()
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.worded(&Keys).is_empty()
    }
}

impl From<String> for Cure {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}

impl From<&str> for Cure {
    fn from(words: &str) -> Self {
        Self::new(words)
    }
}

impl fmt::Display for Cure {
    /// As in TOML; a face has [`Cure::worded`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Keys))
    }
}
