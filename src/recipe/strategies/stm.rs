//! Selective token masking (STM, arXiv 2501.14315): targets that the base finds unlikely are not learned. With `rising`, also
//! those that a first adaptation made more unlikely (STM-DPF of the same authors).

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::recipe::strategy::{Added, Found, Moment, Need, Remembered, Scorer, Start, Strategy};
use crate::recipe::targets::{Kept, StepTargets};
use crate::recipe::window_losses::WindowLosses;

/// Which targets are left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Stm {
    /// STM: learn only targets of which the base's loss is at most this, nats.
    #[serde(default = "Stm::most")]
    #[arg(id = "stm.most", long = "stm", value_name = "NATS", required = false, default_value_t = Stm::most(),
        num_args = 0..=1, default_missing_value = "0.9163")]
    pub most: f64,
    /// Also leave out targets whose loss a first adaptation raises; that adaptation is run before, with the same recipe.
    #[serde(default)]
    #[arg(id = "stm.rising", long = "stm-rising")]
    pub rising: bool,
}

impl Stm {
    /// A perplexity of 2.5, as the authors have it.
    fn most() -> f64 {
        0.9163
    }
}

impl Added for Stm {
    fn check(&self) -> Result<()> {
        if self.most > 0.0 {
            return Ok(());
        }
        Err(Error::key("stm.most", format!("is {}", self.most), "use a number above 0; 0.9163 is a perplexity of 2.5"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Masking { settings: *self, of_base: None, adapted: None, kept: Kept::default() })
    }

    fn neutral() -> Self {
        Self { most: f64::MAX, rising: false }
    }
}

struct Masking {
    settings: Stm,
    of_base: Option<Rc<WindowLosses>>,
    adapted: Option<Rc<WindowLosses>>,
    kept: Kept,
}

impl Masking {
    fn keeps(&self, of_base: f32, adapted: Option<f32>) -> bool {
        f64::from(of_base) <= self.settings.most && adapted.is_none_or(|adapted| adapted <= of_base)
    }
}

impl Strategy for Masking {
    fn needs(&self) -> Vec<Need> {
        match (self.settings.most == f64::MAX, self.settings.rising) {
            (true, false) => Vec::new(),
            (_, false) => vec![Need::Losses(Scorer::Base)],
            (_, true) => vec![Need::Losses(Scorer::Base), Need::Losses(Scorer::Adapted)],
        }
    }

    fn begin(&mut self, _start: &Start<'_>, found: Found) -> Result<()> {
        let mut losses = found.losses.into_iter();
        (self.of_base, self.adapted) = (losses.next(), losses.next());
        let Some(of_base) = &self.of_base else { return Ok(()) };
        let adapted = self.adapted.as_ref().map(|losses| losses.all());
        let keeps = |(at, &of_base): (usize, &f32)| self.keeps(of_base, adapted.map(|adapted| adapted[at]));
        if !of_base.all().iter().enumerate().any(keeps) {
            let fault = format!("of {} leaves no target of the training text to learn", self.settings.most);
            return Err(Error::key("stm.most", fault, "use a higher threshold"));
        }
        Ok(())
    }

    fn weigh(&mut self, _now: Moment, targets: &mut StepTargets) -> Result<()> {
        let Some(of_base) = self.of_base.clone() else { return Ok(()) };
        let adapted = self.adapted.clone();
        let places: Vec<_> = targets.each().collect();
        let mut kept = 0;
        for (window, range) in &places {
            for (at, place) in range.clone().enumerate() {
                let adapted = adapted.as_ref().map(|losses| losses.of(*window)[at]);
                match self.keeps(of_base.of(*window)[at], adapted) {
                    true => kept += 1,
                    false => targets.weights[place] = 0.0,
                }
            }
        }
        self.kept.count(f64::from(kept), targets.weights.len());
        Ok(())
    }

    fn state(&self) -> Remembered {
        Remembered { values: self.kept.values(), ..Remembered::default() }
    }

    fn restore(&mut self, state: Remembered) -> Result<()> {
        self.kept = Kept::recalled(state.values);
        Ok(())
    }

    fn report(&self) -> Value {
        if self.of_base.is_some() { json!({ "kept_share": self.kept.share() }) } else { Value::Null }
    }
}
