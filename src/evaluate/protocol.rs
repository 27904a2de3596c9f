//! Perplexity protocols: which windows the model reads and which tokens are scored.
//!
//! Every protocol has a name and a fingerprint; numbers of different fingerprints are not comparable.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::message::Message;
use crate::model::ModelConfig;
use crate::text::{DocumentRule, Join, StreamOptions, Tokenizer};

/// The default window of the perplexity tool of llama.cpp, tokens.
const HALF_WINDOW_CONTEXT: usize = 512;

/// A named way of cutting a token stream into windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolName {
    /// Windows of the context length side by side; the first token of each is context only
    #[default]
    Disjoint,
    /// Overlapping windows; each token is scored once, with at least `context − stride` tokens before it
    Strided,
    /// lm-evaluation-harness's: each document by itself, begun by a begin-of-text or end-of-text token; every token is
    /// scored once, and a document's last window is filled up with the tokens before it
    Rolling,
    /// llama.cpp's: whole windows of 512 side by side, the first token of each replaced by the begin-of-text token where
    /// the stream begins with one (--bos); only the second half of each is scored
    HalfWindow,
    /// As `rolling`, but the last window of a document stays short: only one token before it is its context
    Doc,
    /// M2D2's script: the windows of `disjoint`, but a mean in which a window of L tokens counts L times although L − 1
    /// are scored; the negative log-likelihoods of tokens are those of `disjoint`
    M2d2Exact,
}

impl ProtocolName {
    /// Whether documents are read one by one, with nothing between them.
    pub fn by_document(self) -> bool {
        matches!(self, Self::Rolling | Self::Doc)
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disjoint => "disjoint",
            Self::Strided => "strided",
            Self::Rolling => "rolling",
            Self::HalfWindow => "half-window",
            Self::Doc => "doc",
            Self::M2d2Exact => "m2d2-exact",
        })
    }
}

/// A protocol with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// The name of the protocol.
    pub name: ProtocolName,
    /// Tokens of a window.
    pub context: usize,
    /// Tokens from one window's start to the next.
    pub stride: usize,
    /// The first token of windows if the protocol needs one: of the first window of each document, or of every window
    /// of `half-window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u32>,
}

/// A window of the stream: the model reads `prefix`, then the tokens `start..end`; tokens `scored..end` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// A token that is read before `start`, in place of the one in the stream.
    pub prefix: Option<u32>,
    /// First token of the stream.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
    /// First scored token; after `start` unless there is a prefix, since nothing predicts the first token that is read.
    pub scored: usize,
}

impl Window {
    /// How many tokens of the window are read before this one.
    pub fn distance(&self, token: usize) -> usize {
        token - self.start + usize::from(self.prefix.is_some())
    }

    /// Tokens that the model reads: all but the last, which is only predicted.
    pub fn read(&self) -> usize {
        self.distance(self.end) - 1
    }
}

impl Protocol {
    /// A protocol that needs no token of the model. Its sizes are checked against the longest window of the model;
    /// their defaults depend on protocol and model. [`Protocol::for_model`] makes every protocol.
    ///
    /// # Errors
    /// A context longer than the model's or too short to predict anything, a stride of 0 or beyond the context, a
    /// protocol that begins documents with a token of the model.
    pub fn new(name: ProtocolName, context: Option<usize>, stride: Option<usize>, longest: usize) -> Result<Self> {
        Self::with_prefix(name, context, stride, longest, None)
    }

    /// The protocol for this model, on texts that become a stream by `options`.
    ///
    /// Documents of `rolling` and `doc` begin with the begin-of-text token or, where the model has none, end-of-text,
    /// as in lm-evaluation-harness. Windows of `half-window` begin with the token that `options` put before a stream,
    /// as in llama.cpp.
    ///
    /// # Errors
    /// As [`Protocol::new`]; a model without the token that is needed; a join of documents that are read by themselves.
    pub fn for_model(
        name: ProtocolName,
        context: Option<usize>,
        stride: Option<usize>,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
        options: &StreamOptions,
    ) -> Result<Self> {
        if name.by_document() && !matches!(options.join, Join::Eot | Join::Apart) {
            return Err(Error::setting(
                "protocol",
                name,
                "reads every document by itself, so that no text can join them",
                Message::new("leave ")
                    .key("join")
                    .then(" out, or use ")
                    .set("protocol", "disjoint")
                    .then(" or strided"),
            ));
        }
        let own = tokenizer.and_then(Tokenizer::bos_added);
        let prefix = match name {
            ProtocolName::Disjoint | ProtocolName::Strided | ProtocolName::M2d2Exact => None,
            ProtocolName::HalfWindow => options.bos.token(own, config.bos_token_id)?,
            ProtocolName::Rolling | ProtocolName::Doc => config.bos_token_id.or(own).or(config.eos_token_id),
        };
        if let Some(id) = prefix.filter(|&id| id as usize >= config.vocabulary()) {
            return Err(Error::setting(
                "protocol",
                name,
                format!("begins with token {id}, which does not fit the model's vocabulary of {}", config.vocabulary()),
                "correct `bos_token_id` in the model's config.json",
            ));
        }
        Self::with_prefix(name, context, stride, config.context(), prefix)
    }

    /// Refuses sizes that no model could follow; what depends on the model is checked with that.
    ///
    /// # Errors
    /// As [`Protocol::new`].
    pub fn check_sizes(name: ProtocolName, context: Option<usize>, stride: Option<usize>) -> Result<()> {
        let stride = stride.filter(|_| context.is_some()); // else it is the model that says how long the context is
        Self::with_prefix(name, context, stride, usize::MAX, Some(0)).map(drop)
    }

    fn with_prefix(
        name: ProtocolName,
        context: Option<usize>,
        stride: Option<usize>,
        longest: usize,
        prefix: Option<u32>,
    ) -> Result<Self> {
        let halves = name == ProtocolName::HalfWindow;
        let context = context.unwrap_or(if halves { longest.min(HALF_WINDOW_CONTEXT) } else { longest });
        if context > longest {
            return Err(Error::setting(
                "context",
                context,
                format!("is longer than the model's {longest} positions"),
                Message::new("use at most ").set("context", longest),
            ));
        }
        let shortest = if halves { 3 } else { 2 };
        if context < shortest {
            return Err(Error::setting(
                "context",
                context,
                "leaves nothing to predict",
                format!("use at least {shortest}"),
            ));
        }
        let stride = match name {
            ProtocolName::Strided => stride.unwrap_or(context / 2),
            _ => match stride {
                Some(stride) if stride != context => {
                    return Err(Error::setting(
                        "stride",
                        stride,
                        format!("{name} windows do not overlap"),
                        Message::new("leave ").key("stride").then(" out, or use ").set("protocol", "strided"),
                    ));
                }
                _ => context,
            },
        };
        if stride == 0 || stride > context {
            return Err(Error::setting(
                "stride",
                stride,
                format!("must lie between 1 and the context, {context}"),
                "choose a smaller stride",
            ));
        }
        if name.by_document() && prefix.is_none() {
            return Err(Error::setting(
                "protocol",
                name,
                "begins every document with a begin-of-text or end-of-text token, and the model names neither",
                Message::new("put `bos_token_id` or `eos_token_id` into its config.json, or use ")
                    .set("protocol", "disjoint")
                    .then(" or strided"),
            ));
        }
        Ok(Self { name, context, stride, prefix })
    }

    /// The windows of a stream, `document` gives the document of each token.
    pub fn windows(&self, document: &[u32]) -> Vec<Window> {
        match self.name {
            ProtocolName::Disjoint | ProtocolName::Strided | ProtocolName::M2d2Exact => {
                self.overlapping(document.len())
            }
            ProtocolName::HalfWindow => self.second_halves(document.len()),
            ProtocolName::Rolling | ProtocolName::Doc => {
                let mut start = 0;
                let documents = document.chunk_by(|a, b| a == b).map(|part| {
                    start += part.len();
                    start - part.len()..start
                });
                documents.flat_map(|document| self.of_document(document)).collect()
            }
        }
    }

    /// Windows of `context` tokens, the next one `stride` after the last; only the new tokens of each window are
    /// scored.
    fn overlapping(&self, tokens: usize) -> Vec<Window> {
        let mut windows = Vec::new();
        let mut scored_until = 0;
        for start in (0..tokens).step_by(self.stride) {
            let end = (start + self.context).min(tokens);
            // The first token that is read has no prediction.
            let scored = scored_until.max(start + 1);
            if scored < end {
                windows.push(Window { prefix: None, start, end, scored });
            }
            scored_until = end;
            if end == tokens {
                break;
            }
        }
        windows
    }

    /// Whole windows side by side. Of `n` logits llama.cpp takes those from `n/2` on, which predict `n/2 + 1..n`.
    fn second_halves(&self, tokens: usize) -> Vec<Window> {
        let Self { context, prefix, .. } = *self;
        let window = |first: usize| Window {
            prefix,
            start: first + usize::from(prefix.is_some()),
            end: first + context,
            scored: first + context / 2 + 1,
        };
        (0..tokens / context).map(|index| window(index * context)).collect()
    }

    /// Windows that predict `context` tokens of one document each. The first reads the prefix, later ones the token before
    /// those they predict, the last of `rolling` as many as fit.
    fn of_document(&self, document: Range<usize>) -> impl Iterator<Item = Window> {
        let Self { name, context, prefix, .. } = *self;
        let Range { start: first, end: last } = document;
        document.step_by(context).map(move |scored| {
            let end = (scored + context).min(last);
            let start = match name {
                _ if scored == first => return Window { prefix, start: first, end, scored: first },
                ProtocolName::Rolling => end - context - 1,
                _ => scored - 1,
            };
            Window { prefix: None, start, end, scored }
        })
    }

    /// A hash, 16 hexadecimal digits, of everything that makes two numbers comparable: protocol, sizes, joins,
    /// tokenizer.
    pub fn fingerprint(&self, rule: DocumentRule, options: &StreamOptions, tokenizer_hash: &str) -> String {
        let all = serde_json::json!({
            "protocol": self, "document": rule, "stream": options, "tokenizer": tokenizer_hash, "version": 1,
        });
        files::hash_bytes(all.to_string().as_bytes())[..16].to_owned()
    }
}
