//! How rotation frequencies are chosen: `rope_theta` and `rope_scaling` (transformers 4) or `rope_parameters` (5).
//!
//! Follows `modeling_rope_utils.py` of transformers 5: what it computes is computed, or refused by its name.

use serde_json::{Map, Value};

use super::config_file::ConfigFile;
use crate::error::Result;
use crate::notice::warn_once;

/// How rotation frequencies are stretched beyond the base.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// The plain frequencies θ^(−2i/D).
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// How much longer the context became.
        factor: f64,
    },
    /// LLaMA 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// How much longer the context became.
        factor: f64,
        /// Waves longer than `original_max_position_embeddings / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Waves shorter than `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context length of pretraining.
        original_max_position_embeddings: f64,
    },
}

impl RopeScaling {
    /// The rotation frequencies of a head of `channels`, radians per position: `[D/2]`.
    ///
    /// Source: `modeling_rope_utils.py` of transformers (`_compute_llama3_parameters` for the ramp).
    pub fn frequencies(&self, theta: f64, channels: usize) -> Vec<f64> {
        (0..channels / 2)
            .map(|i| theta.powf(-2.0 * i as f64 / channels as f64))
            .map(|frequency| match *self {
                Self::Default => frequency,
                Self::Linear { factor } => frequency / factor,
                Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    let ratio = original_max_position_embeddings / wavelength;
                    let kept = ((ratio - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                }
            })
            .collect()
    }
}

/// The one of `rope_scaling` and `rope_parameters` that counts.
struct Parameters<'a> {
    file: &'a ConfigFile,
    key: &'static str,
    values: &'a Map<String, Value>,
}

impl ConfigFile {
    /// Base and scaling of rotary positions.
    ///
    /// # Errors
    /// A kind that is not implemented, by its name; numbers that are missing, of another type or make no sense.
    pub fn rope(&self) -> Result<(f64, RopeScaling)> {
        let (theta, scaling, share) = self.partial_rope("rope_theta", "partial_rotary_factor", 1.0)?;
        if share != 1.0 {
            let inside = |key: &&str| self.get(key).is_some_and(|v| v.get("partial_rotary_factor").is_some());
            let key = ["rope_scaling", "rope_parameters"].into_iter().find(inside).unwrap_or("partial_rotary_factor");
            return Err(self.refusal(key, "a partial rotation is not implemented for this architecture"));
        }
        Ok((theta, scaling))
    }

    /// The same, and the share of a head's channels that is rotated, `partial_rotary_factor` of `rope_parameters`. Where
    /// there is no `rope_parameters`, base and share stand under the keys given; `share` applies where neither says it.
    pub fn partial_rope(&self, theta_key: &str, share_key: &str, share: f64) -> Result<(f64, RopeScaling, f64)> {
        let parameters = self.rope_parameters()?;
        let number = |inner: &str, outer: &str, default: f64| {
            let nested = parameters.as_ref().and_then(|p| Some((format!("{}.{inner}", p.key), p.values.get(inner)?)));
            match nested {
                Some((name, value)) => self.number(&name, Some(value)),
                None if self.json().contains_key(outer) => self.number(outer, self.json().get(outer)),
                None => Ok(default),
            }
        };
        let theta = number("rope_theta", theta_key, 10_000.0)?;
        if theta <= 0.0 {
            return Err(self.fault(format!("the base of its rotations, `{theta_key}`, is {theta}, expected above 0")));
        }
        // An absent share is written as null, too.
        let share = match self.get(share_key) {
            None if parameters.as_ref().is_none_or(|p| !p.values.contains_key("partial_rotary_factor")) => share,
            _ => number("partial_rotary_factor", share_key, share)?,
        };
        let scaling = parameters.map_or(Ok(RopeScaling::Default), |parameters| parameters.scaling())?;
        Ok((theta, scaling, share))
    }

    /// `rope_scaling` where it says something, else `rope_parameters`: the order of transformers.
    fn rope_parameters(&self) -> Result<Option<Parameters<'_>>> {
        let mut found: Vec<Parameters<'_>> = Vec::new();
        for key in ["rope_scaling", "rope_parameters"] {
            match self.get(key) {
                None => {}
                Some(Value::Object(values)) if values.is_empty() => {}
                Some(Value::Object(values)) => found.push(Parameters { file: self, key, values }),
                Some(_) => return Err(self.refusal(key, "expected an object with its kind and numbers")),
            }
        }
        if let [first, second] = found.as_slice()
            && first.values != second.values
        {
            let place = self.path().display();
            warn_once(format!("{place}: `{}` and `{}` differ; the first is used", first.key, second.key));
        }
        Ok(found.into_iter().next())
    }
}

impl Parameters<'_> {
    /// What kind it is: `rope_type`, called `type` before transformers 4.43.
    fn kind(&self) -> Result<&str> {
        let [new, old] = ["rope_type", "type"].map(|key| self.values.get(key));
        let kind = match (new, old) {
            (Some(new), Some(old)) if new != old => {
                let why = format!("says two kinds of rotation, {new} and {old}");
                let cure = "keep the one that the model was trained with, under `rope_type`";
                return Err(self.file.refusal_with(self.key, &why, cure));
            }
            (Some(kind), _) | (None, Some(kind)) => kind,
            (None, None) => return Ok("default"),
        };
        kind.as_str().ok_or_else(|| self.file.refusal(self.key, &format!("its kind is {kind}, expected a name")))
    }

    fn scaling(&self) -> Result<RopeScaling> {
        if let Some((layer, _)) = self.values.iter().find(|(_, value)| value.is_object()) {
            let why = format!("rotations of {layer:?} layers alone are not implemented for this architecture");
            return Err(self.file.refusal(self.key, &why));
        }
        let kind = self.kind()?;
        let scaling = match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: self.positive("factor")? },
            // Frequencies change only beyond the context length, and no window is longer.
            "dynamic" => {
                self.positive("factor")?;
                RopeScaling::Default
            }
            "llama3" => self.llama3()?,
            other => {
                let why = format!(
                    "rotations of the kind {other:?} are not implemented; \"default\", \"linear\", \"dynamic\" and \
                     \"llama3\" are"
                );
                let cure = "choose a model without them; where it was pretrained without and the setting was added to read \
                            longer texts, take the key out and use windows of the pretrained length";
                return Err(self.file.refusal_with(self.key, &why, cure));
            }
        };
        self.name_unused(kind);
        Ok(scaling)
    }

    fn llama3(&self) -> Result<RopeScaling> {
        let original = "original_max_position_embeddings";
        // Above the nested one, as transformers has it; without both, the context length.
        let original = match (self.file.get(original), self.values.contains_key(original)) {
            (Some(outer), _) => self.file.number(original, Some(outer))?,
            (None, true) => self.positive(original)?,
            (None, false) => self.file.number("max_position_embeddings", self.file.get("max_position_embeddings"))?,
        };
        let [low, high] = ["low_freq_factor", "high_freq_factor"].map(|key| self.positive(key));
        let (low_freq_factor, high_freq_factor) = (low?, high?);
        if high_freq_factor <= low_freq_factor {
            return Err(self.file.refusal(self.key, "`high_freq_factor` is not above `low_freq_factor`"));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.positive("factor")?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        })
    }

    fn positive(&self, key: &str) -> Result<f64> {
        let number = self.file.number(&format!("{}.{key}", self.key), self.values.get(key))?;
        match number > 0.0 {
            true => Ok(number),
            false => Err(self.file.refusal(self.key, &format!("`{key}` is not above 0"))),
        }
    }

    /// Says which numbers are there that this kind does not use.
    fn name_unused(&self, kind: &str) {
        let used: &[&str] = match kind {
            "linear" | "dynamic" => &["factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
            _ => &[],
        };
        let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let unused = self.values.iter().filter(|(key, value)| {
            !(value.is_null() || always.contains(&key.as_str()) || used.contains(&key.as_str()))
        });
        let unused: Vec<&str> = unused.map(|(key, _)| key.as_str()).collect();
        if !unused.is_empty() {
            let (place, key, unused) = (self.file.path().display(), self.key, unused.join(", "));
            warn_once(format!(
                "{place}: `{key}` says {unused}, which rotations of the kind {kind:?} do not use, in transformers either"
            ));
        }
    }
}
