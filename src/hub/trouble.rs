//! Why a request to the hub failed.

use std::time::Duration;

/// What came instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The user wants to stop.
    Stopped,
    /// No answer, or one that was cut off: no network, no such host, a connection that breaks.
    Unreachable(String),
    /// A refusal.
    Refused {
        status: u16,
        /// The hub's own code, such as `GatedRepo`.
        code: String,
        message: String,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// An answer that cannot be understood, or that must not be followed.
    Strange(String),
}

impl Trouble {
    /// Whether the cache may be used instead: the hub cannot answer now, but did not refuse.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Stopped | Self::Strange(_) => false,
        }
    }

    /// Its own words.
    pub fn reason(&self) -> String {
        match self {
            Self::Stopped => "stopped".to_owned(),
            Self::Unreachable(why) | Self::Strange(why) => why.clone(),
            Self::Refused { status, message, .. } if message.is_empty() => format!("status {status}"),
            Self::Refused { status, message, .. } => format!("status {status}: {message}"),
        }
    }
}
