//! GINC: documents written by hidden Markov chains, the concepts, of which a mixture is the pretraining corpus.
//!
//! Xie et al., An Explanation of In-context Learning as Implicit Bayesian Inference, ICLR 2022 (arXiv 2111.02080),
//! section 4 and <https://github.com/p-lambda/incontext-learning>. A hidden state is an entity and a property of it; a
//! table that all concepts share says which token they write. Entities stay for a while, in the same way in all
//! concepts. The order of properties defines the concept. So all concepts use all tokens equally often and differ only
//! in their order.
//!
//! Added here: a little of the uniform law in every concept's transitions ([`SMOOTHING`]), because otherwise a document
//! of an unseen concept would have probability 0 under the others; and domains at chosen distances from the mixture.

use std::fmt;
use std::path::Path;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::hmm::{Hmm, Mixture};
use super::tokenizer::{SPECIAL, word_level};
use super::{
    Document, Known, Sizes, Splits, StandardErrors, configs, derived, name_of, one_more, put, refuse_twice,
    write_splits,
};
use crate::error::{Error, Result};
use crate::progress::{Monitor, Watched};

/// Entities, and as many properties of each.
const SIDE: usize = 10;
/// Hidden states: an entity v and a property s, number `v · SIDE + s`.
pub const STATES: usize = SIDE * SIDE;
/// Concepts that the base corpus of the paper mixes, and as many that it has never seen.
pub const CONCEPTS: usize = 5;
/// Most concepts of either kind.
const MAX_CONCEPTS: usize = 100;
/// The temperature of transitions between properties and between entities.
const TEMPERATURE: f64 = 0.1;
/// The same of the first state.
const START_TEMPERATURE: f64 = 10.0;
/// Probability that the entity stays, before the permutations are applied.
const ENTITY_STAYS: f64 = 0.9;
/// Share of the uniform law in a concept's transitions between properties.
pub const SMOOTHING: f64 = 0.05;
/// The token that separates examples, written by every entity's property 0.
pub const DELIMITER: usize = 0;
/// Most tokens: the delimiter, the letters, and the pairs of letters.
pub const MAX_TOKENS: usize = 1 + 26 + 26 * 26;

/// A domain and its place beside the mixture of known concepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GincDomain {
    /// The first known concept: it is part of the mixture.
    Known,
    /// The first unseen concept.
    Unseen,
    /// Documents of all unseen concepts with this share, of all known ones otherwise.
    Blend(f64),
    /// One concept this share of the way from the first known to the first unseen.
    Between(f64),
}

impl GincDomain {
    /// How foreign it is, 0 to 1.
    pub fn lambda(self) -> f64 {
        match self {
            Self::Known => 0.0,
            Self::Unseen => 1.0,
            Self::Blend(lambda) | Self::Between(lambda) => lambda + 0.0, // −0 becomes 0
        }
    }
}

/// The name of its folder: `A` (known), `B` (unseen), `C-0.5` (blend), `D-0.5` (between).
impl fmt::Display for GincDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known => f.write_str("A"),
            Self::Unseen => f.write_str("B"),
            Self::Blend(_) => write!(f, "C-{}", self.lambda()),
            Self::Between(_) => write!(f, "D-{}", self.lambda()),
        }
    }
}

/// One data set: the tokens of its states, and its concepts.
#[derive(Debug, Clone)]
pub struct Ginc {
    tokens: usize,
    known: Vec<Hmm>,
    unseen: Vec<Hmm>,
}

impl Ginc {
    /// Draws a data set over `tokens` tokens, the delimiter among them: `concepts` known ones, and as many unseen.
    ///
    /// # Errors
    /// [`Error::Input`] with fewer than 2 tokens or more than [`MAX_TOKENS`], without concepts or with more than 100.
    pub fn new(seed: u64, tokens: usize, concepts: usize) -> Result<Self> {
        if !(1..=MAX_CONCEPTS).contains(&concepts) {
            return Err(Error::input(
                "concepts",
                format!("{concepts} found, expected 1 to {MAX_CONCEPTS}"),
                "choose a number in that range",
            ));
        }
        if !(2..=MAX_TOKENS).contains(&tokens) {
            return Err(Error::input(
                "vocabulary",
                format!("of {tokens} tokens, expected 2 to {MAX_TOKENS}"),
                "choose a number in that range",
            ));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let memory = (0..STATES).map(|state| match state % SIDE {
            0 => DELIMITER,
            _ => rng.random_range(1..tokens),
        });
        let memory: Vec<usize> = memory.collect();
        let entities: Vec<f64> = block(SIDE, TEMPERATURE, &mut rng)
            .into_iter()
            .enumerate()
            .map(|(at, p)| (1.0 - ENTITY_STAYS) * p + if at % (SIDE + 1) == 0 { ENTITY_STAYS } else { 0.0 })
            .collect();
        let mut chains = (0..2 * concepts).map(|_| {
            let start = softmax(STATES, START_TEMPERATURE, &mut rng);
            let properties: Vec<f64> = block(SIDE, TEMPERATURE, &mut rng)
                .into_iter()
                .map(|p| (1.0 - SMOOTHING) * p + SMOOTHING / SIDE as f64)
                .collect();
            Hmm::new(start, kronecker(&entities, &properties), memory.clone())
        });
        let known = chains.by_ref().take(concepts).collect::<Result<_>>()?;
        let unseen = chains.collect::<Result<_>>()?;
        Ok(Self { tokens, known, unseen })
    }

    /// Number of tokens, the delimiter included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The pretraining corpus: every document by one of the known concepts, all equally likely.
    ///
    /// # Errors
    /// None where the data set is whole.
    pub fn base(&self) -> Result<Mixture> {
        Mixture::new(self.known.iter().map(|concept| (1.0, concept.clone())))
    }

    /// The mixture that writes the documents of a domain.
    ///
    /// # Errors
    /// [`Error::Input`] where a share lies outside 0 to 1.
    pub fn domain(&self, domain: GincDomain) -> Result<Mixture> {
        let lambda = domain.lambda();
        if !(0.0..=1.0).contains(&lambda) {
            let cure = "choose a share in that range";
            return Err(Error::input("lambda", format!("{lambda} found, expected 0 to 1"), cure));
        }
        match domain {
            GincDomain::Known => Mixture::new([(1.0, self.known[0].clone())]),
            GincDomain::Unseen => Mixture::new([(1.0, self.unseen[0].clone())]),
            GincDomain::Blend(_) => {
                let known = self.known.iter().map(|concept| (1.0 - lambda, concept.clone()));
                Mixture::new(known.chain(self.unseen.iter().map(|concept| (lambda, concept.clone()))))
            }
            GincDomain::Between(_) => {
                let mix = |known: f64, unseen: f64| (1.0 - lambda) * known + lambda * unseen;
                let (known, unseen) = (&self.known[0], &self.unseen[0]);
                // Entities move alike in all concepts, so mixing the whole chains mixes the properties' alone.
                let rows = (0..STATES).flat_map(|i| known.row(i).iter().zip(unseen.row(i)));
                let transitions = rows.map(|(known, unseen)| mix(*known, *unseen)).collect();
                let start = known.start().iter().zip(unseen.start()).map(|(known, unseen)| mix(*known, *unseen));
                Mixture::new([(1.0, known.sibling(start.collect(), transitions)?)])
            }
        }
    }

    /// The tokens' names: `/`, then letters and pairs of letters.
    pub fn names(&self) -> Vec<String> {
        let letters = || ('a'..='z').map(String::from);
        let pairs = letters().flat_map(|first| letters().map(move |second| first.clone() + &second));
        ["/".to_owned()].into_iter().chain(letters()).chain(pairs).take(self.tokens).collect()
    }

    /// A Hugging Face `tokenizer.json` under which every text is one token per symbol; ids begin after two special ones.
    pub fn tokenizer_json(&self) -> String {
        word_level(self.names().into_iter())
    }

    /// Documents as a `.txt` corpus: tokens between spaces, an empty line between documents.
    pub fn text(&self, documents: &[Document]) -> String {
        let names = self.names();
        let line =
            |document: &Document| document.iter().map(|&token| names[token].as_str()).collect::<Vec<_>>().join(" ");
        documents.iter().map(line).collect::<Vec<_>>().join("\n\n") + "\n"
    }
}

/// Writes a new folder `out`: `tokenizer.json`, the reference corpus `base` (the mixture of known concepts), a folder for
/// each of `domains`, and the configurations of a base model and a study. Documents have `length` tokens. Returns what is
/// known of each, the base first.
///
/// # Errors
/// [`Error::Input`] where `out` exists, a share lies outside 0 to 1, a domain is given twice, documents have fewer than
/// two tokens, or a split has none; [`Error::Io`] where writing fails. Nothing is left behind then.
pub fn write_ginc<'m>(
    out: &Path,
    seed: u64,
    ginc: &Ginc,
    domains: &[GincDomain],
    length: usize,
    sizes: impl Into<Watched<'m, Sizes>>,
) -> Result<Vec<Known>> {
    let mut watched = sizes.into();
    let sizes = watched.request;
    if length < 2 {
        return Err(Error::input("document", format!("of {length} tokens"), "ask for at least 2"));
    }
    if length >= sizes.base.test.min(sizes.domain.test) {
        let fault = format!("of {length} tokens leaves less than two documents in a test split, expected two or more");
        return Err(Error::input("document", fault, "ask for shorter documents")); // one has no standard error
    }
    refuse_twice("domain", domains)?;
    let base = ginc.base()?;
    let writers = domains.iter().map(|domain| Ok((*domain, ginc.domain(*domain)?))).collect::<Result<Vec<_>>>()?;
    let write = |folder: &Path, lambda: f64, writer: &Mixture, sizes: Splits| -> Result<Known> {
        let draw = |tokens, seed| writer.documents(tokens, length, seed);
        let seed = derived(seed, name_of(folder));
        let (tokens, test) = write_splits(folder, "txt", sizes, seed, draw, |documents| ginc.text(documents))?;
        let per_token = |predictor: &Mixture, document: &Document| {
            predictor.nll(document).iter().sum::<f64>() / document.len() as f64
        };
        let floor: Vec<f64> = test.iter().map(|document| per_token(writer, document)).collect();
        let excess: Vec<f64> = test.iter().zip(&floor).map(|(d, floor)| per_token(&base, d) - floor).collect();
        let ((entropy_rate, entropy_error), (kl, kl_error)) = (mean_and_error(&floor), mean_and_error(&excess));
        let known = Known::exact(folder, "ginc".to_owned(), entropy_rate, Some(kl), tokens);
        let standard_errors = Some(StandardErrors { entropy_rate: entropy_error, kl_to_base: kl_error });
        Known { lambda: Some(lambda), standard_errors, ..known }.write(folder)
    };
    watched.begin("making corpora", 1 + writers.len() as u64);
    let known = super::corpora_whole(out, |folder| {
        put(&folder.join("tokenizer.json"), &ginc.tokenizer_json())?;
        let mut known = vec![write(&folder.join("base"), 0.0, &base, sizes.base)?];
        one_more(&mut watched)?;
        for (domain, writer) in &writers {
            known.push(write(&folder.join(domain.to_string()), domain.lambda(), writer, sizes.domain)?);
            one_more(&mut watched)?;
        }
        configs::write(folder, "GINC", ginc.tokens() + SPECIAL, length.min(configs::LONGEST_CONTEXT), &known)?;
        Ok(known)
    });
    watched.end();
    known
}

/// The mean of at least two values, and its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// A random matrix whose rows and columns sum to 1, `[size, size]` row-major: `size` permutations with weights of a
/// softmax. The lower the temperature, the fewer of them count.
pub fn block(size: usize, temperature: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut matrix = vec![0.0; size * size];
    for weight in softmax(size, temperature, rng) {
        let mut permutation: Vec<usize> = (0..size).collect();
        permutation.shuffle(rng);
        permutation.iter().enumerate().for_each(|(row, column)| matrix[row * size + column] += weight);
    }
    matrix
}

/// The softmax of `size` numbers drawn from −½ to ½, over the temperature.
fn softmax(size: usize, temperature: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..size).map(|_| ((rng.random::<f64>() - 0.5) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= total);
    weights
}

/// The Kronecker product of two square matrices: `[(v, s), (v', s')] = left[v, v'] · right[s, s']`.
fn kronecker(left: &[f64], right: &[f64]) -> Vec<f64> {
    let rows = |matrix: &[f64]| matrix.chunks_exact(matrix.len().isqrt()).map(<[f64]>::to_vec).collect::<Vec<_>>();
    let (left, right) = (rows(left), rows(right));
    let mut product = Vec::new();
    for left in &left {
        for right in &right {
            product.extend(left.iter().flat_map(|l| right.iter().map(move |r| l * r)));
        }
    }
    product
}
