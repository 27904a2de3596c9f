//! Artificial data sets: lines of integers without meaning, each kind with one kind of structure and a known entropy.
//!
//! Chiang and Lee, On the Transferability of Pre-trained Language Models: A Study from Artificial Datasets, AAAI 2022
//! (arXiv 2109.03537) and <https://github.com/d223302/Transformer-Structure>. A line is a document. We derived the
//! entropies; all account for symbols that occur twice by chance.

use std::fmt;
use std::iter::repeat_n;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use rand::distr::weighted::WeightedIndex;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use statrs::function::factorial::ln_factorial;

use super::alphabet::Alphabet;
use super::tokenizer::{SPECIAL, word_level};
use super::{Document, Known, Sizes, Splits, configs, derived, name_of, one_more, put, refuse_twice, write_splits};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::progress::{Monitor, Watched};

/// Default number of symbols of a line.
const LINE: RangeInclusive<usize> = 100..=119;
/// The same of `nest`, whose lines are pieces of one long text.
const PIECE: RangeInclusive<usize> = 80..=124;
/// Most symbols of any line: what a model should be able to read at once.
const LONGEST: usize = 124;
/// Chance that `nest` opens another pair.
const PUSH: f64 = 0.4;

/// What structure the lines have; p is the alphabet's law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtificialKind {
    /// Independent symbols, all equally likely.
    Uniform,
    /// Independent symbols by p.
    Unigram,
    /// Each symbol by the pairs that were counted in a corpus.
    Bigram,
    /// Symbols by p, each twice in a row.
    Flat2,
    /// Two symbols by p, each twice, the four shuffled; and so on.
    Flat4,
    /// The same with two or three symbols at a time.
    Flat6,
    /// All symbols of the line by p, each twice, all shuffled.
    Flat128,
    /// Nested pairs: with chance 0.4 a symbol by p opens a pair, otherwise the latest open pair is closed with its
    /// symbol.
    Nest,
    /// So many neighbouring symbols, the first by p, shuffled; and so on. The last symbol's neighbour is the first.
    Shuffle(usize),
}

/// The kinds with fixed names.
const NAMED: [(&str, ArtificialKind); 8] = [
    ("uniform", ArtificialKind::Uniform),
    ("unigram", ArtificialKind::Unigram),
    ("bigram", ArtificialKind::Bigram),
    ("flat-2", ArtificialKind::Flat2),
    ("flat-4", ArtificialKind::Flat4),
    ("flat-6", ArtificialKind::Flat6),
    ("flat-128", ArtificialKind::Flat128),
    ("nest", ArtificialKind::Nest),
];

impl fmt::Display for ArtificialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMED.iter().find(|(_, kind)| kind == self)) {
            (Self::Shuffle(size), _) => write!(f, "shuffle-{size}"),
            (_, named) => f.write_str(named.map_or("", |(name, _)| name)),
        }
    }
}

impl FromStr for ArtificialKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        let shuffle = || {
            let size = text.strip_prefix("shuffle-")?.parse().ok()?;
            (2..=*LINE.start()).contains(&size).then_some(Self::Shuffle(size))
        };
        named.or_else(shuffle).ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            Error::setting(
                "kind",
                text,
                "is none",
                format!("use {} or shuffle-N with N from 2 to {}", names.join(", "), LINE.start()),
            )
        })
    }
}

/// A kind over an alphabet.
#[derive(Debug, Clone, Copy)]
pub struct Artificial<'a> {
    kind: ArtificialKind,
    alphabet: &'a Alphabet,
}

impl<'a> Artificial<'a> {
    /// Lines of this kind over this alphabet.
    ///
    /// # Errors
    /// [`Error::Input`] for pairs without counts, and for shuffle blocks that are not shorter than the alphabet.
    pub fn new(kind: ArtificialKind, alphabet: &'a Alphabet) -> Result<Self> {
        let symbols = alphabet.symbols();
        match kind {
            ArtificialKind::Bigram if alphabet.pairs().is_none() => Err(Error::setting(
                "kind",
                kind,
                "needs a corpus to count pairs of words in",
                Message::new("add ").set("unigram_from", "CORPUS"),
            )),
            ArtificialKind::Shuffle(size) if size >= symbols => Err(Error::setting(
                "kind",
                kind,
                format!("needs more than {size} symbols, the alphabet has {symbols}"),
                "use a larger alphabet or smaller blocks",
            )),
            _ => Ok(Self { kind, alphabet }),
        }
    }

    /// The structure.
    pub fn kind(&self) -> ArtificialKind {
        self.kind
    }

    /// Entropy per token for a reader who knows where lines, blocks and groups begin and which pairs are open, nats. No
    /// model can have a smaller loss.
    ///
    /// It is the entropy of the text, except for `flat-6` (how many symbols a group has must be guessed) and `nest`
    /// (what was open when a line began must be guessed), where that is a little higher, and `bigram`, whose lines
    /// begin with a symbol by p.
    pub fn entropy_rate(&self) -> f64 {
        let (alphabet, h) = (self.alphabet, self.alphabet.entropy());
        match self.kind {
            ArtificialKind::Uniform => (alphabet.symbols() as f64).ln(),
            ArtificialKind::Unigram => h,
            ArtificialKind::Bigram => {
                let row = |row: &Vec<(usize, f64)>| row.iter().map(|(_, p)| -p * p.ln()).sum::<f64>();
                let rows = alphabet.pairs().unwrap_or_default().iter().map(row);
                alphabet.chances().iter().zip(rows).map(|(share, h)| share * h).sum()
            }
            ArtificialKind::Flat2 | ArtificialKind::Flat4 | ArtificialKind::Flat6 | ArtificialKind::Flat128 => {
                self.flat_entropy_rate()
            }
            ArtificialKind::Nest => {
                // A random walk that goes up with probability PUSH, otherwise down, and always up at 0, is at 0 for 1/6
                // of the time.
                let empty = (1.0 - 2.0 * PUSH) / (2.0 * (1.0 - PUSH));
                // Open pairs have symbols by p. Of those the latest, s, is also what a new pair may begin with.
                let with_open = |s: f64| {
                    let same = PUSH * s + (1.0 - PUSH);
                    -same * same.ln() - PUSH * ((1.0 - s) * PUSH.ln() - h - s * s.ln())
                };
                empty * h + (1.0 - empty) * alphabet.chances().iter().map(|p| p * with_open(*p)).sum::<f64>()
            }
            ArtificialKind::Shuffle(size) => (h + ln_factorial(size as u64)) / size as f64,
        }
    }

    /// Long-run chance of each symbol, `[symbols]`.
    pub fn unigram(&self) -> Vec<f64> {
        let chances = self.alphabet.chances();
        let symbols = chances.len();
        match self.kind {
            ArtificialKind::Uniform => vec![1.0 / symbols as f64; symbols],
            ArtificialKind::Shuffle(size) => {
                let covers = |at: usize| (0..size).map(|back| chances[(at + symbols - back) % symbols]).sum::<f64>();
                (0..symbols).map(|at| covers(at) / size as f64).collect()
            }
            _ => chances.to_vec(),
        }
    }

    /// KL rate to `base`, nats per token: what a perfect model of `base` loses here. `None` where `base` has more
    /// structure than independent symbols, or another alphabet: there is no closed form. For `flat-6` and `nest` it is a
    /// little too high, as the entropy rate is too low.
    pub fn kl_rate(&self, base: &Self) -> Option<f64> {
        if self.alphabet != base.alphabet {
            return None;
        }
        if self.kind == base.kind {
            return Some(0.0);
        }
        if !matches!(base.kind, ArtificialKind::Uniform | ArtificialKind::Unigram) {
            return None;
        }
        let cross_entropy: f64 = self.unigram().iter().zip(base.unigram()).map(|(p, q)| -p * q.ln()).sum();
        Some(cross_entropy - self.entropy_rate())
    }

    /// Lines of at least `tokens` symbols together, the same for the same `seed`.
    pub fn documents(&self, tokens: usize, seed: u64) -> Vec<Document> {
        let mut writer = Writer::new(self, ChaCha8Rng::seed_from_u64(seed));
        let mut documents = Vec::new();
        let mut written = 0;
        while written < tokens {
            let document = writer.line();
            written += document.len();
            documents.push(document);
        }
        documents
    }

    /// The lengths that the kind's half-lines have: so many symbols are drawn, and each is written twice.
    fn drawn(&self) -> RangeInclusive<usize> {
        match self.kind {
            ArtificialKind::Flat2 => 55..=59,
            ArtificialKind::Flat128 => 50..=61,
            _ => 55..=61,
        }
    }

    /// How many symbols a group may have where so many are left to draw, all equally likely.
    fn group_sizes(&self, left: usize) -> [usize; 2] {
        match self.kind {
            ArtificialKind::Flat2 => [1, 1],
            ArtificialKind::Flat4 => [2, 2],
            ArtificialKind::Flat6 => [2, 3],
            _ => [left, left],
        }
        .map(|size| size.min(left))
    }

    /// Nats of a line over its tokens, both averaged over all lengths.
    fn flat_entropy_rate(&self) -> f64 {
        let longest = *self.drawn().end();
        let group: Vec<f64> = (0..=longest).map(|size| self.group_entropy(size)).collect();
        // nats of a line with so many symbols left to draw
        let mut line = vec![0.0; longest + 1];
        for left in 1..=longest {
            line[left] = self.group_sizes(left).map(|size| 0.5 * (group[size] + line[left - size])).iter().sum();
        }
        let nats: f64 = self.drawn().map(|drawn| line[drawn]).sum();
        nats / self.drawn().map(|drawn| 2.0 * drawn as f64).sum::<f64>()
    }

    /// Entropy of `n` symbols by p, each written twice, shuffled.
    ///
    /// The counts m_x of the symbols are fixed by the text; given the counts, all arrangements are equally likely. So
    /// it is the entropy of the counts, `n·H − E ln(n! / Π m_x!)`, and of the arrangement, `E ln((2n)! / Π (2m_x)!)`.
    fn group_entropy(&self, n: usize) -> f64 {
        let n64 = n as u64;
        let surplus: Vec<f64> = (0..=n64).map(|m| ln_factorial(2 * m) - ln_factorial(m)).collect();
        // E over m ~ Binomial(n, p), by the ratio of successive terms
        let expected = |p: f64| {
            let mut term = (n as f64 * (-p).ln_1p()).exp();
            let mut sum = 0.0;
            for (m, surplus) in surplus.iter().enumerate() {
                sum += term * surplus;
                term *= (n - m) as f64 / (m + 1) as f64 * p / (1.0 - p);
            }
            sum
        };
        let lost: f64 = self.alphabet.chances().iter().map(|p| expected(*p)).sum();
        n as f64 * self.alphabet.entropy() + ln_factorial(2 * n64) - ln_factorial(n64) - lost
    }
}

/// Writes a new folder `out`: `tokenizer.json`, the reference corpus `base` of the first of `kinds`, a folder for each of
/// them, and the configurations of a base model and a study. Documents are lines of token ids (`.jsonl`), each the number of
/// a symbol plus [`SPECIAL`]. Returns what is known of each, the base first.
///
/// # Errors
/// [`Error::Input`] where `out` exists, there are no kinds, one is given twice or does not suit the alphabet, or a split has
/// no tokens; [`Error::Io`] where writing fails. Nothing is left behind then.
pub fn write_artificial<'m>(
    out: &Path,
    seed: u64,
    alphabet: &Alphabet,
    kinds: &[ArtificialKind],
    sizes: impl Into<Watched<'m, Sizes>>,
) -> Result<Vec<Known>> {
    let mut watched = sizes.into();
    let sizes = watched.request;
    refuse_twice("kind", kinds)?;
    let lines = kinds.iter().map(|kind| Artificial::new(*kind, alphabet)).collect::<Result<Vec<_>>>()?;
    let Some(base) = lines.first() else {
        return Err(Error::input("kind", "none given", "name at least one"));
    };
    let write = |folder: &Path, lines: &Artificial<'_>, sizes: Splits| -> Result<Known> {
        let seed = derived(seed, name_of(folder));
        let draw = |tokens, seed| lines.documents(tokens, seed);
        let (tokens, _) = write_splits(folder, "jsonl", sizes, seed, draw, id_lines)?;
        let kl_to_base = lines.kl_rate(base);
        let known = Known::exact(folder, lines.kind().to_string(), lines.entropy_rate(), kl_to_base, tokens);
        let why = || format!("there is no closed form of the KL rate to {}", base.kind());
        Known { reason: kl_to_base.is_none().then(why), ..known }.write(folder)
    };
    watched.begin("making corpora", 1 + lines.len() as u64);
    let known = super::corpora_whole(out, |folder| {
        let symbols = (0..alphabet.symbols()).map(|symbol| symbol.to_string());
        put(&folder.join("tokenizer.json"), &word_level(symbols))?;
        let mut known = vec![write(&folder.join("base"), base, sizes.base)?];
        one_more(&mut watched)?;
        for lines in &lines {
            known.push(write(&folder.join(lines.kind().to_string()), lines, sizes.domain)?);
            one_more(&mut watched)?;
        }
        configs::write(folder, "Artificial data sets", alphabet.symbols() + SPECIAL, LONGEST, &known)?;
        Ok(known)
    });
    watched.end();
    known
}

/// Documents of token ids as a `.jsonl` corpus.
fn id_lines(documents: &[Document]) -> String {
    let ids = |document: &Document| document.iter().map(|symbol| symbol + SPECIAL).collect::<Vec<_>>();
    documents.iter().map(|document| json!({ "ids": ids(document) }).to_string() + "\n").collect()
}

/// Writes the lines of one text.
struct Writer<'a> {
    lines: Artificial<'a>,
    rng: ChaCha8Rng,
    chances: WeightedIndex<f64>,
    /// The successors of each symbol, for `bigram`.
    rows: Vec<WeightedIndex<f64>>,
    /// Symbols of open pairs, for `nest`, whose lines go on where the one before was cut.
    open: Vec<usize>,
}

impl<'a> Writer<'a> {
    fn new(lines: &Artificial<'a>, rng: ChaCha8Rng) -> Self {
        const LAW: &str = "an alphabet's chances are positive and finite";
        let pairs = lines.alphabet.pairs().filter(|_| lines.kind == ArtificialKind::Bigram);
        let row = |row: &Vec<(usize, f64)>| WeightedIndex::new(row.iter().map(|(_, p)| *p)).expect(LAW);
        Self {
            lines: *lines,
            rng,
            chances: WeightedIndex::new(lines.alphabet.chances()).expect(LAW),
            rows: pairs.unwrap_or_default().iter().map(row).collect(),
            open: Vec::new(),
        }
    }

    fn symbol(&mut self) -> usize {
        self.rng.sample(&self.chances)
    }

    fn line(&mut self) -> Document {
        let symbols = self.lines.alphabet.symbols();
        match self.lines.kind {
            ArtificialKind::Uniform => {
                let length = self.rng.random_range(LINE);
                (0..length).map(|_| self.rng.random_range(0..symbols)).collect()
            }
            ArtificialKind::Unigram => {
                let length = self.rng.random_range(LINE);
                (0..length).map(|_| self.symbol()).collect()
            }
            ArtificialKind::Bigram => {
                let length = self.rng.random_range(LINE);
                let mut line = vec![self.symbol()];
                while line.len() < length {
                    let before = line[line.len() - 1];
                    let which = self.rng.sample(&self.rows[before]);
                    line.push(self.lines.alphabet.pairs().map_or(0, |pairs| pairs[before][which].0));
                }
                line
            }
            ArtificialKind::Flat2 | ArtificialKind::Flat4 | ArtificialKind::Flat6 | ArtificialKind::Flat128 => {
                let mut left = self.rng.random_range(self.lines.drawn());
                let mut line = Vec::with_capacity(2 * left);
                while left > 0 {
                    let size = self.lines.group_sizes(left)[self.rng.random_range(0..2)];
                    let mut group: Document = (0..size).flat_map(|_| repeat_n(self.symbol(), 2)).collect();
                    group.shuffle(&mut self.rng);
                    line.extend(group);
                    left -= size;
                }
                line
            }
            ArtificialKind::Nest => {
                let length = self.rng.random_range(PIECE);
                (0..length).map(|_| self.nested()).collect()
            }
            ArtificialKind::Shuffle(size) => {
                let length = self.rng.random_range(LINE);
                let mut line = Vec::with_capacity(length);
                for _ in 0..length / size {
                    let first = self.symbol();
                    let mut block: Document = (0..size).map(|step| (first + step) % symbols).collect();
                    block.shuffle(&mut self.rng);
                    line.extend(block);
                }
                line
            }
        }
    }

    fn nested(&mut self) -> usize {
        let opens = self.open.is_empty() || self.rng.random_bool(PUSH);
        if let Some(symbol) = if opens { None } else { self.open.pop() } {
            return symbol;
        }
        let symbol = self.symbol();
        self.open.push(symbol);
        symbol
    }
}
