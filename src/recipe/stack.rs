//! The strategies of one run, in the order of their table.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::batch::MicroBatch;
use super::settings::AdaptSettings;
use super::strategies;
use super::strategy::{AfterStep, Moment, Need, Penalty, Strategy};
use crate::error::Result;
use crate::model::{LanguageModel, LoadedModel};

/// The strategies of a run. Their order is the table's, not the user's: the same settings give the same bits.
pub struct Stack(Vec<(&'static str, Box<dyn Strategy>)>);

impl Stack {
    /// The strategies that `settings` ask for, at the beginning of a run.
    pub fn new(settings: &AdaptSettings) -> Self {
        Self(strategies::start(settings.strategy, &settings.strategies))
    }

    fn all(&self) -> impl Iterator<Item = &dyn Strategy> {
        self.0.iter().map(|(_, strategy)| strategy.as_ref())
    }

    /// The model whose weights are trained; all weights of `base` where no strategy chooses.
    ///
    /// # Errors
    /// As [`Strategy::trainable`].
    pub fn trainable(&self, base: &LoadedModel, seed: u64) -> Result<LanguageModel> {
        let chosen = self.all().find_map(|strategy| strategy.trainable(base, seed).transpose());
        chosen.unwrap_or_else(|| Ok(base.model.clone()))
    }

    /// What they read beside base and texts.
    pub fn needs(&self) -> Vec<Need> {
        self.all().flat_map(Strategy::needs).collect()
    }

    /// As [`Strategy::windows`].
    pub fn windows(&self, now: Moment, chosen: &mut Vec<usize>) {
        self.all().for_each(|strategy| strategy.windows(now, chosen));
    }

    /// As [`Strategy::weigh`].
    ///
    /// # Errors
    /// A strategy's.
    pub fn weigh(&self, now: Moment, windows: &[usize], batch: &mut MicroBatch) -> Result<()> {
        self.all().try_for_each(|strategy| strategy.weigh(now, windows, batch))
    }

    /// What is added to the loss.
    pub fn penalty(&self) -> Option<Penalty> {
        self.all().find_map(Strategy::penalty)
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

    /// What they remember: `NAME.KEY` by the strategy's name.
    pub fn state(&self) -> BTreeMap<String, Tensor<1>> {
        let of = |(name, strategy): &(&str, Box<dyn Strategy>)| {
            let name = (*name).to_owned();
            strategy.state().into_iter().map(move |(key, values)| (format!("{name}.{key}"), values)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Takes back what [`Self::state`] gave.
    ///
    /// # Errors
    /// As [`Strategy::restore`].
    pub fn restore(&mut self, mut state: BTreeMap<String, Tensor<1>>) -> Result<()> {
        for (name, strategy) in &mut self.0 {
            let own = |key: &String| key.strip_prefix(*name).and_then(|key| key.strip_prefix('.')).map(str::to_owned);
            let keys: Vec<(String, String)> = state.keys().filter_map(|key| Some((key.clone(), own(key)?))).collect();
            let taken = keys.into_iter().filter_map(|(whole, key)| Some((key, state.remove(&whole)?))).collect();
            strategy.restore(taken)?;
        }
        Ok(())
    }

    /// Bytes that they hold beside weights, gradients and moments, where `trained` weights are trained.
    pub fn memory(&self, trained: u64) -> u64 {
        self.all().map(|strategy| strategy.memory(trained)).sum()
    }
}
