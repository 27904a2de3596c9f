//! How the command line words settings: as options of the command that runs. What is none of its options stands in the
//! command's file, and is worded as there.

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};
use odyssey::message::{Keys, Setting, Wording};
use odyssey::recipe::options;

/// The options of the command that runs, without `--`.
#[derive(Debug, Clone, Default)]
pub struct Options(BTreeSet<String>);

impl Options {
    /// Those of the command of `program` that was `chosen`, and of what it is part of.
    pub fn of(program: &Command, chosen: &ArgMatches) -> Self {
        let mut options = BTreeSet::new();
        let (mut command, mut chosen) = (Some(program), Some(chosen));
        while let (Some(of), Some(found)) = (command, chosen) {
            options.extend(of.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)));
            let subcommand = found.subcommand();
            command = subcommand.and_then(|(name, _)| of.find_subcommand(name));
            chosen = subcommand.map(|(_, found)| found);
        }
        Self(options)
    }
}

impl Wording for Options {
    fn setting(&self, setting: &Setting) -> String {
        match self.0.contains(&option(setting.key)) {
            true => given(setting),
            false => Keys.setting(setting),
        }
    }

    fn key(&self, key: &str) -> String {
        let option = option(key);
        if self.0.contains(&option) { format!("--{option}") } else { Keys.key(key) }
    }

    fn command(&self, command: &str, settings: &[Setting]) -> String {
        let settings: Vec<String> = settings.iter().map(given).collect();
        format!("`odyssey {command} {}`", settings.join(" "))
    }
}

/// The option of a setting, whichever commands have it.
fn option(key: &str) -> String {
    let of_recipe = options().iter().find(|option| option.key == key);
    of_recipe.map_or_else(|| key.replace('_', "-"), |found| found.option.clone())
}

/// A setting as it is typed.
fn given(Setting { key, value }: &Setting) -> String {
    let option = option(key);
    match value.as_str() {
        "true" => format!("--{option}"),
        value => format!("--{option} {}", typed(value)),
    }
}

/// A value as a shell takes it.
fn typed(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@,+%=".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}
