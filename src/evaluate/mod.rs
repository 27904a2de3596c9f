//! Perplexity, with its interval, from negative log-likelihoods that are kept for every later step.
//!
//! [`protocol`] says which tokens count, [`score`] computes them with the model, [`per_token`] stores them in a file,
//! and [`positions`] gives the loss by position in windows and documents. All sums are taken in f64 over scored tokens,
//! never as means of window means (except for the protocol `m2d2-exact`, whose purpose is this mean).

pub mod divergence;
pub mod per_token;
pub mod positions;
pub mod protocol;
mod result;
pub mod score;
mod scored;
mod summary;

pub use positions::Positions;
pub use protocol::{Protocol, ProtocolName, Window};
pub use result::{AdapterChange, EvalResult, ProtocolResult, TextResult};
pub(crate) use result::{beyond_f64, null_as_infinite};
pub use scored::{Clusters, ScoredStream, evaluate};
pub use summary::summarise;
