//! One of the models that are merged: its weights by their published names, an adapter merged into those of its base.

use std::ops::Range;
use std::path::Path;

use super::part::Part;
use crate::error::{Error, Result};
use crate::model::weights::WeightSource;
use crate::model::{Adapter, AdapterUpdates, FolderWeights, ModelConfig, Precision};

/// A model whose weights are read one by one.
pub(super) struct Side {
    /// Of the model, or of the base below the adapter.
    weights: FolderWeights,
    adapter: Option<AdapterUpdates>,
}

impl Side {
    /// A whole model.
    pub(super) fn whole(part: &Part, ignored: &[String]) -> Result<Self> {
        Ok(Self { weights: FolderWeights::open(&part.folder, ignored)?, adapter: None })
    }

    /// `adapter` upon the model `base`.
    pub(super) fn adapted(adapter: &Adapter, base: &Part, ignored: &[String]) -> Result<Self> {
        let weights = FolderWeights::open(&base.folder, ignored)?;
        let adapter = Some(adapter.updates(weights.config())?);
        Ok(Self { weights, adapter })
    }

    pub(super) fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    pub(super) fn folder(&self) -> &Path {
        self.weights.folder()
    }

    pub(super) fn shapes(&self) -> &[(String, Vec<usize>)] {
        self.weights.shapes()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.weights.check_unchanged()
    }

    /// Some rows of a weight, row-major.
    pub(super) fn values(&mut self, name: &str, shape: &[usize], rows: Range<usize>) -> Result<Vec<f32>> {
        let data = self.weights.read(name, shape, rows.clone(), Precision::F32)?;
        let mut values: Vec<f32> =
            data.try_to_vec().map_err(|e| Error::numeric(format!("tensor {name:?} is not in f32: {e:?}")))?;
        if let Some(update) = self.adapter.as_ref().and_then(|adapter| adapter.of(name)) {
            let update = update?;
            let of_row = shape.iter().skip(1).product::<usize>();
            for (value, update) in values.iter_mut().zip(&update[rows.start * of_row..]) {
                *value += update;
            }
        }
        Ok(values)
    }
}
