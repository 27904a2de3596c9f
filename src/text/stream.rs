//! A corpus as one stream of token ids, each with the document and byte it comes from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::document::Document;
use super::letters::Letters;
use super::missing::Census;
use super::reading::{Counted, Reading};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::progress::{MaybeLong, Watched};
use crate::spool::{Spool, SpoolWriter};

/// Bytes of text tokenised as a whole; a longer text is tokenised in pieces of this length. Each thread holds one, which
/// takes some 100 bytes for each byte of it.
const PIECE: usize = 1 << 16;
/// Bytes of short documents tokenised together.
const BATCH: usize = 1 << 22;

/// The join between documents when they become one stream.
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
    /// The text put between documents; `None` if they are tokenised one by one.
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
    /// The token to begin with: `own` is the one that the tokenizer adds to a text, `bos` the one in the configuration
    /// of the model.
    ///
    /// # Errors
    /// [`Error::Input`] if one is required and there is none.
    pub(crate) fn token(self, own: Option<u32>, bos: Option<u32>) -> Result<Option<u32>> {
        match self {
            Self::Auto => Ok(own),
            Self::Never => Ok(None),
            Self::Always => bos.or(own).map(Some).ok_or_else(|| {
                Error::setting(
                    "bos",
                    "always",
                    "the model has no begin-of-text token",
                    Message::new("use ").set("bos", "auto").then(" or ").set("bos", "never"),
                )
            }),
        }
    }
}

/// How a corpus becomes a stream. Two results can be compared only if these agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// What is put between documents.
    #[arg(long, value_enum, default_value_t)]
    pub join: Join,
    /// What is done with line breaks inside documents.
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
    pub ids: Spool<u32>,
    /// Index in the corpus of the document each token belongs to, `[n]`. A token between documents belongs to the
    /// document before it, a begin-of-text token to the document it begins.
    pub document: Spool<u32>,
    /// Byte offset of each token in its document, after [`Newlines`] was applied, `[n]`. A token between documents has
    /// the length of the document before it as offset. All 0 for a corpus of token ids.
    pub byte: Spool<u32>,
    /// UTF-8 bytes of the texts, including the text between them. 0 (unknown) for token ids.
    pub bytes: u64,
    /// Words of the documents as lm-evaluation-harness counts them, `len(re.split(r"\s+", document))` in Python: runs
    /// of white space plus one, so white space at an end counts as an empty word. 0 (unknown) for token ids.
    pub words: u64,
    /// Characters of the documents, and how many of them belong to scripts that put no space between words.
    pub letters: Letters,
    /// Documents in the corpus.
    pub documents: usize,
    /// [`Corpus::hash`].
    pub corpus_hash: String,
    /// What was read of the corpus, and what has no token.
    pub reading: Reading,
}

impl TokenStream {
    /// Keeps the first `tokens` tokens; bytes and words are then unknown (0).
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
    /// `eot` and `bos` are the model's end-of-text and begin-of-text ids, where it has them, and `vocabulary` its
    /// number of token embeddings. With [`Join::Eot`] documents are tokenised one by one and `eot` is put between them,
    /// neither before the first nor after the last; with [`Join::Apart`] they are tokenised one by one with nothing
    /// between, and each begins as `options` say; otherwise the texts are joined and tokenised as one. A corpus of
    /// token ids does not use the tokenizer at all, also not for [`Bos::Auto`]. A begin-of-text token is never put
    /// before another.
    ///
    /// # Errors
    /// [`Error::Input`] where the corpus is text and there is no tokenizer, where `eot` or `bos` is needed and missing,
    /// where the options do not apply to token ids, where an id does not fit `vocabulary`, and where fewer than two
    /// tokens come out; no room for a long stream on the disk; an interruption.
    pub fn build<'a>(
        corpus: &Corpus,
        tokenizer: Option<&Tokenizer>,
        eot: Option<u32>,
        bos: Option<u32>,
        vocabulary: usize,
        options: impl Into<Watched<'a, &'a StreamOptions>>,
    ) -> Result<Self> {
        let mut watched = options.into();
        let options = watched.request;
        let of_texts = corpus.documents.are_texts();
        let own_bos = tokenizer.filter(|_| of_texts).and_then(Tokenizer::bos_added);
        let bos = options.bos.token(own_bos, bos)?;
        let progress = MaybeLong::new(&mut watched, format!("tokenising {corpus}"), corpus.documents.bytes());
        let builder = Builder {
            ids: SpoolWriter::default(),
            document: SpoolWriter::default(),
            byte: SpoolWriter::default(),
            bytes: 0,
            words: 0,
            letters: Letters::default(),
            bos,
            every_document_begins: options.join == Join::Apart,
            previous: None,
            corpus,
            tokenizer,
            census: Census::new(),
            unknown: Counted::default(),
            vocabulary,
            progress,
        };
        builder.build(eot, options)
    }
}

/// A stream that is being made.
struct Builder<'a> {
    ids: SpoolWriter<u32>,
    document: SpoolWriter<u32>,
    byte: SpoolWriter<u32>,
    bytes: u64,
    words: u64,
    letters: Letters,
    /// The first token of the stream, or of every document if documents are apart.
    bos: Option<u32>,
    every_document_begins: bool,
    /// The document of the token before.
    previous: Option<u32>,
    corpus: &'a Corpus,
    tokenizer: Option<&'a Tokenizer>,
    /// The characters of the texts.
    census: Census,
    /// The unknown tokens.
    unknown: Counted,
    vocabulary: usize,
    progress: MaybeLong<'a>,
}

impl<'a> Builder<'a> {
    fn build(mut self, eot: Option<u32>, options: &StreamOptions) -> Result<TokenStream> {
        let corpus = self.corpus;
        match (corpus.documents.are_texts(), options.join.text()) {
            (false, _) => self.take_ids(eot, options)?,
            (true, None) => self.take_one_by_one(eot, options)?,
            (true, Some(between)) => self.take_joined(between, options.newlines)?,
        }
        if self.ids.len() < 2 {
            let fault = format!("gives {} token(s), expected at least two", self.ids.len());
            return Err(Error::input(corpus, fault, "use a longer text"));
        }
        let reading = self.reading();
        corpus.note(&reading, self.progress.monitor());
        Ok(TokenStream {
            ids: self.ids.finish()?,
            document: self.document.finish()?,
            byte: self.byte.finish()?,
            bytes: self.bytes,
            words: self.words,
            letters: self.letters,
            documents: corpus.documents.len(),
            corpus_hash: corpus.hash.clone(),
            reading,
        })
    }

    /// What was read. Text that has no token, or only the unknown one, is warned of: numbers are those of another text.
    fn reading(&mut self) -> Reading {
        let corpus = self.corpus;
        let mut reading = Reading { tokens: Some(self.ids.len() as u64), ..corpus.reading.clone() };
        let Some(tokenizer) = self.tokenizer.filter(|_| corpus.documents.are_texts()) else { return reading };
        reading.dropped = self.census.dropped_by(tokenizer);
        reading.unknown = std::mem::take(&mut self.unknown);
        let path = tokenizer.path().display();
        if !reading.dropped.is_none() {
            let Counted { count, .. } = reading.dropped;
            tracing::warn!(
                "{corpus}: the tokenizer has no token for {count} of its characters and drops them: {}; perplexity and bits \
                 per byte are those of the text without them ({path})",
                reading.dropped
            );
        }
        if !reading.unknown.is_none() {
            let Counted { count, .. } = reading.unknown;
            tracing::warn!(
                "{corpus}: {count} of its tokens are the unknown token, which stands for what the vocabulary lacks: {} \
                 ({path})",
                reading.unknown
            );
        }
        reading
    }

    fn push(&mut self, id: u32, document: u32, byte: u64) -> Result<()> {
        let begins = self.previous.is_none_or(|previous| self.every_document_begins && previous != document);
        self.previous = Some(document);
        if let Some(bos) = self.bos.filter(|&bos| begins && bos != id) {
            self.push_as_it_is(bos, document, 0)?;
        }
        self.push_as_it_is(id, document, byte)
    }

    fn push_as_it_is(&mut self, id: u32, document: u32, byte: u64) -> Result<()> {
        if id as usize >= self.vocabulary {
            return Err(self.unknown(id));
        }
        let byte = u32::try_from(byte).map_err(|_| {
            Error::input(self.corpus, "holds a document of more than 4 GiB", "divide it into documents")
        })?;
        self.ids.push(id)?;
        self.document.push(document)?;
        self.byte.push(byte)
    }

    fn unknown(&self, id: u32) -> Error {
        let vocabulary = self.vocabulary;
        let token = self.tokenizer.map(|tokenizer| tokenizer.token_text(id)).filter(|token| !token.is_empty());
        let token = token.map(|token| format!(" ({token:?})")).unwrap_or_default();
        Error::input(
            self.corpus,
            format!(
                "token {id}{token} does not fit the model's vocabulary of {vocabulary}: tokenizer of another model?"
            ),
            "use the tokenizer.json, or the ids, that belong to this model",
        )
    }

    /// Takes tokens of a text; `place` gives the document of the byte one begins at, and where in the document that is.
    fn take(
        &mut self,
        text: &str,
        ids: &[u32],
        starts: &[u64],
        mut place: impl FnMut(u64) -> (u32, u64),
    ) -> Result<()> {
        let unknown = self.tokenizer.and_then(Tokenizer::unknown);
        ids.iter().zip(starts).enumerate().try_for_each(|(index, (&id, &start))| {
            if unknown == Some(id) {
                self.unknown.add(1, || piece_of(text, start, starts.get(index + 1).copied()));
            }
            let (document, byte) = place(start);
            self.push(id, document, byte)
        })
    }

    /// Takes the tokens of a text of any length.
    fn take_long(&mut self, text: &str, tokenizer: &Tokenizer, mut place: impl FnMut(u64) -> (u32, u64)) -> Result<()> {
        let mut done = 0;
        self.census.take(text);
        tokenizer.encode_in_pieces(text, PIECE, |ids, starts| {
            self.take(text, ids, starts, &mut place)?;
            let more = starts.last().map_or(0, |&start| start.saturating_sub(done));
            done += more;
            self.progress.advance(more)
        })
    }

    fn tokenizer(&self) -> Result<&'a Tokenizer> {
        self.tokenizer.ok_or_else(|| no_tokenizer(self.corpus))
    }

    fn take_one_by_one(&mut self, eot: Option<u32>, options: &StreamOptions) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let between = (options.join == Join::Eot).then_some(eot);
        let mut end_of_previous = None;
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut texts = scored_texts(self.corpus, options.newlines)?.peekable();
        while let Some((document, text)) = texts.next() {
            self.words += words(&text);
            self.letters.add(&text);
            bytes += text.len();
            batch.push((document, text));
            if bytes < BATCH && texts.peek().is_some() {
                continue;
            }
            let is_short = |text: &str| text.len() <= PIECE;
            let short: Vec<&str> = batch.iter().map(|(_, text)| &**text).filter(|text| is_short(text)).collect();
            let mut encoded = tokenizer.encode(&short)?.into_iter();
            for (document, text) in &batch {
                if let (Some(eot), Some((document, byte))) = (between, end_of_previous) {
                    self.push(eot.ok_or_else(no_eot)?, document, byte)?;
                }
                match is_short(text).then(|| encoded.next()).flatten() {
                    Some(encoded) => {
                        self.census.take(text);
                        self.take(text, &encoded.ids, &encoded.starts, |start| (*document, start))?;
                    }
                    None => self.take_long(text, tokenizer, |start| (*document, start))?,
                }
                end_of_previous = Some((*document, text.len() as u64));
                self.bytes += text.len() as u64;
            }
            self.progress.advance(short.iter().map(|text| text.len() as u64).sum())?;
            batch.clear();
            bytes = 0;
        }
        Ok(())
    }

    fn take_joined(&mut self, between: &str, newlines: Newlines) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let mut joined = SpoolWriter::default();
        // Where each document begins in `joined`, and which it is.
        let (mut firsts, mut documents) = (SpoolWriter::default(), SpoolWriter::default());
        for (document, text) in scored_texts(self.corpus, newlines)? {
            self.words += words(&text);
            self.letters.add(&text);
            if !firsts.is_empty() {
                joined.extend_from_slice(between.as_bytes())?;
            }
            firsts.push(joined.len() as u64)?;
            documents.push(document)?;
            joined.extend_from_slice(text.as_bytes())?;
            self.progress.advance(0)?;
        }
        let (joined, firsts, documents) = (joined.finish()?, firsts.finish()?, documents.finish()?);
        self.bytes = joined.len() as u64;
        let joined = str::from_utf8(&joined).expect("whole texts were put there and nothing else");
        let mut index = 0;
        self.take_long(joined, tokenizer, |start| {
            // The last document that begins at or before the token; the first begins at 0.
            while firsts.get(index + 1).is_some_and(|&first| first <= start) {
                index += 1;
            }
            while firsts[index] > start {
                index -= 1;
            }
            (documents[index], start - firsts[index])
        })
    }

    fn take_ids(&mut self, eot: Option<u32>, options: &StreamOptions) -> Result<()> {
        let corpus = self.corpus;
        let cure = "leave that setting out, or give a corpus of texts";
        if options.newlines == Newlines::Strip {
            return Err(Error::input(
                corpus,
                Message::new("holds token ids, whose line breaks ").set("newlines", "strip").then(" cannot remove"),
                cure,
            ));
        }
        if matches!(options.join, Join::Newline | Join::BlankLine) {
            let fault =
                Message::new("holds token ids, which only ").set("join", "eot").then(" and ").set("join", "none");
            return Err(Error::input(corpus, fault.then(" can join"), cure));
        }
        for (index, document) in (0..).zip(corpus.documents.iter()) {
            if index > 0 && options.join == Join::Eot {
                self.push(eot.ok_or_else(no_eot)?, index - 1, 0)?;
            }
            if let Document::Ids(ids) = document {
                ids.iter().try_for_each(|&id| self.push(id, index, 0))?;
                self.progress.advance(size_of_val(ids) as u64)?;
            }
        }
        Ok(())
    }
}

/// The text of a token that begins here, for messages.
fn piece_of(text: &str, start: u64, end: Option<u64>) -> String {
    const SHOWN: usize = 24;
    let start = text.floor_char_boundary(start as usize);
    let end = end.map_or(text.len(), |end| end as usize).clamp(start, start + SHOWN);
    format!("{:?}", &text[start..text.ceil_char_boundary(end.min(text.len()))])
}

fn no_tokenizer(corpus: &Corpus) -> Error {
    Error::input(
        corpus,
        "holds texts, and the model has no tokenizer",
        "put tokenizer.json into the model folder, or give the corpus as token ids (.jsonl with `ids`)",
    )
}

fn no_eot() -> Error {
    Error::setting(
        "join",
        "eot",
        "the model names no end-of-text token to put between documents",
        Message::new("use ")
            .set("join", "newline")
            .then(", ")
            .set("join", "blank-line")
            .then(" or ")
            .set("join", "none"),
    )
}

/// White space as Python's `str.isspace` and `re` have it, as the reference programs count and strip: Unicode's, and
/// the four information separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Documents as they are scored, with their index. A document of white space alone may become empty and is then left
/// out.
fn scored_texts(corpus: &Corpus, newlines: Newlines) -> Result<impl Iterator<Item = (u32, Cow<'_, str>)>> {
    let texts = (0..).zip(corpus.texts()?.map(move |text| scored_text(text, newlines)));
    Ok(texts.filter(|(_, text)| !text.is_empty()))
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
