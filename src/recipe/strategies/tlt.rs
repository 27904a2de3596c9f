//! Token loss truncation (TLT, arXiv 2110.08370 after 2004.14589): from some step on targets with a high loss, or those with a
//! low one, are not learned. The threshold is a percentile of the latest losses.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::recipe::strategy::{Added, Found, Moment, Remembered, Start, Strategy};
use crate::recipe::targets::{Kept, StepTargets};

/// The latest losses of which the threshold is a percentile.
const LATEST: usize = 5000;

/// Which losses are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// The highest: noise, mostly.
    #[default]
    High,
    /// The lowest: what is known already.
    Low,
}

/// Which targets are left out, from when on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Tlt {
    /// TLT: leave out this share of the targets, 0 to below 1, by their loss.
    #[serde(default = "Tlt::share")]
    #[arg(id = "tlt.share", long = "tlt", value_name = "SHARE", required = false, default_value_t = Tlt::share(),
        num_args = 0..=1, default_missing_value = "0.1")]
    pub share: f64,
    /// Which of them.
    #[serde(default)]
    #[arg(id = "tlt.mode", long = "tlt-mode", value_enum, default_value_t)]
    pub mode: Truncated,
    /// The share of all steps before it begins.
    #[serde(default = "Tlt::from")]
    #[arg(id = "tlt.from", long = "tlt-from", value_name = "SHARE", default_value_t = Tlt::from())]
    pub from: f64,
    /// Divide the loss by the number of targets that are learned, not by that of all: the step keeps its size.
    #[serde(default)]
    #[arg(id = "tlt.renormalise", long = "tlt-renormalise")]
    pub renormalise: bool,
}

impl Tlt {
    fn share() -> f64 {
        0.1
    }

    fn from() -> f64 {
        0.25
    }
}

impl Added for Tlt {
    fn check(&self) -> Result<()> {
        let refuse = |key, value: f64, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        if !(0.0..1.0).contains(&self.share) {
            return refuse("tlt.share", self.share, "use a share from 0 (none) to below 1");
        }
        if !(0.0..=1.0).contains(&self.from) {
            return refuse("tlt.from", self.from, "use a share of the run from 0 to 1");
        }
        Ok(())
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Truncating { settings: *self, first: 1, latest: Vec::new(), next: 0, since: 0, threshold: None, kept: Kept::default() })
    }

    fn neutral() -> Self {
        Self { share: 0.0, mode: Truncated::High, from: 0.0, renormalise: false }
    }
}

struct Truncating {
    settings: Tlt,
    /// The first step in which targets are left out.
    first: u64,
    /// The latest losses, and where the next is put.
    latest: Vec<f32>,
    next: usize,
    /// Losses since the threshold was computed.
    since: usize,
    threshold: Option<f32>,
    kept: Kept,
}

impl Truncating {
    fn see(&mut self, nll: f32) {
        match self.latest.len() < LATEST {
            true => self.latest.push(nll),
            false => self.latest[self.next] = nll,
        }
        self.next = (self.next + 1) % LATEST;
        self.since += 1;
        if self.latest.len() == LATEST && self.since >= LATEST {
            self.since = 0;
            let percent = match self.settings.mode {
                Truncated::High => 1.0 - self.settings.share,
                Truncated::Low => self.settings.share,
            };
            self.threshold = Some(percentile(&self.latest, percent));
        }
    }
}

/// The value below which the share `of` of the values lies, between two by their distance (numpy's `percentile`).
pub fn percentile(values: &[f32], of: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let place = of * (sorted.len().saturating_sub(1)) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    (f64::from(low) + part * (f64::from(high) - f64::from(low))) as f32
}

impl Strategy for Truncating {
    fn begin(&mut self, start: &Start<'_>, _found: Found) -> Result<()> {
        self.first = (self.settings.from * start.steps as f64).floor() as u64 + 1;
        Ok(())
    }

    fn reads_losses(&self, _now: Moment) -> bool {
        self.settings.share > 0.0
    }

    fn weigh(&mut self, now: Moment, targets: &mut StepTargets) -> Result<()> {
        if self.settings.share == 0.0 {
            return Ok(());
        }
        let mut kept = 0;
        if let Some(threshold) = self.threshold.filter(|_| now.step >= self.first) {
            for (nll, weight) in targets.nll.iter().zip(&mut targets.weights) {
                let keeps = match self.settings.mode {
                    Truncated::High => *nll < threshold,
                    Truncated::Low => *nll > threshold,
                };
                kept += usize::from(keeps);
                if !keeps {
                    *weight = 0.0;
                }
            }
            targets.by_all |= !self.settings.renormalise;
        } else {
            kept = targets.nll.len();
        }
        self.kept.count(kept as f64, targets.nll.len());
        for nll in targets.nll.clone() {
            self.see(nll);
        }
        Ok(())
    }

    fn state(&self) -> Remembered {
        if self.latest.is_empty() {
            return Remembered::default();
        }
        let latest = Tensor::from_data(TensorData::new(self.latest.clone(), [self.latest.len()]), &Default::default());
        let values = json!({
            "next": self.next, "since": self.since, "threshold": self.threshold, "kept": self.kept,
        });
        Remembered { arrays: [("latest".to_owned(), latest)].into(), values }
    }

    fn restore(&mut self, mut state: Remembered) -> Result<()> {
        let Some(latest) = state.arrays.remove("latest") else { return Ok(()) };
        self.latest = to_host(latest)?;
        let number = |key: &str| state.values[key].as_u64().unwrap_or(0) as usize;
        (self.next, self.since) = (number("next") % LATEST, number("since"));
        self.threshold = state.values["threshold"].as_f64().map(|threshold| threshold as f32);
        self.kept = Kept::recalled(state.values["kept"].take());
        Ok(())
    }

    fn report(&self) -> Value {
        match self.settings.share > 0.0 {
            true => json!({ "kept_share": self.kept.share(), "threshold": self.threshold, "from_step": self.first }),
            false => Value::Null,
        }
    }
}
