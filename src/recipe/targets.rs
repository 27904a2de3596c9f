//! The targets of one step, over which strategies decide what each of them weighs.

use std::ops::Range;

use serde_json::{Value, json};

use super::windows::TrainingWindows;

/// The targets of the windows that a step reads, in the order of the windows. A step is cut into micro-batches only after
/// the weights are decided, so they do not depend on where it is cut.
#[derive(Debug, Clone)]
pub struct StepTargets {
    windows: Vec<usize>,
    /// Where the targets of each window begin, and one past the last target.
    starts: Vec<usize>,
    /// w of each target in Σ w·nll / Σ w; 1 until a strategy says otherwise.
    pub weights: Vec<f32>,
    /// −ln p of each target by the model now, nats; empty unless some strategy reads losses.
    pub nll: Vec<f32>,
    /// How much each target counts where a penalty compares two models; empty where nothing does.
    pub penalised: Vec<f32>,
    /// Whether Σ w·nll is divided by the number of targets, and not by Σ w: what is left out then makes the step smaller.
    pub by_all: bool,
}

impl StepTargets {
    /// Those of `windows`, all of weight 1.
    pub fn new(windows: &[usize], of: &TrainingWindows) -> Self {
        let mut starts = vec![0];
        for &window in windows {
            starts.push(starts.last().copied().unwrap_or(0) + of.targets(window));
        }
        let count = starts.last().copied().unwrap_or(0);
        Self {
            windows: windows.to_vec(),
            starts,
            weights: vec![1.0; count],
            nll: Vec::new(),
            penalised: Vec::new(),
            by_all: false,
        }
    }

    /// The numbers of its windows.
    pub fn windows(&self) -> &[usize] {
        &self.windows
    }

    /// The targets of the window at place `index` of the step.
    pub fn of(&self, index: usize) -> Range<usize> {
        self.starts[index]..self.starts[index + 1]
    }

    /// Each window's number and its targets.
    pub fn each(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        self.windows.iter().enumerate().map(|(index, &window)| (window, self.of(index)))
    }

    /// What the sum of penalties over targets is divided by.
    pub fn penalised_divisor(&self) -> f64 {
        self.penalised.iter().map(|&v| f64::from(v)).sum::<f64>().max(1.0)
    }

    /// What the sum of the losses is divided by.
    pub fn divisor(&self) -> f64 {
        match self.by_all {
            true => (self.weights.len() as f64).max(1.0),
            false => self.weights.iter().map(|&w| f64::from(w)).sum::<f64>().max(1.0),
        }
    }
}

/// How many targets a strategy kept, over a whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// Targets kept; one of weight w counts w.
    pub kept: f64,
    /// Targets seen.
    pub of: f64,
}

impl Kept {
    /// Counts targets.
    pub fn count(&mut self, kept: f64, of: usize) {
        self.kept += kept;
        self.of += of as f64;
    }

    /// What a strategy remembers of them; nothing before the first.
    pub fn values(&self) -> Value {
        if self.of == 0.0 { Value::Null } else { json!(self) }
    }

    /// The contrary.
    pub fn recalled(values: Value) -> Self {
        serde_json::from_value(values).unwrap_or_default()
    }

    /// The share that was kept, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.of == 0.0 { 1.0 } else { self.kept / self.of }
    }
}
