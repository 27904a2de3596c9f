//! Presets: named settings, and how given settings replace those of a preset.
//!
//! A key from the command line or a file wins over the preset; the preset wins over the defaults. For both,
//! [`AdaptSettings`] needs to know which keys were given.

use std::collections::BTreeSet;
use std::fmt;

use clap::parser::ValueSource;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, forward_to_deserialize_any};
use serde_json::Value;

use super::settings::AdaptSettings;

impl AdaptSettings {
    /// These settings; keys that were not `given` take the values of the preset, if one is named.
    fn over_preset(self, given: &BTreeSet<String>) -> serde_json::Result<Self> {
        let Some(preset) = self.preset else { return Ok(self) };
        let mut whole = serde_json::to_value(preset.settings())?;
        lay_over(&mut whole, serde_json::to_value(self)?, given);
        Self::deserialize(whole)
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
        let mut given = BTreeSet::new();
        // The derived function. It does not apply presets.
        let settings = Self::deserialize(Noting { inner: deserializer, keys: &mut given })?;
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

/// Passes everything on to the reader of a map and records the keys of the map. A copy of the map would lose the line
/// numbers of errors.
struct Noting<'n, T> {
    inner: T,
    keys: &'n mut BTreeSet<String>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Noting<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Noting { inner: visitor, keys: self.keys })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Noting<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Noting { inner: map, keys: self.keys })
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<V::Value, E> {
        self.keys.insert(key.to_owned());
        self.inner.visit_str(key)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Noting<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(Noting { inner: seed, keys: &mut *self.keys })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Noting<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Noting { inner: deserializer, keys: self.keys })
    }
}
