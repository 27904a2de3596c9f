//! Presets: named settings, and how given settings replace those of a preset.
//!
//! A key from the command line or a file wins over the preset; the preset wins over the defaults. For both,
//! [`AdaptSettings`] needs to know which keys were given.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::settings::AdaptSettings;
use super::table::read;

impl AdaptSettings {
    /// These settings; keys that were not `given` take the values of the preset, if one is named.
    fn over_preset(self, given: &BTreeSet<String>) -> serde_json::Result<Self> {
        let Some(preset) = self.preset else { return Ok(self) };
        let mut whole = serde_json::to_value(preset.settings())?;
        lay_over(&mut whole, serde_json::to_value(self)?, given);
        read(whole).map(|(settings, _)| settings)
    }
}

/// Copies the `given` keys of `upper` into `lower`, and the keys that `lower` does not have.
fn lay_over(lower: &mut Value, upper: Value, given: &BTreeSet<String>) {
    let (Value::Object(lower), Value::Object(upper)) = (lower, upper) else { return }; // not given
    for (key, value) in upper {
        match lower.get_mut(&key) {
            Some(below) if given.contains(&key) => *below = value,
            Some(below) => lay_over(below, value, given), // constants of the optimiser are given one by one
            None => drop(lower.insert(key, value)),
        }
    }
}

impl<'de> Deserialize<'de> for AdaptSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (settings, given) = read(deserializer)?;
        settings.over_preset(&given).map_err(D::Error::custom)
    }
}

impl Serialize for AdaptSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// [`AdaptSettings`] as options of a command: an option that is given wins over the preset.
#[derive(Debug, Clone)]
pub struct RecipeArgs(pub AdaptSettings);

impl clap::FromArgMatches for RecipeArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let is_given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let given = matches.ids().filter(is_given).map(|id| id.as_str().to_owned()).collect();
        let settings = AdaptSettings::from_arg_matches(matches)?;
        let fault = |e| clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{e}\n"));
        settings.over_preset(&given).map(Self).map_err(fault)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for RecipeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        AdaptSettings::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        AdaptSettings::augment_args_for_update(command)
    }
}
