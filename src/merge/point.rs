//! A point of the curve.

use serde::{Deserialize, Serialize};

/// The losses at a share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The share α.
    pub alpha: f64,
    /// On the text of the domain.
    pub target: Loss,
    /// On the text that should not be forgotten, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Loss>,
}

/// A loss, and how it differs from the base's on the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Nats per token.
    pub loss: f64,
    /// Less the base's, nats per token; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta` by a paired bootstrap over documents, or windows where documents are few.
    pub delta_ci95: [f64; 2],
}
