//! Learn, focus, review (LFR, arXiv 2409.06131): after an epoch over everything, epochs over the windows that were worst, and
//! again over everything. A window's score is its training loss when it was last read, so no further pass is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::recipe::strategy::{Added, AfterStep, Found, Remembered, Start, Strategy};

/// Some epochs over what is left when the easiest windows are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// Epochs.
    pub epochs: u32,
    /// Percent of the windows that are dropped, 0 to 99.
    pub drop: u32,
}

/// The phases in order, written `1:0,1:50,1:0,1:70`: epochs and percent dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phases(pub Vec<Phase>);

impl FromStr for Phases {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let phase = |word: &str| {
            let (epochs, drop) = word.trim().split_once(':')?;
            Some(Phase { epochs: epochs.parse().ok()?, drop: drop.parse().ok()? })
        };
        let phases: Option<Vec<Phase>> = text.split(',').map(phase).collect();
        let fault = || format!("{text:?} is no plan: expected epochs:percent dropped, as in 1:0,1:50,1:0,1:70");
        let phases = phases.ok_or_else(fault)?;
        match phases.iter().all(|phase| (1..=1000).contains(&phase.epochs) && phase.drop < 100) {
            true => Ok(Self(phases)),
            false => Err(format!("{text:?}: epochs are 1 to 1000, the percent dropped 0 to 99")),
        }
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|Phase { epochs, drop }| format!("{epochs}:{drop}")).collect();
        f.write_str(&words.join(","))
    }
}

impl Serialize for Phases {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Phases {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which windows are read when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Lfr {
    /// LFR: phases as epochs:percent, where so many percent of the windows are dropped, those with the lowest loss when they
    /// were last read. They replace `epochs`.
    #[serde(default = "Lfr::plan")]
    #[arg(id = "lfr.plan", long = "lfr", value_name = "PLAN", required = false, default_value_t = Lfr::plan(),
        num_args = 0..=1, default_missing_value = "1:0,1:50,1:0,1:70")]
    pub plan: Phases,
    /// How often the plan is gone through.
    #[serde(default = "Lfr::reps")]
    #[arg(id = "lfr.reps", long = "lfr-reps", value_name = "N", default_value_t = Lfr::reps())]
    pub reps: u32,
}

impl Lfr {
    fn plan() -> Phases {
        Phases([0, 50, 0, 70].map(|drop| Phase { epochs: 1, drop }).to_vec())
    }

    fn reps() -> u32 {
        1
    }
}

impl Added for Lfr {
    fn check(&self) -> Result<()> {
        let epochs: u64 = self.plan.0.iter().map(|phase| u64::from(phase.epochs)).sum();
        if self.reps == 0 || u64::from(self.reps) * epochs > 1 << 20 {
            return Err(Error::key("lfr.reps", format!("is {}", self.reps), "use at least 1, and a million epochs at most"));
        }
        match self.plan.0.first() {
            Some(Phase { drop: 0, .. }) => Ok(()),
            _ => Err(Error::key(
                "lfr.plan",
                format!("begins with a phase that drops windows ({})", self.plan),
                "begin with an epoch over everything, as in 1:0,1:50",
            )),
        }
    }

    fn start(&self) -> Box<dyn Strategy> {
        let phases = || self.plan.0.iter().flat_map(|phase| std::iter::repeat_n(phase.drop, phase.epochs as usize));
        let drops = (0..self.reps).flat_map(|_| phases()).collect();
        Box::new(Reviewing { drops, windows: Vec::new(), focus: None, own: 0 })
    }

    fn neutral() -> Self {
        Self { plan: Phases(vec![Phase { epochs: 1, drop: 0 }]), reps: 1 }
    }
}

/// What is known of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Seen {
    /// Its loss when it was last read, nats per target; `None` before.
    score: Option<f32>,
    /// How often its loss was lower than the time before, and higher.
    fell: u32,
    rose: u32,
    /// How often it rose after it had fallen.
    forgotten: u32,
    /// Whether it fell last.
    falling: bool,
}

/// The class of a window by its losses over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowClass {
    /// Its loss only fell.
    Learned,
    /// It only rose.
    Unlearned,
    /// It fell and rose afterwards.
    Forgotten,
    /// It rose and then only fell.
    Relearned,
}

impl Seen {
    fn see(&mut self, loss: f32) {
        if let Some(before) = self.score {
            if loss < before {
                self.fell += 1;
                self.falling = true;
            } else if loss > before {
                self.rose += 1;
                self.forgotten += u32::from(self.falling);
                self.falling = false;
            }
        }
        self.score = Some(loss);
    }

    fn class(&self) -> Option<WindowClass> {
        match (self.fell, self.rose, self.forgotten) {
            (0, 0, _) => None,
            (_, _, 1..) => Some(WindowClass::Forgotten),
            (_, 0, _) => Some(WindowClass::Learned),
            (0, _, _) => Some(WindowClass::Unlearned),
            _ => Some(WindowClass::Relearned),
        }
    }
}

/// The class of a window whose losses were these, in order; `None` where they never changed.
pub fn class_of(losses: &[f32]) -> Option<WindowClass> {
    let mut seen = Seen::default();
    losses.iter().for_each(|&loss| seen.see(loss));
    seen.class()
}

/// How many of `windows` are kept where `drop` percent are dropped: rounded up.
fn kept(windows: usize, drop: u32) -> usize {
    (windows * (100 - drop as usize)).div_ceil(100)
}

struct Reviewing {
    /// Percent dropped in each epoch.
    drops: Vec<u32>,
    windows: Vec<Seen>,
    /// The epoch that is read, and the windows that it keeps.
    focus: Option<(u64, Vec<usize>)>,
    own: usize,
}

impl Reviewing {
    fn is_neutral(&self) -> bool {
        self.drops.iter().all(|&drop| drop == 0) && self.drops.len() == 1
    }
}

impl Strategy for Reviewing {
    fn begin(&mut self, start: &Start<'_>, _found: Found) -> Result<()> {
        self.own = start.windows.len();
        self.windows = vec![Seen::default(); self.own];
        Ok(())
    }

    fn plan(&self, windows: usize) -> Option<Vec<usize>> {
        (!self.is_neutral()).then(|| self.drops.iter().map(|&drop| kept(windows, drop)).collect())
    }

    fn epoch(&mut self, epoch: u64, order: &mut Vec<usize>) {
        let drop = self.drops[(epoch % self.drops.len() as u64) as usize];
        if drop == 0 {
            self.focus = None;
            return;
        }
        if self.focus.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut hardest: Vec<usize> = (0..self.own).collect();
            let score = |window: usize| self.windows[window].score.unwrap_or(f32::INFINITY);
            hardest.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
            hardest.truncate(kept(self.own, drop));
            hardest.sort_unstable();
            self.focus = Some((epoch, hardest));
        }
        if let Some((_, kept)) = &self.focus {
            order.retain(|window| kept.binary_search(window).is_ok());
        }
    }

    fn watches_windows(&self) -> bool {
        !self.is_neutral()
    }

    fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        for (&window, &loss) in done.windows.iter().zip(done.window_losses) {
            if let Some(seen) = self.windows.get_mut(window) {
                seen.see(loss as f32);
            }
        }
        Ok(())
    }

    fn state(&self) -> Remembered {
        if self.is_neutral() {
            return Remembered::default();
        }
        let array = |of: &dyn Fn(&Seen) -> f32| {
            let values: Vec<f32> = self.windows.iter().map(of).collect();
            Tensor::from_data(TensorData::new(values, [self.windows.len()]), &Default::default())
        };
        let arrays: BTreeMap<String, Tensor<1>> = BTreeMap::from([
            ("score".to_owned(), array(&|seen| seen.score.unwrap_or(-1.0))),
            ("fell".to_owned(), array(&|seen| seen.fell as f32)),
            ("rose".to_owned(), array(&|seen| seen.rose as f32)),
            ("forgotten".to_owned(), array(&|seen| seen.forgotten as f32)),
            ("falling".to_owned(), array(&|seen| f32::from(u8::from(seen.falling)))),
        ]);
        Remembered { arrays, values: json!({ "focus": self.focus }) }
    }

    fn restore(&mut self, mut state: Remembered) -> Result<()> {
        let mut array = |name: &str| state.arrays.remove(name).map_or_else(|| Ok(Vec::new()), to_host);
        let (score, fell, rose) = (array("score")?, array("fell")?, array("rose")?);
        let (forgotten, falling) = (array("forgotten")?, array("falling")?);
        for (window, seen) in self.windows.iter_mut().enumerate() {
            let of = |values: &[f32]| values.get(window).copied().unwrap_or_default();
            *seen = Seen {
                score: score.get(window).copied().filter(|score| *score >= 0.0),
                fell: of(&fell) as u32,
                rose: of(&rose) as u32,
                forgotten: of(&forgotten) as u32,
                falling: of(&falling) > 0.5,
            };
        }
        self.focus = serde_json::from_value(state.values["focus"].clone()).unwrap_or_default();
        Ok(())
    }

    fn report(&self) -> Value {
        if self.is_neutral() || self.windows.is_empty() {
            return Value::Null;
        }
        let classes: Vec<WindowClass> = self.windows.iter().filter_map(Seen::class).collect();
        let share = |class: WindowClass| {
            classes.iter().filter(|of| **of == class).count() as f64 / self.windows.len() as f64
        };
        let often = self.windows.iter().filter(|seen| seen.forgotten > 1).count() as f64 / self.windows.len() as f64;
        let read: Vec<usize> = self.drops.iter().map(|&drop| kept(self.own, drop)).collect();
        json!({
            "windows_of_epochs": read,
            "learned": share(WindowClass::Learned), "unlearned": share(WindowClass::Unlearned),
            "forgotten": share(WindowClass::Forgotten), "forgotten_often": often,
            "relearned": share(WindowClass::Relearned),
        })
    }
}
