//! How far a domain lies from the corpus a model was pretrained on.
//!
//! Two kinds of measure stand side by side: distances between samples of features ([`extract`] says which, [`embed`]
//! takes them from a model, [`encoder`] from a sentence encoder; [`mmd`], [`frechet`], [`energy`], [`classifier`]) and
//! lexical ones ([`lexical`], [`counts`]). Everything that can be fixed once for a run is fixed (above all the
//! bandwidth of [`kernel`]). Documents are permuted and resampled ([`draws`], [`tiles`], [`principal`]) for p-values
//! and intervals ([`mod@reference`]), and the reference against parts of itself ([`null`]) shows what "no distance"
//! looks like. [`measures`] is the one table of measures.

pub mod bandwidth;
pub mod cache;
pub mod classifier;
pub mod counts;
mod distances;
mod distances_json;
pub mod draws;
pub mod embed;
pub mod encoder;
pub mod energy;
pub mod extract;
pub mod features;
pub mod frechet;
pub mod kernel;
pub mod lexical;
pub mod measures;
pub mod mmd;
pub mod null;
pub mod principal;
pub mod reference;
mod result;
mod sample;
mod settings;
pub mod stored;
pub mod tiles;
pub mod words;

pub use counts::Counts;
pub use distances::{Distances, adjust};
pub use extract::FeatureSpec;
pub use features::Features;
pub use kernel::KernelKind;
pub use measures::Measure;
pub use reference::Reference;
pub use result::{DomainDistances, SimilarityResult};
pub use sample::{CorpusSample, usual};
pub use settings::TestSettings;
