//! Several seeds of one domain combined: one change, one interval, the spread between seeds.

use super::results::PartIntervals;
use crate::compare::{LineBreakParts, PairedChanges, PartChanges};
use crate::error::{Error, Result};
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};

/// The change of a domain over its seeds.
#[derive(Debug, Clone)]
pub struct Joint {
    /// Mean over seeds of the change in log-perplexity, nats per token.
    pub delta: f64,
    /// Its 95 % interval: documents are resampled, each with its mean change over the seeds.
    pub ci95: [f64; 2],
    /// Standard deviation of δ between seeds; `None` with one seed.
    pub seed_sd: Option<f64>,
    /// Every document's mean change over the seeds.
    pub changes: PairedChanges,
}

impl Joint {
    /// Seeds score the same tokens, so that a document's changes are averaged before documents are resampled.
    ///
    /// # Errors
    /// [`Error::Numeric`] where seeds do not share their documents, or nothing is scored.
    pub fn of(seeds: &[PairedChanges], draws: &mut Draws) -> Result<Self> {
        let [first, ..] = seeds else { return Err(Error::numeric("no seed of a domain is done")) };
        if seeds.iter().any(|seed| seed.tokens != first.tokens || seed.changes.len() != first.changes.len()) {
            return Err(Error::numeric("the seeds of a domain were scored on different texts"));
        }
        let tokens: f64 = first.tokens.iter().sum();
        let deltas: Vec<f64> = seeds.iter().map(|seed| seed.changes.iter().sum::<f64>() / tokens).collect();
        let many = seeds.len() as f64;
        let mut changes = vec![0.0; first.changes.len()];
        for seed in seeds {
            changes.iter_mut().zip(&seed.changes).for_each(|(mean, change)| *mean += change / many);
        }
        let delta = deltas.iter().sum::<f64>() / many;
        let squares: f64 = deltas.iter().map(|d| (d - delta).powi(2)).sum();
        Ok(Self {
            delta,
            ci95: draws.over(changes.len()).ratio_interval(&changes, &first.tokens)?,
            seed_sd: (seeds.len() > 1).then(|| (squares / (many - 1.0)).sqrt()),
            changes: PairedChanges { changes, ..first.clone() },
        })
    }

    /// What line breaks and ends of documents carry of `delta`, with intervals by the same draws of documents; `seeds`
    /// are the seeds of this change.
    ///
    /// # Errors
    /// [`Error::Numeric`] where these do not share its documents.
    pub fn parts(&self, seeds: &[PartChanges], draws: &mut Draws) -> Result<(LineBreakParts, PartIntervals)> {
        let tokens = &self.changes.tokens;
        let mean = |part: fn(&PartChanges) -> &Vec<f64>| -> Result<Vec<f64>> {
            let mut mean = vec![0.0; tokens.len()];
            for seed in seeds {
                if part(seed).len() != mean.len() {
                    return Err(Error::numeric("the parts of a change are of other documents than the change"));
                }
                mean.iter_mut().zip(part(seed)).for_each(|(mean, sum)| *mean += sum / seeds.len() as f64);
            }
            Ok(mean)
        };
        let parts = PartChanges {
            newline: mean(|seed| &seed.newline)?,
            boundary: mean(|seed| &seed.boundary)?,
            after_newline: mean(|seed| &seed.after_newline)?,
        };
        let draws = draws.over(tokens.len());
        let intervals = PartIntervals {
            newline: draws.ratio_interval(&parts.newline, tokens)?,
            after_newline: draws.ratio_interval(&parts.after_newline, tokens)?,
            boundary: draws.ratio_interval(&parts.boundary, tokens)?,
            rest: draws.ratio_interval(&parts.rest(&self.changes), tokens)?,
        };
        Ok((parts.shares(&self.changes), intervals))
    }

    /// Scored tokens.
    pub fn tokens(&self) -> usize {
        self.changes.tokens.iter().sum::<f64>() as usize
    }

    /// δ of every bootstrap draw of documents.
    ///
    /// # Errors
    /// [`Error::Numeric`] where nothing is scored.
    pub fn draws(&self, seed: u64) -> Result<Vec<f64>> {
        let PairedChanges { changes, tokens, .. } = &self.changes;
        let resamples = Resamples::new(changes.len(), RESAMPLES, seed);
        Ok(resamples.over(tokens)?.draws(changes.iter().copied().enumerate()))
    }
}

/// The draws of documents last made, which cells of one domain share.
#[derive(Debug, Default)]
pub struct Draws(Option<(usize, Resamples)>);

impl Draws {
    fn over(&mut self, clusters: usize) -> &Resamples {
        let (_, draws) = match self.0.take() {
            Some(known) if known.0 == clusters => self.0.insert(known),
            _ => self.0.insert((clusters, Resamples::new(clusters, RESAMPLES, BOOTSTRAP_SEED))),
        };
        draws
    }
}
