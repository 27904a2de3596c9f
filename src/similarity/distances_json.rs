//! [`Distances`] in JSON: flat keys, as the results of every version have them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::distances::Distances;
use super::measures::Measure;
use crate::stats::Estimate;

/// A key and what it says of which measure.
enum Key {
    Samples,
    Value(Measure),
    P(Measure),
    Q(Measure),
    Effect(Measure),
    Ci95(Measure),
    Reasons,
    Caveats,
    Other,
}

impl Key {
    fn of(key: &str) -> Self {
        let with = |suffix: &str| key.strip_suffix(suffix).and_then(Measure::of_key);
        match key {
            "samples" => return Self::Samples,
            "reasons" => return Self::Reasons,
            "caveats" => return Self::Caveats,
            _ => {}
        }
        let effect = key.strip_prefix("effect_").and_then(Measure::of_key).map(Self::Effect);
        effect
            .or_else(|| Measure::of_key(key).map(Self::Value))
            .or_else(|| with("_p").map(Self::P))
            .or_else(|| with("_q").map(Self::Q))
            .or_else(|| with("_ci95").map(Self::Ci95))
            .unwrap_or(Self::Other)
    }
}

/// The measures in the order of the keys: the centroid cosine comes before the energy distance, so that a file is the same
/// to the byte as one of an older version.
fn written() -> [Measure; Measure::ALL.len()] {
    let mut order = Measure::ALL;
    order.swap(Measure::Energy as usize, Measure::CentroidCosine as usize);
    order
}

impl Serialize for Distances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("samples", &self.samples)?;
        for measure in written() {
            let value = self[measure].value;
            if value.is_some() || measure.about().null {
                map.serialize_entry(measure.key(), &value)?;
            }
        }
        for measure in Measure::ALL {
            let Estimate { p, q, .. } = self[measure];
            for (kind, value) in [("p", p), ("q", q)].into_iter().filter(|(_, value)| value.is_some()) {
                map.serialize_entry(&format!("{}_{kind}", measure.key()), &value)?;
            }
        }
        for (measure, effect) in &self.effects {
            map.serialize_entry(&format!("effect_{}", measure.key()), effect)?;
        }
        for measure in written() {
            if let Some(ends) = self[measure].ci95 {
                map.serialize_entry(&format!("{}_ci95", measure.key()), &ends)?;
            }
        }
        let reasons = self.reasons();
        if !reasons.is_empty() {
            map.serialize_entry("reasons", &reasons)?;
        }
        if !self.caveats.is_empty() {
            map.serialize_entry("caveats", &self.caveats)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Distances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Distances;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("distances by the keys of their measures")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distances, A::Error> {
        let mut found = Distances::default();
        let (mut samples, mut reasons) = (None, BTreeMap::<String, String>::new());
        while let Some(key) = map.next_key::<String>()? {
            match Key::of(&key) {
                Key::Samples => samples = Some(map.next_value()?),
                Key::Value(measure) => found[measure].value = map.next_value()?,
                Key::P(measure) => found[measure].p = map.next_value()?,
                Key::Q(measure) => found[measure].q = map.next_value()?,
                Key::Ci95(measure) => found[measure].ci95 = map.next_value()?,
                Key::Effect(measure) => {
                    found.effects.extend(map.next_value::<Option<f64>>()?.map(|effect| (measure, effect)));
                }
                Key::Reasons => reasons = map.next_value()?,
                Key::Caveats => found.caveats = map.next_value()?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        found.samples = samples.ok_or_else(|| de::Error::missing_field("samples"))?;
        // In order of keys: the reason why a value is missing comes before the reason why it was not tested.
        for (key, reason) in reasons {
            let measure = match Key::of(&key) {
                Key::Value(measure) | Key::P(measure) => measure,
                _ => continue,
            };
            found[measure].reason.get_or_insert(reason);
        }
        Ok(found)
    }
}
