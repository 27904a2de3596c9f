//! Feature vectors of documents by a [`SentenceEncoder`].
//!
//! sentence-transformers cuts off a text that is longer than its encoder reads. Here a document is encoded in
//! consecutive passages, `u_c` with `n_c` tokens of text each, and its vector is `Σ n_c u_c` divided by its length.
//! Memory is that of the vectors and of a few thousand passages, for any length of the corpus and its documents.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::sentence::{PIECE, SentenceEncoder, to_length_one};
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::similarity::embed::evenly_spaced;
use crate::similarity::{Features, cache};
use crate::text::Corpus;

/// A share of tokens that the encoder's vocabulary lacks above which vectors are doubtful, and one above which they are
/// useless.
const MANY_UNKNOWN: f64 = 0.05;
const TOO_MANY_UNKNOWN: f64 = 0.5;
/// Characters of a token, white space not counted, below which the tokenizer spells a text out in characters instead of
/// words. The texts that an English encoder can read have 2.2 (LaTeX) to 4.5 with all-MiniLM-L6-v2, other scripts 0.5
/// to 1.1.
const SPELLED_OUT: f64 = 1.5;

/// Tokens of the passages that are sorted by length and encoded together: so little padding is needed.
const GROUP: usize = 1 << 18;
/// Bytes of documents that are tokenised at once, side by side; a longer document is tokenised piece by piece.
const TOGETHER: usize = 1 << 18;

/// What one feature vector stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleUnit {
    /// A whole document.
    Document,
    /// A passage: the corpus has one document only.
    Passage,
}

/// The result of encoding a corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// `[samples, channels]`, every vector of length 1; or why there are none.
    pub features: Result<Features, String>,
    /// The document that each sample is (part of), counted from 0 over all documents of the corpus.
    pub document: Vec<usize>,
    /// What a sample is.
    pub unit: SampleUnit,
    /// Tokens of text that were read.
    pub tokens: u64,
    /// How many of them stand for something that the encoder's vocabulary lacks.
    pub unknown: u64,
    /// Reasons to doubt the vectors, in words.
    pub caveats: Vec<String>,
}

impl Embedded {
    /// The features with their cautions.
    fn into_features(self) -> Result<Features, String> {
        let Self { features, document, caveats, .. } = self;
        let documents = document.into_iter().map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect();
        let features = features?.of_documents(documents).map_err(|e| e.to_string())?;
        Ok(features.with_caveats(caveats))
    }
}

impl SentenceEncoder {
    /// The features of a corpus, kept from an earlier run (the second value says so) or embedded and kept. `device` is where
    /// that is.
    ///
    /// # Errors
    /// As [`SentenceEncoder::embed`]; a corpus of token ids.
    pub fn features_kept(
        &self,
        corpus: &Corpus,
        samples: usize,
        device: &Value,
        monitor: &mut dyn Monitor,
    ) -> Result<(Result<Features, String>, bool)> {
        let texts = corpus.texts()?;
        let key = json!({ "corpus": corpus.hash, "encoder": self.hash()?, "samples": samples, "device": device });
        cache::features(&cache::folder(), &key, || Ok(self.embed(texts, samples, monitor)?.into_features()))
    }

    /// Feature vectors of at most `samples` documents, evenly spaced over `texts`, one for each; if there is only one
    /// document, of its whole passages. Documents without a token that the encoder knows have no vector and are left
    /// out.
    ///
    /// # Errors
    /// The device's failure, an interruption, or a text that the tokenizer cannot read. A corpus that the encoder
    /// cannot encode is not an error: its features are missing, with the reason.
    pub fn embed<'t>(
        &self,
        texts: impl ExactSizeIterator<Item = &'t str>,
        samples: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<Embedded> {
        let documents = texts.len();
        let mut wanted = evenly_spaced(documents, samples).into_iter().peekable();
        let chosen: Vec<(usize, &str)> =
            texts.enumerate().filter(|(index, _)| wanted.next_if_eq(index).is_some()).collect();
        monitor.begin("embedding, bytes of text", chosen.iter().map(|(_, text)| text.len() as u64).sum());
        let result = match chosen[..] {
            [(_, only)] if documents == 1 => self.embed_passages(only, samples, monitor),
            _ => self.embed_documents(&chosen, monitor),
        };
        monitor.end();
        result
    }

    fn embed_documents(&self, chosen: &[(usize, &str)], monitor: &mut dyn Monitor) -> Result<Embedded> {
        let mut work = Work::new(self, chosen.len(), monitor);
        let mut from = 0;
        while from < chosen.len() {
            let mut bytes = 0;
            let short = |(_, text): &&(usize, &str)| {
                bytes += text.len();
                bytes <= TOGETHER
            };
            let together = chosen[from..].iter().take_while(short).count();
            let texts: Vec<Cow<'_, str>> =
                chosen[from..].iter().take(together.max(1)).map(|(_, text)| self.prepared(text)).collect();
            if together == 0 {
                work.take_long(from, &texts[0])?;
            } else {
                for (encoded, (slot, text)) in self.tokenizer.encode(&texts)?.iter().zip((from..).zip(&texts)) {
                    let mut rest = Passages::new(slot);
                    rest.push(&encoded.ids, &encoded.starts, &mut work)?;
                    rest.finish(text, &mut work)?;
                }
            }
            from += texts.len();
        }
        let documents: Vec<usize> = chosen.iter().map(|(index, _)| *index).collect();
        work.finish(&documents, SampleUnit::Document)
    }

    fn embed_passages(&self, text: &str, samples: usize, monitor: &mut dyn Monitor) -> Result<Embedded> {
        let ids = self.token_ids(text)?;
        let length = self.passage().min(ids.len()).max(1);
        let chosen = evenly_spaced(ids.len() / length, samples);
        let bytes = text.len() as u64 / chosen.len().max(1) as u64;
        let mut work = Work::new(self, chosen.len(), monitor);
        work.characters = visible(text) * (chosen.len() * length) as u64 / ids.len().max(1) as u64;
        for (slot, index) in chosen.iter().enumerate() {
            work.add(Passage { slot, ids: ids[index * length..][..length].to_vec(), bytes })?;
        }
        work.finish(&vec![0; chosen.len()], SampleUnit::Passage)
    }
}

/// Some tokens of the document, or sample, at `slot`.
struct Passage {
    slot: usize,
    ids: Vec<u32>,
    /// Of its text.
    bytes: u64,
}

/// Cuts the tokens of a document, part by part, into passages.
struct Passages {
    slot: usize,
    ids: Vec<u32>,
    /// Where the text of `ids` begins.
    start: u64,
}

impl Passages {
    fn new(slot: usize) -> Self {
        Self { slot, ids: Vec::new(), start: 0 }
    }

    fn push(&mut self, ids: &[u32], starts: &[u64], work: &mut Work<'_, '_>) -> Result<()> {
        for (&id, &start) in ids.iter().zip(starts) {
            if self.ids.len() == work.encoder.passage() {
                self.cut(start, work)?;
            }
            self.ids.push(id);
        }
        Ok(())
    }

    /// The passage so far ends at `end`.
    fn cut(&mut self, end: u64, work: &mut Work<'_, '_>) -> Result<()> {
        let bytes = end.saturating_sub(std::mem::replace(&mut self.start, end));
        work.add(Passage { slot: self.slot, ids: std::mem::take(&mut self.ids), bytes })
    }

    fn finish(mut self, text: &str, work: &mut Work<'_, '_>) -> Result<()> {
        work.characters += visible(text);
        if self.ids.is_empty() { Ok(()) } else { self.cut(text.len() as u64, work) }
    }
}

/// Encodes passages as they come and sums them up by document.
struct Work<'e, 'm> {
    encoder: &'e SentenceEncoder,
    monitor: &'m mut dyn Monitor,
    /// The token for text outside the vocabulary.
    unknown: Option<u32>,
    waiting: Vec<Passage>,
    /// Tokens that are not encoded yet.
    pending: usize,
    /// `Σ n_c u_c` of each document, `[documents, channels]`.
    sums: Vec<f64>,
    /// Tokens of each, and how many of them the vocabulary lacks.
    counts: Vec<[u64; 2]>,
    /// Of all texts, without white space.
    characters: u64,
}

impl<'e, 'm> Work<'e, 'm> {
    fn new(encoder: &'e SentenceEncoder, documents: usize, monitor: &'m mut dyn Monitor) -> Self {
        let sums = vec![0.0; documents * encoder.dimension()];
        let (waiting, counts) = (Vec::new(), vec![[0; 2]; documents]);
        let unknown = encoder.tokenizer.unknown();
        Self { encoder, monitor, unknown, waiting, pending: 0, sums, counts, characters: 0 }
    }

    /// Takes a document of any length.
    fn take_long(&mut self, slot: usize, text: &str) -> Result<()> {
        let mut passages = Passages::new(slot);
        let tokenizer = &self.encoder.tokenizer;
        tokenizer.encode_in_pieces(text, PIECE, |ids, starts| passages.push(ids, starts, self))?;
        passages.finish(text, self)
    }

    fn add(&mut self, passage: Passage) -> Result<()> {
        let lacking = passage.ids.iter().filter(|&&id| Some(id) == self.unknown).count();
        let [tokens, unknown] = &mut self.counts[passage.slot];
        *tokens += passage.ids.len() as u64;
        *unknown += lacking as u64;
        self.pending += passage.ids.len();
        self.waiting.push(passage);
        if self.pending >= GROUP { self.encode() } else { self.stopped() }
    }

    fn stopped(&self) -> Result<()> {
        match self.monitor.stopped() {
            true => Err(Error::Interrupted("stopped while embedding; the next run starts from the beginning".into())),
            false => Ok(()),
        }
    }

    /// Encodes the waiting passages.
    fn encode(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.pending = 0;
        let ids: Vec<&[u32]> = waiting.iter().map(|passage| passage.ids.as_slice()).collect();
        let channels = self.encoder.dimension();
        self.encoder.encode_each(&ids, |index, vector| {
            let Passage { slot, ids, bytes } = &waiting[index];
            let sum = &mut self.sums[slot * channels..][..channels];
            sum.iter_mut().zip(vector).for_each(|(sum, v)| *sum += ids.len() as f64 * f64::from(*v));
            self.monitor.advance(*bytes, "");
            self.stopped()
        })
    }

    /// The vectors of all documents that have one; `documents` are their numbers in the corpus.
    fn finish(mut self, documents: &[usize], unit: SampleUnit) -> Result<Embedded> {
        self.encode()?;
        let channels = self.encoder.dimension();
        let (mut document, mut values) = (Vec::new(), Vec::new());
        let (mut empty, mut unreadable) = (0, 0);
        for ((number, sum), [tokens, unknown]) in
            documents.iter().zip(self.sums.chunks_exact(channels)).zip(&self.counts)
        {
            if tokens == unknown {
                *(if *tokens == 0 { &mut empty } else { &mut unreadable }) += 1;
                continue;
            }
            let mut vector: Vec<f32> = sum.iter().map(|v| (v / *tokens as f64) as f32).collect();
            to_length_one(&mut vector)
                .map_err(|fault| Error::numeric(format!("the vector of document {number} {fault}")))?;
            document.push(*number);
            values.extend(vector);
        }
        let [tokens, unknown] = self.counts.iter().fold([0, 0], |[tokens, unknown], [t, u]| [tokens + t, unknown + u]);
        let seen = Seen { empty, unreadable, tokens, unknown, characters: self.characters };
        let features = match seen.refusal() {
            Some(reason) => Err(reason),
            None => Features::new(document.len(), channels, values).map_err(|e| e.to_string()),
        };
        let mut caveats = if features.is_ok() { seen.caveats() } else { Vec::new() };
        if unit == SampleUnit::Passage {
            caveats.push(format!(
                "the corpus has one document only: its {} passages of at most {} tokens are the samples, which are not \
                 independent of one another and less alike than whole documents",
                document.len(),
                self.encoder.passage()
            ));
        }
        if !self.encoder.settings.says_pooling {
            caveats.push("the encoder's folder has no modules.json: mean pooling was taken".into());
        }
        if features.is_err() {
            document.clear();
        }
        Ok(Embedded { features, document, unit, tokens, unknown, caveats })
    }
}

/// Counts of documents that an encoder could not encode.
struct Seen {
    /// Documents without a token.
    empty: usize,
    /// Documents with unknown tokens only.
    unreadable: usize,
    tokens: u64,
    unknown: u64,
    characters: u64,
}

impl Seen {
    fn unknown_share(&self) -> f64 {
        self.unknown as f64 / self.tokens.max(1) as f64
    }

    fn refusal(&self) -> Option<String> {
        if self.tokens == 0 {
            return Some("the corpus has no text that makes a token of the encoder".into());
        }
        (self.unknown_share() >= TOO_MANY_UNKNOWN).then(|| {
            format!(
                "the encoder does not know {:.0} % of the tokens: its vocabulary was made for another script or language",
                100.0 * self.unknown_share()
            )
        })
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        let documents = |count: usize| if count == 1 { "1 document".to_owned() } else { format!("{count} documents") };
        if self.empty > 0 {
            caveats.push(format!("{} without text passed over", documents(self.empty)));
        }
        if self.unreadable > 0 {
            caveats.push(format!("{} of which the encoder knows no token passed over", documents(self.unreadable)));
        }
        if self.unknown_share() >= MANY_UNKNOWN {
            let percent = 100.0 * self.unknown_share();
            caveats.push(format!("the encoder does not know {percent:.0} % of the tokens, and reads past them"));
        }
        let length = self.characters as f64 / self.tokens.max(1) as f64;
        if length < SPELLED_OUT {
            caveats.push(format!(
                "a token of the encoder holds {length:.1} characters on average: it spells this text out, as it does \
                 with a script or language it was not trained on, and the vectors may say little about it"
            ));
        }
        caveats
    }
}

/// Characters that are not white space.
fn visible(text: &str) -> u64 {
    text.chars().filter(|c| !c.is_whitespace()).count() as u64
}
