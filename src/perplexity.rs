//! One call from a model and a text to perplexity, under all faces: text → tokens → windows → scores → summary.

use crate::error::Result;
use crate::evaluate::{Protocol, ProtocolName, ProtocolResult, ScoredStream, TextResult, evaluate};
use crate::model::{LanguageModel, LoadedModel};
use crate::progress::{Monitor, Watched};
use crate::text::{Corpus, DocumentRule, StreamOptions, TokenStream, Tokenizer};

/// How texts are evaluated by a model, and by models that were adapted from it.
pub struct Evaluation<'a> {
    base: &'a LoadedModel,
    tokenizer: Option<&'a Tokenizer>,
    /// How texts are read and cut into windows.
    pub protocol: ProtocolResult,
}

impl<'a> Evaluation<'a> {
    /// With the tokenizer of `base`; see [`ProtocolResult::for_model`].
    pub fn new(base: &'a LoadedModel, tokenizer: Option<&'a Tokenizer>, protocol: ProtocolResult) -> Self {
        Self { base, tokenizer, protocol }
    }

    /// Of streams that are read already, such as the validation text of a run: windows of `context` tokens side by side.
    ///
    /// # Errors
    /// As [`Protocol::new`].
    pub fn side_by_side(base: &'a LoadedModel, context: usize) -> Result<Self> {
        let protocol = Protocol::new(ProtocolName::Disjoint, Some(context), None, context)?;
        let protocol = ProtocolResult::new(protocol, DocumentRule::default(), &StreamOptions::default(), None);
        Ok(Self::new(base, None, protocol))
    }

    /// A text as the protocol reads it.
    ///
    /// # Errors
    /// As [`LoadedModel::stream`].
    pub fn read(&self, corpus: &Corpus, monitor: &mut dyn Monitor) -> Result<TokenStream> {
        self.base.stream(corpus, self.tokenizer, Watched::by(&self.protocol.stream(), monitor))
    }

    /// The scores that `model`, the base or one adapted from it, gives a text.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn score(
        &self,
        model: &LanguageModel,
        stream: &TokenStream,
        monitor: &mut dyn Monitor,
    ) -> Result<ScoredStream> {
        evaluate(model, &self.base.device, stream, &self.protocol.protocol, monitor)
    }

    /// The perplexity that scores come to, with its interval; `text` is the name of the text in results.
    ///
    /// # Errors
    /// No token is scored.
    pub fn summary(&self, text: &str, scores: &ScoredStream, stream: &TokenStream) -> Result<TextResult> {
        scores.summary(text, stream, &self.protocol.protocol)
    }

    /// All of it with the base: the scores of a corpus, and its perplexity.
    ///
    /// # Errors
    /// As the three steps.
    pub fn of(&self, text: &str, corpus: &Corpus, monitor: &mut dyn Monitor) -> Result<(ScoredStream, TextResult)> {
        self.with(&self.base.model, text, corpus, monitor)
    }

    /// The same with a model that was adapted from the base.
    ///
    /// # Errors
    /// As the three steps.
    pub fn with(
        &self,
        model: &LanguageModel,
        text: &str,
        corpus: &Corpus,
        monitor: &mut dyn Monitor,
    ) -> Result<(ScoredStream, TextResult)> {
        let stream = self.read(corpus, monitor)?;
        let scores = self.score(model, &stream, monitor)?;
        let row = self.summary(text, &scores, &stream)?;
        Ok((scores, row))
    }
}
