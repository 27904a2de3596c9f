//! Token counts of a corpus and of parts of it: unigrams, line breaks, and samples of its n-grams.

use std::collections::HashMap;

use crate::spool::Spool;
use crate::text::TokenStream;

use super::lexical::Unigrams;

/// The number of parts that the documents of a corpus are assigned to in turn. Resampling this many parts is as good as
/// resampling documents, and the counts stay small for any length of the corpus.
pub const PARTS: usize = 200;
/// Entries of a sample of n-grams, 16 bytes each.
const SAMPLED: usize = 1 << 19;

/// Tokens and the documents they belong to.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// Token ids, `[n]`.
    pub ids: &'a [u32],
    /// The document of each token, `[n]`; empty where that is not known, and every chunk counts as one.
    documents: &'a [u32],
}

impl<'a> Tokens<'a> {
    /// Tokens whose documents are known, `[n]` each.
    pub fn new(ids: &'a [u32], documents: &'a [u32]) -> Self {
        let known = ids.len() == documents.len();
        Self { ids, documents: if known { documents } else { &[] } }
    }

    /// The document of a token; chunks of `chunk` tokens stand in where documents are not known.
    pub fn document(&self, at: usize, chunk: usize) -> u32 {
        self.documents.get(at).copied().unwrap_or((at / chunk.max(1)) as u32)
    }
}

impl<'a> From<&'a TokenStream> for Tokens<'a> {
    fn from(stream: &'a TokenStream) -> Self {
        Self::new(&stream.ids, &stream.document)
    }
}

impl<'a> From<&'a [u32]> for Tokens<'a> {
    fn from(ids: &'a [u32]) -> Self {
        Self::new(ids, &[])
    }
}

impl<'a> From<&'a Spool<u32>> for Tokens<'a> {
    fn from(ids: &'a Spool<u32>) -> Self {
        Self::new(ids, &[])
    }
}

/// The counts of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// All of it.
    pub unigrams: Unigrams,
    /// Tokens that hold a line break.
    pub newlines: u64,
    /// Sequences of two and of three tokens.
    pub ngrams: [NGrams; 2],
    /// The same unigrams and line breaks by part; empty if only the totals are needed.
    pub parts: Vec<Part>,
}

/// A part of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Its token counts.
    pub unigrams: Unigrams,
    /// Tokens that hold a line break.
    pub newlines: u64,
}

impl Counts {
    /// Counts tokens one by one: a corpus may be longer than memory. Sequences end with their document.
    pub fn of(tokens: Tokens<'_>, chunk: usize, is_newline: impl Fn(u32) -> bool) -> Self {
        let mut parts: Vec<(HashMap<u32, u64>, u64)> = Vec::new();
        let mut ngrams = [NGramCounter::new(2), NGramCounter::new(3)];
        let (mut part, mut previous, mut documents) = (0, None, 0);
        for (at, &id) in tokens.ids.iter().enumerate() {
            let document = tokens.document(at, chunk);
            if previous != Some(document) {
                previous = Some(document);
                part = documents % PARTS;
                documents += 1;
                if parts.len() <= part {
                    parts.push(Default::default());
                }
                ngrams.iter_mut().for_each(NGramCounter::begin);
            }
            *parts[part].0.entry(id).or_default() += 1;
            parts[part].1 += u64::from(is_newline(id));
            ngrams.iter_mut().for_each(|ngrams| ngrams.take(id, part));
        }
        let parts: Vec<Part> = parts
            .into_iter()
            .map(|(counts, newlines)| Part { unigrams: counts.into_iter().collect(), newlines })
            .collect();
        Self {
            unigrams: parts.iter().flat_map(|part| part.unigrams.iter()).collect(),
            newlines: parts.iter().map(|part| part.newlines).sum(),
            ngrams: ngrams.map(NGramCounter::finish),
            parts,
        }
    }

    /// Share of the tokens that hold a line break.
    pub fn newline_rate(&self) -> f64 {
        self.newlines as f64 / self.unigrams.total().max(1) as f64
    }

    /// The corpus in two: the parts that `taken` names, and the rest.
    pub fn divided(&self, taken: &[bool]) -> [Self; 2] {
        [true, false].map(|side| {
            let of_side = |part: usize| taken.get(part).copied().unwrap_or(false) == side;
            let parts: Vec<Part> =
                self.parts.iter().enumerate().filter(|(i, _)| of_side(*i)).map(|(_, part)| part.clone()).collect();
            Self {
                unigrams: parts.iter().flat_map(|part| part.unigrams.iter()).collect(),
                newlines: parts.iter().map(|part| part.newlines).sum(),
                ngrams: self.ngrams.each_ref().map(|ngrams| ngrams.of_parts(of_side)),
                parts,
            }
        })
    }
}

/// The n-grams of a corpus; of a long corpus a sample, namely those whose hash ends in `level` zero bits. Samples of
/// two corpora at the higher of their levels hold the same n-grams, so that shares taken of them are unbiased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NGrams {
    /// Zero bits that hashes end in; 0: all n-grams are here.
    pub level: u32,
    /// Hash, part of the corpus, and occurrences there, in order.
    pub entries: Vec<(u64, u16, u32)>,
}

impl NGrams {
    fn of_parts(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let entries = self.entries.iter().filter(|(_, part, _)| wanted(usize::from(*part))).copied().collect();
        Self { level: self.level, entries }
    }

    /// The hashes of the different n-grams, in order.
    pub fn hashes(&self) -> impl Iterator<Item = u64> {
        let mut previous = None;
        self.entries.iter().map(|(hash, ..)| *hash).filter(move |hash| previous.replace(*hash) != Some(*hash))
    }

    fn contains(&self, hash: u64) -> bool {
        let at = self.entries.partition_point(|(other, ..)| *other < hash);
        self.entries.get(at).is_some_and(|(other, ..)| *other == hash)
    }

    /// Of this corpus's n-grams by part: how many there are and how many of them `reference` has too, `[parts]`; and
    /// the same for different n-grams in all of it.
    pub fn seen_in(&self, reference: &Self, parts: usize) -> Seen {
        let level = self.level.max(reference.level);
        let mut seen = Seen { counts: vec![0.0; parts], hits: vec![0.0; parts], types: 0, types_hit: 0 };
        let mut previous = None;
        for &(hash, part, count) in self.entries.iter().filter(|(hash, ..)| hash.trailing_zeros() >= level) {
            let hit = reference.contains(hash);
            let part = usize::from(part).min(parts.saturating_sub(1));
            if let (Some(counts), Some(hits)) = (seen.counts.get_mut(part), seen.hits.get_mut(part)) {
                *counts += f64::from(count);
                *hits += f64::from(count) * f64::from(u8::from(hit));
            }
            if previous != Some(hash) {
                previous = Some(hash);
                seen.types += 1;
                seen.types_hit += usize::from(hit);
            }
        }
        seen
    }
}

/// N-grams of a corpus that another has too.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Occurrences of n-grams, `[parts]`.
    pub counts: Vec<f64>,
    /// Those of n-grams that the other corpus has too, `[parts]`.
    pub hits: Vec<f64>,
    /// Different n-grams.
    pub types: usize,
    /// Those that the other corpus has too.
    pub types_hit: usize,
}

impl Seen {
    /// Share of the occurrences; `None` where there are none.
    pub fn share(&self) -> Option<f64> {
        let counts: f64 = self.counts.iter().sum();
        (counts > 0.0).then(|| self.hits.iter().sum::<f64>() / counts)
    }

    /// Share of the different n-grams; `None` where there are none.
    pub fn share_of_types(&self) -> Option<f64> {
        (self.types > 0).then(|| self.types_hit as f64 / self.types as f64)
    }
}

struct NGramCounter {
    order: usize,
    latest: [u32; 3],
    held: usize,
    level: u32,
    counts: HashMap<(u64, u16), u32>,
}

impl NGramCounter {
    fn new(order: usize) -> Self {
        Self { order, latest: [0; 3], held: 0, level: 0, counts: HashMap::new() }
    }

    /// A new document begins.
    fn begin(&mut self) {
        self.held = 0;
    }

    fn take(&mut self, id: u32, part: usize) {
        self.latest.rotate_left(1);
        self.latest[2] = id;
        self.held += 1;
        if self.held < self.order {
            return;
        }
        let hash = self.latest[3 - self.order..].iter().fold(self.order as u64, |hash, &id| mix(hash, id));
        if hash.trailing_zeros() < self.level {
            return;
        }
        let count = self.counts.entry((hash, part as u16)).or_default();
        *count = count.saturating_add(1);
        while self.counts.len() > SAMPLED {
            self.level += 1;
            self.counts.retain(|(hash, _), _| hash.trailing_zeros() >= self.level);
        }
    }

    fn finish(self) -> NGrams {
        let mut entries: Vec<(u64, u16, u32)> =
            self.counts.into_iter().map(|((hash, part), count)| (hash, part, count)).collect();
        entries.sort_unstable();
        NGrams { level: self.level, entries }
    }
}

/// One more id into a hash: SplitMix64's finaliser. Steele et al., OOPSLA 2014.
fn mix(hash: u64, id: u32) -> u64 {
    let mut z = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(id) + 1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
