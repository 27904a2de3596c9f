//! Selective language modelling (SLM, Rho-1, arXiv 2404.07965): of the targets of a step only those are learned that the model
//! still finds more unlikely than a reference model does: the highest nll − nll of the reference.

use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::recipe::strategy::{Added, Found, Moment, NamedPlace, Need, Remembered, Scorer, Start, Strategy};
use crate::recipe::targets::{Kept, StepTargets};
use crate::recipe::window_losses::WindowLosses;

/// How many targets are learned, and who says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Slm {
    /// SLM: learn this share of the targets of every step, 0 to 1: those whose loss is highest above that of a reference
    /// model.
    #[serde(default = "Slm::keep")]
    #[arg(id = "slm.keep", long = "slm", value_name = "SHARE", required = false, default_value_t = Slm::keep(),
        num_args = 0..=1, default_missing_value = "0.6")]
    pub keep: f64,
    /// The reference model: a folder. Where absent, the base after one epoch over half of the training text scores the
    /// other half, and the reverse; this takes one epoch more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(id = "slm.reference", long = "slm-reference", value_name = "MODEL")]
    pub reference: Option<PathBuf>,
}

impl Slm {
    fn keep() -> f64 {
        0.6
    }
}

impl Added for Slm {
    fn check(&self) -> Result<()> {
        if self.keep > 0.0 && self.keep <= 1.0 {
            return Ok(());
        }
        Err(Error::key("slm.keep", format!("is {}", self.keep), "use a share above 0 to 1 (all); 0.6 is usual"))
    }

    fn places(&mut self) -> Vec<NamedPlace<'_>> {
        self.reference.iter_mut().map(NamedPlace::Model).collect()
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Selecting { settings: self.clone(), reference: None, kept: Kept::default() })
    }

    fn neutral() -> Self {
        Self { keep: 1.0, reference: None }
    }
}

struct Selecting {
    settings: Slm,
    reference: Option<Rc<WindowLosses>>,
    kept: Kept,
}

impl Strategy for Selecting {
    fn needs(&self) -> Vec<Need> {
        if self.settings.keep == 1.0 {
            return Vec::new();
        }
        let scorer = self.settings.reference.clone().map_or(Scorer::CrossFitted, Scorer::Model);
        vec![Need::Losses(scorer)]
    }

    fn begin(&mut self, _start: &Start<'_>, found: Found) -> Result<()> {
        self.reference = found.losses.into_iter().next();
        Ok(())
    }

    fn reads_losses(&self, _now: Moment) -> bool {
        self.reference.is_some()
    }

    fn weigh(&mut self, _now: Moment, targets: &mut StepTargets) -> Result<()> {
        let Some(reference) = &self.reference else { return Ok(()) };
        let mut scores = Vec::with_capacity(targets.weights.len());
        for (window, range) in targets.each() {
            let of_reference = reference.of(window);
            scores.extend(targets.nll[range].iter().zip(of_reference).map(|(now, reference)| now - reference));
        }
        let count = scores.len();
        let keep = ((self.settings.keep * count as f64).round() as usize).clamp(1, count.max(1));
        let mut places: Vec<usize> = (0..count).collect();
        // Of equal scores the earlier is kept, so that runs repeat.
        places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        for &place in places.iter().skip(keep) {
            targets.weights[place] = 0.0;
        }
        self.kept.count(keep as f64, count);
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
        if self.reference.is_some() { json!({ "kept_share": self.kept.share() }) } else { Value::Null }
    }
}
