//! The names that most programs need: `use odyssey::prelude::*;`.

pub use crate::adapt::AdaptSettings;
pub use crate::device::DeviceChoice;
pub use crate::error::{Error, Result};
pub use crate::experiment::{Adapted, Adapting, Change, Model, Perplexity};
pub use crate::text::{Domain, ReadOptions};
