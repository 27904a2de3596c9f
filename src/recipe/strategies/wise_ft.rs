//! WiSE-FT (arXiv 2109.01903): the weights that a run leaves lie between the base's and the adapted ones. Little of the gain
//! is lost, and much of what would be forgotten is kept.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{LanguageModel, LoadedModel};
use crate::recipe::strategy::{Added, Strategy};

/// The share α of (1 − α) · base + α · adapted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(transparent)]
pub struct WiseFt {
    /// WiSE-FT: leave the weights (1 − α) · base + α · adapted, for this α from 0 to 1. Validations measure these weights.
    /// Without it, the adapted weights.
    #[arg(long, value_name = "SHARE", required = false)]
    pub wise_ft: f64,
}

impl Added for WiseFt {
    fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.wise_ft) {
            return Ok(());
        }
        Err(Error::key("wise_ft", format!("is {}", self.wise_ft), "use a share from 0 (the base) to 1 (as adapted)"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(*self)
    }

    fn neutral() -> Self {
        Self { wise_ft: 1.0 }
    }
}

impl Strategy for WiseFt {
    fn finish(&self, base: &LoadedModel, trained: LanguageModel) -> Result<LanguageModel> {
        let share = self.wise_ft;
        if share == 1.0 {
            return Ok(trained);
        }
        if trained.has_adapters() {
            // What an adapter adds is s · B · A: a share of one factor is that share of the whole.
            let ends_in_b = |name: &str| name.contains(".lora_B");
            return Ok(trained.map_parameters(|name, _, weight| if ends_in_b(name) { weight * share } else { weight }));
        }
        let base = base.origin(); // in a stream of domains, the model that its first stage began with
        if share == 0.0 {
            return Ok(base.model.clone());
        }
        let mut of_base: BTreeMap<String, Tensor<1>> =
            base.model.parameters().into_iter().map(|weight| (weight.name, weight.values)).collect();
        Ok(trained.map_parameters(|name, _, weight| match of_base.remove(name) {
            Some(base) => base * (1.0 - share) + weight * share,
            None => weight,
        }))
    }
}
