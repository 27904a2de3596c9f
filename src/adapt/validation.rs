//! How a run is watched: its loss on the validation text.

use super::settings::AdaptSettings;
use crate::error::Result;
use crate::evaluate::{Protocol, ProtocolName, evaluate};
use crate::model::{LanguageModel, LoadedModel};
use crate::progress::{Monitor, Unseen};
use crate::text::TokenStream;

/// When and on what a run is validated.
pub struct Validation {
    stream: TokenStream,
    protocol: Protocol,
    every: u64,
    steps: u64,
}

impl Validation {
    /// That of a run of `steps` steps on windows of `context` tokens of `valid`.
    ///
    /// # Errors
    /// As [`Protocol::new`].
    pub fn new(valid: &TokenStream, context: usize, settings: &AdaptSettings, steps: u64) -> Result<Self> {
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
    pub fn due(&self, step: u64) -> bool {
        step == self.steps || step.is_multiple_of(self.every)
    }

    /// The steps it is due after, in order; 0 among them, the base itself.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        let (every, last) = (self.every, self.steps);
        (0..last).step_by(every as usize).chain([last])
    }

    /// Mean loss of `model`, which must be free of autodiff: nats per token.
    ///
    /// # Errors
    /// As [`evaluate`]; an interruption that `monitor` hears of.
    pub fn loss(&self, model: &LanguageModel, base: &LoadedModel, monitor: &dyn Monitor) -> Result<f64> {
        Ok(evaluate(model, &base.device, &self.stream, &self.protocol, &mut Unseen(monitor))?.mean_nll())
    }
}
