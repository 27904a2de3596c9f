//! A value together with how sure it is.

use super::correlation::Coefficient;

/// A value with its interval and test, or the reason why it is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimate {
    /// The value; `None` if it could not be computed.
    pub value: Option<f64>,
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
    /// Its p-value.
    pub p: Option<f64>,
    /// The p-value corrected for the number of tests (Benjamini and Hochberg).
    pub q: Option<f64>,
    /// Why the value is missing. If there is a value: why it was not tested.
    pub reason: Option<String>,
}

impl Estimate {
    /// Why the value is missing; `None` if there is a value.
    pub fn why_missing(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.value.is_none())
    }

    /// Why there is no p-value; `None` if there is one.
    pub fn why_untested(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.p.is_none())
    }
}

impl From<f64> for Estimate {
    fn from(value: f64) -> Self {
        Some(value).into()
    }
}

impl From<Option<f64>> for Estimate {
    fn from(value: Option<f64>) -> Self {
        Self { value, ..Self::default() }
    }
}

impl From<Coefficient> for Estimate {
    fn from(found: Coefficient) -> Self {
        Self { value: Some(found.statistic), p: Some(found.p_two_sided), ..Self::default() }
    }
}

impl From<Result<f64, String>> for Estimate {
    /// An error becomes the reason.
    fn from(value: Result<f64, String>) -> Self {
        match value {
            Ok(value) => value.into(),
            Err(reason) => Self { reason: Some(reason), ..Self::default() },
        }
    }
}

/// How an [`Estimate`] is stored as flat keys beside others: for `#[serde(flatten, with = "NAME")]`. After the key of the
/// value come those of the parts that are stored, then that of the reason, which is written only if there is one. A part
/// without a key is not stored.
macro_rules! flat_keys {
    ($name:ident, $value:literal $(, $part:ident: $type:ty = $key:literal)* $(; $reason:ident = $why:literal)?) => {
        mod $name {
            #[derive(serde::Serialize, serde::Deserialize)]
            struct Keys {
                #[serde(rename = $value, default)]
                value: Option<f64>,
                $(
                    #[serde(rename = $key, default)]
                    $part: Option<$type>,
                )*
                $(
                    #[serde(rename = $why, default, skip_serializing_if = "Option::is_none")]
                    $reason: Option<String>,
                )?
            }

            pub(super) fn serialize<S: serde::Serializer>(
                estimate: &$crate::stats::Estimate,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let keys = Keys {
                    value: estimate.value,
                    $($part: estimate.$part,)*
                    $($reason: estimate.$reason.clone(),)?
                };
                serde::Serialize::serialize(&keys, serializer)
            }

            pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$crate::stats::Estimate, D::Error> {
                let keys: Keys = serde::Deserialize::deserialize(deserializer)?;
                Ok($crate::stats::Estimate {
                    value: keys.value,
                    $($part: keys.$part,)*
                    $($reason: keys.$reason,)?
                    ..Default::default()
                })
            }
        }
    };
}
pub(crate) use flat_keys;
