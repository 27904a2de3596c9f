//! What a training consists of.

use std::path::Path;

use super::state::Resumable;
use crate::model::LoadedModel;
use crate::recipe::AdaptSettings;
use crate::text::TextOptions;

/// A training, without its texts.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// The model that is trained.
    pub base: &'a LoadedModel,
    /// How it is trained.
    pub settings: &'a AdaptSettings,
    /// The seed of the order of windows, of adapters and of dropout.
    pub seed: u64,
    /// Where it is saved.
    pub resumable: Option<Resumable<'a>>,
    /// How further corpora are read that strategies need.
    pub texts: &'a TextOptions,
    /// The folder in which losses and samples are kept that strategies need and that take long to compute.
    pub keep: Option<&'a Path>,
}
