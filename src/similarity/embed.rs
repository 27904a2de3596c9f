//! Feature vectors of a corpus: the model's last hidden states, averaged over chunks of fixed size.

use burn::tensor::Device;

use super::{CorpusSample, Features};
use crate::compare::Vocabulary;
use crate::error::{Error, Result};
use crate::evaluate::batch_size;
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, token_ids};
use crate::progress::Monitor;
use crate::similarity::lexical::Unigrams;

/// How a corpus is sampled for its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Tokens of a chunk; one chunk gives one feature vector.
    pub chunk: usize,
    /// Chunks taken, evenly spaced over the corpus; all of them where there are fewer.
    pub samples: usize,
}

impl CorpusSample {
    /// Looks at a token stream through the model: features, unigrams, newline rate.
    ///
    /// # Errors
    /// The device's failure or an interruption. A corpus too short for features still has its lexical measures.
    pub fn of(
        model: &LanguageModel,
        device: &Device,
        ids: &[u32],
        sampling: Sampling,
        vocabulary: &Vocabulary,
        monitor: &mut dyn Monitor,
    ) -> Result<Self> {
        let chunks = evenly_spaced(ids.len() / sampling.chunk, sampling.samples);
        let chunks: Vec<&[u32]> = chunks.into_iter().map(|i| &ids[i * sampling.chunk..][..sampling.chunk]).collect();
        Ok(Self {
            features: features(model, device, &chunks, monitor)?,
            unigrams: Unigrams::count(ids.iter().copied()),
            newline_rate: vocabulary.newline_rate(ids),
        })
    }

    /// The same sample as two disjoint halves, for the comparison of a corpus with itself: even and odd chunks, and
    /// the two halves of the text for the lexical measures.
    pub fn halves(
        model: &LanguageModel,
        device: &Device,
        ids: &[u32],
        sampling: Sampling,
        vocabulary: &Vocabulary,
        monitor: &mut dyn Monitor,
    ) -> Result<[Self; 2]> {
        let chunks = evenly_spaced(ids.len() / sampling.chunk, sampling.samples);
        let mut half = |odd: usize| {
            let chunks: Vec<&[u32]> = chunks
                .iter()
                .enumerate()
                .filter(|(rank, _)| rank % 2 == odd)
                .map(|(_, &i)| &ids[i * sampling.chunk..][..sampling.chunk])
                .collect();
            let ids: Vec<u32> = ids
                .chunks(sampling.chunk)
                .enumerate()
                .filter(|(i, _)| i % 2 == odd)
                .flat_map(|(_, chunk)| chunk.iter().copied())
                .collect();
            Ok(Self {
                features: features(model, device, &chunks, monitor)?,
                unigrams: Unigrams::count(ids.iter().copied()),
                newline_rate: vocabulary.newline_rate(&ids),
            })
        };
        Ok([half(0)?, half(1)?])
    }
}

/// `count` indices of `0..of`, evenly spaced with both ends included; all where there are no more.
fn evenly_spaced(of: usize, count: usize) -> Vec<usize> {
    if of <= count {
        return (0..of).collect();
    }
    let step = (of - 1) as f64 / count.saturating_sub(1).max(1) as f64;
    (0..count).map(|i| (i as f64 * step).round_ties_even() as usize).collect()
}

/// Mean over time of the last hidden states of each chunk: `[chunks, channels]`.
fn features(
    model: &LanguageModel,
    device: &Device,
    chunks: &[&[u32]],
    monitor: &mut dyn Monitor,
) -> Result<Result<Features, String>> {
    let Some(first) = chunks.first() else {
        return Ok(Err("the corpus is shorter than one chunk".into()));
    };
    monitor.begin("embedding", chunks.len() as u64);
    let mut values = Vec::new();
    for batch in chunks.chunks(batch_size(first.len())) {
        let hidden = model.hidden_states(token_ids(batch, device)); // [B, T, C]
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
