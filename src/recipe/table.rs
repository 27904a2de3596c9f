//! Reads the recipe's table: notes which keys are given, and gives each strategy its key.
//!
//! serde's `flatten` would copy the table first, and errors would lose their lines. Here every key and value is read where
//! it stands.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::settings::AdaptSettings;
use super::strategies::Strategies;

/// The settings in a table, without any preset, and the keys that were given.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(AdaptSettings, BTreeSet<String>), D::Error> {
    let mut seen = Seen::default();
    // The derived function, which knows neither presets nor strategies.
    let mut settings = AdaptSettings::deserialize(Reading { inner: deserializer, seen: &mut seen })?;
    settings.strategies = seen.strategies;
    Ok((settings, seen.keys))
}

/// What was read beside the derived fields.
#[derive(Default)]
struct Seen {
    keys: BTreeSet<String>,
    strategies: Strategies,
    /// The derived fields.
    fields: &'static [&'static str],
}

/// Stands between a deserializer and the derived function: in turn around the deserializer, the visitor and the map.
struct Reading<'n, T> {
    inner: T,
    seen: &'n mut Seen,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reading<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.seen.fields = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Reading { inner: visitor, seen: self.seen })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reading<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Reading { inner: map, seen: self.seen })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Reading<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut field = seed;
        loop {
            match self.inner.next_key_seed(Key { field, seen: &mut *self.seen })? {
                None => return Ok(None),
                Some(Found::Field(found)) => return Ok(Some(found)),
                Some(Found::Strategy(key, unused)) => {
                    self.seen.strategies.read(key, &mut self.inner)?;
                    field = unused;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

/// Reads one key.
struct Key<'n, K> {
    /// What reads a derived field's name.
    field: K,
    seen: &'n mut Seen,
}

/// Whose key it is. A strategy's leaves the reader of derived fields unused.
enum Found<F, K> {
    Field(F),
    Strategy(&'static str, K),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = Found<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<'_, K> {
    type Value = Found<K::Value, K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of the recipe")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let Self { field, seen } = self;
        let is_first = seen.keys.insert(key.to_owned());
        if let Some(&key) = Strategies::KEYS.iter().find(|known| **known == key) {
            return match is_first {
                true => Ok(Found::Strategy(key, field)),
                false => Err(E::duplicate_field(key)),
            };
        }
        if !seen.fields.contains(&key) {
            let known: Vec<String> = seen.fields.iter().chain(Strategies::KEYS).map(|key| format!("`{key}`")).collect();
            return Err(E::custom(format!("unknown field `{key}`, expected one of {}", known.join(", "))));
        }
        let name: StrDeserializer<'_, E> = key.into_deserializer();
        field.deserialize(name).map(Found::Field)
    }
}
