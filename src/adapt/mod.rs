//! Additional pretraining: the same model, further on a domain's text.
//!
//! [`data`] cuts the text into blocks and orders them, [`objective`] gives loss and gradient of a micro-batch,
//! [`optimizer`] and [`schedule`] turn gradients into steps, [`checkpoint`] lets a run stop and go on. The loop is
//! [`adapt`]. [`preset`] has named recipes, [`find_lr`] tries learning rates, [`stopping`] ends a run early, [`events`] is
//! what it tells as it goes.

pub mod checkpoint;
pub mod data;
pub mod events;
pub mod find_lr;
pub mod objective;
pub mod optimizer;
pub mod preset;
pub mod schedule;
pub mod settings;
pub mod step;
pub mod stopping;

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use settings::{AdaptSettings, Strategy};
pub use step::{StepDone, training_step};

use crate::error::{Error, Result};
use crate::evaluate::{Protocol, ProtocolName, evaluate};
use crate::files;
use crate::model::{LanguageModel, LoadedModel, LoraSettings, Precision, save};
use crate::process::{peak_resident, resident};
use crate::progress::{Monitor, Silent};
use crate::text::TokenStream;
use checkpoint::{Checkpoint, Position};
use data::{MicroBatch, TrainingBlocks};
use events::Event;
use objective::Objective;
use optimizer::AdamW;
use step::{Limit, LossScale, StepGradient};
use stopping::{Patience, Stopped};

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
    /// How to go on, said when the run is interrupted.
    pub how_to_resume: &'a str,
}

/// Trains `base` on `train`, watching `valid`. Nothing is written but checkpoints.
///
/// The same base, texts, settings and seed give the same bits on the CPU backend, also when the run was interrupted
/// and went on.
///
/// # Errors
/// Settings or texts that do not fit, a loss that is not finite, the device's failure, an interruption.
pub fn adapt(
    base: &LoadedModel,
    train: TokenStream,
    valid: &TokenStream,
    settings: &AdaptSettings,
    seed: u64,
    resumable: Option<Resumable<'_>>,
    monitor: &mut dyn Monitor,
) -> Result<Adaptation> {
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
    // What a step is refused for decides whether a run goes on, not where to.
    let outlier = AdaptSettings::default().outlier;
    let written = AdaptSettings { lora: lora.clone(), outlier, ..settings.clone() };
    let mut determined_by = json!({
        "settings": written, "seed": seed, "context": context, "base": base.hash()?,
        "train": train.corpus_hash, "train_tokens": train.ids.len(), "train_ids": hash_ids(&train.ids),
        "valid": valid.corpus_hash, "valid_tokens": valid.ids.len(), "valid_ids": hash_ids(&valid.ids),
    });
    if base.precision != Precision::F32 {
        determined_by["dtype"] = json!(base.precision);
    }
    let blocks = TrainingBlocks::new(train, context, settings.packing, settings.order, seed)?;
    let (steps, steps_per_epoch) = settings.steps(blocks.len())?;
    let schedule = settings.schedule(steps);
    let validation = Validation::new(valid, context, settings, steps)?;
    let patience = Patience::new(settings, steps);
    let max_norm = (settings.clip > 0.0).then_some(settings.clip);

    if let Some(Resumable { path, .. }) = resumable {
        files::sweep(path);
    }
    let optimizer = AdamW::new(settings.adamw);
    let started = Instant::now();
    let resumed = match resumable {
        Some(Resumable { path, resume: true, .. }) if path.exists() => {
            Some(Checkpoint::read(path, &start, optimizer.clone(), &base.device, &determined_by)?)
        }
        _ => None,
    };
    let (mut state, mut seconds_before) = match resumed {
        Some(checkpoint) => {
            tracing::info!(step = checkpoint.position.step, "going on from a checkpoint");
            let seconds = checkpoint.position.seconds;
            (State::of(checkpoint, settings.compute), seconds)
        }
        None => {
            let loss = validation.loss(&base.model, base)?;
            let curves = Curves { train_loss: Vec::new(), valid_loss: vec![(0, loss)] };
            let best = Best { step: 0, loss };
            let model = start.clone().train().compute_in(settings.compute);
            let loss_scale = LossScale::for_compute(settings.compute);
            (State { model, best_model: start.clone(), optimizer, loss_scale, curves, best, step: 0 }, 0.0)
        }
    };

    monitor.begin("training", steps);
    monitor.advance(state.step, "");
    monitor.event(&Event::Begun { step: state.step, resumed: state.step > 0 });
    if let (0, Some(&(step, loss))) = (state.step, state.curves.valid_loss.first()) {
        monitor.event(&Event::Validation { step, loss, seconds: started.elapsed().as_secs_f64() });
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
        let batches: Vec<MicroBatch> = chosen.chunks(settings.micro_batch).map(|c| blocks.micro_batch(c)).collect();
        tokens += batches.iter().map(|b| b.weight() as u64).sum::<u64>();

        let lr = schedule.at(state.step + 1, steps);
        let by_blocks = settings.gradient_checkpointing;
        let State { model, loss_scale, step, .. } = &mut state;
        let gradient = StepGradient::in_range(&Objective, model, *step + 1, &batches, by_blocks, loss_scale)?;
        let limit = Limit::after(&state.curves.train_loss, settings.outlier);
        if let Some(fault) = gradient.fault(limit.as_ref()) {
            let micro_batches: Vec<&[usize]> = chosen.chunks(settings.micro_batch).collect();
            let at_fault = fault.micro_batch.and_then(|index| micro_batches.get(index)).copied().unwrap_or(chosen);
            let documents = blocks.documents(at_fault);
            let saved = match resumable {
                Some(Resumable { path, .. }) => {
                    state.checkpoint(seconds_before + started.elapsed().as_secs_f64(), &determined_by).write(path)?;
                    format!("the state before it is saved in {}", path.display())
                }
                None => "nothing was saved".to_owned(),
            };
            return Err(Error::Numeric(format!("step {}: {} ({documents}); {saved}", state.step + 1, fault.words)));
        }
        let done = gradient.apply(state.model, &mut state.optimizer, lr, max_norm);
        state.model = done.model;
        state.step += 1;
        state.curves.train_loss.push((state.step, done.loss));
        let this_run = started.elapsed().as_secs_f64();
        let rate = tokens as f64 / this_run;
        monitor.event(&Event::Step {
            step: state.step,
            loss: done.loss,
            lr,
            gradient_norm: done.gradient_norm,
            tokens: tokens_before + tokens,
            seconds: seconds_before + this_run,
            tokens_per_second: rate,
            memory_bytes: resident(),
        });

        if validation.due(state.step) {
            let now = state.for_use();
            let loss = validation.loss(&now, base)?;
            state.curves.valid_loss.push((state.step, loss));
            if loss < state.best.loss {
                state.best = Best { step: state.step, loss };
                state.best_model = now;
            }
            let seconds = seconds_before + started.elapsed().as_secs_f64();
            monitor.event(&Event::Validation { step: state.step, loss, seconds });
            enough = patience.and_then(|patience| patience.enough(&state.curves.valid_loss));
        }
        monitor.advance(1, &format!("loss {:.3}, {rate:.0} tokens/s", done.loss));

        let ended = state.step == steps || enough.is_some();
        let stopped = monitor.stopped() && !ended;
        if let Some(Resumable { path, every, how_to_resume, .. }) = resumable {
            // The finished state is kept too: what follows, scoring or writing, may still be interrupted or fail.
            let due = every.is_some_and(|every| state.step.is_multiple_of(every.max(1))) || ended;
            if stopped || due {
                let seconds = seconds_before + started.elapsed().as_secs_f64();
                state.checkpoint(seconds, &determined_by).write(path)?;
            }
            if stopped {
                return Err(Error::Interrupted(format!(
                    "stopped after step {} of {steps}, saved in {}; {how_to_resume}",
                    state.step,
                    path.display(),
                )));
            }
        } else if stopped {
            return Err(Error::Interrupted(format!("stopped after step {} of {steps}; nothing was saved", state.step)));
        }
    }
    monitor.end();

    let this_run = started.elapsed().as_secs_f64();
    seconds_before += this_run;
    let last = state.for_use();
    let result = AdaptResult {
        schema: "odyssey.adapt/1".into(),
        out: String::new(),
        steps: state.step,
        tokens: trained_tokens(&blocks, settings, state.step, steps_per_epoch),
        curves: state.curves,
        best: state.best,
        stopped: enough.filter(|_| state.step < steps).map(|words| Stopped { step: state.step, of: steps, words }),
        seconds: seconds_before,
        tokens_per_second: tokens as f64 / this_run.max(1e-9),
        peak_memory_bytes: peak_resident(),
        determined_by,
    };
    Ok(Adaptation { last, best: state.best_model, lora, form: Form::default(), result })
}

/// What is written of a model with adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// The adapters alone, as a PEFT folder.
    #[default]
    Adapter,
    /// A whole model that has them merged, and the PEFT folder in `adapter/`.
    Merged,
}

/// Writes an adapted model as a new folder, whole: the last weights, the best ones in `best/` where they are others,
/// and `adapt.json`. A Hugging Face folder, or of a model with adapters what its form says.
pub fn write(adaptation: &mut Adaptation, base: &LoadedModel, out: &Path) -> Result<()> {
    adaptation.result.out = out.display().to_string();
    let new_folder = |folder: &Path| std::fs::create_dir(folder).map_err(|e| Error::writing(folder, e));
    let put = |model: &LanguageModel, folder: &Path| match (&adaptation.lora, adaptation.form) {
        (None, _) => save(model, base, folder),
        (Some(lora), Form::Adapter) => lora.save(model, base, folder),
        (Some(lora), Form::Merged) => {
            save(model, base, folder)?;
            let adapter = folder.join("adapter");
            new_folder(&adapter)?;
            lora.save(model, base, &adapter)
        }
    };
    files::sweep(out);
    files::folder_whole(out, |folder| {
        put(&adaptation.last, folder)?;
        if adaptation.result.best.step != adaptation.result.steps {
            let best = folder.join("best");
            new_folder(&best)?;
            put(&adaptation.best, &best)?;
        }
        files::write_json(&folder.join("adapt.json"), &adaptation.result)
    })
}

/// What changes from step to step.
struct State {
    /// On the autodiff device.
    model: LanguageModel,
    best_model: LanguageModel,
    optimizer: AdamW,
    loss_scale: LossScale,
    curves: Curves,
    best: Best,
    step: u64,
}

impl State {
    /// What a checkpoint saved, to be trained on in `compute`.
    fn of(checkpoint: Checkpoint, compute: Precision) -> Self {
        let Checkpoint { position, model, best, optimizer } = checkpoint;
        let Position { step, curves, best: best_validation, loss_scale, .. } = position;
        let model = model.train().compute_in(compute);
        Self { model, best_model: best, optimizer, loss_scale, curves, best: best_validation, step }
    }

    /// The model now, without autodiff and computing in f32, whatever it is trained in.
    fn for_use(&self) -> LanguageModel {
        self.model.valid().compute_in(Precision::F32)
    }

    fn checkpoint(&self, seconds: f64, determined_by: &Value) -> Checkpoint {
        Checkpoint {
            position: Position::new(
                self.step,
                self.curves.clone(),
                self.best,
                seconds,
                self.loss_scale,
                determined_by.clone(),
            ),
            model: self.for_use(),
            best: self.best_model.clone(),
            optimizer: self.optimizer.clone(),
        }
    }
}

/// When and on what a run is validated.
struct Validation {
    stream: TokenStream,
    protocol: Protocol,
    every: u64,
    steps: u64,
}

impl Validation {
    fn new(valid: &TokenStream, context: usize, settings: &AdaptSettings, steps: u64) -> Result<Self> {
        let mut stream = valid.clone();
        stream.truncate(settings.valid_tokens.max(2));
        Ok(Self {
            stream,
            protocol: Protocol::new(ProtocolName::Disjoint, Some(context), None, context)?,
            every: (steps / settings.validations.max(1)).max(1),
            steps,
        })
    }

    /// After every `every` steps and after the last; a `validations` of 0 leaves the last one.
    fn due(&self, step: u64) -> bool {
        step == self.steps || step.is_multiple_of(self.every)
    }

    /// Mean loss of `model`, which must be free of autodiff: nats per token.
    fn loss(&self, model: &LanguageModel, base: &LoadedModel) -> Result<f64> {
        Ok(evaluate(model, &base.device, &self.stream, &self.protocol, &mut Silent)?.mean_nll())
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
