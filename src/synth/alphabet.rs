//! The symbols of artificial data sets and their frequencies, from a law or counted in a corpus.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::{Error, Result};
use crate::progress::{MaybeLong, Watched};
use crate::text::{Document as Text, ReadOptions, Split, open_corpus};

/// Most symbols: those of the paper's data sets are 29,995.
pub const MAX_SYMBOLS: usize = 100_000;

/// Symbols 0, 1, … by falling frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct Alphabet {
    /// Chance of each, `[symbols]`.
    chances: Vec<f64>,
    /// If they were counted: the successors of each symbol and their probabilities, `[symbols][…]`.
    pairs: Option<Vec<Vec<(usize, f64)>>>,
}

impl Alphabet {
    /// Symbols with these probabilities, scaled to the sum 1.
    ///
    /// # Errors
    /// [`Error::Input`] with fewer than 2 symbols, more than [`MAX_SYMBOLS`], or a chance that is not positive.
    pub fn new(mut chances: Vec<f64>) -> Result<Self> {
        check_size(chances.len())?;
        let total: f64 = chances.iter().sum();
        if !total.is_finite() || chances.iter().any(|p| *p <= 0.0) {
            return Err(Error::input("alphabet", "a chance that is no positive number", "give every symbol one"));
        }
        chances.iter_mut().for_each(|p| *p /= total);
        Ok(Self { chances, pairs: None })
    }

    /// Symbols with frequencies by Zipf's law: the r-th in proportion to 1/r.
    ///
    /// # Errors
    /// As [`Alphabet::new`].
    pub fn zipf(symbols: usize) -> Result<Self> {
        check_size(symbols)?;
        Self::new((1..=symbols).map(|rank| 1.0 / rank as f64).collect())
    }

    /// The `symbols` most frequent words of a corpus (separated by white space; for a corpus of token ids, the ids),
    /// with their frequencies and those of their pairs. Other words are ignored.
    ///
    /// Of equally frequent ones the first in order stands first. The corpus counts as a ring, its first word after its
    /// last, so that the chances of symbols are also the pairs' stationary ones.
    ///
    /// # Errors
    /// [`Error::Input`] where the corpus has too few words; as [`open_corpus`]; an interruption.
    pub fn count<'m>(path: &Path, symbols: usize, options: impl Into<Watched<'m, ReadOptions>>) -> Result<Self> {
        check_size(symbols)?;
        let mut options = options.into();
        let request = options.request.clone();
        let corpus = open_corpus(path, Split::Train, Watched::by(request, &mut options))?;
        let documents = corpus.documents.iter();
        let mut progress = MaybeLong::new(&mut options, format!("counting {corpus}"), 2 * documents.len() as u64);
        corpus.note(&corpus.reading, progress.monitor());

        let mut words: HashMap<&str, u64> = HashMap::new();
        let mut ids: HashMap<u32, u64> = HashMap::new();
        for document in documents.clone() {
            match document {
                Text::Text(text) => text.split_whitespace().for_each(|word| *words.entry(word).or_default() += 1),
                Text::Ids(these) => these.iter().for_each(|id| *ids.entry(*id).or_default() += 1),
            }
            progress.advance(1)?;
        }
        let (words, ids) = (most_frequent(words, symbols), most_frequent(ids, symbols));
        let word_of: HashMap<&str, usize> = words.iter().zip(0..).map(|((word, _), symbol)| (*word, symbol)).collect();
        let id_of: HashMap<u32, usize> = ids.iter().zip(0..).map(|((id, _), symbol)| (*id, symbol)).collect();
        let counts: Vec<u64> = words.iter().map(|(_, n)| *n).chain(ids.iter().map(|(_, n)| *n)).collect();
        if counts.len() < 2 {
            let fault = format!("has {} different words, expected at least 2", counts.len());
            return Err(Error::file(path, fault, "give a longer text"));
        }

        let mut pairs: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let (mut first, mut last) = (None, None);
        let mut read = |symbol: Option<&usize>| {
            if let Some(&symbol) = symbol {
                first.get_or_insert(symbol);
                if let Some(before) = last.replace(symbol) {
                    *pairs.entry((before, symbol)).or_default() += 1;
                }
            }
        };
        for document in documents {
            match document {
                Text::Text(text) => text.split_whitespace().for_each(|word| read(word_of.get(word))),
                Text::Ids(these) => these.iter().for_each(|id| read(id_of.get(id))),
            }
            progress.advance(1)?;
        }
        if let (Some(first), Some(last)) = (first, last) {
            *pairs.entry((last, first)).or_default() += 1;
        }
        let mut rows = vec![Vec::new(); counts.len()];
        for ((before, after), count) in pairs {
            rows[before].push((after, count as f64 / counts[before] as f64));
        }
        let alphabet = Self::new(counts.iter().map(|count| *count as f64).collect())?;
        Ok(Self { pairs: Some(rows), ..alphabet })
    }

    /// Number of symbols.
    pub fn symbols(&self) -> usize {
        self.chances.len()
    }

    /// Chance of each symbol, `[symbols]`.
    pub fn chances(&self) -> &[f64] {
        &self.chances
    }

    /// The successors of each symbol and their probabilities, `[symbols][…]`; `None` where no corpus was counted. The
    /// chances of symbols are stationary under it.
    pub fn pairs(&self) -> Option<&[Vec<(usize, f64)>]> {
        self.pairs.as_deref()
    }

    /// H(p), nats.
    pub fn entropy(&self) -> f64 {
        self.chances.iter().map(|p| -p * p.ln()).sum()
    }
}

fn check_size(symbols: usize) -> Result<()> {
    if (2..=MAX_SYMBOLS).contains(&symbols) {
        return Ok(());
    }
    let fault = format!("of {symbols} symbols, expected 2 to {MAX_SYMBOLS}");
    Err(Error::input("alphabet", fault, "choose a number in that range"))
}

/// The `most` most frequent with their counts, most frequent first; of equally frequent ones the smaller first.
fn most_frequent<T: Ord>(counts: HashMap<T, u64>, most: usize) -> Vec<(T, u64)> {
    let mut counts: Vec<(T, u64)> = counts.into_iter().collect();
    counts.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    counts.truncate(most);
    counts
}
