//! From scored texts to the numbers that `eval` gives.

use std::time::Instant;

use super::protocol::{Protocol, ProtocolName};
use super::result::{BEYOND_F64, EvalResult, ProtocolResult, TextResult, beyond_f64};
use super::scored::ScoredStream;
use crate::device::DeviceName;
use crate::error::{Error, Result};
use crate::model::Precision;
use crate::process::peak_resident;
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::text::TokenStream;

impl ScoredStream {
    /// The weight of a scored token in the mean, by the window that scores it, `[windows]`.
    ///
    /// It is 1, except for `m2d2-exact`. M2D2's script multiplies the mean over the L − 1 targets of a window by L and
    /// divides the sum by all tokens, so each of its targets counts L / (L − 1): more in a short last window than in
    /// the others.
    fn weights(&self, protocol: &Protocol) -> Vec<f64> {
        let mut scored = vec![0.0; self.window.iter().max().map_or(0, |&last| last as usize + 1)];
        for position in self.scored() {
            scored[self.window[position] as usize] += 1.0;
        }
        let weight =
            |targets: f64| if protocol.name == ProtocolName::M2d2Exact { (targets + 1.0) / targets } else { 1.0 };
        scored.into_iter().map(weight).collect()
    }

    /// 95 % interval of the mean negative log-likelihood, nats per token.
    fn nll_interval(&self, weights: &[f64]) -> Result<([f64; 2], &'static str)> {
        let clusters = self.clusters();
        let (mut sums, mut counts) = (vec![0.0; clusters.count], vec![0.0; clusters.count]);
        for position in self.scored() {
            let (cluster, weight) = (clusters.of[position] as usize, weights[self.window[position] as usize]);
            sums[cluster] += weight * f64::from(self.nll[position]);
            counts[cluster] += weight;
        }
        let resamples = Resamples::new(clusters.count, RESAMPLES, BOOTSTRAP_SEED);
        Ok((resamples.ratio_interval(&sums, &counts)?, clusters.name))
    }

    /// The row of this text in an `eval` result; `protocol` is the one it was scored under.
    pub fn summary(&self, text: &str, stream: &TokenStream, protocol: &Protocol) -> Result<TextResult> {
        let weights = self.weights(protocol);
        let weighted = self.scored().map(|position| (position, weights[self.window[position] as usize]));
        let (sum, count, scored) = weighted.fold((0.0, 0.0, 0), |(sum, count, scored), (position, weight)| {
            (sum + weight * f64::from(self.nll[position]), count + weight, scored + 1)
        });
        if scored == 0 {
            return Err(Error::input(text, "no token is scored", "give at least two tokens of text"));
        }
        let nll = sum / count;
        let (interval, ci_over) = self.nll_interval(&weights)?;
        let known = stream.bytes > 0;
        // Bytes and words are those of the whole text. Other protocols leave only about one token of each window
        // unscored.
        let whole = protocol.name != ProtocolName::HalfWindow;
        let no_words = stream.letters.no_words(stream.words).map(|why| format!("no word perplexity: {why}"));
        let word_ppl = (whole && stream.words > 0 && no_words.is_none()).then(|| (sum / stream.words as f64).exp());
        let reasons = [
            (!known, "the corpus is given as token ids, so its bytes and words are not known"),
            (known && !whole, "half of the text is scored, and its bytes and words are those of all"),
            (!nll.exp().is_finite(), BEYOND_F64),
            (
                nll.exp().is_finite() && !interval[1].exp().is_finite(),
                "the perplexity's interval goes beyond the range of f64",
            ),
            (word_ppl.is_some_and(f64::is_infinite), "the word perplexity is beyond the range of f64"),
        ];
        let mut reasons: Vec<&str> =
            reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect();
        reasons.extend(no_words.as_deref().filter(|_| whole));
        Ok(TextResult {
            text: text.to_owned(),
            adapter: None,
            corpus_hash: stream.corpus_hash.clone(),
            documents: stream.documents,
            tokens: self.ids.len(),
            scored,
            nll,
            ppl: nll.exp(),
            ppl_ci95: interval.map(f64::exp),
            ci_over: ci_over.to_owned(),
            bits_per_byte: (known && whole).then(|| sum / (std::f64::consts::LN_2 * stream.bytes as f64)),
            bytes: stream.bytes,
            words: stream.words,
            word_ppl: word_ppl.filter(|ppl| ppl.is_finite()),
            positions: None,
            rank: None,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        })
    }
}

/// Puts the rows of several texts together.
pub fn summarise(
    model: &str,
    dtype: Precision,
    device: &DeviceName,
    protocol: ProtocolResult,
    texts: Vec<TextResult>,
    started: Instant,
) -> EvalResult {
    let seconds = started.elapsed().as_secs_f64();
    let scored: usize = texts.iter().map(|text| text.scored).sum();
    let adapted = texts.iter().any(|text| text.adapter.is_some());
    let averaged: Vec<f64> =
        texts.iter().filter(|text| text.adapter.is_some() == adapted).map(|text| text.nll).collect();
    let mean = averaged.iter().sum::<f64>() / averaged.len().max(1) as f64;
    EvalResult {
        schema: "odyssey.eval/1".into(),
        model: model.to_owned(),
        device: device.clone(),
        protocol,
        texts,
        adapter_changes: Vec::new(),
        macro_ppl: mean.exp(),
        reason: beyond_f64([mean.exp()]),
        seconds,
        tokens_per_second: scored as f64 / seconds.max(1e-9),
        dtype,
        peak_memory_bytes: peak_resident(),
    }
}
