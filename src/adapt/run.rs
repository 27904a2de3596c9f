//! A training in progress: what one turn of the loop consists of.

use burn::module::Module;
use burn::tensor::Tensor;
use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::data::{MicroBatch, TrainingWindows, trained_tokens};
use super::epochs::Epochs;
use super::micro_batch::AtOnce;
use super::needs::find_needs;
use super::objective::Objective;
use super::optimizer::AdamW;
use super::result::{AdaptResult, Adaptation, Best, Curves, Form};
use super::shortage::cure;
use super::state::{Resumable, Saving, State};
use super::step::{Before, Limit, LossScale, StepGradient};
use super::stopping::{Patience, Stopped};
use super::training::Training;
use super::validation::Validation;
use crate::device::faults::guarded;
use crate::device::most_tokens;
use crate::error::{DeviceFault, Error, Result};
use crate::message::Message;
use crate::model::parameters::to_host;
use crate::notice;
use crate::process::{peak_resident, resident};
use crate::progress::{Event, Monitor};
use crate::recipe::{AfterStep, Moment, Schedule, Stack, Start, StepTargets, Update, losses};
use crate::text::TokenStream;

/// All that a training holds while it runs.
pub(super) struct Run<'a> {
    training: Training<'a>,
    determined_by: Value,
    windows: TrainingWindows,
    steps: u64,
    epochs: Epochs,
    schedule: Schedule,
    max_norm: Option<f64>,
    validation: Validation<'a>,
    patience: Option<Patience>,
    saving: Saving<'a>,
    at_once: AtOnce,
    state: State,
    /// Why the run is to end early.
    enough: Option<String>,
    /// The order of the windows of an epoch, and its number.
    order: Option<(u64, Vec<usize>)>,
    /// Targets trained on before this process, and by it.
    tokens_before: u64,
    tokens: u64,
    /// The targets of the step that is being done.
    targets: StepTargets,
}

impl<'a> Run<'a> {
    /// Checks the settings, cuts the text, and takes up the state: that of the checkpoint, or that of the base.
    pub fn prepare(
        training: &Training<'a>,
        mut stack: Stack,
        train: TokenStream,
        valid: &TokenStream,
        monitor: &mut dyn Monitor,
    ) -> Result<Self> {
        let Training { base, settings, seed, resumable, .. } = *training;
        settings.check(base.config.context())?;
        let start = stack.trainable(base, seed)?;
        settings.compute.check_computed("compute", &base.device)?;
        settings.adamw.moments.check("adamw.moments", &base.device)?;
        let context = settings.window_length(base.config.context());
        let mut windows = TrainingWindows::new(train.clone(), context, settings.packing, settings.order, seed)?;
        let epochs = Epochs::new(settings, windows.len(), stack.plan(windows.len()))?;
        let steps = epochs.steps();
        let found = find_needs(training, &stack, &train, valid, &mut windows, monitor)?;
        let determined_by = training.determined_by_windows(&train, valid, &windows)?;
        let beginning = Start { base, model: &start, windows: &windows, batch: settings.batch, steps, seed };
        stack.begin(&beginning, found)?;
        let schedule = settings.schedule(steps);
        let validation = Validation::new(base, valid, context, settings, steps)?;
        let patience = Patience::new(settings, steps);
        warn(training, &schedule, steps, patience.and_then(|patience| patience.cannot_act(validation.steps())));

        let optimizer = AdamW::new(settings.adamw);
        let resumed = match resumable {
            Some(Resumable { path, resume: true, .. }) if path.exists() => {
                Some(Checkpoint::read(path, &start, optimizer.clone(), &base.device, &determined_by)?)
            }
            _ => None,
        };
        let position = resumed.as_ref().map(|checkpoint| &checkpoint.position);
        let saving = Saving::new(resumable, determined_by.clone(), position);
        let (step, smaller) = position.map_or((0, Vec::new()), |p| (p.step, p.smaller_micro_batches.clone()));
        let longest = windows.longest(); // which may be much shorter than the context
        let at_once = AtOnce::new(settings, longest, most_tokens(&base.device), smaller, step + 1)?;
        let state = match resumed {
            Some(checkpoint) => State::of(checkpoint, stack, settings.compute)?,
            None => {
                let loss = validation.loss(&base.model, monitor)?;
                let curves = Curves { train_loss: Vec::new(), valid_loss: vec![(0, loss)] };
                let best = Best { step: 0, loss };
                let model = start.clone().train().compute_in(settings.compute);
                let loss_scale = LossScale::for_compute(settings.compute);
                let tokens = Some(0);
                State { model, best_model: start, optimizer, loss_scale, stack, curves, best, step: 0, tokens }
            }
        };
        // A file of an older version does not say; then there was no strategy that chooses windows.
        let tokens_before =
            state.tokens.unwrap_or_else(|| trained_tokens(&windows, settings, state.step, epochs.steps_of(0)));
        let targets = StepTargets::new(&[], &windows);
        Ok(Self {
            training: *training,
            determined_by,
            windows,
            steps,
            epochs,
            schedule,
            max_norm: (settings.clip > 0.0).then_some(settings.clip),
            validation,
            patience,
            saving,
            at_once,
            state,
            enough: None,
            order: None,
            tokens_before,
            tokens: 0,
            targets,
        })
    }

    /// Tells that training begins, and validates a resumed state that was saved before its validation.
    pub fn begin(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        let step = self.state.step;
        monitor.begin("training", self.steps);
        monitor.advance(step, "");
        monitor.event(&Event::Begun { step, resumed: step > 0 });
        if step == 0 {
            self.tell_validation(monitor);
        } else if self.validation.due(step) && !self.state.is_validated() {
            // It was saved because the device failed there, or the user stopped it.
            self.validate(monitor)?;
            self.tell_validation(monitor);
        }
        self.stop_if_enough();
        Ok(())
    }

    /// The windows of the next step; `None` at the end.
    pub fn next_windows(&mut self) -> Option<Vec<usize>> {
        let step = self.state.step;
        if step >= self.steps || self.enough.is_some() {
            return None;
        }
        let (epoch, within) = self.epochs.at(step);
        let (_, order) = match self.order.take().filter(|(of, _)| *of == epoch) {
            Some(kept) => self.order.insert(kept),
            None => {
                let mut order = self.windows.epoch(epoch);
                self.state.stack.epoch(epoch, &mut order);
                self.order.insert((epoch, order))
            }
        };
        let batch = self.training.settings.batch;
        let from = within as usize * batch;
        let mut chosen = order[from..(from + batch).min(order.len())].to_vec();
        self.state.stack.windows(self.now(), &mut chosen);
        Some(chosen)
    }

    /// Loss and gradient of the step that reads the windows `chosen`. While the device has no memory for as many of them
    /// at once, it is tried with half as many.
    pub fn gradient(&mut self, chosen: &[usize], monitor: &dyn Monitor, before: Before<'_>) -> Result<StepGradient> {
        match self.gradient_in_parts(chosen, monitor, before) {
            Ok(gradient) => Ok(gradient),
            Err(Error::Interrupted(_)) => Err(self.stopped()?),
            Err(error) => Err(self.saving.after(error, &self.state, &self.at_once, &self.training.base.device)),
        }
    }

    fn gradient_in_parts(
        &mut self,
        chosen: &[usize],
        monitor: &dyn Monitor,
        before: Before<'_>,
    ) -> Result<StepGradient> {
        let (now, device) = (self.now(), &self.training.base.device);
        let by_layers = self.training.settings.gradient_checkpointing;
        self.targets = self.weigh(chosen, monitor)?;
        let objective = Objective {
            penalties: self.state.stack.penalties(now),
            divisor: Some(self.targets.divisor()),
            penalised_divisor: self.targets.penalised_divisor(),
            ..Objective::default()
        };
        let first = self.at_once.clone();
        let before = |batch: &MicroBatch, weight: f64| match monitor.stopped() {
            true => Err(Error::Interrupted("stopped within a step".into())),
            false => before(batch, weight),
        };
        loop {
            let batches = self.micro_batches(chosen);
            let State { model, loss_scale, .. } = &mut self.state;
            let done = guarded(device, || {
                StepGradient::in_range(&objective, model, now.step, &batches, by_layers, loss_scale, &before)
            });
            let Err(Error::Device { device: name, kind: kind @ DeviceFault::OutOfMemory, fault }) = done else {
                return done;
            };
            device.memory_cleanup();
            if let Err(error) = self.state.check(device) {
                tracing::debug!("{error}");
                let fault = Message::new("the weights were lost in the step before; ").then(fault);
                return Err(Error::Device { device: name, kind, fault });
            }
            if !self.at_once.halve(now.step, format!("the device had no memory for more ({fault})")) {
                self.at_once = first; // fewer did not help: a resumed run may have more memory
                let fault = fault.then(", for one window at once; ").then(cure(&self.training));
                return Err(Error::Device { device: name, kind, fault });
            }
        }
    }

    /// The targets of the step, as the strategies weigh them.
    fn weigh(&mut self, chosen: &[usize], monitor: &dyn Monitor) -> Result<StepTargets> {
        let (now, device) = (self.now(), &self.training.base.device);
        let mut targets = StepTargets::new(chosen, &self.windows);
        if self.state.stack.reads_losses(now) {
            let model = self.state.for_use();
            for part in chosen.chunks(self.at_once.windows()) {
                if monitor.stopped() {
                    return Err(Error::Interrupted("stopped within a step".into()));
                }
                let batch = self.windows.micro_batch(part);
                let nll = guarded(device, || losses(&model, &batch.inputs, &batch.targets))?;
                let lengths = part.iter().map(|&window| self.windows.targets(window));
                targets.nll.extend(batch.without_padding(&nll, lengths));
            }
        }
        self.state.stack.weigh(now, &mut targets)?;
        Ok(targets)
    }

    /// The windows `chosen` as micro-batches, their targets weighed as those of the step are.
    fn micro_batches(&self, chosen: &[usize]) -> Vec<MicroBatch> {
        let mut first = 0;
        let of_part = |part: &[usize]| {
            let mut batch = self.windows.micro_batch(part);
            let ranges = (first..first + part.len()).map(|index| self.targets.of(index));
            batch.weights = batch.laid_out(ranges.clone().map(|range| &self.targets.weights[range]));
            if !self.targets.penalised.is_empty() {
                batch.penalised = batch.laid_out(ranges.map(|range| &self.targets.penalised[range]));
            }
            first += part.len();
            batch
        };
        chosen.chunks(self.at_once.windows()).map(of_part).collect()
    }

    /// The mean loss of each of the step's windows, from those of its micro-batches' targets.
    fn window_losses(&self, chosen: &[usize], nll: Vec<Tensor<1>>) -> Result<Vec<f64>> {
        if !self.state.stack.watches_windows() {
            return Ok(Vec::new());
        }
        let mut means = Vec::with_capacity(chosen.len());
        for (part, nll) in chosen.chunks(self.at_once.windows()).zip(nll) {
            let lengths: Vec<usize> = part.iter().map(|&window| self.windows.targets(window)).collect();
            let nll = to_host(nll)?;
            let time = nll.len() / part.len().max(1);
            for (row, length) in nll.chunks(time.max(1)).zip(lengths) {
                means.push(row[..length].iter().map(|&nll| f64::from(nll)).sum::<f64>() / length.max(1) as f64);
            }
        }
        Ok(means)
    }

    /// Refuses a step whose numbers are not finite or whose loss is an outlier, after the state before it is saved.
    pub fn refuse_faulty(&mut self, gradient: &StepGradient, chosen: &[usize]) -> Result<()> {
        let limit = Limit::after(&self.state.curves.train_loss, self.training.settings.outlier);
        let Some(fault) = gradient.fault(limit.as_ref()) else { return Ok(()) };
        let mut micro_batches = chosen.chunks(self.at_once.windows());
        let at_fault = fault.micro_batch.and_then(|index| micro_batches.nth(index)).unwrap_or(chosen);
        let documents = self.windows.documents(at_fault);
        let saved = match (self.training.resumable, self.saving.save(&self.state, &self.at_once)?) {
            (Some(_), saved) => format!("the state before it is {saved}"),
            (None, nothing) => nothing,
        };
        let words = Message::new(format!("step {}: ", self.now().step)).then(fault.words);
        Err(Error::Numeric(words.then(format!(" ({documents}); {saved}"))))
    }

    /// Takes the step. The model is moved and not copied: two would not fit where one does.
    pub fn update(mut self, mut gradient: StepGradient, chosen: &[usize], monitor: &mut dyn Monitor) -> Result<Self> {
        let (now, device) = (self.now(), &self.training.base.device);
        let of_schedule = self.schedule.at(now.step, self.steps);
        let lr = of_schedule * self.state.stack.rate(now);
        self.tokens += chosen.iter().map(|&window| self.windows.targets(window) as u64).sum::<u64>();
        self.state.tokens = Some(self.tokens_before + self.tokens);
        let (penalty, nll) = (gradient.penalty, gradient.take_nll());
        let window_losses = guarded(device, || self.window_losses(chosen, nll))
            .map_err(|error| self.saving.without(error, now.step))?;
        let (model, optimizer, stack) = (self.state.model, &mut self.state.optimizer, &self.state.stack);
        let done = guarded(device, || {
            let mut done = gradient.apply(model, optimizer, lr, self.max_norm);
            done.model = stack.update(Update { now, lr: of_schedule }, done.model)?;
            Ok(done)
        })
        .map_err(|error| self.saving.without(error, now.step))?;
        self.state.model = done.model;
        self.state.step = now.step;
        self.state.curves.train_loss.push((now.step, done.loss));
        let State { stack, model, .. } = &mut self.state;
        stack
            .after_step(&AfterStep {
                now,
                loss: done.loss,
                penalty,
                windows: chosen,
                window_losses: &window_losses,
                model,
            })
            .map_err(|error| self.saving.without(error, now.step))?;
        monitor.event(&Event::Step {
            step: now.step,
            loss: done.loss,
            lr,
            gradient_norm: done.gradient_norm,
            tokens: self.tokens_before + self.tokens,
            seconds: self.saving.seconds(),
            tokens_per_second: self.rate(),
            memory_bytes: resident(),
        });
        Ok(self)
    }

    /// Validates where it is due.
    pub fn validate_when_due(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        if !self.validation.due(self.state.step) {
            return Ok(());
        }
        match self.validate(monitor) {
            Ok(()) => {}
            Err(Error::Interrupted(_)) => return Err(self.stopped()?),
            Err(error) => {
                return Err(self.saving.after(error, &self.state, &self.at_once, &self.training.base.device));
            }
        }
        self.tell_validation(monitor);
        self.stop_if_enough();
        Ok(())
    }

    /// Shows how far the run is.
    pub fn report(&self, monitor: &mut dyn Monitor) {
        let loss = self.state.curves.train_loss.last().map_or(f64::NAN, |(_, loss)| *loss);
        monitor.advance(1, &format!("loss {loss:.3}, {:.0} tokens/s", self.rate()));
    }

    /// Saves where it is due, and ends the run where the user wants that. The finished state is saved too: scoring or
    /// writing, which follow, may still be interrupted or fail.
    pub fn save_when_due(&mut self, monitor: &dyn Monitor) -> Result<()> {
        let ended = self.state.step == self.steps || self.enough.is_some();
        if monitor.stopped() && !ended {
            return Err(self.stopped()?);
        }
        self.saving.save_when_due(&self.state, &self.at_once, ended)
    }

    /// What the run came to.
    pub fn result(self) -> Result<Adaptation> {
        let Training { base, settings, .. } = self.training;
        let last = guarded(&base.device, || self.state.finished(base))?;
        let tokens = self.tokens_before + self.tokens;
        let strategies = self.state.stack.report();
        let tokens_per_second = self.tokens as f64 / self.saving.this_run().max(1e-9);
        let State { step, curves, best, best_model, .. } = self.state;
        let enough = self.enough.filter(|_| step < self.steps);
        let result = AdaptResult {
            schema: "odyssey.adapt/1".into(),
            out: String::new(),
            steps: step,
            tokens,
            curves,
            best,
            stopped: enough.map(|words| Stopped { step, of: self.steps, words }),
            smaller_micro_batches: self.at_once.smaller().to_vec(),
            seconds: self.saving.seconds(),
            tokens_per_second,
            peak_memory_bytes: peak_resident(),
            strategies,
            determined_by: self.determined_by,
        };
        Ok(Adaptation { last, best: best_model, lora: settings.adapters(), form: Form::default(), result })
    }

    /// The step that is being done.
    fn now(&self) -> Moment {
        Moment { seed: self.training.seed, step: self.state.step + 1 }
    }

    /// Targets per second of this process.
    fn rate(&self) -> f64 {
        self.tokens as f64 / self.saving.this_run()
    }

    /// Saves the state, at which the user stops; the error that says so.
    fn stopped(&mut self) -> Result<Error> {
        let words = format!("stopped after step {} of {}", self.state.step, self.steps);
        let saved = self.saving.save(&self.state, &self.at_once)?;
        Ok(Error::Interrupted(match self.training.resumable {
            Some(Resumable { how_to_resume, .. }) => format!("{words}, {saved}; {how_to_resume}"),
            None => format!("{words}; {saved}"),
        }))
    }

    /// Measures the loss on the validation text, and keeps the weights where it is the best one.
    fn validate(&mut self, monitor: &dyn Monitor) -> Result<()> {
        let (base, state) = (self.training.base, &mut self.state);
        let (now, loss) = guarded(&base.device, || {
            let now = state.finished(base)?;
            let loss = self.validation.loss(&now, monitor)?;
            Ok((now, loss))
        })?;
        state.curves.valid_loss.push((state.step, loss));
        if loss < state.best.loss {
            state.best = Best { step: state.step, loss };
            state.best_model = now;
        }
        Ok(())
    }

    fn tell_validation(&self, monitor: &mut dyn Monitor) {
        if let Some(&(step, loss)) = self.state.curves.valid_loss.last() {
            monitor.event(&Event::Validation { step, loss, seconds: self.saving.seconds() });
        }
    }

    fn stop_if_enough(&mut self) {
        self.enough = self.patience.and_then(|patience| patience.enough(&self.state.curves.valid_loss));
    }
}

/// Warns of settings that are allowed and rarely meant.
fn warn(training: &Training<'_>, schedule: &Schedule, steps: u64, useless_patience: Option<String>) {
    if let Some(fault) = useless_patience {
        tracing::warn!("{fault}");
    }
    if schedule.warmup > steps {
        tracing::warn!(
            "the rate rises over {} steps, more than the {steps} of the run: it never comes to its peak",
            schedule.warmup
        );
    }
    if let Some(doubt) = training.settings.doubt_rate(training.base.config.channels()) {
        notice::warn(doubt);
    }
}
