//! Hidden Markov chains whose states each write one token, and mixtures of them: the likelihood of a text is exact.
//!
//! The forward algorithm, scaled at every step (Rabiner, A Tutorial on Hidden Markov Models, Proc. IEEE 77, 1989,
//! section V.A). Since emissions are deterministic, only the states that write the last token have weight.

use std::sync::Arc;

use rand::distr::weighted::WeightedIndex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Document;
use crate::error::{Error, Result};

/// How far from 1 the sum of probabilities may be by rounding.
const ROUNDING: f64 = 1e-9;

/// A Markov chain over hidden states of which each writes one token.
#[derive(Debug, Clone)]
pub struct Hmm {
    /// `[states]`.
    start: Vec<f64>,
    /// `[states, states]` row-major; rows sum to 1.
    transitions: Vec<f64>,
    emissions: Arc<Emissions>,
}

/// Which state writes which token.
#[derive(Debug)]
struct Emissions {
    /// The token of each state, `[states]`.
    token: Vec<usize>,
    /// The states of each token, `[tokens][…]`.
    states: Vec<Vec<usize>>,
}

impl Hmm {
    /// A chain that starts in state i with chance `start[i]`, goes from i to j with chance `transitions[i · states + j]`,
    /// and writes `token[i]` in state i.
    ///
    /// # Errors
    /// [`Error::Numeric`] where the sizes do not fit, or chances are negative or do not sum to 1.
    pub fn new(start: Vec<f64>, transitions: Vec<f64>, token: Vec<usize>) -> Result<Self> {
        let tokens = token.iter().max().map_or(0, |&last| last + 1);
        let mut states = vec![Vec::new(); tokens];
        token.iter().enumerate().for_each(|(state, &token)| states[token].push(state));
        Self::with(start, transitions, Arc::new(Emissions { token, states }))
    }

    fn with(start: Vec<f64>, transitions: Vec<f64>, emissions: Arc<Emissions>) -> Result<Self> {
        let states = emissions.token.len();
        if states == 0 || start.len() != states || transitions.len() != states * states {
            return Err(Error::numeric(format!(
                "{} starts and {} transitions do not make a chain of {states} states",
                start.len(),
                transitions.len()
            )));
        }
        let is_law = |row: &[f64]| row.iter().all(|p| *p >= 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < ROUNDING;
        if let Some(row) = transitions.chunks_exact(states).chain([&start[..]]).position(|row| !is_law(row)) {
            return Err(Error::numeric(format!("row {row} of a chain is no distribution over its states")));
        }
        Ok(Self { start, transitions, emissions })
    }

    /// A chain over the same states, which write the same tokens.
    ///
    /// # Errors
    /// As [`Hmm::new`].
    pub fn sibling(&self, start: Vec<f64>, transitions: Vec<f64>) -> Result<Self> {
        Self::with(start, transitions, self.emissions.clone())
    }

    /// Number of hidden states.
    pub fn states(&self) -> usize {
        self.start.len()
    }

    /// Chances of the first state, `[states]`.
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// Chances of what follows `state`, `[states]`.
    pub fn row(&self, state: usize) -> &[f64] {
        &self.transitions[state * self.states()..][..self.states()]
    }

    /// The token that `state` writes.
    pub fn token(&self, state: usize) -> usize {
        self.emissions.token[state]
    }

    /// The states that write `token`: none where no state does.
    fn states_of(&self, token: usize) -> &[usize] {
        self.emissions.states.get(token).map_or(&[], Vec::as_slice)
    }
}

/// The state of the forward algorithm of one chain for a document so far.
struct Forward<'a> {
    hmm: &'a Hmm,
    /// Chances of the states that could have written the last token, given all of the document so far; sum 1.
    alpha: Vec<(usize, f64)>,
    /// ln p of the document so far; −∞ where the chain cannot have written it.
    log_likelihood: f64,
    begun: bool,
}

impl<'a> Forward<'a> {
    fn new(hmm: &'a Hmm) -> Self {
        Self { hmm, alpha: Vec::new(), log_likelihood: 0.0, begun: false }
    }

    /// The chance of `state` next.
    fn next(&self, state: usize) -> f64 {
        if self.begun {
            self.alpha.iter().map(|&(from, chance)| chance * self.hmm.row(from)[state]).sum()
        } else {
            self.hmm.start[state]
        }
    }

    fn read(&mut self, token: usize) {
        let mut alpha: Vec<(usize, f64)> = self.hmm.states_of(token).iter().map(|&s| (s, self.next(s))).collect();
        let scale: f64 = alpha.iter().map(|(_, chance)| chance).sum();
        self.log_likelihood += scale.ln();
        match scale > 0.0 {
            true => alpha.iter_mut().for_each(|(_, chance)| *chance /= scale),
            false => alpha.clear(),
        }
        (self.alpha, self.begun) = (alpha, true);
    }
}

/// Texts of which each document is written by one of several chains, drawn by its weight.
#[derive(Debug, Clone)]
pub struct Mixture {
    parts: Vec<(f64, Hmm)>,
}

impl Mixture {
    /// The chains with their weights, scaled to the sum 1. Those of weight 0 are left out.
    ///
    /// # Errors
    /// [`Error::Numeric`] where a weight is negative or not finite, or all are 0.
    pub fn new(parts: impl IntoIterator<Item = (f64, Hmm)>) -> Result<Self> {
        let mut parts: Vec<(f64, Hmm)> = parts.into_iter().filter(|(weight, _)| *weight != 0.0).collect();
        let total: f64 = parts.iter().map(|(weight, _)| weight).sum();
        if parts.is_empty() || parts.iter().any(|(weight, _)| *weight < 0.0) || !total.is_finite() {
            return Err(Error::numeric("the weights of a mixture are not positive numbers"));
        }
        parts.iter_mut().for_each(|(weight, _)| *weight /= total);
        Ok(Self { parts })
    }

    /// The chains with their weights, which sum to 1.
    pub fn parts(&self) -> &[(f64, Hmm)] {
        &self.parts
    }

    /// −ln p of each token of `document` given those before it, nats, `[tokens]`: the loss of the Bayes predictor of
    /// this mixture. It infers from the tokens which chain writes the document. Infinite where no chain can have
    /// written it.
    pub fn nll(&self, document: &[usize]) -> Vec<f64> {
        let mut readers: Vec<Forward<'_>> = self.parts.iter().map(|(_, hmm)| Forward::new(hmm)).collect();
        let mut before = 0.0;
        let read = |&token: &usize| {
            readers.iter_mut().for_each(|reader| reader.read(token));
            let joint = readers.iter().zip(&self.parts).map(|(r, (weight, _))| weight.ln() + r.log_likelihood);
            let now = log_sum_exp(joint);
            // once impossible, always impossible: the difference of two infinities would be no number
            let nll = if now == f64::NEG_INFINITY { f64::INFINITY } else { before - now };
            before = now;
            nll
        };
        document.iter().map(read).collect()
    }

    /// Chances of the token after `document`, `[tokens]`, as the Bayes predictor sees them. All 0 where no chain can have
    /// written the document.
    pub fn next_token(&self, document: &[usize]) -> Vec<f64> {
        let mut readers: Vec<Forward<'_>> = self.parts.iter().map(|(_, hmm)| Forward::new(hmm)).collect();
        for &token in document {
            readers.iter_mut().for_each(|reader| reader.read(token));
        }
        let joint: Vec<f64> =
            readers.iter().zip(&self.parts).map(|(r, (weight, _))| weight.ln() + r.log_likelihood).collect();
        let total = log_sum_exp(joint.iter().copied());
        let tokens = self.parts.iter().map(|(_, hmm)| hmm.emissions.states.len()).max().unwrap_or(0);
        let mut chances = vec![0.0; tokens];
        for (reader, joint) in readers.iter().zip(&joint).filter(|(_, joint)| joint.is_finite()) {
            for state in 0..reader.hmm.states() {
                chances[reader.hmm.token(state)] += (joint - total).exp() * reader.next(state);
            }
        }
        chances
    }

    /// Documents of `length` tokens, which is not 0, at least `tokens` together; the same for the same `seed`.
    pub fn documents(&self, tokens: usize, length: usize, seed: u64) -> Vec<Document> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draw = |chances: &[f64]| WeightedIndex::new(chances).expect("a row of a chain is a distribution");
        let weights: Vec<f64> = self.parts.iter().map(|(weight, _)| *weight).collect();
        let which = draw(&weights);
        let laws: Vec<(WeightedIndex<f64>, Vec<WeightedIndex<f64>>)> = self
            .parts
            .iter()
            .map(|(_, hmm)| (draw(&hmm.start), (0..hmm.states()).map(|state| draw(hmm.row(state))).collect()))
            .collect();
        let document = |_| {
            let part = rng.sample(&which);
            let ((start, rows), (_, hmm)) = (&laws[part], &self.parts[part]);
            let mut state = rng.sample(start);
            let mut document = Vec::with_capacity(length);
            while document.len() < length {
                document.push(hmm.token(state));
                state = rng.sample(&rows[state]);
            }
            document
        };
        (0..tokens.div_ceil(length.max(1))).map(document).collect()
    }
}

/// ln Σ exp, of numbers that may be −∞.
fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    match largest.is_finite() {
        true => largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln(),
        false => largest,
    }
}
