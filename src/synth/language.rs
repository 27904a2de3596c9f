//! A family of related languages: Markov chains over one lexicon, so that every entropy and distance has a closed form.
//!
//! A language is a first-order chain over the words of a lexicon, "." and a line break. Its stationary distribution π
//! gives the entropy rate `−Σ_i π(i) Σ_j P(i,j) ln P(i,j)`, which is the smallest possible loss of a model, and the KL
//! rate to a relative over the same lexicon (Cover and Thomas, Elements of Information Theory, chapter 4).
//!
//! Relatives are mixtures `P_λ = (1 − λ) P_base + λ P_foreign`. Line structure (how often a sentence ends and a line
//! breaks) is the same in the whole family, so λ changes which words follow which and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rand::distr::weighted::WeightedIndex;
use rand::seq::{IndexedRandom, SliceRandom, index};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::tokenizer::word_level;
use super::{Document, Known, Sizes, Splits, derived, one_more, put, refuse_twice, write_splits};
use crate::error::{Error, Result};
use crate::progress::{Monitor, Watched};

/// Words of the family that [`write_family`] makes.
pub const WORDS: usize = 220;

/// Most words of a lexicon: with ".", a line break and two special tokens the vocabulary stays below 256.
pub const MAX_WORDS: usize = 250;

/// Chance that a sentence ends after a word: twelve words a sentence on average.
const SENTENCE_END: f64 = 1.0 / 12.0;
/// Chance that a line breaks after a sentence.
const LINE_BREAK: f64 = 0.25;
/// Likely successors of a word.
const SUCCESSORS: usize = 6;
/// Share of a word's successors drawn from the whole lexicon, which keeps every transition possible and every KL rate
/// finite.
const FLOOR: f64 = 0.15;
/// Shortest documents, in symbols; each then runs to the end of its sentence.
const DOCUMENT: std::ops::RangeInclusive<usize> = 200..=400;

/// Languages over one lexicon, from a base to a foreign one.
#[derive(Debug, Clone)]
pub struct Family {
    lexicon: Arc<[String]>,
    /// Transition probabilities, `[symbols, symbols]` row-major.
    base: Vec<f64>,
    /// The same of an unrelated language over the same words.
    foreign: Vec<f64>,
}

impl Family {
    /// Invents a lexicon of `words` words and the two chains.
    ///
    /// # Errors
    /// [`Error::Input`] with fewer words than a chain needs, or more than [`MAX_WORDS`].
    pub fn new(seed: u64, words: usize) -> Result<Self> {
        if !(SUCCESSORS..=MAX_WORDS).contains(&words) {
            return Err(Error::input(
                "words",
                format!("a lexicon of {words} words, expected {SUCCESSORS} to {MAX_WORDS}"),
                "choose a number in that range",
            ));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lexicon = lexicon(words, &mut rng).into();
        let base = chain(words, &mut rng);
        let foreign = chain(words, &mut rng);
        Ok(Self { lexicon, base, foreign })
    }

    /// The language a share `lambda` of the way from the base (0) to the foreign language (1).
    ///
    /// # Errors
    /// [`Error::Input`] where `lambda` lies outside 0 to 1.
    pub fn language(&self, lambda: f64) -> Result<Language> {
        if !(0.0..=1.0).contains(&lambda) {
            return Err(Error::input(
                "lambda",
                format!("{lambda} found, expected 0 to 1"),
                "choose a share in that range",
            ));
        }
        let lambda = lambda + 0.0; // −0 becomes 0
        let mix = |(base, foreign): (&f64, &f64)| (1.0 - lambda) * base + lambda * foreign;
        Ok(Language::new(self.lexicon.clone(), lambda, self.base.iter().zip(&self.foreign).map(mix).collect()))
    }

    /// The words, in the order of their symbols.
    pub fn lexicon(&self) -> &[String] {
        &self.lexicon
    }

    /// A Hugging Face `tokenizer.json` under which every text of the family is one token per symbol.
    ///
    /// Ids 0 and 1 are `<|endoftext|>` and `<unk>`; then follow the symbols. Decoding gives the text back.
    pub fn tokenizer_json(&self) -> String {
        word_level(self.lexicon.iter().cloned().chain([".".to_owned(), "\n".to_owned()]))
    }
}

/// A first-order Markov chain over words, "." and the line break.
#[derive(Debug, Clone)]
pub struct Language {
    lexicon: Arc<[String]>,
    lambda: f64,
    /// `[symbols, symbols]` row-major; rows sum to 1.
    transitions: Vec<f64>,
    /// `[symbols]`.
    stationary: Vec<f64>,
}

impl Language {
    fn new(lexicon: Arc<[String]>, lambda: f64, transitions: Vec<f64>) -> Self {
        let stationary = stationary(&transitions, lexicon.len() + 2);
        Self { lexicon, lambda, transitions, stationary }
    }

    /// How foreign it is, 0 to 1.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// Number of symbols: the words, ".", and the line break.
    pub fn symbols(&self) -> usize {
        self.lexicon.len() + 2
    }

    /// The symbol ".".
    pub fn full_stop(&self) -> usize {
        self.lexicon.len()
    }

    /// The symbol of a line break.
    pub fn line_break(&self) -> usize {
        self.lexicon.len() + 1
    }

    /// Probabilities of what follows `symbol`, `[symbols]`.
    pub fn row(&self, symbol: usize) -> &[f64] {
        &self.transitions[symbol * self.symbols()..][..self.symbols()]
    }

    /// Long-run share of each symbol, `[symbols]`.
    pub fn stationary(&self) -> &[f64] {
        &self.stationary
    }

    /// Entropy rate, nats per token.
    pub fn entropy_rate(&self) -> f64 {
        self.average_over_rows(|i| -self.row(i).iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>())
    }

    /// The perplexity of the true chain, which no model can beat in the long run: exp of the entropy rate.
    pub fn floor_perplexity(&self) -> f64 {
        self.entropy_rate().exp()
    }

    /// KL rate to `other`, nats per token: what a perfect model of `other` loses on text of this language.
    ///
    /// `None` where `other` has another lexicon. Impossible transitions are the same ones in a whole family.
    pub fn kl_rate(&self, other: &Self) -> Option<f64> {
        let kl = |i: usize| {
            let pairs = self.row(i).iter().zip(other.row(i)).filter(|(p, _)| **p > 0.0);
            pairs.map(|(p, q)| p * (p / q).ln()).sum::<f64>()
        };
        (self.lexicon == other.lexicon).then(|| self.average_over_rows(kl))
    }

    /// Documents of at least `tokens` symbols together, the same for the same `seed`.
    ///
    /// Symbols are numbers of words, [`Language::full_stop`] and [`Language::line_break`]. Each document begins as a line
    /// does and ends with a sentence, after 200 to 400 symbols and the rest of that sentence.
    pub fn documents(&self, tokens: usize, seed: u64) -> Vec<Document> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<WeightedIndex<f64>> = (0..self.symbols())
            .map(|i| WeightedIndex::new(self.row(i)).expect("a row of a chain is probabilities that sum to 1"))
            .collect();
        let mut documents = Vec::new();
        let mut written = 0;
        while written < tokens {
            let enough = rng.random_range(DOCUMENT);
            let mut document: Document = Vec::with_capacity(enough + 32);
            let mut symbol = self.line_break();
            while document.len() < enough || symbol != self.full_stop() {
                symbol = rng.sample(&rows[symbol]);
                document.push(symbol);
            }
            written += document.len();
            documents.push(document);
        }
        documents
    }

    /// A document as text: symbols with single spaces between them, but none beside a line break.
    pub fn render(&self, document: &[usize]) -> String {
        let mut text = String::new();
        for symbol in document {
            let word = match self.lexicon.get(*symbol) {
                Some(word) => word,
                None if *symbol == self.full_stop() => ".",
                None => "\n",
            };
            if !(text.is_empty() || text.ends_with('\n') || word == "\n") {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// Documents as a `.txt` corpus: one empty line between documents.
    pub fn text(&self, documents: &[Document]) -> String {
        let texts: Vec<String> = documents.iter().map(|document| self.render(document)).collect();
        texts.join("\n\n") + "\n"
    }

    fn average_over_rows(&self, f: impl Fn(usize) -> f64) -> f64 {
        self.stationary.iter().enumerate().map(|(i, share)| share * f(i)).sum()
    }
}

/// Fills `folder` with `train.txt`, `valid.txt` and `test.txt` of a language, and `known.json`.
///
/// # Errors
/// [`Error::Input`] where a split has no tokens or `base` is of another family; [`Error::Io`] where writing fails.
pub fn write_domain(folder: &Path, language: &Language, base: &Language, sizes: Splits, seed: u64) -> Result<Known> {
    let kl_to_base = language
        .kl_rate(base)
        .ok_or_else(|| Error::input("base", "a language over other words", "take both from one family"))?;
    let draw = |tokens, seed| language.documents(tokens, seed);
    let (tokens, _) = write_splits(folder, "txt", sizes, seed, draw, |documents| language.text(documents))?;
    let known = Known::exact(folder, "language".to_owned(), language.entropy_rate(), Some(kl_to_base), tokens);
    Known { lambda: Some(language.lambda()), ..known }.write(folder)
}

/// Writes a new folder `out`: `tokenizer.json`, the reference corpus `base`, and a domain `lambda-L` for each of
/// `lambdas`. Returns what is known of each, the base first.
///
/// # Errors
/// [`Error::Input`] where `out` exists, a λ lies outside 0 to 1 or is given twice, or a split has no tokens;
/// [`Error::Io`] where writing fails. Nothing is left behind then.
pub fn write_family<'m>(
    out: &Path,
    seed: u64,
    lambdas: &[f64],
    sizes: impl Into<Watched<'m, Sizes>>,
) -> Result<Vec<Known>> {
    let mut watched = sizes.into();
    let sizes = watched.request;
    let family = Family::new(seed, WORDS)?;
    let base = family.language(0.0)?;
    let languages = lambdas.iter().map(|lambda| family.language(*lambda)).collect::<Result<Vec<_>>>()?;
    refuse_twice("lambda", lambdas)?;
    watched.begin("making corpora", 1 + languages.len() as u64);
    let known = super::corpora_whole(out, |folder| {
        put(&folder.join("tokenizer.json"), &family.tokenizer_json())?;
        let mut known = vec![write_domain(&folder.join("base"), &base, &base, sizes.base, derived(seed, "base"))?];
        one_more(&mut watched)?;
        for language in &languages {
            let name = format!("lambda-{}", language.lambda());
            known.push(write_domain(&folder.join(&name), language, &base, sizes.domain, derived(seed, &name))?);
            one_more(&mut watched)?;
        }
        Ok(known)
    });
    watched.end();
    known
}

/// `words` different pronounceable words of one to three syllables.
fn lexicon(words: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
    const ONSETS: [&str; 16] = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "sh", "ch"];
    const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ai"];
    let mut known = BTreeSet::new();
    let mut lexicon = Vec::with_capacity(words);
    while lexicon.len() < words {
        let word: String = (0..rng.random_range(1..=3))
            .flat_map(|_| [ONSETS.choose(rng), VOWELS.choose(rng)])
            .flatten()
            .copied()
            .collect();
        if known.insert(word.clone()) {
            lexicon.push(word);
        }
    }
    lexicon
}

/// Transition probabilities of a new language, `[words + 2, words + 2]` row-major.
///
/// Word frequencies follow Zipf's law approximately, in a random order for each language. Each word prefers a few
/// successors.
fn chain(words: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut order: Vec<usize> = (0..words).collect();
    order.shuffle(rng);
    let harmonic: f64 = (1..=words).map(|rank| 1.0 / rank as f64).sum();
    let mut zipf = vec![0.0; words];
    order.iter().zip(1..).for_each(|(&word, rank)| zipf[word] = 1.0 / (f64::from(rank) * harmonic));

    // preferred successors have weights 1, 1/2, 1/3, …
    let preferences: f64 = (1..=SUCCESSORS).map(|rank| 1.0 / rank as f64).sum();
    let mut transitions = Vec::with_capacity((words + 2) * (words + 2));
    for _ in 0..words {
        let mut next: Vec<f64> = zipf.iter().map(|share| FLOOR * share).collect();
        for (rank, word) in (1..).zip(index::sample(rng, words, SUCCESSORS)) {
            next[word] += (1.0 - FLOOR) / (f64::from(rank) * preferences);
        }
        transitions.extend(next.iter().map(|share| (1.0 - SENTENCE_END) * share));
        transitions.extend([SENTENCE_END, 0.0]);
    }
    transitions.extend(zipf.iter().map(|share| (1.0 - LINE_BREAK) * share));
    transitions.extend([0.0, LINE_BREAK]);
    transitions.extend(&zipf);
    transitions.extend([0.0, 0.0]);
    transitions
}

/// The stationary distribution of the chain, by power iteration.
///
/// Every word follows every word with some probability, so the iteration converges geometrically from anywhere; the
/// bound on the number of steps is never reached.
fn stationary(transitions: &[f64], symbols: usize) -> Vec<f64> {
    let mut now = vec![1.0 / symbols as f64; symbols];
    for _ in 0..10_000 {
        let mut next = vec![0.0; symbols];
        for (share, row) in now.iter().zip(transitions.chunks_exact(symbols)) {
            next.iter_mut().zip(row).for_each(|(n, p)| *n += share * p);
        }
        let total: f64 = next.iter().sum();
        next.iter_mut().for_each(|n| *n /= total);
        let change: f64 = next.iter().zip(&now).map(|(n, o)| (n - o).abs()).sum();
        now = next;
        if change < 1e-15 {
            break;
        }
    }
    now
}
