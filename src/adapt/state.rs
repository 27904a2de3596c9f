//! What a run has come to, and where that is kept.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::checkpoint::{Checkpoint, Position};
use super::micro_batch::AtOnce;
use super::optimizer::AdamW;
use super::step::LossScale;
use super::{Best, Curves};
use crate::device::faults::guarded;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, Precision};

/// Where a run may be saved, and whether it goes on from there.
#[derive(Debug, Clone, Copy)]
pub struct Resumable<'a> {
    /// The checkpoint file.
    pub path: &'a Path,
    /// Whether to go on from it where it exists.
    pub resume: bool,
    /// Steps between checkpoints. One is also written at an interruption and at the end: remove it once the result is
    /// whole elsewhere.
    pub every: Option<u64>,
    /// The longest that a run goes on without one, as far as steps take no longer: a device may be lost at any moment,
    /// and the weights with it.
    pub longest: Duration,
    /// How to go on, said when the run ends before its end.
    pub how_to_resume: &'a str,
}

impl Resumable<'_> {
    /// `longest` where nothing else is said. Writing takes seconds even for a billion weights.
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
    /// What gradients are scaled by on their way back.
    pub loss_scale: LossScale,
    /// Losses so far.
    pub curves: Curves,
    /// The best validation.
    pub best: Best,
    /// Steps done.
    pub step: u64,
}

impl State {
    /// What a checkpoint saved, to be trained on in `compute`.
    pub fn of(checkpoint: Checkpoint, compute: Precision) -> Self {
        let Checkpoint { position, model, best, optimizer } = checkpoint;
        let Position { step, curves, best: best_validation, loss_scale, .. } = position;
        let model = model.train().compute_in(compute);
        Self { model, best_model: best, optimizer, loss_scale, curves, best: best_validation, step }
    }

    /// The model now, without autodiff and computing in f32, whatever it is trained in.
    pub fn for_use(&self) -> LanguageModel {
        self.model.valid().compute_in(Precision::F32)
    }

    /// Whether it was validated after its last step.
    pub fn is_validated(&self) -> bool {
        self.curves.valid_loss.last().is_some_and(|(step, _)| *step == self.step)
    }

    /// Reads a number of every weight: what an update without memory for it leaves cannot be read.
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

/// Keeps a run's state.
pub struct Saving<'a> {
    resumable: Option<Resumable<'a>>,
    determined_by: &'a Value,
    started: Instant,
    seconds_before: f64,
    /// When it was saved last by this process, and after which step the file has it.
    last: Instant,
    saved: Option<u64>,
}

impl<'a> Saving<'a> {
    /// For a run that goes on from `resumed`, if it does.
    pub fn new(resumable: Option<Resumable<'a>>, determined_by: &'a Value, resumed: Option<&Position>) -> Self {
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

    /// Saves where that is due: after so many steps or so much time, and before the run stops or ends.
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

    /// Saves the state, and says where: "nothing was saved" where it has no place.
    ///
    /// # Errors
    /// The device's failure, or the system's.
    pub fn save(&mut self, state: &State, at_once: &AtOnce) -> Result<String> {
        let Some(Resumable { path, .. }) = self.resumable else { return Ok("nothing was saved".to_owned()) };
        let State { best_model, optimizer, loss_scale, curves, best, step, .. } = state;
        let mut position = Position::new(*step, curves.clone(), *best, self.seconds(), self.determined_by.clone());
        position.smaller_micro_batches = at_once.smaller().to_vec();
        position.loss_scale = *loss_scale;
        let (model, best, optimizer) = (state.for_use(), best_model.clone(), optimizer.clone());
        Checkpoint { position, model, best, optimizer }.write(path)?;
        (self.last, self.saved) = (Instant::now(), Some(*step));
        Ok(format!("saved in {}", path.display()))
    }

    /// The error of a run that its device fails after `state`. Says what is left: that state, where it can still be read,
    /// and else what was saved last.
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
                Error::Device { device, kind, fault: format!("{fault}; this was in step {step}; {left}") }
            }
            Error::Numeric(fault) => {
                Error::Numeric(format!("{fault}; this was after step {step}: try a lower learning rate; {left}"))
            }
            other => other,
        }
    }
}
