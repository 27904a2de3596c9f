//! How much of a text a model reads at once, before there is any model.

use super::ModelConfig;
use crate::error::Result;
use crate::progress::Watched;
use crate::text::{Corpus, StreamOptions, TokenStream, Tokenizer};

/// Bytes of text that become more than one token, whatever the tokenizer.
const BYTES_OF_TOKEN: u64 = 16;

impl ModelConfig {
    /// The tokens that `corpus` becomes for this model or, where its documents are read by themselves, the longest of them;
    /// at most `most`, and the first token that a window may be begun with counted. Long texts are not looked at for it.
    ///
    /// # Errors
    /// As [`TokenStream::build`].
    pub fn longest_reading<'a>(
        &self,
        corpus: &Corpus,
        tokenizer: Option<&Tokenizer>,
        by_document: bool,
        most: usize,
        options: impl Into<Watched<'a, &'a StreamOptions>>,
    ) -> Result<usize> {
        let bytes = corpus.documents.bytes();
        let is_long = bytes / BYTES_OF_TOKEN >= most as u64;
        if is_long && !by_document {
            return Ok(most);
        }
        if tokenizer.is_none() && corpus.documents.are_texts() {
            return Ok(most.min(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        let (eot, bos) = (self.eos_token_id, self.bos_token_id);
        let stream = TokenStream::build(corpus, tokenizer, eot, bos, self.vocabulary(), options)?;
        let tokens = match by_document {
            true => stream.document.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0),
            false => stream.ids.len(),
        };
        Ok(most.min(tokens + 1))
    }
}
