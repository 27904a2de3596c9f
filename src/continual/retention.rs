//! The retention matrix R[t, d]: the loss on domain d after stage t, and what is computed of it.

use serde::{Deserialize, Serialize};

/// R[t, d] = ln perplexity on the test text of domain d after stage t, nats per token. Row 0 is the model before the stream,
/// row t the model after it was adapted to domain t; domains are counted from 0 in columns, so that row t has learned the
/// columns below t. There is at least row 0, and all rows have one number for each domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retention(Vec<Vec<f64>>);

/// The mean change on some domains at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The stage, from 1.
    pub stage: usize,
    /// Nats per token by which the loss is lower than before the stream; positive is good.
    pub transfer: f64,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

impl Retention {
    /// Of the model before the stream.
    pub fn new(base: Vec<f64>) -> Self {
        Self(vec![base])
    }

    /// Adds the losses after the next stage.
    pub fn push(&mut self, row: Vec<f64>) {
        self.0.push(row);
    }

    /// The rows, from that of the model before the stream.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.0
    }

    /// Stages that are measured.
    pub fn stages(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Whether there are rows, each with one finite number for every one of so many domains, and no more rows than can be.
    pub fn fits(&self, domains: usize) -> bool {
        let is_row = |row: &Vec<f64>| row.len() == domains && row.iter().all(|loss| loss.is_finite());
        (1..=domains + 1).contains(&self.0.len()) && self.0.iter().all(is_row)
    }

    fn last_row(&self) -> &[f64] {
        self.0.last().map_or(&[], Vec::as_slice)
    }

    /// The losses of the model before the stream.
    fn first_row(&self) -> &[f64] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// Mean loss over all domains before the stream.
    pub fn zero_shot(&self) -> f64 {
        mean(self.first_row().iter().copied())
    }

    /// Mean over stages of the loss on the domain that was just learned; `None` before the first.
    pub fn current(&self) -> Option<f64> {
        (self.stages() > 0).then(|| mean((0..self.stages()).map(|domain| self.0[domain + 1][domain])))
    }

    /// Mean loss over all domains now.
    pub fn last(&self) -> f64 {
        mean(self.last_row().iter().copied())
    }

    /// By domain, how far its loss now lies above the least that it had after any stage or before: 0 or more.
    pub fn forgetting(&self) -> Vec<f64> {
        let least = |domain: usize| self.0.iter().map(|row| row[domain]).fold(f64::INFINITY, f64::min);
        self.last_row().iter().enumerate().map(|(domain, now)| now - least(domain)).collect()
    }

    /// By domain that was learned, its loss now less that right after it was learned; negative where later domains helped.
    pub fn since_learned(&self) -> Vec<f64> {
        (0..self.stages()).map(|domain| self.last_row()[domain] - self.0[domain + 1][domain]).collect()
    }

    /// From the second stage on: by how much the domains before the stage's own got better than before the stream.
    pub fn backward(&self) -> Vec<Transfer> {
        (2..=self.stages()).map(|stage| self.transfer(stage, 0..stage - 1)).collect()
    }

    /// Up to the last stage but one of the whole stream: the same for the domains that are still to come.
    pub fn forward(&self) -> Vec<Transfer> {
        let domains = self.first_row().len();
        (1..=self.stages()).filter(|&stage| stage < domains).map(|stage| self.transfer(stage, stage..domains)).collect()
    }

    fn transfer(&self, stage: usize, domains: std::ops::Range<usize>) -> Transfer {
        let gain = |domain: usize| self.0[0][domain] - self.0[stage][domain];
        Transfer { stage, transfer: mean(domains.map(gain)) }
    }
}
