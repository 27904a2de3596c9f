//! The loop of a training.

use super::result::Adaptation;
use super::run::Run;
use super::state::Resumable;
use super::step::{Before, unhindered};
use super::training::Training;
use crate::error::Result;
use crate::model::LoadedModel;
use crate::process::Unbroken;
use crate::progress::Monitor;
use crate::recipe::{AdaptSettings, Stack};
use crate::text::{TextOptions, TokenStream};

/// Trains `base` on `train`, watching `valid`. Nothing is written but checkpoints.
///
/// # Errors
/// As [`Training::run`].
pub fn adapt(
    base: &LoadedModel,
    train: TokenStream,
    valid: &TokenStream,
    settings: &AdaptSettings,
    seed: u64,
    resumable: Option<Resumable<'_>>,
    monitor: &mut dyn Monitor,
) -> Result<Adaptation> {
    Training { base, settings, seed, resumable, texts: &TextOptions::PLAIN, keep: None }.run(train, valid, monitor)
}

impl Training<'_> {
    /// Trains on `train`, watching `valid`. Nothing is written but checkpoints.
    ///
    /// The same base, texts, settings and seed give the same bits on the CPU backend, also if the run was interrupted and
    /// resumed. If the device has no memory for a step, the step is done with fewer windows at once.
    ///
    /// # Errors
    /// Settings or texts that do not fit; a loss that is not finite, a failure of the device or an interruption. These save
    /// the state before them if that is possible.
    pub fn run(&self, train: TokenStream, valid: &TokenStream, monitor: &mut dyn Monitor) -> Result<Adaptation> {
        self.run_with(train, valid, monitor, &unhindered)
    }

    /// The same; `before` is called before each micro-batch, and its error counts as the device's failure there.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn run_with(
        &self,
        train: TokenStream,
        valid: &TokenStream,
        monitor: &mut dyn Monitor,
        before: Before<'_>,
    ) -> Result<Adaptation> {
        self.run_hindered(Stack::new(self.settings), train, valid, monitor, before)
    }

    /// The same with the strategies of `stack` in place of those of the settings.
    pub(super) fn run_stack(
        &self,
        stack: Stack,
        train: TokenStream,
        valid: &TokenStream,
        monitor: &mut dyn Monitor,
    ) -> Result<Adaptation> {
        self.run_hindered(stack, train, valid, monitor, &unhindered)
    }

    fn run_hindered(
        &self,
        stack: Stack,
        train: TokenStream,
        valid: &TokenStream,
        monitor: &mut dyn Monitor,
        before: Before<'_>,
    ) -> Result<Adaptation> {
        let mut run = Run::prepare(self, stack, train, valid, monitor)?;
        // From here on there is something to save: if the program is asked to end, it waits for that.
        let _unbroken = Unbroken::begin();
        run.begin(monitor)?;
        while let Some(windows) = run.next_windows() {
            let gradient = run.gradient(&windows, monitor, before)?;
            run.refuse_faulty(&gradient, &windows)?;
            run = run.update(gradient, &windows, monitor)?;
            run.validate_when_due(monitor)?;
            run.report(monitor);
            run.save_when_due(monitor)?;
        }
        monitor.end();
        run.result()
    }
}
