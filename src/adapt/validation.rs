//! Validation of a run: its loss on the validation text.

use crate::error::Result;
use crate::model::{LanguageModel, LoadedModel};
use crate::perplexity::Evaluation;
use crate::progress::{Monitor, Unseen};
use crate::recipe::AdaptSettings;
use crate::text::TokenStream;

/// When and on what a run is validated.
pub struct Validation<'a> {
    stream: TokenStream,
    evaluation: Evaluation<'a>,
    every: u64,
    steps: u64,
}

impl<'a> Validation<'a> {
    /// The validation of a run of `steps` steps from `base`, on windows of `context` tokens of `valid`.
    ///
    /// # Errors
    /// As [`Evaluation::side_by_side`].
    pub fn new(
        base: &'a LoadedModel,
        valid: &TokenStream,
        context: usize,
        settings: &AdaptSettings,
        steps: u64,
    ) -> Result<Self> {
        let mut stream = valid.clone();
        stream.truncate(settings.valid_tokens.max(2));
        Ok(Self {
            stream,
            evaluation: Evaluation::side_by_side(base, context)?,
            every: (steps / settings.validations.max(1)).max(1),
            steps,
        })
    }

    /// After every `every` steps and after the last; with `validations` = 0 only the last one is done.
    pub fn due(&self, step: u64) -> bool {
        step == self.steps || step.is_multiple_of(self.every)
    }

    /// The steps after which it is done, in order. 0 is among them: the base itself.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        let (every, last) = (self.every, self.steps);
        (0..last).step_by(every as usize).chain([last])
    }

    /// Mean loss of `model`, which must be free of autodiff: nats per token.
    ///
    /// # Errors
    /// As [`Evaluation::score`]; an interruption that `monitor` hears of.
    pub fn loss(&self, model: &LanguageModel, monitor: &dyn Monitor) -> Result<f64> {
        Ok(self.evaluation.score(model, &self.stream, &mut Unseen(monitor))?.mean_nll())
    }
}
