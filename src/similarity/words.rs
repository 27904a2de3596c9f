//! Words as tokens, for lexical measures without a model's tokenizer.

use std::collections::HashMap;

use super::counts::Tokens;
use crate::error::{Error, Result};
use crate::text::{Corpus, Document};

/// The words seen so far in the corpora of a run, numbered by first occurrence.
///
/// A token is a run of letters and digits in lower case, a line break, or any other character but white space. Token ids
/// stay as they are.
#[derive(Debug, Default)]
pub struct Words {
    known: HashMap<String, u32>,
    /// One more than the largest id of corpora of token ids.
    ids: u32,
    of_texts: Option<bool>,
}

/// A corpus as words.
#[derive(Debug, Clone, Default)]
pub struct WordStream {
    ids: Vec<u32>,
    documents: Vec<u32>,
}

impl<'a> From<&'a WordStream> for Tokens<'a> {
    fn from(words: &'a WordStream) -> Self {
        Tokens::new(&words.ids, &words.documents)
    }
}

/// A line break's number.
const NEWLINE: u32 = 0;

impl Words {
    /// Divides a corpus.
    ///
    /// # Errors
    /// [`Error::Input`] for token ids where other corpora of the run are text, or the other way round.
    pub fn divide(&mut self, corpus: &Corpus) -> Result<WordStream> {
        let of_texts = corpus.documents.are_texts();
        if *self.of_texts.get_or_insert(of_texts) != of_texts {
            return Err(Error::input(
                corpus,
                "holds token ids where others hold text, or the other way round",
                "compare corpora of one kind",
            ));
        }
        let mut stream = WordStream::default();
        for (index, document) in (0..).zip(corpus.documents.iter()) {
            match document {
                Document::Text(text) => pieces(text, |word| stream.ids.push(self.number(word))),
                Document::Ids(ids) => {
                    stream.ids.extend_from_slice(ids);
                    self.ids = ids.iter().fold(self.ids, |most, id| most.max(id.saturating_add(1)));
                }
            }
            stream.documents.resize(stream.ids.len(), index);
        }
        Ok(stream)
    }

    /// Different words met so far.
    pub fn len(&self) -> usize {
        self.known.len() + 1 + self.ids as usize
    }

    /// Never true: line breaks have a number from the start.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether a number is that of a line break.
    pub fn is_newline(&self, id: u32) -> bool {
        self.of_texts == Some(true) && id == NEWLINE
    }

    fn number(&mut self, word: &str) -> u32 {
        if word == "\n" {
            return NEWLINE;
        }
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        let number = self.known.len() as u32 + 1;
        self.known.insert(word.to_owned(), number);
        number
    }
}

fn pieces(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            take(&word);
            word.clear();
        }
        if c == '\n' || !c.is_whitespace() {
            take(c.encode_utf8(&mut [0; 4]));
        }
    }
    if !word.is_empty() {
        take(&word);
    }
}
