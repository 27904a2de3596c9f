//! What the tokens of a vocabulary are called, and their classes.

use std::borrow::Cow;

use super::token_class::{TokenClass, classes};
use super::tokenizer::Tokenizer;

/// Names and classes of the tokens of one vocabulary.
pub struct Vocabulary {
    size: usize,
    /// Text and class of every token; `None` without a tokenizer.
    known: Option<(Vec<String>, Vec<TokenClass>)>,
}

impl Vocabulary {
    /// For a model of `size` entries; without a tokenizer tokens are called by their id.
    pub fn new(tokenizer: Option<&Tokenizer>, size: usize) -> Self {
        let known = tokenizer.map(|tokenizer| {
            let texts = (0..u32::MAX).take(size).map(|id| tokenizer.token_shown(id)).collect();
            (texts, classes(tokenizer, size))
        });
        Self { size, known }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The token as people read it, see [`Tokenizer::token_shown`]; empty for an id beyond the vocabulary.
    pub fn text(&self, id: u32) -> Cow<'_, str> {
        match &self.known {
            Some((texts, _)) => texts.get(id as usize).map_or("", String::as_str).into(),
            None if (id as usize) < self.size => format!("#{id}").into(),
            None => "".into(),
        }
    }

    /// Its class.
    pub fn class(&self, id: u32) -> TokenClass {
        let known = self.known.as_ref().and_then(|(_, classes)| classes.get(id as usize));
        known.copied().unwrap_or(TokenClass::Other)
    }

    /// The share of `ids` that hold a line break.
    pub fn newline_rate(&self, ids: &[u32]) -> f64 {
        let newlines = ids.iter().filter(|&&id| self.class(id) == TokenClass::Newline).count();
        newlines as f64 / ids.len().max(1) as f64
    }
}
