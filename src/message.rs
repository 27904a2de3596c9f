//! What the library says to people, as data: words, and settings among them. Each face words settings in its own way.

use std::fmt;

use crate::shown::quoted;

/// A setting with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in TOML, as `micro_batch`; `adamw.moments` is `moments` of the table `adamw`.
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
    /// A command of the program with these settings.
    fn command(&self, command: &str, settings: &[Setting]) -> String {
        let settings: Vec<String> = settings.iter().map(|setting| self.setting(setting)).collect();
        format!("`odyssey {command}` with {}", settings.join(" and "))
    }
}

/// As in TOML: `dtype = "f32"`.
#[derive(Debug, Clone, Copy)]
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

/// Words, and settings among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Words(String),
    Set(Setting),
    Key(&'static str),
    Command(&'static str, Vec<Setting>),
}

impl Message {
    /// Begins with these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(vec![Part::Words(words.into())])
    }

    /// More words, or all of another message.
    pub fn then(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// A setting with its value.
    pub fn set(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.push(Part::Set(Setting::new(key, value)));
        self
    }

    /// A setting without a value: "leave … out", "a smaller …".
    pub fn key(mut self, key: &'static str) -> Self {
        self.0.push(Part::Key(key));
        self
    }

    /// Settings that belong together.
    pub fn all(mut self, settings: &[Setting]) -> Self {
        for (index, setting) in settings.iter().enumerate() {
            self.0.extend((index > 0).then(|| Part::Words(" ".to_owned())));
            self.0.push(Part::Set(setting.clone()));
        }
        self
    }

    /// A command of the program, as `adapt`, with these settings.
    pub fn command(mut self, command: &'static str, settings: impl Into<Vec<Setting>>) -> Self {
        self.0.push(Part::Command(command, settings.into()));
        self
    }

    /// The same with each part of its words changed.
    pub(crate) fn map_words(self, change: impl Fn(String) -> String) -> Self {
        let part = |part| match part {
            Part::Words(words) => Part::Words(change(words)),
            other => other,
        };
        Self(self.0.into_iter().map(part).collect())
    }

    /// The words of a face. What is quoted of a file may hold line breaks or commands to a terminal: what is invisible is
    /// escaped.
    pub fn worded(&self, wording: &dyn Wording) -> String {
        let part = |part: &Part| match part {
            Part::Words(words) => quoted(words),
            Part::Set(setting) => quoted(&wording.setting(setting)),
            Part::Key(key) => wording.key(key),
            Part::Command(command, settings) => quoted(&wording.command(command, settings)),
        };
        self.0.iter().map(part).collect()
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.worded(&Keys).is_empty()
    }
}

impl From<String> for Message {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}

impl From<&str> for Message {
    fn from(words: &str) -> Self {
        Self::new(words)
    }
}

impl From<Setting> for Message {
    fn from(setting: Setting) -> Self {
        Self(vec![Part::Set(setting)])
    }
}

impl fmt::Display for Message {
    /// As in TOML; a face has [`Message::worded`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Keys))
    }
}
