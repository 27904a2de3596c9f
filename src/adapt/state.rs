//! The state of a run, and where it is saved.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::checkpoint::{Checkpoint, Position};
use super::micro_batch::AtOnce;
use super::optimizer::AdamW;
use super::result::{Best, Curves};
use super::step::LossScale;
use crate::device::faults::guarded;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, LoadedModel, Precision};
use crate::recipe::Stack;

/// Where a run is saved, and whether it resumes from there.
#[derive(Debug, Clone, Copy)]
pub struct Resumable<'a> {
    /// The checkpoint file.
    pub path: &'a Path,
    /// Whether to resume from it if it exists.
    pub resume: bool,
    /// Steps between checkpoints. A checkpoint is also written at an interruption and at the end. Remove it when the
    /// result is completely written.
    pub every: Option<u64>,
    /// The longest time between two checkpoints, or one step if a step takes longer. A device can be lost at any
    /// moment, and its weights with it.
    pub longest: Duration,
    /// The words that say how to resume, for a run that ends early.
    pub how_to_resume: &'a str,
}

impl Resumable<'_> {
    /// The default of `longest`. Writing takes only seconds even for a billion weights.
    pub const LONGEST: Duration = Duration::from_secs(10 * 60);
}

/// What changes from step to step.
pub struct State {
    /// On the autodiff device.
    pub model: LanguageModel,
    /// The weights of the best validation, without autodiff.
    pub best_model: LanguageModel,
    /// The optimiser.
    pub optimizer: AdamW,
    /// The factor of the gradients during the backward pass.
    pub loss_scale: LossScale,
    /// The strategies, with what they remember.
    pub stack: Stack,
    /// Losses so far.
    pub curves: Curves,
    /// The best validation.
    pub best: Best,
    /// Steps done.
    pub step: u64,
    /// Targets trained on; `None` after a checkpoint of an older version, which does not say.
    pub tokens: Option<u64>,
}

impl State {
    /// The state from a checkpoint, prepared for training with products in `compute`.
    ///
    /// # Errors
    /// A strategy does not know what the checkpoint says it remembers.
    pub fn of(checkpoint: Checkpoint, mut stack: Stack, compute: Precision) -> Result<Self> {
        let Checkpoint { position, model, best, optimizer, strategies } = checkpoint;
        stack.restore(strategies)?;
        let Position { step, curves, best: best_validation, loss_scale, tokens, .. } = position;
        let model = model.train().compute_in(compute);
        Ok(Self { model, best_model: best, optimizer, loss_scale, stack, curves, best: best_validation, step, tokens })
    }

    /// The present model without autodiff. It computes in f32, also if it is trained in 16 bits.
    pub fn for_use(&self) -> LanguageModel {
        self.model.valid().compute_in(Precision::F32)
    }

    /// The weights that the run would leave now: what is validated, and written at the end.
    ///
    /// # Errors
    /// The device's failure.
    pub fn finished(&self, base: &LoadedModel) -> Result<LanguageModel> {
        self.stack.finish(base, self.for_use())
    }

    /// Whether it was validated after its last step.
    pub fn is_validated(&self) -> bool {
        self.curves.valid_loss.last().is_some_and(|(step, _)| *step == self.step)
    }

    /// Reads one number of every weight. If the device had no memory for an update, the weight cannot be read.
    ///
    /// # Errors
    /// The device's failure.
    pub fn check(&self, device: &Device) -> Result<()> {
        guarded(device, || {
            let trained = self.model.valid().trained();
            to_host(Tensor::cat(trained.into_iter().map(|weight| weight.values.narrow(0, 0, 1)).collect(), 0))
        })
        .map(drop)
    }
}

/// Saves the state of a run.
pub struct Saving<'a> {
    resumable: Option<Resumable<'a>>,
    determined_by: Value,
    started: Instant,
    seconds_before: f64,
    /// When this process saved it last, and the step of the state in the file.
    last: Instant,
    saved: Option<u64>,
}

impl<'a> Saving<'a> {
    /// For a run that resumes from `resumed`, if there is one.
    pub fn new(resumable: Option<Resumable<'a>>, determined_by: Value, resumed: Option<&Position>) -> Self {
        if let Some(Resumable { path, .. }) = resumable {
            scratch::sweep_locked(path);
        }
        let now = Instant::now();
        let seconds_before = resumed.map_or(0.0, |position| position.seconds);
        let saved = resumed.map(|position| position.step);
        Self { resumable, determined_by, started: now, seconds_before, last: now, saved }
    }

    /// Seconds of training so far, by this process and before it.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.this_run()
    }

    /// Seconds of training by this process.
    pub fn this_run(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Saves if it is time to: after the given number of steps or the given time, and before the run stops or ends.
    ///
    /// # Errors
    /// The device's failure, or the system's.
    pub fn save_when_due(&mut self, state: &State, at_once: &AtOnce, must: bool) -> Result<()> {
        let Some(Resumable { every, longest, .. }) = self.resumable else { return Ok(()) };
        let by_steps = every.is_some_and(|every| state.step.is_multiple_of(every.max(1)));
        match must || by_steps || self.last.elapsed() >= longest {
            true => self.save(state, at_once).map(drop),
            false => Ok(()),
        }
    }

    /// Saves the state and returns the words that say where. Without a place to save they are "nothing was saved".
    ///
    /// # Errors
    /// The device's failure, or the system's.
    pub fn save(&mut self, state: &State, at_once: &AtOnce) -> Result<String> {
        let Some(Resumable { path, .. }) = self.resumable else { return Ok("nothing was saved".to_owned()) };
        let State { best_model, optimizer, loss_scale, stack, curves, best, step, .. } = state;
        let mut position = Position::new(*step, curves.clone(), *best, self.seconds(), self.determined_by.clone());
        position.smaller_micro_batches = at_once.smaller().to_vec();
        position.loss_scale = *loss_scale;
        position.tokens = state.tokens;
        let (model, best, optimizer) = (state.for_use(), best_model.clone(), optimizer.clone());
        Checkpoint { position, model, best, optimizer, strategies: stack.state() }.write(path)?;
        (self.last, self.saved) = (Instant::now(), Some(*step));
        Ok(format!("saved in {}", path.display()))
    }

    /// The error of a run whose device fails after `state`. It says what is saved: this state if it can still be read,
    /// otherwise the last checkpoint.
    pub fn after(&mut self, error: Error, state: &State, at_once: &AtOnce, device: &Device) -> Error {
        if let Error::Device { .. } = error
            && let Err(unsaved) = guarded(device, || self.save(state, at_once))
        {
            tracing::debug!("{unsaved}");
        }
        self.without(error, state.step + 1)
    }

    /// The error of a run that its device fails in step `step` and leaves without a state, or whose weights are no numbers
    /// any more: says what was saved last.
    pub fn without(&self, error: Error, step: u64) -> Error {
        let left = match (self.resumable, self.saved) {
            (Some(Resumable { path, how_to_resume, .. }), Some(step)) => {
                format!("{} has the state after step {step}; {how_to_resume}", path.display())
            }
            _ => "nothing was saved".to_owned(),
        };
        match error {
            Error::Device { device, kind, fault } => {
                Error::Device { device, kind, fault: fault.then(format!("; this was in step {step}; {left}")) }
            }
            Error::Numeric(fault) => {
                Error::Numeric(fault.then(format!("; this was after step {step}: try a lower learning rate; {left}")))
            }
            other => other,
        }
    }
}
