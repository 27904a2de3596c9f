//! Every setting of the recipe as data: what the application's form shows, and what the reference says.
//!
//! All of it comes from the settings' types, so that a new setting, or a new strategy, appears everywhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Command, FromArgMatches};
use serde_json::Value;

use super::adamw::AdamWConfig;
use super::preset::RecipeArgs;
use super::settings::{AdaptSettings, Preset};
use super::strategies::Strategies;
use crate::error::{Error, Result};

/// A setting of the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeOption {
    /// Its key in TOML and JSON; `adamw.beta1` is `beta1` of the table `adamw`.
    pub key: String,
    /// The option of the command line, without `--`.
    pub option: String,
    /// What it means.
    pub help: String,
    /// What it is where nothing is given, as it would be typed.
    pub default: Option<String>,
    /// The values that it may have and what each means, where these are few.
    pub values: Vec<(String, String)>,
    /// Whether it is on or off.
    pub is_flag: bool,
}

/// All settings, in the order of `--help`.
pub fn options() -> &'static [RecipeOption] {
    static OPTIONS: LazyLock<Vec<RecipeOption>> = LazyLock::new(find);
    &OPTIONS
}

fn find() -> Vec<RecipeOption> {
    let mut tables = vec![("adamw", AdamWConfig::augment_args(Command::new("")))];
    Strategies::options(&mut tables);
    let mut keys = BTreeMap::new();
    for (table, command) in &tables {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            // A strategy with one setting is a key with a value, and no table.
            // A name that begins with that of the table is whole.
            let is_whole = id == *table || id.starts_with(&format!("{table}."));
            keys.insert(id.to_owned(), if is_whole { id.to_owned() } else { format!("{table}.{id}") });
        }
    }
    let command = AdaptSettings::augment_args(Command::new(""));
    let of = |argument: &clap::Arg| {
        let id = argument.get_id().as_str();
        let words = |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string).unwrap_or_default();
        let help = words(argument.get_long_help().or(argument.get_help()));
        let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
        let values = argument.get_possible_values().into_iter().filter(|_| !is_flag);
        let defaults = argument.get_default_values().first().filter(|_| !is_flag);
        Some(RecipeOption {
            key: keys.get(id).cloned().unwrap_or_else(|| id.to_owned()),
            option: argument.get_long()?.to_owned(),
            help: help.split_whitespace().collect::<Vec<_>>().join(" "),
            default: defaults.map(|value| value.to_string_lossy().into_owned()),
            values: values.map(|value| (value.get_name().to_owned(), words(value.get_help()))).collect(),
            is_flag,
        })
    };
    command.get_arguments().filter_map(of).collect()
}

/// The values that somebody gives, by key, as they would be typed. What is not there is the preset's, or the default.
pub type Given = BTreeMap<String, String>;

impl AdaptSettings {
    /// What has to be given to get these settings.
    pub fn given(&self) -> Given {
        let preset = self.preset.unwrap_or(Preset::Default);
        let [own, below] =
            [self, &preset.settings()].map(|settings| serde_json::to_value(settings).unwrap_or_default());
        let mut given: Given = options()
            .iter()
            .filter_map(|option| {
                let value = at(&own, &option.key)?;
                // A strategy that is added with its defaults would else not be seen.
                let table = option.key.split('.').next().unwrap_or_default();
                if Strategies::ADDED.contains(&table) && at(&below, table).is_none() {
                    return (!value.is_null() && *value != Value::Bool(false))
                        .then(|| (option.key.clone(), typed(value)));
                }
                let value = (Some(value) != at(&below, &option.key)).then(|| typed(value))?;
                (Some(&value) != option.default.as_ref() || at(&below, &option.key).is_some())
                    .then(|| (option.key.clone(), value))
            })
            .collect();
        given.remove("preset");
        given.extend(at(&own, "preset").map(|preset| ("preset".to_owned(), typed(preset))));
        given
    }

    /// The settings with these values given, as the command line reads them.
    ///
    /// # Errors
    /// A value that is none, and its key.
    pub fn from_given(given: &Given) -> Result<Self> {
        let options = options();
        let words = |option: &RecipeOption| {
            let value = given.get(&option.key)?;
            match option.is_flag {
                true => (value == "true").then(|| format!("--{}", option.option)),
                false => Some(format!("--{}={value}", option.option)),
            }
        };
        let read = |words: Vec<String>| {
            let command = RecipeArgs::augment_args(Command::new("recipe").no_binary_name(true));
            command.try_get_matches_from(words).and_then(|matches| RecipeArgs::from_arg_matches(&matches))
        };
        // One by one first, to know which is at fault.
        for option in options {
            let Some(Err(error)) = words(option).map(|word| read(vec![word])) else { continue };
            if error.kind() == ErrorKind::MissingRequiredArgument {
                continue; // it goes with another option
            }
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            let fault = format!("is {:?}{why}", given[&option.key]);
            let names: Vec<&str> = option.values.iter().map(|(name, _)| name.as_str()).collect();
            let cure = match names.as_slice() {
                [] => format!("it is: {}", option.help),
                names => format!("use one of {}", names.join(", ")),
            };
            return Err(Error::input(&option.key, fault, cure));
        }
        let whole = read(options.iter().filter_map(words).collect());
        let whole = whole.map_err(|error| Error::input("recipe", error.to_string(), "change one of these"))?;
        Ok(whole.0)
    }
}

/// The value of `key`, a dot between a table and its key.
fn at<'v>(settings: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(settings, |value, part| value.get(part))
}

/// A value as it would be typed.
fn typed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(typed).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// All settings as tables of Markdown, for the reference: one for the recipe's own keys, one for each table in it.
pub fn reference() -> String {
    let options = options();
    let table_of = |option: &RecipeOption| option.key.split_once('.').map(|(table, _)| table.to_owned());
    let mut tables: Vec<Option<String>> = Vec::new();
    for option in options {
        if !tables.contains(&table_of(option)) {
            tables.push(table_of(option));
        }
    }
    let row = |option: &RecipeOption| {
        let default = match (&option.default, option.is_flag) {
            (_, true) => "`false`".to_owned(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::new(),
        };
        let sentence = |text: &str| text.trim_end_matches('.').replace('|', "\\|");
        let values: Vec<String> = option
            .values
            .iter()
            .map(|(name, help)| match help.as_str() {
                "" => format!(" `{name}`."),
                help => format!(" `{name}`: {}.", sentence(help)),
            })
            .collect();
        let RecipeOption { key, option, help, .. } = option;
        format!("| `{key}` | `--{option}` | {default} | {}.{} |\n", sentence(help), values.concat())
    };
    let table = |table: &Option<String>| {
        let heading = table.as_ref().map_or_else(String::new, |table| format!("### `{table}`\n\n"));
        let rows: String = options.iter().filter(|option| table_of(option) == *table).map(row).collect();
        format!("{heading}| TOML key | option | default | meaning |\n|---|---|---|---|\n{rows}")
    };
    tables.iter().map(table).collect::<Vec<_>>().join("\n")
}
