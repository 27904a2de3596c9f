//! A corpus as one stream of token ids, each with the document and byte it comes from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::corpus::{Content, Corpus};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// What stands between documents when they become one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// The model's end-of-text token, put between the tokenised documents
    #[default]
    Eot,
    /// A line break; the texts are joined before they are tokenised
    Newline,
    /// An empty line; the texts are joined before they are tokenised
    BlankLine,
    /// Nothing: the texts are glued before they are tokenised
    None,
    /// Nothing: documents are tokenised one by one, and --bos says how each of them begins
    Apart,
}

impl Join {
    /// The text put between documents; `None` where they are tokenised one by one.
    fn text(self) -> Option<&'static str> {
        match self {
            Self::Eot | Self::Apart => None,
            Self::Newline => Some("\n"),
            Self::BlankLine => Some("\n\n"),
            Self::None => Some(""),
        }
    }
}

/// What happens to the line breaks inside documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Newlines {
    /// They stay
    #[default]
    Keep,
    /// They go: lines lose the white space at both ends and are glued together, with nothing between
    Strip,
}

/// Whether a begin-of-text token stands at the start of the stream; with [`Join::Apart`], of every document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bos {
    /// Where the model's own tokenizer adds one to a text
    #[default]
    Auto,
    /// Yes
    Always,
    /// No
    Never,
}

impl Bos {
    /// The token to begin with: `own` is the one that the tokenizer adds to a text, `bos` the one that the model names.
    ///
    /// # Errors
    /// [`Error::Input`] where one is always wanted and there is none.
    pub(crate) fn token(self, own: Option<u32>, bos: Option<u32>) -> Result<Option<u32>> {
        match self {
            Self::Auto => Ok(own),
            Self::Never => Ok(None),
            Self::Always => bos.or(own).map(Some).ok_or_else(|| {
                Error::input("--bos always", "the model has no begin-of-text token", "use --bos auto or --bos never")
            }),
        }
    }
}

/// How a corpus becomes a stream. Two results can be compared only if these agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// What stands between documents.
    #[arg(long, value_enum, default_value_t)]
    pub join: Join,
    /// What becomes of line breaks inside documents.
    #[arg(long, value_enum, default_value_t)]
    pub newlines: Newlines,
    /// Whether a begin-of-text token starts the stream.
    #[arg(long, value_enum, default_value_t)]
    pub bos: Bos,
}

/// A corpus as one stream of at least two tokens, all within the model's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStream {
    /// Token ids, `[n]`.
    pub ids: Vec<u32>,
    /// Index in the corpus of the document each token belongs to, `[n]`. What stands between documents belongs to the
    /// one before, a begin-of-text token to the one it begins.
    pub document: Vec<u32>,
    /// Byte offset of each token in its document, after [`Newlines`] had its way, `[n]`; what stands between documents
    /// begins at the length of the one before. All 0 for a corpus of token ids.
    pub byte: Vec<u64>,
    /// UTF-8 bytes of the texts, what stands between them included where it is text. 0 (unknown) for token ids.
    pub bytes: u64,
    /// Words of the documents as lm-evaluation-harness counts them, `len(re.split(r"\s+", document))` in Python: runs of
    /// white space plus one, so that white space at an end counts an empty word. 0 (unknown) for token ids.
    pub words: u64,
    /// Documents in the corpus.
    pub documents: usize,
    /// [`Corpus::hash`].
    pub corpus_hash: String,
}

impl TokenStream {
    /// Keeps the first `tokens` tokens; what the whole text had in bytes and words is then unknown (0).
    pub fn truncate(&mut self, tokens: usize) {
        if tokens < self.ids.len() {
            self.ids.truncate(tokens);
            self.document.truncate(tokens);
            self.byte.truncate(tokens);
            (self.bytes, self.words) = (0, 0);
        }
    }

    /// Tokenises and joins a corpus.
    ///
    /// `eot` and `bos` are the model's end-of-text and begin-of-text ids, where it has them, and `vocabulary` its number
    /// of token embeddings. With [`Join::Eot`] documents are tokenised one by one and `eot` is put between them, neither
    /// before the first nor after the last; with [`Join::Apart`] they are tokenised one by one with nothing between, and
    /// each begins as `options` say; otherwise the texts are joined and tokenised as one. A corpus of token ids takes no
    /// part of the tokenizer, [`Bos::Auto`] included. A begin-of-text token is never put before another.
    ///
    /// # Errors
    /// [`Error::Input`] where the corpus is text and there is no tokenizer, where `eot` or `bos` is needed and missing,
    /// where the options do not apply to token ids, where an id does not fit `vocabulary`, and where fewer than two
    /// tokens come out.
    pub fn build(
        corpus: &Corpus,
        tokenizer: Option<&Tokenizer>,
        eot: Option<u32>,
        bos: Option<u32>,
        vocabulary: usize,
        options: &StreamOptions,
    ) -> Result<Self> {
        let mut stream = Self {
            ids: Vec::new(),
            document: Vec::new(),
            byte: Vec::new(),
            bytes: 0,
            words: 0,
            documents: corpus.documents.len(),
            corpus_hash: corpus.hash.clone(),
        };
        let of_ids = corpus.documents.iter().any(|document| document.text().is_none());
        let own_bos = match of_ids {
            true => None,
            false => tokenizer.and_then(Tokenizer::bos_added),
        };
        let bos = options.bos.token(own_bos, bos)?;
        if of_ids {
            stream.extend_with_ids(corpus, eot, options)?;
        } else {
            let tokenizer = tokenizer.ok_or_else(|| no_tokenizer(corpus))?;
            let texts = corpus.texts()?.into_iter().map(|text| scored_text(text, options.newlines));
            // A document of white space alone may have nothing left.
            let texts: Vec<(u32, Cow<str>)> = (0..).zip(texts).filter(|(_, text)| !text.is_empty()).collect();
            stream.words = texts.iter().map(|(_, text)| words(text)).sum();
            match options.join.text() {
                None => stream.extend_one_by_one(&texts, tokenizer, eot, options.join)?,
                Some(between) => stream.extend_joined(&texts, tokenizer, between)?,
            }
        }
        if let Some(bos) = bos {
            stream.begin_with(bos, options.join);
        }
        stream.check(corpus, tokenizer, vocabulary)?;
        Ok(stream)
    }

    fn push(&mut self, id: u32, document: u32, byte: u64) {
        self.ids.push(id);
        self.document.push(document);
        self.byte.push(byte);
    }

    /// Puts `bos` before the first token or, of documents that stand apart, before the first of each.
    fn begin_with(&mut self, bos: u32, join: Join) {
        let [ids, document] = [&mut self.ids, &mut self.document].map(std::mem::take);
        let byte = std::mem::take(&mut self.byte);
        let mut previous = None;
        for ((id, of), byte) in ids.into_iter().zip(document).zip(byte) {
            let begins = previous.is_none_or(|previous| join == Join::Apart && previous != of);
            if begins && id != bos {
                self.push(bos, of, 0);
            }
            self.push(id, of, byte);
            previous = Some(of);
        }
    }

    fn extend_one_by_one(
        &mut self,
        texts: &[(u32, Cow<str>)],
        tokenizer: &Tokenizer,
        eot: Option<u32>,
        join: Join,
    ) -> Result<()> {
        let parts: Vec<&str> = texts.iter().map(|(_, text)| text.as_ref()).collect();
        let mut end_of_previous = None;
        for ((document, text), encoded) in texts.iter().zip(tokenizer.encode(&parts)?) {
            if let Some((document, byte)) = end_of_previous.filter(|_| join == Join::Eot) {
                self.push(eot.ok_or_else(no_eot)?, document, byte);
            }
            for (id, start) in encoded.ids.into_iter().zip(encoded.starts) {
                self.push(id, *document, start);
            }
            end_of_previous = Some((*document, text.len() as u64));
            self.bytes += text.len() as u64;
        }
        Ok(())
    }

    fn extend_joined(&mut self, texts: &[(u32, Cow<str>)], tokenizer: &Tokenizer, between: &str) -> Result<()> {
        let mut joined = String::new();
        let mut firsts = Vec::with_capacity(texts.len()); // where each document begins in `joined`
        for (document, text) in texts {
            if !firsts.is_empty() {
                joined.push_str(between);
            }
            firsts.push((joined.len() as u64, *document));
            joined.push_str(text);
        }
        self.bytes = joined.len() as u64;
        for encoded in tokenizer.encode(&[&joined])? {
            for (id, start) in encoded.ids.into_iter().zip(encoded.starts) {
                // The last document that begins at or before the token; the first begins at 0.
                let after = firsts.partition_point(|&(first, _)| first <= start);
                let (first, document) = firsts.get(after.saturating_sub(1)).copied().unwrap_or_default();
                self.push(id, document, start - first);
            }
        }
        Ok(())
    }

    fn extend_with_ids(&mut self, corpus: &Corpus, eot: Option<u32>, options: &StreamOptions) -> Result<()> {
        let cure = "leave the option out, or give a corpus of texts";
        if options.newlines == Newlines::Strip {
            return Err(Error::input(
                corpus,
                "holds token ids, whose line breaks --newlines strip cannot remove",
                cure,
            ));
        }
        if matches!(options.join, Join::Newline | Join::BlankLine) {
            return Err(Error::input(corpus, "holds token ids, which only --join eot and --join none can join", cure));
        }
        for (index, document) in (0..).zip(&corpus.documents) {
            if index > 0 && options.join == Join::Eot {
                self.push(eot.ok_or_else(no_eot)?, index - 1, 0);
            }
            if let Content::Ids(ids) = &document.content {
                ids.iter().for_each(|&id| self.push(id, index, 0));
            }
        }
        Ok(())
    }

    fn check(&self, corpus: &Corpus, tokenizer: Option<&Tokenizer>, vocabulary: usize) -> Result<()> {
        if let Some(&id) = self.ids.iter().find(|&&id| id as usize >= vocabulary) {
            let token = tokenizer.map(|tokenizer| tokenizer.token_text(id)).filter(|token| !token.is_empty());
            let token = token.map(|token| format!(" ({token:?})")).unwrap_or_default();
            return Err(Error::input(
                corpus,
                format!(
                    "token {id}{token} does not fit the model's vocabulary of {vocabulary}: tokenizer of another model?"
                ),
                "use the tokenizer.json, or the ids, that belong to this model",
            ));
        }
        match self.ids.len() {
            0 | 1 => {
                let fault = format!("gives {} token(s), expected at least two", self.ids.len());
                Err(Error::input(corpus, fault, "use a longer text"))
            }
            _ => Ok(()),
        }
    }
}

fn no_tokenizer(corpus: &Corpus) -> Error {
    Error::input(
        corpus,
        "holds texts, and the model has no tokenizer",
        "put tokenizer.json into the model folder, or give the corpus as token ids (.jsonl with `ids`)",
    )
}

fn no_eot() -> Error {
    Error::input(
        "--join eot",
        "the model names no end-of-text token to put between documents",
        "use --join newline, --join blank-line or --join none",
    )
}

/// White space as Python's `str.isspace` and `re` have it, which the references count and strip by: Unicode's, and the
/// four information separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn scored_text(text: &str, newlines: Newlines) -> Cow<'_, str> {
    match newlines {
        Newlines::Keep => Cow::Borrowed(text),
        Newlines::Strip => Cow::Owned(text.split('\n').map(|line| line.trim_matches(is_space)).collect()),
    }
}

/// Runs of white space plus one.
fn words(text: &str) -> u64 {
    let mut in_space = false;
    let mut runs = 0;
    for c in text.chars() {
        let space = is_space(c);
        runs += u64::from(space && !in_space);
        in_space = space;
    }
    runs + 1
}
