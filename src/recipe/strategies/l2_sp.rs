//! L2-SP (arXiv 1802.01483): the weights are drawn back to where they began, by γ/2 · Σ (θ − θ₀)² in the loss.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::weights::weights_by_name;
use crate::error::{Error, Result};
use crate::recipe::strategy::{Added, Found, Moment, Penalty, Start, Strategy};

/// γ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(transparent)]
pub struct L2Sp {
    /// L2-SP: add γ/2 times the squared distance of the trained weights from where they began, for this γ from 0 on.
    #[arg(long, value_name = "GAMMA", required = false)]
    pub l2_sp: f64,
}

impl Added for L2Sp {
    fn check(&self) -> Result<()> {
        if (0.0..=1e9).contains(&self.l2_sp) {
            return Ok(());
        }
        Err(Error::key("l2_sp", format!("is {}", self.l2_sp), "use a number from 0 (no pull) to 1e9"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Drawn { strength: self.l2_sp, from: Rc::default() })
    }

    fn neutral() -> Self {
        Self { l2_sp: 0.0 }
    }
}

struct Drawn {
    strength: f64,
    from: Rc<BTreeMap<String, Tensor<1>>>,
}

impl Strategy for Drawn {
    fn begin(&mut self, start: &Start<'_>, _found: Found) -> Result<()> {
        if self.strength > 0.0 {
            self.from = Rc::new(weights_by_name(start.model));
        }
        Ok(())
    }

    fn penalties(&self, _now: Moment) -> Vec<Penalty> {
        let distance = || Penalty::Distance { strength: self.strength, from: Rc::clone(&self.from) };
        (self.strength > 0.0).then(distance).into_iter().collect()
    }

    fn memory(&self, trained: u64) -> u64 {
        // Those of a whole model are the base's; adapters are copied. One difference at a time is held.
        if self.strength > 0.0 { trained * size_of::<f32>() as u64 } else { 0 }
    }
}
