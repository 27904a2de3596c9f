//! The strategies of one run, in the order of their table.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde_json::{Map, Value};

use super::settings::AdaptSettings;
use super::strategies;
use super::strategy::{AfterStep, Found, Moment, Need, Penalty, Remembered, Start, Strategy, Update, WeightPlace};
use super::targets::StepTargets;
use crate::error::{Error, Result};
use crate::model::{LanguageModel, LoadedModel};

/// The strategies of a run. Their order is the table's, not the user's: the same settings give the same bits.
pub struct Stack(Vec<(&'static str, Box<dyn Strategy>)>);

impl Stack {
    /// The strategies that `settings` ask for, at the beginning of a run.
    pub fn new(settings: &AdaptSettings) -> Self {
        Self(strategies::start(settings.strategy, &settings.strategies))
    }

    /// The same with a strategy of the program's own.
    pub fn with(mut self, name: &'static str, strategy: Box<dyn Strategy>) -> Self {
        self.0.push((name, strategy));
        self
    }

    fn all(&self) -> impl Iterator<Item = &dyn Strategy> {
        self.0.iter().map(|(_, strategy)| strategy.as_ref())
    }

    /// The model whose weights are trained; all weights of `base` where no strategy chooses. Weights that some strategy
    /// leaves out get no gradient.
    ///
    /// # Errors
    /// As [`Strategy::trainable`]; nothing is left to train.
    pub fn trainable(&self, base: &LoadedModel, seed: u64) -> Result<LanguageModel> {
        let chosen = self.all().find_map(|strategy| strategy.trainable(base, seed).transpose());
        let model = chosen.unwrap_or_else(|| Ok(base.model.clone()))?;
        let trained: Vec<String> = model.trained().into_iter().map(|weight| weight.name).collect();
        let (mut left, mut frozen) = (0, 0);
        let model = model.training(|name, shape| {
            let place = WeightPlace { name, shape, layer: layer_of(name) };
            let trains = self.all().all(|strategy| strategy.trains(&place));
            if trained.iter().any(|trained| trained == name) {
                (left, frozen) = (left + usize::from(trains), frozen + usize::from(!trains));
            }
            trains
        });
        match left {
            0 if frozen > 0 => Err(Error::key("freeze", "leaves no weight to train", "freeze less")),
            _ => Ok(model),
        }
    }

    /// What each of them reads beside base and texts.
    pub fn needs(&self) -> Vec<Vec<Need>> {
        self.all().map(Strategy::needs).collect()
    }

    /// As [`Strategy::begin`], each with what it asked for.
    ///
    /// # Errors
    /// A strategy's.
    pub fn begin(&mut self, start: &Start<'_>, found: Vec<Found>) -> Result<()> {
        self.0.iter_mut().zip(found).try_for_each(|((_, strategy), found)| strategy.begin(start, found))
    }

    /// As [`Strategy::plan`].
    pub fn plan(&self, windows: usize) -> Option<Vec<usize>> {
        self.all().find_map(|strategy| strategy.plan(windows))
    }

    /// As [`Strategy::epoch`].
    pub fn epoch(&mut self, epoch: u64, order: &mut Vec<usize>) {
        self.0.iter_mut().for_each(|(_, strategy)| strategy.epoch(epoch, order));
    }

    /// As [`Strategy::windows`].
    pub fn windows(&mut self, now: Moment, chosen: &mut Vec<usize>) {
        self.0.iter_mut().for_each(|(_, strategy)| strategy.windows(now, chosen));
    }

    /// As [`Strategy::reads_losses`], of any of them.
    pub fn reads_losses(&self, now: Moment) -> bool {
        self.all().any(|strategy| strategy.reads_losses(now))
    }

    /// As [`Strategy::weigh`].
    ///
    /// # Errors
    /// A strategy's.
    pub fn weigh(&mut self, now: Moment, targets: &mut StepTargets) -> Result<()> {
        self.0.iter_mut().try_for_each(|(_, strategy)| strategy.weigh(now, targets))
    }

    /// What is added to the loss.
    pub fn penalties(&self, now: Moment) -> Vec<Penalty> {
        self.all().flat_map(|strategy| strategy.penalties(now)).collect()
    }

    /// What the learning rate of a step is multiplied by.
    pub fn rate(&self, now: Moment) -> f64 {
        self.all().map(|strategy| strategy.rate(now)).product()
    }

    /// As [`Strategy::update`].
    ///
    /// # Errors
    /// A strategy's.
    pub fn update(&self, update: Update, model: LanguageModel) -> Result<LanguageModel> {
        self.all().try_fold(model, |model, strategy| strategy.update(update, model))
    }

    /// As [`Strategy::watches_windows`], of any of them.
    pub fn watches_windows(&self) -> bool {
        self.all().any(Strategy::watches_windows)
    }

    /// As [`Strategy::after_step`].
    ///
    /// # Errors
    /// A strategy's.
    pub fn after_step(&mut self, done: &AfterStep<'_>) -> Result<()> {
        self.0.iter_mut().try_for_each(|(_, strategy)| strategy.after_step(done))
    }

    /// As [`Strategy::finish`]: each strategy takes what the one before it made.
    ///
    /// # Errors
    /// A strategy's.
    pub fn finish(&self, base: &LoadedModel, trained: LanguageModel) -> Result<LanguageModel> {
        self.all().try_fold(trained, |model, strategy| strategy.finish(base, model))
    }

    /// What they remember: arrays as `NAME.KEY` by the strategy's name, everything else by that name.
    pub fn state(&self) -> Remembered {
        let mut all = Remembered::default();
        let mut values = Map::new();
        for (name, strategy) in &self.0 {
            let Remembered { arrays, values: of_strategy } = strategy.state();
            all.arrays.extend(arrays.into_iter().map(|(key, array)| (format!("{name}.{key}"), array)));
            if !of_strategy.is_null() {
                values.insert((*name).to_owned(), of_strategy);
            }
        }
        if !values.is_empty() {
            all.values = Value::Object(values);
        }
        all
    }

    /// Takes back what [`Self::state`] gave.
    ///
    /// # Errors
    /// As [`Strategy::restore`].
    pub fn restore(&mut self, mut state: Remembered) -> Result<()> {
        for (name, strategy) in &mut self.0 {
            let own = |key: &String| key.strip_prefix(*name).and_then(|key| key.strip_prefix('.')).map(str::to_owned);
            let keys: Vec<(String, String)> =
                state.arrays.keys().filter_map(|key| Some((key.clone(), own(key)?))).collect();
            let arrays: BTreeMap<String, Tensor<1>> =
                keys.into_iter().filter_map(|(whole, key)| Some((key, state.arrays.remove(&whole)?))).collect();
            let values = state.values.get_mut(*name).map(Value::take).unwrap_or_default();
            strategy.restore(Remembered { arrays, values })?;
        }
        Ok(())
    }

    /// What each of them did, by name; empty where none has anything to say.
    pub fn report(&self) -> Map<String, Value> {
        let of = |(name, strategy): &(&'static str, Box<dyn Strategy>)| {
            let report = strategy.report();
            (!report.is_null()).then(|| ((*name).to_owned(), report))
        };
        self.0.iter().filter_map(of).collect()
    }

    /// Bytes that they hold beside weights, gradients and moments, where `trained` weights are trained.
    pub fn memory(&self, trained: u64) -> u64 {
        self.all().map(|strategy| strategy.memory(trained)).sum()
    }
}

/// The number of the layer that a weight belongs to: the first number in its name.
fn layer_of(name: &str) -> Option<usize> {
    name.split('#').next()?.split('.').find_map(|part| part.parse().ok())
}
