//! A training strategy: hooks around the one training loop. Every hook does nothing unless the strategy says otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Tensor;

use super::batch::MicroBatch;
use crate::error::Result;
use crate::model::{LanguageModel, LoadedModel};

/// What a strategy does to a run. Write one in a file of [`super::strategies`] and name it in the table there.
///
/// Two rules keep runs reproducible. A hook draws random numbers only from the [`Moment`], never from the number of its
/// calls. What it remembers from step to step is in [`Strategy::state`], so that a resumed run gives the same bits.
pub trait Strategy {
    /// Further corpora and models that it reads. Their content is part of what determines a run. They must be on this
    /// machine.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// The model whose weights are trained, if this strategy chooses them. Exactly one strategy of a run does: the one that
    /// the recipe's `strategy` names.
    ///
    /// # Errors
    /// A base that cannot be trained in this way.
    fn trainable(&self, base: &LoadedModel, seed: u64) -> Result<Option<LanguageModel>> {
        let _ = (base, seed);
        Ok(None)
    }

    /// Changes which windows of the training text a step reads. The tokens that a run reports are those of the windows that
    /// remain.
    fn windows(&self, now: Moment, chosen: &mut Vec<usize>) {
        let _ = (now, chosen);
    }

    /// Changes what the targets of a micro-batch weigh. `windows` are the numbers of its windows. A step is cut into
    /// micro-batches by memory alone, so the weights must not depend on where it is cut.
    ///
    /// # Errors
    /// The strategy's own.
    fn weigh(&self, now: Moment, windows: &[usize], batch: &mut MicroBatch) -> Result<()> {
        let _ = (now, windows, batch);
        Ok(())
    }

    /// What is added to the loss. The output head computes it chunk by chunk, so it is one of a list and not a function.
    fn penalty(&self) -> Option<Penalty> {
        None
    }

    /// Sees the model after each step.
    ///
    /// # Errors
    /// The device's failure.
    fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        let _ = done;
        Ok(())
    }

    /// The weights that the run leaves, made from those that were trained. Every validation measures these, and they are
    /// what is written at the end; training itself goes on with `trained`.
    ///
    /// # Errors
    /// The device's failure.
    fn finish(&self, base: &LoadedModel, trained: LanguageModel) -> Result<LanguageModel> {
        let _ = base;
        Ok(trained)
    }

    /// What the strategy remembers, by name, for the checkpoint.
    fn state(&self) -> BTreeMap<String, Tensor<1>> {
        BTreeMap::new()
    }

    /// Takes back what [`Strategy::state`] gave.
    ///
    /// # Errors
    /// The state of another strategy.
    fn restore(&mut self, state: BTreeMap<String, Tensor<1>>) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// Bytes that it holds beside weights, gradients and moments, where `trained` weights are trained.
    fn memory(&self, trained: u64) -> u64 {
        let _ = trained;
        0
    }
}

/// What a strategy reads beside base and texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A corpus; of a folder with splits, the one to train on.
    Corpus(PathBuf),
    /// A model's folder.
    Model(PathBuf),
}

/// A step of a run: all that a strategy may draw random numbers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The run's seed.
    pub seed: u64,
    /// The step's number, from 1.
    pub step: u64,
}

/// A step that was taken.
pub struct AfterStep<'a> {
    /// Which.
    pub now: Moment,
    /// Its loss before the update, nats per target.
    pub loss: f64,
    /// The numbers of the windows it read.
    pub windows: &'a [usize],
    /// The model after it, on the autodiff device.
    pub model: &'a LanguageModel,
}

/// What can be added to the loss. There is nothing yet: the first penalty is a variant here and a branch where the head
/// is differentiated ([`crate::adapt::objective`]), and the compiler names that place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {}

/// The settings of a strategy that is added to a run.
pub trait Added: Sized {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// The key, its value and what it may be.
    fn check(&self) -> Result<()>;

    /// The strategy with these settings, at the beginning of a run.
    fn start(&self) -> Box<dyn Strategy>;

    /// The settings with which the strategy changes nothing.
    fn neutral() -> Self;
}
