//! The reference against parts of itself: what "no distance" looks like at a domain's size.

use std::collections::BTreeMap;

use burn::tensor::Device;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::draws::Draws;
use super::kernel::Kernel;
use super::measures::Compares;
use super::reference::{Reference, unless_fatal};
use super::{CorpusSample, Distances, Features, Measure, TestSettings, tiles};
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::stats::{Estimate, percentile_interval};

/// Numbers of parts for cheap and for costly measures.
const PARTS: usize = 100;
const COSTLY_PARTS: usize = 10;

impl Reference {
    /// The mean distances between parts of this corpus, whole documents drawn at random, and the rest of it; intervals
    /// hold 95 of 100 parts. A part has about `vectors` feature vectors for the one kind of measure and `tokens` tokens for
    /// the other, as a domain has, but never more than half of what there is.
    ///
    /// # Errors
    /// The device's failure or an interruption.
    pub fn against_itself(
        &self,
        vectors: usize,
        tokens: u64,
        settings: &TestSettings,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<Distances> {
        let mut values = Collected::default();
        match &self.sample.features {
            Ok(features) => {
                let parts = Draws::parts(features, vectors, PARTS, settings.seed);
                match unless_fatal(parts)? {
                    Ok(parts) => self.features_of_parts(features, &parts, &mut values, device, monitor)?,
                    Err(reason) => values.refuse(Measure::comparing(Compares::Features), &reason),
                }
            }
            Err(reason) => values.refuse(Measure::comparing(Compares::Features), reason),
        }
        self.counts_of_parts(tokens, &mut values, settings, monitor)?;
        Ok(values.means())
    }

    fn features_of_parts(
        &self,
        features: &Features,
        parts: &Draws,
        values: &mut Collected,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let mut kernels = vec![Kernel::Distance];
        kernels.extend(self.kernel.as_ref().ok());
        match unless_fatal(tiles::discrepancies_of_parts(features, &kernels, parts, device, monitor))? {
            Ok(drawn) => {
                for (measure, drawn) in [Measure::Energy, Measure::Mmd2].into_iter().zip(&drawn) {
                    values.add(measure, std::iter::once(drawn.observed).chain(drawn.permuted.iter().copied()));
                }
            }
            Err(reason) => values.refuse([Measure::Mmd2, Measure::Energy], &reason),
        }
        if let Err(reason) = &self.kernel {
            values.refuse([Measure::Mmd2], reason);
        }
        monitor.begin("the reference against itself", COSTLY_PARTS as u64);
        for part in 0..COSTLY_PARTS.min(parts.permutations()) {
            let side = |first: u8| {
                let rows: Vec<usize> =
                    (0..features.samples).filter(|i| parts.falls_to_first(part, *i) == first).collect();
                features.select(&rows)
            };
            let (part, rest) = (side(1), side(0));
            let gaussian = |set: &Features| super::frechet::Gaussian::fit(set);
            let frechet =
                gaussian(&rest).and_then(|rest| Ok(super::frechet::frechet(&rest, &gaussian(&part)?)?.distance));
            values.take(Measure::Frechet, unless_fatal(frechet)?);
            values.take(Measure::CentroidCosine, unless_fatal(super::features::centroid_cosine(&rest, &part))?);
            let classified = super::classifier::classify(&rest, &part, monitor);
            values.take(Measure::Auc, unless_fatal(classified)?.map(|found| found.auc));
            values.samples = part.samples;
            monitor.advance(1, "");
            stop(monitor)?;
        }
        monitor.end();
        Ok(())
    }

    fn counts_of_parts(
        &self,
        tokens: u64,
        values: &mut Collected,
        settings: &TestSettings,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let counts = &self.sample.counts;
        let words = Measure::comparing(Compares::Words);
        if counts.parts.len() < 4 {
            values.refuse(words, "the reference has fewer than 4 documents or chunks");
            values.add(Measure::NewlineRate, [counts.newline_rate()]);
            return Ok(());
        }
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut order: Vec<usize> = (0..counts.parts.len()).collect();
        monitor.begin("the reference's words against themselves", 2 * COSTLY_PARTS as u64);
        for _ in 0..2 * COSTLY_PARTS {
            order.shuffle(&mut rng);
            let mut taken = vec![false; order.len()];
            let mut found = 0;
            for part in &order[..order.len() / 2] {
                if found >= tokens.max(1) {
                    break;
                }
                taken[*part] = true;
                found += counts.parts[*part].unigrams.total();
            }
            let [part, rest] = counts.divided(&taken);
            let none = || Err("not compared here".to_owned());
            let rest = Self::new(CorpusSample { features: none(), counts: rest }, self.vocabulary(), settings.seed);
            let distances = rest.distances(&CorpusSample { features: none(), counts: part });
            for measure in words.clone() {
                match distances.get(measure) {
                    Some(value) => values.add(measure, [value]),
                    None => values.refuse([measure], distances.why_missing(measure)),
                }
            }
            monitor.advance(1, "");
            stop(monitor)?;
        }
        monitor.end();
        Ok(())
    }
}

fn stop(monitor: &dyn Monitor) -> Result<()> {
    match monitor.stopped() {
        true => Err(Error::Interrupted(
            "stopped while comparing the reference with itself; the next run starts from the beginning".into(),
        )),
        false => Ok(()),
    }
}

/// Values of the parts, by measure.
#[derive(Default)]
struct Collected {
    samples: usize,
    values: BTreeMap<Measure, Vec<f64>>,
    reasons: BTreeMap<Measure, String>,
}

impl Collected {
    fn add(&mut self, measure: Measure, values: impl IntoIterator<Item = f64>) {
        self.values.entry(measure).or_default().extend(values.into_iter().filter(|value| value.is_finite()));
    }

    fn take(&mut self, measure: Measure, value: Result<f64, String>) {
        match value {
            Ok(value) => self.add(measure, [value]),
            Err(reason) => self.refuse([measure], &reason),
        }
    }

    fn refuse(&mut self, measures: impl IntoIterator<Item = Measure>, reason: &str) {
        for measure in measures {
            self.reasons.entry(measure).or_insert_with(|| reason.to_owned());
        }
    }

    fn means(mut self) -> Distances {
        let mut distances = Distances { samples: self.samples, ..Distances::default() };
        for measure in Measure::ALL {
            let values = self.values.remove(&measure).unwrap_or_default();
            distances[measure] = match values.is_empty() {
                true => Estimate { reason: self.reasons.remove(&measure), ..Estimate::default() },
                false => Estimate {
                    value: Some(values.iter().sum::<f64>() / values.len() as f64),
                    ci95: percentile_interval(values),
                    ..Estimate::default()
                },
            };
        }
        distances
    }
}
