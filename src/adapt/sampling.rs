//! Text that a model writes itself, token by token at temperature 1: what stands for its pretraining text where that is not
//! to be had (arXiv 2605.26097).

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use serde_json::json;

use crate::device::batch_size;
use crate::device::faults::guarded;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LoadedModel, token_ids};
use crate::progress::Monitor;
use crate::recipe::Samples;
use crate::recipe::kept::{Keep, kept};
use crate::text::{Reading, TokenStream};

/// Token ids in a row.
struct Ids(Vec<u32>);

impl Keep for Ids {
    fn arrays(&self) -> Vec<(&'static str, Dtype, Vec<u8>)> {
        vec![("ids", Dtype::U32, bytemuck::cast_slice(&self.0).to_vec())]
    }

    fn of(mut array: impl FnMut(&str) -> Result<Vec<u8>, String>) -> Result<Self, String> {
        Ok(Self(bytemuck::pod_collect_to_vec(&array("ids")?)))
    }
}

/// `samples.windows` documents of `context` + 1 tokens that `base` writes after its begin-of-text or end-of-text token. The
/// same base, seed and numbers give the same text on the same device; it is kept in the folder `keep`
/// for later runs.
///
/// # Errors
/// A base without such a token; the device's failure; an interruption.
pub fn sampled(
    base: &LoadedModel,
    samples: Samples,
    context: usize,
    keep: Option<&Path>,
    monitor: &mut dyn Monitor,
) -> Result<TokenStream> {
    let begin = base.config.bos_token_id.or(base.config.eos_token_id).ok_or_else(|| {
        Error::file(
            &base.folder.join("config.json"),
            "names no begin-of-text and no end-of-text token, after which the model could write",
            "name a corpus to replay",
        )
    })?;
    let Samples { windows, seed } = samples;
    let determined_by = json!({
        "base": base.hash()?, "dtype": base.precision, "device": format!("{:?}", base.device),
        "windows": windows, "context": context, "seed": seed, "begin": begin,
    });
    let Ids(ids) = kept(keep, "samples", &determined_by, || write(base, begin, samples, context, monitor).map(Ids))?;
    let document: Vec<u32> = (0..ids.len()).map(|at| (at / (context + 1)) as u32).collect();
    Ok(TokenStream {
        byte: vec![0; ids.len()].into(),
        document: document.into(),
        bytes: 0,
        words: 0,
        letters: Default::default(),
        documents: windows,
        corpus_hash: crate::files::hash_bytes(bytemuck::cast_slice(&ids)),
        reading: Reading::default(),
        ids: ids.into(),
    })
}

fn write(
    base: &LoadedModel,
    begin: u32,
    Samples { windows, seed }: Samples,
    context: usize,
    monitor: &mut dyn Monitor,
) -> Result<Vec<u32>> {
    let mut all = Vec::with_capacity(windows * (context + 1));
    monitor.begin("the base writes text", (windows * context) as u64);
    let numbers: Vec<usize> = (0..windows).collect();
    for together in numbers.chunks(batch_size(context)) {
        let mut texts: Vec<Vec<u32>> = together.iter().map(|_| vec![begin]).collect();
        let mut draws: Vec<ChaCha8Rng> = together
            .iter()
            .map(|&window| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(window as u64);
                rng
            })
            .collect();
        for time in 1..=context {
            let logits = guarded(&base.device, || {
                let read: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                let hidden = base.model.hidden_states(token_ids(&read, &base.device));
                let [batch, _, channels] = hidden.dims();
                let last = hidden.narrow(1, time - 1, 1).reshape([batch, channels]);
                to_host(base.model.head().logits(&last).flatten::<1>(0, 1))
            })?;
            let vocabulary = logits.len() / texts.len();
            for ((text, rng), logits) in texts.iter_mut().zip(&mut draws).zip(logits.chunks(vocabulary)) {
                text.push(draw(logits, rng.random::<f64>()));
            }
            monitor.advance(texts.len() as u64, "");
            if monitor.stopped() {
                return Err(Error::Interrupted("stopped while the base writes text, which starts anew".into()));
            }
        }
        all.extend(texts.into_iter().flatten());
    }
    monitor.end();
    Ok(all)
}

/// The token at the place `at`, 0 to below 1, of the cumulated probabilities.
fn draw(logits: &[f32], at: f64) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from(logit - largest).exp();
    let mut left = at * logits.iter().map(weight).sum::<f64>();
    for (id, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return id as u32;
        }
    }
    logits.len().saturating_sub(1) as u32
}
