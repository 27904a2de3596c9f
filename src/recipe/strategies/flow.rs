//! FLOW (arXiv 2502.02797): targets that the base finds unlikely weigh less, w = exp(−nll of the base / τ). The sum is divided
//! by the number of targets, not by that of the weights.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::recipe::strategy::{Added, Found, Moment, Need, Remembered, Scorer, Start, Strategy};
use crate::recipe::targets::{Kept, StepTargets};
use crate::recipe::window_losses::WindowLosses;

/// What has one weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FlowUnit {
    /// Each target by its own loss.
    #[default]
    Token,
    /// Each window by its mean loss.
    Window,
    /// The product of both.
    Both,
}

/// How fast weights fall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// FLOW: weigh each target by e to the minus the base's loss over this τ, nats; 0 is the median loss of the training
    /// text.
    #[serde(default)]
    #[arg(id = "flow.tau", long = "flow", value_name = "TAU", required = false, default_value_t = 0.0, num_args = 0..=1,
        default_missing_value = "0")]
    pub tau: f64,
    /// What has one weight.
    #[serde(default)]
    #[arg(id = "flow.unit", long = "flow-unit", value_enum, default_value_t)]
    pub unit: FlowUnit,
}

impl Added for Flow {
    fn check(&self) -> Result<()> {
        if self.tau >= 0.0 {
            return Ok(());
        }
        Err(Error::key("flow.tau", format!("is {}", self.tau), "use a number above 0, or 0 for the median loss"))
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Weighing { settings: *self, tau: self.tau, of_base: None, kept: Kept::default() })
    }

    fn neutral() -> Self {
        Self { tau: f64::MAX, unit: FlowUnit::Token }
    }
}

struct Weighing {
    settings: Flow,
    tau: f64,
    of_base: Option<Rc<WindowLosses>>,
    kept: Kept,
}

impl Strategy for Weighing {
    fn needs(&self) -> Vec<Need> {
        if self.settings.tau == f64::MAX { Vec::new() } else { vec![Need::Losses(Scorer::Base)] }
    }

    fn begin(&mut self, start: &Start<'_>, found: Found) -> Result<()> {
        self.of_base = found.losses.into_iter().next();
        let Some(of_base) = &self.of_base else { return Ok(()) };
        if self.settings.tau == 0.0 {
            let mut own: Vec<f32> =
                (0..start.windows.len()).flat_map(|window| of_base.of(window).iter().copied()).collect();
            let middle = own.len() / 2;
            self.tau = f64::from(*own.select_nth_unstable_by(middle, f32::total_cmp).1);
        }
        if self.tau <= 0.0 {
            let fault = "cannot be the median loss of the training text, which is 0";
            return Err(Error::key("flow.tau", fault, "name a number above 0"));
        }
        Ok(())
    }

    fn weigh(&mut self, _now: Moment, targets: &mut StepTargets) -> Result<()> {
        let Some(of_base) = &self.of_base else { return Ok(()) };
        let places: Vec<_> = targets.each().collect();
        let mut sum = 0.0;
        for (window, range) in places {
            let nll = of_base.of(window);
            let mean = nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / nll.len().max(1) as f64;
            for (&nll, place) in nll.iter().zip(range) {
                let of_token = (-f64::from(nll) / self.tau).exp();
                let of_window = (-mean / self.tau).exp();
                let weight = match self.settings.unit {
                    FlowUnit::Token => of_token,
                    FlowUnit::Window => of_window,
                    FlowUnit::Both => of_token * of_window,
                };
                sum += weight;
                targets.weights[place] *= weight as f32;
            }
        }
        targets.by_all = true;
        self.kept.count(sum, targets.weights.len());
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
        match self.of_base.is_some() {
            true => json!({ "kept_share": self.kept.share(), "tau": self.tau }),
            false => Value::Null,
        }
    }
}
