//! Perplexity, with its interval, from negative log-likelihoods that are kept for every later step.
//!
//! [`protocol`] says which tokens count, [`score`] computes them with the model, [`per_token`] stores them in a file,
//! and [`positions`] gives the loss by position in windows and documents. All sums are taken in f64 over scored tokens,
//! never as means of window means (except for the protocol `m2d2-exact`, whose purpose is this mean).

pub mod divergence;
pub mod per_token;
pub mod positions;
pub mod protocol;
pub mod score;

use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::device::DeviceName;
use crate::error::{Error, Result};
use crate::model::{LanguageModel, Precision};
use crate::process::peak_resident;
use crate::progress::Monitor;
use crate::rank::RankSummary;
use crate::spool::Spool;
use crate::stats::Resamples;
use crate::text::{Bos, DocumentRule, Join, Newlines, StreamOptions, TokenStream, Tokenizer};
pub use positions::Positions;
pub use protocol::{Protocol, ProtocolName, Window};

/// Resamples of every bootstrap interval.
pub const RESAMPLES: usize = 2000;
/// Seed of every bootstrap interval: the same numbers give the same interval.
pub const BOOTSTRAP_SEED: u64 = 42;
/// With fewer documents than this, windows are resampled instead: an interval over three documents is useless.
const FEWEST_DOCUMENTS: usize = 10;

/// `eval --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalResult {
    /// "odyssey.eval/1".
    pub schema: String,
    /// The model's folder.
    pub model: String,
    /// Where it was computed.
    pub device: DeviceName,
    /// The recipe.
    pub protocol: ProtocolResult,
    /// One row per text.
    pub texts: Vec<TextResult>,
    /// The change by the adapter on each text, if each is scored with and without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapter_changes: Vec<AdapterChange>,
    /// exp of the mean over texts of their mean negative log-likelihood; with the adapter, where there is one.
    #[serde(deserialize_with = "null_as_infinite")]
    pub macro_ppl: f64,
    /// Why `macro_ppl` is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds of scoring.
    pub seconds: f64,
    /// Scored tokens per second.
    pub tokens_per_second: f64,
    /// How the matrices of the model were held.
    #[serde(default)]
    pub dtype: Precision,
    /// Largest resident memory of the process, bytes.
    #[serde(default)]
    pub peak_memory_bytes: u64,
}

/// The protocol as results store it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolResult {
    /// The protocol and its sizes.
    #[serde(flatten)]
    pub protocol: Protocol,
    /// The join between documents.
    pub join: Join,
    /// What was done with line breaks inside documents.
    #[serde(default)]
    pub newlines: Newlines,
    /// Whether a begin-of-text token started the stream.
    #[serde(default)]
    pub bos: Bos,
    /// The rule for documents of a `.txt` file.
    #[serde(default)]
    pub document: DocumentRule,
    /// Hash of the tokenizer; empty if there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokenizer: String,
    /// Only numbers with the same fingerprint are comparable.
    pub fingerprint: String,
}

impl ProtocolResult {
    /// The protocol on texts that are read and joined in this way. If it reads documents one by one, they are not
    /// joined, whatever `options` say: build streams with [`ProtocolResult::stream`].
    pub fn new(protocol: Protocol, rule: DocumentRule, options: &StreamOptions, tokenizer: Option<&Tokenizer>) -> Self {
        let join = if protocol.name.by_document() { Join::Apart } else { options.join };
        let options = StreamOptions { join, ..*options };
        let tokenizer = tokenizer.map_or("", Tokenizer::hash);
        Self {
            protocol,
            join,
            newlines: options.newlines,
            bos: options.bos,
            document: rule,
            fingerprint: protocol.fingerprint(rule, &options, tokenizer),
            tokenizer: tokenizer.to_owned(),
        }
    }

    /// How a corpus becomes the stream that this recipe scores.
    pub fn stream(&self) -> StreamOptions {
        StreamOptions { join: self.join, newlines: self.newlines, bos: self.bos }
    }

    /// Whether this recipe is another with a tokenizer of another file, and the same in all else.
    pub fn differs_in_tokenizer_alone(&self, other: &Self) -> bool {
        let with = |recipe: &Self, tokenizer| recipe.protocol.fingerprint(recipe.document, &recipe.stream(), tokenizer);
        // Of both, since an older version of this program may not have noted all that its fingerprint is made of.
        with(self, &self.tokenizer) == self.fingerprint && with(self, &other.tokenizer) == other.fingerprint
    }

    /// In words, the differences to another protocol: `context (64 and 32), stride (64 and 32)`.
    pub fn difference(&self, other: &Self) -> String {
        let shown = |recipe: &Self, key: &str| match serde_json::to_value(recipe).unwrap_or_default().get(key) {
            None | Some(Value::Null) => "none".to_owned(),
            Some(Value::String(text)) if key == "tokenizer" => text.chars().take(8).collect(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let keys = ["name", "context", "stride", "prefix", "join", "newlines", "bos", "document", "tokenizer"];
        let differ: Vec<String> = keys
            .into_iter()
            .map(|key| (key, shown(self, key), shown(other, key)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(key, ours, theirs)| {
                let key = if key == "name" { "protocol" } else { key };
                format!("{key} ({ours} and {theirs})")
            })
            .collect();
        match differ.is_empty() {
            true => "something that an older version of this program did not note".into(),
            false => differ.join(", "),
        }
    }
}

/// One text's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextResult {
    /// The text's path.
    pub text: String,
    /// The folder of the adapter if it was used; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Hash of its documents.
    pub corpus_hash: String,
    /// Documents.
    pub documents: usize,
    /// Tokens of the stream.
    pub tokens: usize,
    /// Tokens scored.
    pub scored: usize,
    /// Mean negative log-likelihood, nats per scored token (under `m2d2-exact` its biased mean).
    pub nll: f64,
    /// exp of `nll`.
    #[serde(deserialize_with = "null_as_infinite")]
    pub ppl: f64,
    /// 95 % block-bootstrap interval of `ppl`.
    #[serde(deserialize_with = "nulls_as_infinite")]
    pub ppl_ci95: [f64; 2],
    /// What was resampled: "documents" or "windows".
    pub ci_over: String,
    /// Sum of negative log-likelihoods over ln 2 and the text's bytes; null for a corpus given as ids, and where only
    /// half of the text is scored.
    pub bits_per_byte: Option<f64>,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
    /// Words, as lm-evaluation-harness counts them.
    pub words: u64,
    /// exp of the sum of negative log-likelihoods over words; null where `bits_per_byte` is.
    pub word_ppl: Option<f64>,
    /// Mean loss by position, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<Positions>,
    /// Prediction rank of the domain's terms, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankSummary>,
    /// Why a number is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The change that an adapter makes on one text: with it minus without it, on the same tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterChange {
    /// The text's path.
    pub text: String,
    /// Change in mean negative log-likelihood, nats per token; positive is worse.
    pub delta: f64,
    /// 95 % interval of `delta`, as in a comparison.
    pub delta_ci95: [f64; 2],
}

/// Why a perplexity is null.
pub(crate) const BEYOND_F64: &str = "the perplexity is beyond the range of f64";

/// [`BEYOND_F64`] where one of these, exponentials of a mean loss, is.
pub(crate) fn beyond_f64(ppl: impl IntoIterator<Item = f64>) -> Option<String> {
    ppl.into_iter().any(f64::is_infinite).then(|| BEYOND_F64.to_owned())
}

/// For serde: JSON has no infinity, so the perplexity of a model that diverged is written as null.
pub(crate) fn null_as_infinite<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or(f64::INFINITY))
}

fn nulls_as_infinite<'de, D: Deserializer<'de>>(json: D) -> Result<[f64; 2], D::Error> {
    Ok(<[Option<f64>; 2]>::deserialize(json)?.map(|end| end.unwrap_or(f64::INFINITY)))
}

/// A stream with the negative log-likelihood of each token.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredStream {
    /// Token ids, `[n]`.
    pub ids: Spool<u32>,
    /// −ln p, nats; NaN where the protocol does not score the token. `[n]`.
    pub nll: Vec<f32>,
    /// The document each token belongs to, `[n]`.
    pub document: Spool<u32>,
    /// Offset of each token in its document, bytes. `[n]`.
    pub byte: Spool<u32>,
    /// The window each token is scored in, `[n]`; clusters of the bootstrap where documents are few.
    pub window: Vec<u32>,
}

/// Scores `stream` under `protocol`. `model` must be without autodiff, so that no graph is kept. Protocols that read
/// documents one by one need a stream from [`ProtocolResult::stream`], where documents are apart.
///
/// # Errors
/// A stream too short for the protocol; the device's failure; an interruption; a loss that is not finite.
pub fn evaluate(
    model: &LanguageModel,
    device: &Device,
    stream: &TokenStream,
    protocol: &Protocol,
    monitor: &mut dyn Monitor,
) -> Result<ScoredStream> {
    let windows = protocol.windows(&stream.document);
    if windows.is_empty() {
        return Err(Error::input(
            format!("--protocol {}", protocol.name),
            format!("finds nothing to score in {} tokens with windows of {}", stream.ids.len(), protocol.context),
            "use a longer text or a smaller --context",
        ));
    }
    monitor.begin("scoring", windows.iter().map(|w| (w.end - w.scored) as u64).sum());
    let nll = score::score(model, device, &stream.ids, &windows, batch_size(protocol.context), monitor)?;
    monitor.end();
    Ok(ScoredStream {
        ids: stream.ids.clone(),
        nll,
        document: stream.document.clone(),
        byte: stream.byte.clone(),
        window: window_of(&windows, stream.ids.len()),
    })
}

/// Windows computed together: about four thousand tokens, which fits the caches of a CPU and keeps a GPU busy.
pub fn batch_size(context: usize) -> usize {
    (4096 / context.max(1)).max(1)
}

/// The index of the window that scores each token.
fn window_of(windows: &[Window], tokens: usize) -> Vec<u32> {
    let mut of = vec![0; tokens];
    for (index, window) in windows.iter().enumerate() {
        of[window.scored..window.end].fill(index as u32);
    }
    of
}

impl ScoredStream {
    /// Positions of the scored tokens.
    pub fn scored(&self) -> impl Iterator<Item = usize> + '_ {
        self.nll.iter().enumerate().filter(|(_, nll)| !nll.is_nan()).map(|(position, _)| position)
    }

    /// Sum of negative log-likelihoods in nats, and how many tokens it is over.
    pub fn total(&self) -> (f64, usize) {
        self.scored().fold((0.0, 0), |(sum, count), position| (sum + f64::from(self.nll[position]), count + 1))
    }

    /// Mean negative log-likelihood, nats per scored token.
    pub fn mean_nll(&self) -> f64 {
        let (sum, count) = self.total();
        sum / count as f64
    }

    /// Clusters for the block bootstrap: the cluster of every token, how many there are, and their name.
    ///
    /// Tokens of a document depend on one another, so documents are resampled; windows where documents are few.
    pub fn clusters(&self) -> Clusters<'_> {
        let documents = self.document.iter().max().map_or(0, |&last| last as usize + 1);
        if documents >= FEWEST_DOCUMENTS {
            Clusters { of: &self.document, count: documents, name: "documents" }
        } else {
            Clusters {
                of: &self.window,
                count: self.window.iter().max().map_or(0, |&w| w as usize + 1),
                name: "windows",
            }
        }
    }

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

/// The clusters that the block bootstrap resamples.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// The cluster of each token, `[n]`.
    pub of: &'a [u32],
    /// How many clusters there are.
    pub count: usize,
    /// "documents" or "windows".
    pub name: &'static str,
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
