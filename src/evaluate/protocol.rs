//! Perplexity protocols: which windows the model reads and which tokens are scored.
//!
//! Every protocol is a named recipe with a fingerprint; numbers of different fingerprints are not comparable.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::text::{DocumentRule, StreamOptions};

/// A named way of cutting a token stream into windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolName {
    /// Windows of the context length side by side; the first token of each is context only.
    #[default]
    Disjoint,
    /// Overlapping windows; each token is scored once, with at least `context − stride` tokens before it.
    Strided,
}

/// A protocol with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// The recipe.
    pub name: ProtocolName,
    /// Tokens of a window.
    pub context: usize,
    /// Tokens from one window's start to the next.
    pub stride: usize,
}

/// A window of the stream: the model reads `start..end`, tokens `scored..end` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First token.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
    /// First scored token; always after `start`, since nothing predicts a window's first token.
    pub scored: usize,
}

impl Protocol {
    /// Checks the sizes against the model's longest window; both default to what the protocol and model suggest.
    ///
    /// # Errors
    /// A context longer than the model's or shorter than two tokens, a stride of 0 or beyond the context.
    pub fn new(name: ProtocolName, context: Option<usize>, stride: Option<usize>, longest: usize) -> Result<Self> {
        let context = context.unwrap_or(longest);
        if context > longest {
            return Err(Error::input(
                format!("--context {context}"),
                format!("is longer than the model's {longest} positions"),
                format!("use at most --context {longest}"),
            ));
        }
        if context < 2 {
            return Err(Error::input(format!("--context {context}"), "leaves nothing to predict", "use at least 2"));
        }
        let stride = match name {
            ProtocolName::Disjoint => match stride {
                Some(stride) if stride != context => {
                    return Err(Error::input(
                        format!("--stride {stride}"),
                        "disjoint windows do not overlap",
                        "leave --stride out, or use --protocol strided",
                    ));
                }
                _ => context,
            },
            ProtocolName::Strided => stride.unwrap_or(context / 2),
        };
        if stride == 0 || stride > context {
            return Err(Error::input(
                format!("--stride {stride}"),
                format!("must lie between 1 and the context, {context}"),
                "choose a smaller stride",
            ));
        }
        Ok(Self { name, context, stride })
    }

    /// The windows of a stream of `tokens` tokens.
    pub fn windows(&self, tokens: usize) -> Vec<Window> {
        let mut windows = Vec::new();
        let mut scored_until = 1; // nothing predicts the stream's first token
        for start in (0..tokens).step_by(self.stride) {
            let end = (start + self.context).min(tokens);
            let scored = match self.name {
                ProtocolName::Disjoint => start + 1,
                // Windows that do not overlap leave nothing to predict their first token from.
                ProtocolName::Strided => scored_until.max(start + 1),
            };
            if scored < end {
                windows.push(Window { start, end, scored });
            }
            scored_until = end;
            if end == tokens {
                break;
            }
        }
        windows
    }

    /// What makes two numbers comparable, in 16 hexadecimal digits: recipe, sizes, joins, tokenizer.
    pub fn fingerprint(&self, rule: DocumentRule, options: &StreamOptions, tokenizer_hash: &str) -> String {
        let all = serde_json::json!({
            "protocol": self, "document": rule, "stream": options, "tokenizer": tokenizer_hash, "version": 1,
        });
        files::hash_bytes(all.to_string().as_bytes())[..16].to_owned()
    }
}
