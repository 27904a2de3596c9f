//! Feature vectors of a corpus: the model's last hidden states, averaged over chunks of fixed size.

use burn::tensor::Device;

use super::{CorpusSample, Distances, Features, Reference};
use crate::compare::{TokenClass, Vocabulary};
use crate::error::{Error, Result};
use crate::evaluate::batch_size;
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, token_ids};
use crate::progress::Monitor;
use crate::similarity::lexical::Unigrams;

/// Looks at token streams through a model.
#[derive(Clone, Copy)]
pub struct Embedder<'a> {
    /// The model, free of autodiff.
    pub model: &'a LanguageModel,
    /// Where it lives.
    pub device: &'a Device,
    /// What its tokens are.
    pub vocabulary: &'a Vocabulary,
    /// Tokens of a chunk; one chunk gives one feature vector.
    pub chunk: usize,
}

impl Embedder<'_> {
    /// Features of at most `samples` chunks, evenly spaced over the stream, and what all of it counts.
    ///
    /// # Errors
    /// The device's failure or an interruption. A stream too short for features still has its lexical measures.
    pub fn sample(&self, ids: &[u32], samples: usize, monitor: &mut dyn Monitor) -> Result<CorpusSample> {
        let chunks = evenly_spaced(ids.len() / self.chunk, samples);
        let chunks: Vec<&[u32]> = chunks.into_iter().map(|i| self.chunk_at(ids, i)).collect();
        self.sample_of(&chunks, ids.iter().copied(), monitor)
    }

    /// The distances of a stream to another half of itself, each half of `samples` chunks: what no distance looks like
    /// at that size. Chunks go to the halves in turn.
    ///
    /// # Errors
    /// As [`Embedder::sample`].
    pub fn against_itself(
        &self,
        ids: &[u32],
        samples: usize,
        seed: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<Distances> {
        let chunks = evenly_spaced(ids.len() / self.chunk, samples.saturating_mul(2));
        let mut half = |odd: usize| {
            let chunks: Vec<&[u32]> = chunks.iter().skip(odd).step_by(2).map(|&i| self.chunk_at(ids, i)).collect();
            let ids = ids.chunks(self.chunk).skip(odd).step_by(2).flatten().copied();
            self.sample_of(&chunks, ids, monitor)
        };
        let (a, b) = (half(0)?, half(1)?);
        Ok(Reference::new(a, self.vocabulary.len(), seed).distances(&b))
    }

    fn chunk_at<'b>(&self, ids: &'b [u32], index: usize) -> &'b [u32] {
        &ids[index * self.chunk..][..self.chunk]
    }

    /// `ids` are counted one by one: a reference may be longer than memory.
    fn sample_of(
        &self,
        chunks: &[&[u32]],
        ids: impl Iterator<Item = u32>,
        monitor: &mut dyn Monitor,
    ) -> Result<CorpusSample> {
        let features = self.features(chunks, monitor)?;
        let unigrams = Unigrams::count(ids);
        let newlines = unigrams.iter().filter(|(id, _)| self.vocabulary.class(*id) == TokenClass::Newline);
        let newlines: u64 = newlines.map(|(_, count)| count).sum();
        let newline_rate = newlines as f64 / unigrams.total().max(1) as f64;
        Ok(CorpusSample { features, unigrams, newline_rate })
    }

    /// Mean over time of the last hidden states of each chunk: `[chunks, channels]`.
    fn features(&self, chunks: &[&[u32]], monitor: &mut dyn Monitor) -> Result<Result<Features, String>> {
        if chunks.is_empty() {
            return Ok(Err("the corpus is shorter than one chunk".into()));
        }
        monitor.begin("embedding", chunks.len() as u64);
        let mut values = Vec::new();
        for batch in chunks.chunks(batch_size(self.chunk)) {
            let hidden = self.model.hidden_states(token_ids(batch, self.device)); // [B, T, C]
            values.extend(to_host(hidden.mean_dim(1).flatten(0, 2))?);
            monitor.advance(batch.len() as u64, "");
            if monitor.stopped() {
                return Err(Error::Interrupted("stopped while embedding, which starts anew".into()));
            }
        }
        monitor.end();
        let channels = values.len() / chunks.len();
        Ok(Features::new(chunks.len(), channels, values).map_err(|e| e.to_string()))
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
