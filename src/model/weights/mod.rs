//! The sources of a model's weights: safetensors files, or random numbers for a new base.

mod files;
mod hash;
mod leftovers;
mod random;
mod source;

pub use files::WeightFiles;
pub(crate) use files::{convert, parse};
pub use hash::{Stamps, hash_folder};
pub use random::RandomWeights;
pub use source::{Shapes, WeightSource};

pub use crate::device::precision::Precision;
pub use crate::kernels::table::LARGEST_PIECE;
