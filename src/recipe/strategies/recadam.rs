//! RecAdam (arXiv 2004.12651): a run begins by keeping to the base and goes over to its text. With λ(t) = 1/(1 + e^(−k(t −
//! t₀))) the optimiser's step is multiplied by λ, and then θ −= lr · (1 − λ) · γ · (θ − θ₀), outside of Adam's normaliser.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::weights::weights_by_name;
use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::recipe::strategy::{Added, Found, Moment, Start, Strategy, Update};

/// How strongly and how long a run keeps to the base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct RecAdam {
    /// RecAdam: the strength γ with which weights are drawn to where they began, less and less. The rate times γ has to be
    /// below 1.
    #[serde(default = "RecAdam::gamma")]
    #[arg(id = "recadam.gamma", long = "recadam", value_name = "GAMMA", required = false,
        default_value_t = RecAdam::gamma(), num_args = 0..=1, default_missing_value = "300")]
    pub gamma: f64,
    /// How fast it goes over: k.
    #[serde(default = "RecAdam::k")]
    #[arg(id = "recadam.k", long = "recadam-k", value_name = "K", default_value_t = RecAdam::k())]
    pub k: f64,
    /// The share of all steps after which half is gone over: t₀.
    #[serde(default = "RecAdam::middle")]
    #[arg(id = "recadam.middle", long = "recadam-middle", value_name = "SHARE", default_value_t = RecAdam::middle())]
    pub middle: f64,
}

impl RecAdam {
    fn gamma() -> f64 {
        300.0
    }

    fn k() -> f64 {
        0.2
    }

    fn middle() -> f64 {
        0.25
    }
}

impl Added for RecAdam {
    fn check(&self) -> Result<()> {
        let refuse = |key, value: f64, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        if !(0.0..=1e9).contains(&self.gamma) {
            return refuse("recadam.gamma", self.gamma, "use a number from 0 to 1e9");
        }
        if !(0.0..=1e9).contains(&self.k) {
            return refuse("recadam.k", self.k, "use a number from 0 on; 0.05 to 1 is usual");
        }
        if !(0.0..=1.0).contains(&self.middle) {
            return refuse("recadam.middle", self.middle, "use a share from 0 to 1");
        }
        Ok(())
    }

    fn goes_with_rate(&self, lr: f64) -> Result<()> {
        let gamma = self.gamma;
        if lr * gamma < 1.0 {
            return Ok(());
        }
        let fault = format!("is {gamma}: the rate {lr:e} times it is {}, and has to be below 1", lr * gamma);
        Err(Error::key("recadam.gamma", fault, "use a smaller one, or a lower rate"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Recalling { settings: *self, middle: 0.0, from: BTreeMap::new() })
    }

    fn neutral() -> Self {
        // λ is 1 from the first step on.
        Self { gamma: 0.0, k: 1e9, middle: 0.0 }
    }
}

struct Recalling {
    settings: RecAdam,
    /// t₀, in steps.
    middle: f64,
    from: BTreeMap<String, Tensor<1>>,
}

impl Recalling {
    fn lambda(&self, now: Moment) -> f64 {
        1.0 / (1.0 + (-self.settings.k * (now.step as f64 - self.middle)).exp())
    }
}

impl Strategy for Recalling {
    fn begin(&mut self, start: &Start<'_>, _found: Found) -> Result<()> {
        self.middle = self.settings.middle * start.steps as f64;
        if self.settings.gamma > 0.0 {
            self.from = weights_by_name(start.model);
        }
        Ok(())
    }

    fn rate(&self, now: Moment) -> f64 {
        self.lambda(now)
    }

    fn update(&self, Update { now, lr }: Update, model: LanguageModel) -> Result<LanguageModel> {
        let back = lr * (1.0 - self.lambda(now)) * self.settings.gamma;
        if back == 0.0 {
            return Ok(model);
        }
        Ok(model.map_parameters(|name, _, weight| match self.from.get(name) {
            Some(from) => weight.clone() - (weight - from.clone()) * back,
            None => weight,
        }))
    }

    fn memory(&self, trained: u64) -> u64 {
        if self.settings.gamma > 0.0 { trained * size_of::<f32>() as u64 } else { 0 }
    }
}
