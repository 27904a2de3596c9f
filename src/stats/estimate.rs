//! A value together with how sure it is.

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

impl From<Result<f64, String>> for Estimate {
    /// An error becomes the reason.
    fn from(value: Result<f64, String>) -> Self {
        match value {
            Ok(value) => value.into(),
            Err(reason) => Self { reason: Some(reason), ..Self::default() },
        }
    }
}

/// How an [`Estimate`] without a test is stored as flat keys beside others: for `#[serde(flatten, with = "NAME")]`.
macro_rules! flat_keys {
    ($name:ident, $value:literal, $ci95:literal, $reason:literal) => {
        mod $name {
            #[derive(serde::Serialize, serde::Deserialize)]
            struct Keys {
                #[serde(rename = $value, default)]
                value: Option<f64>,
                #[serde(rename = $ci95, default)]
                ci95: Option<[f64; 2]>,
                #[serde(rename = $reason, default, skip_serializing_if = "Option::is_none")]
                reason: Option<String>,
            }

            pub(super) fn serialize<S: serde::Serializer>(
                estimate: &$crate::stats::Estimate,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let $crate::stats::Estimate { value, ci95, ref reason, .. } = *estimate;
                serde::Serialize::serialize(&Keys { value, ci95, reason: reason.clone() }, serializer)
            }

            pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$crate::stats::Estimate, D::Error> {
                let Keys { value, ci95, reason } = serde::Deserialize::deserialize(deserializer)?;
                Ok($crate::stats::Estimate { value, ci95, reason, ..Default::default() })
            }
        }
    };
}
pub(crate) use flat_keys;
