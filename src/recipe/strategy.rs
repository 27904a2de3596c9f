//! A training strategy: hooks around the one training loop. Every hook does nothing unless the strategy says otherwise.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use burn::tensor::Tensor;
use serde_json::Value;

use super::targets::StepTargets;
use super::window_losses::WindowLosses;
use super::windows::TrainingWindows;
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

    /// Whether a weight of that model is trained; a strategy can only leave weights out.
    fn trains(&self, weight: &WeightPlace<'_>) -> bool {
        let _ = weight;
        true
    }

    /// Sees what a run begins with, and takes what it asked for in [`Strategy::needs`]. A resumed run begins in the same
    /// way, before [`Strategy::restore`].
    ///
    /// # Errors
    /// What does not fit together.
    fn begin(&mut self, start: &Start<'_>, found: Found) -> Result<()> {
        let _ = (start, found);
        Ok(())
    }

    /// How many windows each epoch reads of a training text of so many, where this strategy decides it. After the last
    /// of these epochs the first comes again, if the run is longer.
    fn plan(&self, windows: usize) -> Option<Vec<usize>> {
        let _ = windows;
        None
    }

    /// Changes which windows of the training text an epoch reads, in order; as many as [`Strategy::plan`] says.
    fn epoch(&mut self, epoch: u64, order: &mut Vec<usize>) {
        let _ = (epoch, order);
    }

    /// Changes which windows a step reads. The tokens that a run reports are those of the windows that remain.
    fn windows(&mut self, now: Moment, chosen: &mut Vec<usize>) {
        let _ = (now, chosen);
    }

    /// Whether [`Strategy::weigh`] needs the losses of the model as it is now. They cost one more pass through the model.
    fn reads_losses(&self, now: Moment) -> bool {
        let _ = now;
        false
    }

    /// Changes what the targets of a step weigh.
    ///
    /// # Errors
    /// The strategy's own.
    fn weigh(&mut self, now: Moment, targets: &mut StepTargets) -> Result<()> {
        let _ = (now, targets);
        Ok(())
    }

    /// What is added to the loss. The output head computes most of it chunk by chunk, so it is of a list and no function.
    fn penalties(&self, now: Moment) -> Vec<Penalty> {
        let _ = now;
        Vec::new()
    }

    /// What the learning rate of a step is multiplied by.
    fn rate(&self, now: Moment) -> f64 {
        let _ = now;
        1.0
    }

    /// Changes the weights after the optimiser has.
    ///
    /// # Errors
    /// The device's failure.
    fn update(&self, update: Update, model: LanguageModel) -> Result<LanguageModel> {
        let _ = update;
        Ok(model)
    }

    /// Whether [`Strategy::after_step`] needs the losses of the step's windows.
    fn watches_windows(&self) -> bool {
        false
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

    /// What the strategy remembers, for the checkpoint.
    fn state(&self) -> Remembered {
        Remembered::default()
    }

    /// Takes back what [`Strategy::state`] gave.
    ///
    /// # Errors
    /// The state of another strategy.
    fn restore(&mut self, state: Remembered) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// What it did, for the run's result: an object, or null for nothing.
    fn report(&self) -> Value {
        Value::Null
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
    /// So many windows of text that the base itself writes, drawn token by token at temperature 1.
    Samples(Samples),
    /// A model's folder.
    Model(PathBuf),
    /// The losses of all windows by a model.
    Losses(Scorer),
}

/// Windows that the base writes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// How many.
    pub windows: usize,
    /// The seed of what is drawn.
    pub seed: u64,
}

/// Whose losses are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scorer {
    /// The base.
    Base,
    /// The model in a folder.
    Model(PathBuf),
    /// The base after the same run without the strategies that are added.
    Adapted,
    /// Two models, each the base after one such epoch over every second window: each scores the windows that it has not
    /// seen.
    CrossFitted,
}

/// What a strategy asked for, each kind in the order in which it asked.
#[derive(Default)]
pub struct Found {
    /// The numbers of the windows of corpora and samples.
    pub windows: Vec<Range<usize>>,
    /// Models.
    pub models: Vec<LoadedModel>,
    /// Losses.
    pub losses: Vec<Rc<WindowLosses>>,
}

/// What a run begins with.
pub struct Start<'a> {
    /// The base.
    pub base: &'a LoadedModel,
    /// The model to be trained, before its first step, without autodiff.
    pub model: &'a LanguageModel,
    /// All windows.
    pub windows: &'a TrainingWindows,
    /// Windows of a step.
    pub batch: usize,
    /// Steps of the run.
    pub steps: u64,
    /// The run's seed.
    pub seed: u64,
}

/// A weight, and where in the model it is.
#[derive(Debug, Clone, Copy)]
pub struct WeightPlace<'a> {
    /// Its published name.
    pub name: &'a str,
    /// Its published shape.
    pub shape: &'a [usize],
    /// The number of its layer, from 0; `None` outside of them.
    pub layer: Option<usize>,
}

/// A step of a run: all that a strategy may draw random numbers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The run's seed.
    pub seed: u64,
    /// The step's number, from 1.
    pub step: u64,
}

/// The optimiser's update of a step.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Which step.
    pub now: Moment,
    /// The rate by the schedule, before strategies changed it.
    pub lr: f64,
}

/// A step that was taken.
pub struct AfterStep<'a> {
    /// Which.
    pub now: Moment,
    /// Its loss before the update, nats per target.
    pub loss: f64,
    /// What penalties added to it.
    pub penalty: f64,
    /// The numbers of the windows it read.
    pub windows: &'a [usize],
    /// The mean loss of each of them before the update, nats per target; empty unless some strategy watches it.
    pub window_losses: &'a [f64],
    /// The model after it, on the autodiff device.
    pub model: &'a LanguageModel,
}

/// What can be added to the loss.
#[derive(Clone)]
pub enum Penalty {
    /// Over the targets that [`StepTargets::penalised`] names: `divergence` · T² · mean of KL(teacher at T ‖ model at T), and
    /// `hidden` · mean of (h − h of the teacher)² over all channels of the last hidden states.
    Near {
        /// β; 0 for none.
        divergence: f64,
        /// T.
        temperature: f64,
        /// The weight of the hidden states; 0 for none.
        hidden: f64,
        /// Whose predictions and hidden states are kept near.
        teacher: Rc<LanguageModel>,
    },
    /// `strength`/2 · Σ (θ − `from`)² over the trained weights.
    Distance {
        /// γ.
        strength: f64,
        /// The weights by name.
        from: Rc<BTreeMap<String, Tensor<1>>>,
    },
}

/// What a strategy remembers from step to step.
#[derive(Default)]
pub struct Remembered {
    /// Arrays by name, on any device.
    pub arrays: BTreeMap<String, Tensor<1>>,
    /// Everything else.
    pub values: Value,
}

/// A corpus or a model that settings name: a path, or a name on the hub.
#[derive(Debug)]
pub enum NamedPlace<'a> {
    /// A corpus.
    Corpus(&'a mut PathBuf),
    /// A model's folder.
    Model(&'a mut PathBuf),
}

impl NamedPlace<'_> {
    /// Its path.
    pub fn path(&mut self) -> &mut PathBuf {
        match self {
            Self::Corpus(path) | Self::Model(path) => path,
        }
    }
}

/// The settings of a strategy that is added to a run.
pub trait Added: Sized {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// The key, its value and what it may be.
    fn check(&self) -> Result<()>;

    /// Refuses settings that do not go with the peak learning rate `lr`.
    ///
    /// # Errors
    /// As [`Added::check`].
    fn goes_with_rate(&self, lr: f64) -> Result<()> {
        let _ = lr;
        Ok(())
    }

    /// The corpora and models that they name.
    fn places(&mut self) -> Vec<NamedPlace<'_>> {
        Vec::new()
    }

    /// The strategy with these settings, at the beginning of a run.
    fn start(&self) -> Box<dyn Strategy>;

    /// The settings with which the strategy changes nothing.
    fn neutral() -> Self;
}
