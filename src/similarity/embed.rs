//! Feature vectors of a corpus: a model's hidden states over chunks of fixed size.

use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};

use super::counts::{Counts, Tokens};
use super::extract::{Hidden, Pooling};
use super::{CorpusSample, Features, cache};
use crate::device::batch_size;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, token_ids};
use crate::progress::Monitor;
use crate::text::{TokenClass, TokenStream, Vocabulary};

/// Computes feature vectors of token streams with a model.
#[derive(Clone, Copy)]
pub struct Embedder<'a> {
    /// The model, free of autodiff.
    pub model: &'a LanguageModel,
    /// Where it lives.
    pub device: &'a Device,
    /// Its vocabulary.
    pub vocabulary: &'a Vocabulary,
    /// Tokens of a chunk; one chunk gives one feature vector.
    pub chunk: usize,
    /// Which hidden states, and how those of a chunk become one vector.
    pub hidden: Hidden,
}

impl Embedder<'_> {
    /// Features of at most `samples` chunks, evenly spaced over the stream, and what all of it counts.
    ///
    /// # Errors
    /// The device's failure or an interruption. A stream too short for features still has its lexical measures.
    pub fn sample<'t>(
        &self,
        tokens: impl Into<Tokens<'t>>,
        samples: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<CorpusSample> {
        let tokens = tokens.into();
        Ok(CorpusSample { features: self.features(tokens, samples, monitor)?, counts: self.counts(tokens) })
    }

    /// The same with stored features, see [`cache`]. `of` is everything that determines them besides the texts and
    /// these settings: the model's weights, how texts become tokens, the device. The second value says whether they
    /// were there.
    ///
    /// # Errors
    /// As [`Embedder::sample`].
    pub fn sample_kept(
        &self,
        stream: &TokenStream,
        samples: usize,
        of: &Value,
        monitor: &mut dyn Monitor,
    ) -> Result<(CorpusSample, bool)> {
        let key = json!({
            "corpus": stream.corpus_hash, "of": of, "chunk": self.chunk, "samples": samples, "hidden": self.hidden,
        });
        let (features, kept) = cache::features(&cache::folder(), &key, || self.features(stream, samples, monitor))?;
        Ok((CorpusSample { features, counts: self.counts(stream) }, kept))
    }

    /// The counts of a stream.
    pub fn counts<'t>(&self, tokens: impl Into<Tokens<'t>>) -> Counts {
        Counts::of(tokens.into(), self.chunk, |id| self.vocabulary.class(id) == TokenClass::Newline)
    }

    /// Features of at most `samples` chunks, evenly spaced over the stream, or why there are none: `[chunks, channels]`. A
    /// chunk belongs to the document of its middle token.
    ///
    /// # Errors
    /// The device's failure or an interruption.
    pub fn features<'t>(
        &self,
        tokens: impl Into<Tokens<'t>>,
        samples: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<Result<Features, String>> {
        let tokens = tokens.into();
        let chunks = evenly_spaced(tokens.ids.len() / self.chunk, samples);
        if chunks.is_empty() {
            let (tokens, chunk) = (tokens.ids.len(), self.chunk);
            return Ok(Err(format!("the corpus has {tokens} tokens and a chunk {chunk}: choose shorter chunks")));
        }
        monitor.begin("embedding", chunks.len() as u64);
        let mut values = Vec::new();
        for batch in chunks.chunks(batch_size(self.chunk)) {
            let windows: Vec<&[u32]> = batch.iter().map(|&i| self.chunk_at(tokens.ids, i)).collect();
            values.extend(to_host(self.pooled(&windows))?);
            monitor.advance(batch.len() as u64, "");
            if monitor.stopped() {
                return Err(Error::Interrupted(
                    "stopped while embedding; the next run starts from the beginning".into(),
                ));
            }
        }
        monitor.end();
        let documents = chunks.iter().map(|i| tokens.document(i * self.chunk + self.chunk / 2, self.chunk)).collect();
        let channels = values.len() / chunks.len();
        let features = Features::new(chunks.len(), channels, values).and_then(|f| f.of_documents(documents));
        Ok(features.map_err(|e| e.to_string()))
    }

    /// One vector for each window, one after the other.
    fn pooled(&self, windows: &[&[u32]]) -> Tensor<1> {
        let ids = token_ids(windows, self.device);
        let stages = self.model.stages(self.chunk, &ids.device());
        // the last stage is the last norm, which belongs to the last layer
        let through = match self.hidden.layer {
            Some(layer) if layer + 1 < stages.len() => layer,
            _ => stages.len(),
        };
        let hidden = stages[..through].iter().fold(self.model.embed(ids), |x, stage| stage(x)); // [B, T, C]
        match self.hidden.pooling {
            Pooling::Mean => hidden.mean_dim(1),
            Pooling::Last => hidden.narrow(1, self.chunk - 1, 1),
        }
        .flatten(0, 2)
    }

    fn chunk_at<'b>(&self, ids: &'b [u32], index: usize) -> &'b [u32] {
        &ids[index * self.chunk..][..self.chunk]
    }
}

/// `count` indices of `0..of`, evenly spaced with both ends included; all where there are no more.
pub(super) fn evenly_spaced(of: usize, count: usize) -> Vec<usize> {
    if of <= count {
        return (0..of).collect();
    }
    let step = (of - 1) as f64 / count.saturating_sub(1).max(1) as f64;
    (0..count).map(|i| (i as f64 * step).round_ties_even() as usize).collect()
}
