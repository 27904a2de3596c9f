//! Freezing: some weights of a model are not trained.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::recipe::strategy::{Added, Strategy, WeightPlace};

/// What is not trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Freeze {
    /// Do not train the tables of tokens and positions, nor an output head that is one of them.
    #[arg(id = "freeze.embeddings", long = "freeze-embeddings")]
    pub embeddings: bool,
    /// Do not train the lowest so many layers.
    #[arg(id = "freeze.layers", long = "freeze-layers", value_name = "N", default_value_t = 0)]
    pub layers: usize,
    /// Do not train any matrix: only norms and biases.
    #[arg(id = "freeze.matrices", long = "freeze-matrices")]
    pub matrices: bool,
}

impl Added for Freeze {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(*self)
    }

    fn neutral() -> Self {
        Self::default()
    }
}

impl Strategy for Freeze {
    fn trains(&self, weight: &WeightPlace<'_>) -> bool {
        let is_matrix = weight.shape.len() > 1;
        let frozen = match weight.layer {
            Some(layer) => layer < self.layers,
            None => self.embeddings && is_matrix,
        };
        !(frozen || self.matrices && is_matrix)
    }
}
