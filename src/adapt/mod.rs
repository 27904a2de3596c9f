//! Additional pretraining: the same model, further on a domain's text.
//!
//! [`data`] cuts the text into blocks and orders them, [`objective`] gives loss and gradient of a micro-batch,
//! [`optimizer`] and [`schedule`] turn gradients into steps, [`checkpoint`] lets a run stop and go on, [`micro_batch`]
//! makes do with the device's memory. The loop is [`Training::run`]. [`preset`] has named recipes, [`find_lr`] tries
//! learning rates, [`timing`] says how fast it goes here, [`stopping`] ends a run early, [`events`] is what it tells as it
//! goes.

pub mod checkpoint;
pub mod data;
pub mod events;
pub mod find_lr;
mod folder;
pub mod micro_batch;
pub mod objective;
pub mod optimizer;
mod place;
pub mod preset;
pub mod schedule;
pub mod settings;
mod state;
pub mod step;
pub mod stopping;
pub mod timing;
mod validation;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use folder::{Form, write};
pub use place::RunPlace;
pub use settings::{AdaptSettings, Strategy};
pub use state::Resumable;
pub use step::{Differentiable, StepDone, training_step};

use crate::device::faults::guarded;
use crate::device::most_tokens;
use crate::error::{DeviceFault, Error, Result};
use crate::files;
use crate::memory::{MemoryPlan, Work};
use crate::model::{LanguageModel, LoadedModel, LoraSettings, Precision};
use crate::process::{Unbroken, bytes, peak_resident, resident};
use crate::progress::Monitor;
use crate::text::TokenStream;
use checkpoint::Checkpoint;
use data::{MicroBatch, TrainingBlocks};
use events::Event;
use micro_batch::{AtOnce, Smaller};
use objective::Objective;
use optimizer::AdamW;
use state::{Saving, State};
use step::{Limit, LossScale, StepGradient, Stoppable};
use stopping::{Patience, Stopped};
use validation::Validation;

/// `adapt --json`, and `adapt.json` beside the adapted weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdaptResult {
    /// "odyssey.adapt/1".
    pub schema: String,
    /// The folder written.
    pub out: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Targets trained on.
    pub tokens: u64,
    /// Loss of training steps and of validations.
    #[serde(flatten)]
    pub curves: Curves,
    /// The best validation; its weights are in `best/` where they are not the last ones.
    pub best: Best,
    /// Where it ended before its last step, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// From where on fewer blocks were computed at once than asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smaller_micro_batches: Vec<Smaller>,
    /// Seconds of training, validations included.
    pub seconds: f64,
    /// Training targets per second.
    pub tokens_per_second: f64,
    /// Largest resident memory of the process, bytes.
    pub peak_memory_bytes: u64,
    /// Everything that determined the run.
    pub determined_by: Value,
}

/// Losses by step, nats per target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// `(step, loss before that step's update)`.
    pub train_loss: Vec<(u64, f64)>,
    /// `(steps done, loss on the validation text)`.
    pub valid_loss: Vec<(u64, f64)>,
}

/// The best validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done then.
    pub step: u64,
    /// Loss on the validation text, nats per token.
    pub loss: f64,
}

/// An adapted model.
pub struct Adaptation {
    /// The weights after the last step.
    pub last: LanguageModel,
    /// The weights with the best validation loss.
    pub best: LanguageModel,
    /// The settings of the adapters that were trained, if they were.
    pub lora: Option<LoraSettings>,
    /// What is written of a model with adapters.
    pub form: Form,
    /// How it went.
    pub result: AdaptResult,
}

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
    Training { base, settings, seed, resumable, objective: &Objective }.run(train, valid, monitor)
}

/// A run, but for its texts.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// What is trained.
    pub base: &'a LoadedModel,
    /// How.
    pub settings: &'a AdaptSettings,
    /// Of the order of blocks, of adapters and dropout.
    pub seed: u64,
    /// Where it is saved.
    pub resumable: Option<Resumable<'a>>,
    /// What is minimised.
    pub objective: &'a dyn Differentiable,
}

impl Training<'_> {
    /// Trains on `train`, watching `valid`. Nothing is written but checkpoints.
    ///
    /// The same base, texts, settings and seed give the same bits on the CPU backend, also when the run was interrupted
    /// and went on. A step that the device has no memory for is done with fewer blocks at once.
    ///
    /// # Errors
    /// Settings or texts that do not fit; a loss that is not finite, the device's failure or an interruption, which save
    /// the state before them where that can be.
    pub fn run(&self, train: TokenStream, valid: &TokenStream, monitor: &mut dyn Monitor) -> Result<Adaptation> {
        let Self { base, settings, seed, resumable, .. } = *self;
        settings.check(base.config.context())?;
        let lora = settings.adapters();
        if base.precision != Precision::F32 && lora.is_none() {
            return Err(Error::input(
                format!("a base held in {}", base.precision),
                "training its weights needs them in f32",
                "use --dtype f32, or --strategy lora",
            ));
        }
        settings.compute.check_computed("--compute", &base.device)?;
        settings.adamw.moments.check("--moments", &base.device)?;
        let start = match &lora {
            Some(lora) => lora.attach(base, seed)?,
            None => base.model.clone(),
        };
        let context = settings.block_length(base.config.context());
        let determined_by = self.determined_by(&train, valid)?;
        let blocks = TrainingBlocks::new(train, context, settings.packing, settings.order, seed)?;
        let (steps, steps_per_epoch) = settings.steps(blocks.len())?;
        let schedule = settings.schedule(steps);
        let validation = Validation::new(valid, context, settings, steps)?;
        let patience = Patience::new(settings, steps);
        if let Some(fault) = patience.and_then(|patience| patience.cannot_act(validation.steps())) {
            tracing::warn!("{fault}");
        }
        if schedule.warmup > steps {
            tracing::warn!(
                "the rate rises over {} steps, more than the {steps} of the run: it never comes to its peak",
                schedule.warmup
            );
        }
        if let Some(doubt) = settings.doubt_rate(base.config.channels()) {
            tracing::warn!("{doubt}");
        }
        let max_norm = (settings.clip > 0.0).then_some(settings.clip);

        let optimizer = AdamW::new(settings.adamw);
        let resumed = match resumable {
            Some(Resumable { path, resume: true, .. }) if path.exists() => {
                Some(Checkpoint::read(path, &start, optimizer.clone(), &base.device, &determined_by)?)
            }
            _ => None,
        };
        let position = resumed.as_ref().map(|checkpoint| &checkpoint.position);
        let mut saving = Saving::new(resumable, &determined_by, position);
        let (step, smaller) = position.map_or((0, Vec::new()), |p| (p.step, p.smaller_micro_batches.clone()));
        let longest = blocks.longest(); // which may be much shorter than the context
        let mut at_once = AtOnce::new(settings, longest, most_tokens(&base.device), smaller, step + 1)?;
        let mut state = match resumed {
            Some(checkpoint) => State::of(checkpoint, settings.compute),
            None => {
                let loss = validation.loss(&base.model, base, monitor)?;
                let curves = Curves { train_loss: Vec::new(), valid_loss: vec![(0, loss)] };
                let best = Best { step: 0, loss };
                let model = start.clone().train().compute_in(settings.compute);
                let loss_scale = LossScale::for_compute(settings.compute);
                State { model, best_model: start.clone(), optimizer, loss_scale, curves, best, step: 0 }
            }
        };
        let tell = |state: &State, saving: &Saving<'_>, monitor: &mut dyn Monitor| {
            if let Some(&(step, loss)) = state.curves.valid_loss.last() {
                monitor.event(&Event::Validation { step, loss, seconds: saving.seconds() });
            }
        };

        // From here on there is something to save: whoever ends the program waits for that.
        let _unbroken = Unbroken::begin();
        monitor.begin("training", steps);
        monitor.advance(state.step, "");
        monitor.event(&Event::Begun { step: state.step, resumed: state.step > 0 });
        if state.step == 0 {
            tell(&state, &saving, monitor);
        } else if validation.due(state.step) && !state.is_validated() {
            // It was saved because the device failed there, or the user stopped it.
            self.validate(&validation, &mut state, monitor)?;
            tell(&state, &saving, monitor);
        }
        let tokens_before = trained_tokens(&blocks, settings, state.step, steps_per_epoch);
        let mut enough = patience.and_then(|patience| patience.enough(&state.curves.valid_loss));
        let mut order: Option<(u64, Vec<usize>)> = None;
        let mut tokens = 0;
        while state.step < steps && enough.is_none() {
            let (epoch, within) = (state.step / steps_per_epoch, state.step % steps_per_epoch);
            let order = match order.take().filter(|(of, _)| *of == epoch) {
                Some(kept) => order.insert(kept),
                None => order.insert((epoch, blocks.epoch(epoch))),
            };
            let from = within as usize * settings.batch;
            let chosen = &order.1[from..(from + settings.batch).min(order.1.len())];

            let lr = schedule.at(state.step + 1, steps);
            let gradient = match self.gradient(&mut state, &blocks, chosen, &mut at_once, monitor) {
                Ok(gradient) => gradient,
                Err(Error::Interrupted(_)) => return Err(self.stopped(&mut saving, &state, &at_once, steps)?),
                Err(error) => return Err(saving.after(error, &state, &at_once, &base.device)),
            };
            let limit = Limit::after(&state.curves.train_loss, settings.outlier);
            if let Some(fault) = gradient.fault(limit.as_ref()) {
                let micro_batches: Vec<&[usize]> = chosen.chunks(at_once.blocks()).collect();
                let at_fault = fault.micro_batch.and_then(|index| micro_batches.get(index)).copied().unwrap_or(chosen);
                let documents = blocks.documents(at_fault);
                let saved = match (resumable, saving.save(&state, &at_once)?) {
                    (Some(_), saved) => format!("the state before it is {saved}"),
                    (None, nothing) => nothing,
                };
                return Err(Error::Numeric(format!("step {}: {} ({documents}); {saved}", state.step + 1, fault.words)));
            }
            tokens += chosen.iter().map(|&block| blocks.targets(block) as u64).sum::<u64>();
            let (model, optimizer) = (state.model, &mut state.optimizer);
            let done = guarded(&base.device, || Ok(gradient.apply(model, optimizer, lr, max_norm)))
                .map_err(|error| saving.without(error, state.step + 1))?;
            state.model = done.model;
            state.step += 1;
            state.curves.train_loss.push((state.step, done.loss));
            let rate = tokens as f64 / saving.this_run();
            monitor.event(&Event::Step {
                step: state.step,
                loss: done.loss,
                lr,
                gradient_norm: done.gradient_norm,
                tokens: tokens_before + tokens,
                seconds: saving.seconds(),
                tokens_per_second: rate,
                memory_bytes: resident(),
            });

            if validation.due(state.step) {
                match self.validate(&validation, &mut state, monitor) {
                    Ok(()) => {}
                    Err(Error::Interrupted(_)) => return Err(self.stopped(&mut saving, &state, &at_once, steps)?),
                    Err(error) => return Err(saving.after(error, &state, &at_once, &base.device)),
                }
                tell(&state, &saving, monitor);
                enough = patience.and_then(|patience| patience.enough(&state.curves.valid_loss));
            }
            monitor.advance(1, &format!("loss {:.3}, {rate:.0} tokens/s", done.loss));

            // The finished state is kept too: what follows, scoring or writing, may still be interrupted or fail.
            let ended = state.step == steps || enough.is_some();
            if monitor.stopped() && !ended {
                return Err(self.stopped(&mut saving, &state, &at_once, steps)?);
            }
            saving.save_when_due(&state, &at_once, ended)?;
        }
        monitor.end();

        let last = state.for_use();
        let result = AdaptResult {
            schema: "odyssey.adapt/1".into(),
            out: String::new(),
            steps: state.step,
            tokens: trained_tokens(&blocks, settings, state.step, steps_per_epoch),
            curves: state.curves,
            best: state.best,
            stopped: enough.filter(|_| state.step < steps).map(|words| Stopped { step: state.step, of: steps, words }),
            smaller_micro_batches: at_once.smaller().to_vec(),
            seconds: saving.seconds(),
            tokens_per_second: tokens as f64 / saving.this_run().max(1e-9),
            peak_memory_bytes: peak_resident(),
            determined_by,
        };
        Ok(Adaptation { last, best: state.best_model, lora, form: Form::default(), result })
    }

    /// Saves `state`, at which the user stops a run of `steps` steps; the error that says so.
    fn stopped(&self, saving: &mut Saving<'_>, state: &State, at_once: &AtOnce, steps: u64) -> Result<Error> {
        let words = format!("stopped after step {} of {steps}", state.step);
        let saved = saving.save(state, at_once)?;
        Ok(Error::Interrupted(match self.resumable {
            Some(Resumable { how_to_resume, .. }) => format!("{words}, {saved}; {how_to_resume}"),
            None => format!("{words}; {saved}"),
        }))
    }

    /// Measures the loss of `state` on the validation text, and keeps the weights where it is the best one.
    fn validate(&self, validation: &Validation, state: &mut State, monitor: &dyn Monitor) -> Result<()> {
        let now = state.for_use();
        let loss = guarded(&self.base.device, || validation.loss(&now, self.base, monitor))?;
        state.curves.valid_loss.push((state.step, loss));
        if loss < state.best.loss {
            state.best = Best { step: state.step, loss };
            state.best_model = now;
        }
        Ok(())
    }

    /// Everything that determines the run. A checkpoint goes on with the same alone.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn determined_by(&self, train: &TokenStream, valid: &TokenStream) -> Result<Value> {
        let Self { base, settings, seed, .. } = *self;
        let context = settings.block_length(base.config.context());
        // What a step is refused for decides whether a run goes on, not where to.
        let outlier = AdaptSettings::default().outlier;
        let written = AdaptSettings { lora: settings.adapters(), outlier, ..settings.clone() };
        let mut determined_by = json!({
            "settings": written, "seed": seed, "context": context, "base": base.hash()?,
            "train": train.corpus_hash, "train_tokens": train.ids.len(), "train_ids": hash_ids(&train.ids),
            "valid": valid.corpus_hash, "valid_tokens": valid.ids.len(), "valid_ids": hash_ids(&valid.ids),
        });
        if base.precision != Precision::F32 {
            determined_by["dtype"] = json!(base.precision);
        }
        Ok(determined_by)
    }

    /// Loss and gradient of the step after `state`, which reads the blocks `chosen`: with ever fewer of them at once while
    /// the device has no memory for more.
    fn gradient(
        &self,
        state: &mut State,
        blocks: &TrainingBlocks,
        chosen: &[usize],
        at_once: &mut AtOnce,
        monitor: &dyn Monitor,
    ) -> Result<StepGradient> {
        let (step, device) = (state.step + 1, &self.base.device);
        let by_blocks = self.settings.gradient_checkpointing;
        let before = at_once.clone();
        let objective = Stoppable { objective: self.objective, monitor };
        loop {
            let batches: Vec<MicroBatch> = chosen.chunks(at_once.blocks()).map(|c| blocks.micro_batch(c)).collect();
            let State { model, loss_scale, .. } = &mut *state;
            let done =
                guarded(device, || StepGradient::in_range(&objective, model, step, &batches, by_blocks, loss_scale));
            let Err(Error::Device { device: name, kind: kind @ DeviceFault::OutOfMemory, fault }) = done else {
                return done;
            };
            device.memory_cleanup();
            if let Err(error) = state.check(device) {
                tracing::debug!("{error}");
                let fault = format!("the weights were lost in the step before; {fault}");
                return Err(Error::Device { device: name, kind, fault });
            }
            if !at_once.halve(step, format!("the device had no memory for more ({fault})")) {
                *at_once = before; // fewer were of no use: whoever goes on may have more memory
                let fault = format!("{fault}, for one block at once; {}", self.cures());
                return Err(Error::Device { device: name, kind, fault });
            }
        }
    }

    /// What a run needs that finds no memory for one block at once, and what needs less.
    fn cures(&self) -> String {
        let Self { base, settings, .. } = self;
        let one = AdaptSettings { micro_batch: 1, ..(*settings).clone() };
        let on_gpu = base.device.clone().inner() != Device::flex();
        let needs = Work::training(&one, &base.config, base.precision)
            .and_then(|work| MemoryPlan::needs(&base.config, work, on_gpu));
        let needs = needs.map_or_else(|_| String::new(), |needs| format!("about {} are needed; ", bytes(needs)));
        let blocks = if settings.gradient_checkpointing { "" } else { "--gradient-checkpointing, " };
        let lora = match settings.strategy {
            Strategy::Full => "--strategy lora, ",
            Strategy::Lora if base.precision == Precision::F32 => "--dtype bf16, ",
            Strategy::Lora => "",
        };
        format!("{needs}use {blocks}{lora}a shorter --context or a smaller model")
    }
}

/// What identifies token ids, also where the same texts were joined in another way.
fn hash_ids(ids: &[u32]) -> String {
    files::hash_bytes(bytemuck::cast_slice(ids))
}

/// Targets of all steps of a run, whether or not they were done by this process.
pub(crate) fn trained_tokens(
    blocks: &TrainingBlocks,
    settings: &AdaptSettings,
    steps: u64,
    steps_per_epoch: u64,
) -> u64 {
    let epochs = steps / steps_per_epoch;
    let batch = settings.batch;
    let targets = |epoch: u64, steps: u64| -> u64 {
        blocks.epoch(epoch).iter().take(steps as usize * batch).map(|&block| blocks.targets(block) as u64).sum()
    };
    (0..epochs).map(|epoch| targets(epoch, steps_per_epoch)).sum::<u64>() + targets(epochs, steps % steps_per_epoch)
}
