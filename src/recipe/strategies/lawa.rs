//! LAWA (arXiv 2306.03241): the run leaves the mean of the latest of evenly spaced states of its weights. Validations measure
//! the mean.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::weights::{now_of, with_weights};
use crate::error::{Error, Result};
use crate::model::{LanguageModel, LoadedModel};
use crate::recipe::strategy::{Added, AfterStep, Found, Remembered, Start, Strategy};

/// How many states are averaged, and how far apart they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Lawa {
    /// LAWA: leave the mean of the latest so many states of the weights.
    #[serde(default = "Lawa::states")]
    #[arg(id = "lawa.states", long = "lawa", value_name = "N", required = false, default_value_t = Lawa::states(),
        num_args = 0..=1, default_missing_value = "5")]
    pub states: usize,
    /// Steps between these states; a twentieth of the run where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(id = "lawa.every", long = "lawa-every", value_name = "STEPS")]
    pub every: Option<u64>,
}

impl Lawa {
    fn states() -> usize {
        5
    }
}

impl Added for Lawa {
    fn check(&self) -> Result<()> {
        if !(1..=64).contains(&self.states) {
            return Err(Error::key("lawa.states", format!("is {}", self.states), "use 1 to 64; 5 is usual"));
        }
        match self.every {
            Some(0) => Err(Error::key("lawa.every", "is 0", "use at least 1")),
            _ => Ok(()),
        }
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Latest { settings: *self, every: 1, states: VecDeque::new() })
    }

    fn neutral() -> Self {
        Self { states: 1, every: Some(1) }
    }
}

struct Latest {
    settings: Lawa,
    every: u64,
    /// The latest states, the newest last.
    states: VecDeque<BTreeMap<String, Tensor<1>>>,
}

impl Strategy for Latest {
    fn begin(&mut self, start: &Start<'_>, _found: Found) -> Result<()> {
        self.every = self.settings.every.unwrap_or((start.steps / 20).max(1));
        if start.steps < self.every {
            let fault = format!("is {}, and the run has {} steps: no state would be averaged", self.every, start.steps);
            return Err(Error::key("lawa.every", fault, "use fewer steps between states"));
        }
        Ok(())
    }

    fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        // A mean of one state is that state.
        if self.settings.states > 1 && done.now.step.is_multiple_of(self.every) {
            self.states.push_back(now_of(done.model));
            if self.states.len() > self.settings.states {
                self.states.pop_front();
            }
        }
        Ok(())
    }

    fn finish(&self, _base: &LoadedModel, trained: LanguageModel) -> Result<LanguageModel> {
        let Some(first) = self.states.front() else { return Ok(trained) };
        let count = self.states.len() as f64;
        let mean = first.iter().map(|(name, values)| {
            let others = self.states.iter().skip(1).filter_map(|state| state.get(name));
            let sum = others.fold(values.clone(), |sum, values| sum + values.clone());
            (name.clone(), sum / count)
        });
        Ok(with_weights(trained, mean.collect()))
    }

    fn state(&self) -> Remembered {
        let arrays = self.states.iter().enumerate().flat_map(|(index, state)| {
            state.iter().map(move |(name, values)| (format!("{index}.{name}"), values.clone()))
        });
        Remembered { arrays: arrays.collect(), values: Value::Null }
    }

    fn restore(&mut self, state: Remembered) -> Result<()> {
        let mut states: BTreeMap<usize, BTreeMap<String, Tensor<1>>> = BTreeMap::new();
        for (key, values) in state.arrays {
            if let Some((index, name)) = key.split_once('.')
                && let Ok(index) = index.parse()
            {
                states.entry(index).or_default().insert(name.to_owned(), values);
            }
        }
        self.states = states.into_values().collect();
        Ok(())
    }

    fn report(&self) -> Value {
        if self.settings.states > 1 { json!({ "states": self.states.len(), "every": self.every }) } else { Value::Null }
    }

    fn memory(&self, trained: u64) -> u64 {
        let held = if self.settings.states > 1 { self.settings.states as u64 + 1 } else { 0 };
        held * trained * size_of::<f32>() as u64
    }
}
