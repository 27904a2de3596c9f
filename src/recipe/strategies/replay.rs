//! Replay: part of what a run reads is text of another corpus, mostly that of the pretraining. The run reads as many tokens as
//! before (arXiv 2403.08763, 2502.06042).

use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::recipe::strategy::{Added, Found, Moment, NamedPlace, Need, Remembered, Samples, Start, Strategy};
use crate::recipe::targets::StepTargets;

/// The corpus that stands for text which the base writes itself.
const OWN: &str = "self";

/// What is replayed, and how much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Replay: mix windows of this corpus into the training, in place of windows of the training text; of a folder with
    /// splits, its train split. `self` is text that the base writes itself.
    #[arg(id = "replay.corpus", long = "replay", value_name = "CORPUS", required = false)]
    pub corpus: PathBuf,
    /// The share of windows that are of that corpus, 0 to 1.
    #[serde(default = "Replay::share")]
    #[arg(id = "replay.share", long = "replay-share", value_name = "SHARE", default_value_t = Replay::share())]
    pub share: f64,
    /// What a target of that corpus weighs in the loss, beside 1 for one of the training text. 0 leaves it to a penalty
    /// such as `kd` alone.
    #[serde(default = "Replay::weight")]
    #[arg(id = "replay.weight", long = "replay-weight", value_name = "WEIGHT", default_value_t = Replay::weight())]
    pub weight: f64,
    /// For `self`: how many windows the base writes. They are read as often as needed.
    #[serde(default = "Replay::samples")]
    #[arg(id = "replay.samples", long = "replay-samples", value_name = "N", default_value_t = Replay::samples())]
    pub samples: usize,
    /// For `self`: the seed of what it writes.
    #[serde(default)]
    #[arg(id = "replay.seed", long = "replay-seed", value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

impl Replay {
    fn share() -> f64 {
        0.05
    }

    fn weight() -> f64 {
        1.0
    }

    fn samples() -> usize {
        64
    }
}

impl Added for Replay {
    fn check(&self) -> Result<()> {
        let refuse = |key, value: String, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        if !(0.0..=1.0).contains(&self.share) {
            return refuse("replay.share", self.share.to_string(), "use a share from 0 (nothing is replayed) to 1 (all)");
        }
        if !(0.0..=1e6).contains(&self.weight) {
            return refuse("replay.weight", self.weight.to_string(), "use a number from 0 to 1000000");
        }
        if !(1..=1 << 20).contains(&self.samples) {
            return refuse("replay.samples", self.samples.to_string(), "use 1 to 1048576");
        }
        Ok(())
    }

    fn places(&mut self) -> Vec<NamedPlace<'_>> {
        if self.corpus == Path::new(OWN) { Vec::new() } else { vec![NamedPlace::Corpus(&mut self.corpus)] }
    }

    fn start(&self) -> Box<dyn Strategy> {
        Box::new(Mixed { settings: self.clone(), batch: 1, windows: 0..0, order: None, replayed: 0, of: 0 })
    }

    fn neutral() -> Self {
        Self { corpus: OWN.into(), share: 0.0, weight: 1.0, samples: 1, seed: 0 }
    }
}

struct Mixed {
    settings: Replay,
    batch: usize,
    /// The windows of the corpus.
    windows: Range<usize>,
    /// The order in which they come in a round, and the round's number.
    order: Option<(u64, Vec<usize>)>,
    /// Targets replayed, and all of them.
    replayed: u64,
    of: u64,
}

impl Mixed {
    /// How many windows are replayed among the first `count` that a run reads: their share, to the nearest below.
    fn among(&self, count: u64) -> u64 {
        (count as f64 * self.settings.share + 1e-9).floor() as u64
    }

    /// The window that is the `turn`-th to be replayed: in random order, each once before one comes again.
    fn window(&mut self, seed: u64, turn: u64) -> usize {
        let count = self.windows.len() as u64;
        let round = turn / count;
        let order = match self.order.take().filter(|(of, _)| *of == round) {
            Some(kept) => kept,
            None => {
                let mut order: Vec<usize> = self.windows.clone().collect();
                let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7265_706c_6179);
                rng.set_stream(round);
                order.shuffle(&mut rng);
                (round, order)
            }
        };
        let window = order.1[(turn % count) as usize];
        self.order = Some(order);
        window
    }
}

impl Strategy for Mixed {
    fn needs(&self) -> Vec<Need> {
        let Replay { corpus, share, samples, seed, .. } = &self.settings;
        if *share == 0.0 {
            return Vec::new();
        }
        match corpus == Path::new(OWN) {
            true => vec![Need::Samples(Samples { windows: *samples, seed: *seed })],
            false => vec![Need::Corpus(corpus.clone())],
        }
    }

    fn begin(&mut self, start: &Start<'_>, found: Found) -> Result<()> {
        self.batch = start.batch;
        self.windows = found.windows.into_iter().next().unwrap_or(0..0);
        Ok(())
    }

    fn windows(&mut self, now: Moment, chosen: &mut Vec<usize>) {
        if self.windows.is_empty() {
            return;
        }
        let first = (now.step - 1) * self.batch as u64;
        for (window, place) in chosen.iter_mut().zip(first..) {
            let turn = self.among(place);
            if self.among(place + 1) > turn {
                *window = self.window(now.seed, turn);
            }
        }
    }

    fn weigh(&mut self, _now: Moment, targets: &mut StepTargets) -> Result<()> {
        if self.windows.is_empty() {
            return Ok(());
        }
        let replayed: Vec<Range<usize>> =
            targets.each().filter(|(window, _)| self.windows.contains(window)).map(|(_, range)| range).collect();
        self.of += targets.weights.len() as u64;
        for range in replayed {
            self.replayed += range.len() as u64;
            if self.settings.weight != 1.0 {
                targets.weights[range].iter_mut().for_each(|w| *w *= self.settings.weight as f32);
            }
        }
        Ok(())
    }

    fn state(&self) -> Remembered {
        let values = if self.of == 0 { Value::Null } else { json!([self.replayed, self.of]) };
        Remembered { values, ..Default::default() }
    }

    fn restore(&mut self, state: Remembered) -> Result<()> {
        if let Ok([replayed, of]) = serde_json::from_value::<[u64; 2]>(state.values) {
            (self.replayed, self.of) = (replayed, of);
        }
        Ok(())
    }

    fn report(&self) -> Value {
        match self.of {
            0 => Value::Null,
            of => json!({ "share": self.replayed as f64 / of as f64, "tokens": self.replayed, "windows": self.windows.len() }),
        }
    }
}
