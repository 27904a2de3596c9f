//! EMA: the run leaves an exponential moving average of its weights. Validations measure the average.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weights::{now_of, with_weights};
use crate::error::{Error, Result};
use crate::model::{LanguageModel, LoadedModel};
use crate::recipe::strategy::{Added, AfterStep, Remembered, Strategy};

/// The decay of the moving average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(transparent)]
pub struct Ema {
    /// EMA: leave the moving average of the weights with this decay, from 0 (the last weights) to below 1: after every step
    /// average = decay · average + (1 − decay) · weights, beginning with those of the first step.
    #[arg(long, value_name = "DECAY", required = false)]
    pub ema: f64,
}

impl Added for Ema {
    fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.ema) {
            return Ok(());
        }
        Err(Error::key("ema", format!("is {}", self.ema), "use a decay from 0 to below 1; 0.9 to 0.999 is usual"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Moving { decay: self.ema, average: BTreeMap::new() })
    }

    fn neutral() -> Self {
        Self { ema: 0.0 }
    }
}

struct Moving {
    decay: f64,
    average: BTreeMap<String, Tensor<1>>,
}

impl Strategy for Moving {
    fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        if self.decay == 0.0 {
            return Ok(());
        }
        for (name, weight) in now_of(done.model) {
            let average = match self.average.remove(&name) {
                Some(average) => average * self.decay + weight * (1.0 - self.decay),
                None => weight,
            };
            self.average.insert(name, average);
        }
        Ok(())
    }

    fn finish(&self, _base: &LoadedModel, trained: LanguageModel) -> Result<LanguageModel> {
        Ok(with_weights(trained, self.average.clone()))
    }

    fn state(&self) -> Remembered {
        Remembered { arrays: self.average.clone(), values: Value::Null }
    }

    fn restore(&mut self, state: Remembered) -> Result<()> {
        self.average = state.arrays;
        Ok(())
    }

    fn memory(&self, trained: u64) -> u64 {
        if self.decay > 0.0 { 2 * trained * size_of::<f32>() as u64 } else { 0 }
    }
}
