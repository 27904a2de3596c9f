//! Results of an evaluation, as they are written to files.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::positions::Positions;
use super::protocol::{Protocol, ProtocolName};
use crate::device::DeviceName;
use crate::error::Result;
use crate::model::{ModelConfig, Precision};
use crate::rank::RankSummary;
use crate::text::{Bos, DocumentRule, Join, Newlines, StreamOptions, Tokenizer};

/// `eval --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalResult {
    /// "odyssey.eval/1".
    pub schema: String,
    /// The model's folder.
    pub model: String,
    /// Where it was computed.
    pub device: DeviceName,
    /// How it was scored.
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

    /// The protocol of this name for a model and texts that are read like this; `sizes` are its context and stride, where
    /// they are not its own.
    ///
    /// # Errors
    /// As [`Protocol::for_model`].
    pub fn for_model(
        name: ProtocolName,
        [context, stride]: [Option<usize>; 2],
        model: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
        rule: DocumentRule,
        options: &StreamOptions,
    ) -> Result<Self> {
        let protocol = Protocol::for_model(name, context, stride, model, tokenizer, options)?;
        Ok(Self::new(protocol, rule, options, tokenizer))
    }

    /// How a corpus becomes the stream that this protocol scores.
    pub fn stream(&self) -> StreamOptions {
        StreamOptions { join: self.join, newlines: self.newlines, bos: self.bos }
    }

    /// Whether this protocol is another with a tokenizer of another file, and the same in all else.
    pub fn differs_in_tokenizer_alone(&self, other: &Self) -> bool {
        let with = |protocol: &Self, tokenizer| {
            protocol.protocol.fingerprint(protocol.document, &protocol.stream(), tokenizer)
        };
        // Of both, since an older version of this program may not have noted all that its fingerprint is made of.
        with(self, &self.tokenizer) == self.fingerprint && with(self, &other.tokenizer) == other.fingerprint
    }

    /// In words, the differences to another protocol: `context (64 and 32), stride (64 and 32)`.
    pub fn difference(&self, other: &Self) -> String {
        let shown = |protocol: &Self, key: &str| match serde_json::to_value(protocol).unwrap_or_default().get(key) {
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
