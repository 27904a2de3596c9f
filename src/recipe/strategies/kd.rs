//! Staying near a teacher, mostly the base itself: the divergence of its predictions (logit distillation; arXiv 2505.12043),
//! and the distance of its hidden states (arXiv 2110.08534).

use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::kernels::cross_entropy::LOGITS_AT_ONCE;
use crate::model::{LanguageModel, ModelConfig};
use crate::recipe::strategy::{Added, AfterStep, Found, Moment, NamedPlace, Need, Penalty, Remembered, Start, Strategy};
use crate::recipe::targets::StepTargets;

/// The targets over which two models are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Near {
    /// All targets.
    #[default]
    All,
    /// Those of the training text.
    Domain,
    /// Those of the replayed corpus.
    Replay,
}

/// How strongly predictions and hidden states are kept near the teacher's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Kd {
    /// Distillation: add this weight times the mean divergence KL(teacher ‖ model) of the predictions, so that they stay
    /// near.
    #[serde(default = "Kd::weight")]
    #[arg(id = "kd.weight", long = "kd", value_name = "WEIGHT", required = false, default_value_t = Kd::weight(),
        num_args = 0..=1, default_missing_value = "1")]
    pub weight: f64,
    /// The temperature T by which logits of both are divided; the term is multiplied by T².
    #[serde(default = "Kd::temperature")]
    #[arg(id = "kd.temperature", long = "kd-temperature", value_name = "T", default_value_t = Kd::temperature())]
    pub temperature: f64,
    /// Add this weight times the mean squared difference of the last hidden states.
    #[serde(default)]
    #[arg(id = "kd.hidden", long = "kd-hidden", value_name = "WEIGHT", default_value_t = 0.0)]
    pub hidden: f64,
    /// Over which targets both are taken.
    #[serde(default)]
    #[arg(id = "kd.near", long = "kd-near", value_enum, default_value_t)]
    pub near: Near,
    /// The teacher: the folder of a model with the base's vocabulary. The base itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(id = "kd.teacher", long = "kd-teacher", value_name = "MODEL")]
    pub teacher: Option<PathBuf>,
}

impl Kd {
    fn weight() -> f64 {
        1.0
    }

    fn temperature() -> f64 {
        1.0
    }
}

impl Added for Kd {
    fn check(&self) -> Result<()> {
        let refuse = |key, value: f64, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        for (key, value) in [("kd.weight", self.weight), ("kd.hidden", self.hidden)] {
            if !(0.0..=1e12).contains(&value) {
                return refuse(key, value, "use a number from 0 to 1e12");
            }
        }
        if !(0.01..=100.0).contains(&self.temperature) {
            return refuse("kd.temperature", self.temperature, "use a number from 0.01 to 100");
        }
        Ok(())
    }

    fn places(&mut self) -> Vec<NamedPlace<'_>> {
        self.teacher.iter_mut().map(NamedPlace::Model).collect()
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Distilled { settings: self.clone(), teacher: None, own: 0, sum: 0.0, steps: 0 })
    }

    fn neutral() -> Self {
        Self { weight: 0.0, temperature: 1.0, hidden: 0.0, near: Near::All, teacher: None }
    }
}

struct Distilled {
    settings: Kd,
    teacher: Option<Rc<LanguageModel>>,
    /// Windows of the training text.
    own: usize,
    /// Penalties of the steps so far, and how many steps.
    sum: f64,
    steps: u64,
}

impl Distilled {
    fn is_neutral(&self) -> bool {
        self.settings.weight == 0.0 && self.settings.hidden == 0.0
    }
}

impl Strategy for Distilled {
    fn needs(&self) -> Vec<Need> {
        self.settings.teacher.clone().filter(|_| !self.is_neutral()).map(Need::Model).into_iter().collect()
    }

    fn begin(&mut self, start: &Start<'_>, found: Found) -> Result<()> {
        self.own = start.windows.len();
        if self.settings.near == Near::Replay && start.windows.all() == self.own && !self.is_neutral() {
            return Err(Error::key("kd.near", "is replay, and nothing is replayed", "name a corpus to replay, or use all"));
        }
        self.teacher = Some(match found.models.into_iter().next() {
            Some(teacher) => {
                let [of_teacher, of_base] = [&teacher, start.base].map(|model| model.config.channels());
                if self.settings.hidden > 0.0 && of_teacher != of_base {
                    let fault = format!("needs hidden states of one width: the teacher has {of_teacher} channels, the base {of_base}");
                    return Err(Error::key("kd.hidden", fault, "use 0, or a teacher of the base's width"));
                }
                Rc::new(teacher.model)
            }
            None => Rc::new(start.base.model.clone()),
        });
        Ok(())
    }

    fn weigh(&mut self, _now: Moment, targets: &mut StepTargets) -> Result<()> {
        if self.is_neutral() {
            return Ok(());
        }
        let counts = |window: usize| match self.settings.near {
            Near::All => true,
            Near::Domain => window < self.own,
            Near::Replay => window >= self.own,
        };
        let mut penalised = vec![0.0; targets.weights.len()];
        for (window, range) in targets.each() {
            if counts(window) {
                penalised[range].fill(1.0);
            }
        }
        targets.penalised = penalised;
        Ok(())
    }

    fn penalties(&self, _now: Moment) -> Vec<Penalty> {
        let Kd { weight: divergence, temperature, hidden, .. } = self.settings;
        let teacher = self.teacher.clone().filter(|_| !self.is_neutral());
        teacher.map(|teacher| Penalty::Near { divergence, temperature, hidden, teacher }).into_iter().collect()
    }

    fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        if !self.is_neutral() {
            self.sum += done.penalty;
            self.steps += 1;
        }
        Ok(())
    }

    fn state(&self) -> Remembered {
        let values = if self.steps == 0 { Value::Null } else { json!({ "sum": self.sum, "steps": self.steps }) };
        Remembered { values, ..Remembered::default() }
    }

    fn restore(&mut self, state: Remembered) -> Result<()> {
        let of = |key: &str| state.values.get(key);
        self.sum = of("sum").and_then(Value::as_f64).unwrap_or(0.0);
        self.steps = of("steps").and_then(Value::as_u64).unwrap_or(0);
        Ok(())
    }

    fn report(&self) -> Value {
        match self.steps {
            0 => Value::Null,
            steps => json!({ "mean_penalty": self.sum / steps as f64 }),
        }
    }

    fn memory(&self, trained: u64) -> u64 {
        if self.is_neutral() {
            return 0;
        }
        // Logits of the teacher beside those of the model; and its weights, where it is not the base.
        let of_teacher = self.settings.teacher.as_ref().map_or(0, |path| {
            let count = ModelConfig::read(path).and_then(|config| LanguageModel::weight_count(&config));
            count.unwrap_or(trained)
        });
        (2 * LOGITS_AT_ONCE as u64 + of_teacher) * size_of::<f32>() as u64
    }
}
