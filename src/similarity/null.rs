//! The reference against parts of itself: what "no distance" looks like at a domain's size.

use burn::tensor::Device;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::draws::Draws;
use super::kernel::Kernel;
use super::reference::{Reference, unless_fatal};
use super::{CorpusSample, Distances, Features, TestSettings, tiles};
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::stats::percentile_interval;

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
                    Err(reason) => values.refuse(&["mmd2", "energy", "frechet", "centroid_cosine", "auc"], &reason),
                }
            }
            Err(reason) => values.refuse(&["mmd2", "energy", "frechet", "centroid_cosine", "auc"], reason),
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
                for (key, drawn) in ["energy", "mmd2"].into_iter().zip(&drawn) {
                    values.add(key, std::iter::once(drawn.observed).chain(drawn.permuted.iter().copied()));
                }
            }
            Err(reason) => values.refuse(&["mmd2", "energy"], &reason),
        }
        if let Err(reason) = &self.kernel {
            values.refuse(&["mmd2"], reason);
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
            values.take("frechet", unless_fatal(frechet)?);
            values.take("centroid_cosine", unless_fatal(super::features::centroid_cosine(&rest, &part))?);
            let classified = super::classifier::classify(&rest, &part, monitor);
            values.take("auc", unless_fatal(classified)?.map(|found| found.auc));
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
        let lexical =
            ["unigram_js", "unigram_cross_entropy", "vocabulary_overlap", "bigram_overlap", "trigram_overlap"];
        if counts.parts.len() < 4 {
            values.refuse(&lexical, "the reference has fewer than 4 documents or chunks");
            values.add("newline_rate", [counts.newline_rate()]);
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
            for key in lexical.into_iter().chain(["newline_rate"]) {
                match distances.get(key) {
                    Some(value) => values.add(key, [value]),
                    None => {
                        values.refuse(&[key], distances.reasons.get(key).map_or("was not computed", String::as_str))
                    }
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
    values: std::collections::BTreeMap<&'static str, Vec<f64>>,
    reasons: std::collections::BTreeMap<String, String>,
}

impl Collected {
    fn add(&mut self, key: &'static str, values: impl IntoIterator<Item = f64>) {
        self.values.entry(key).or_default().extend(values.into_iter().filter(|value| value.is_finite()));
    }

    fn take(&mut self, key: &'static str, value: Result<f64, String>) {
        match value {
            Ok(value) => self.add(key, [value]),
            Err(reason) => self.refuse(&[key], &reason),
        }
    }

    fn refuse(&mut self, keys: &[&'static str], reason: &str) {
        for key in keys {
            self.reasons.entry((*key).to_owned()).or_insert_with(|| reason.to_owned());
        }
    }

    fn means(mut self) -> Distances {
        self.reasons.retain(|key, _| self.values.get(key.as_str()).is_none_or(Vec::is_empty));
        let mean = |key: &str| {
            let values = self.values.get(key).filter(|values| !values.is_empty())?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let interval = |key: &str| percentile_interval(self.values.get(key)?.clone());
        Distances {
            samples: self.samples,
            mmd2: mean("mmd2"),
            frechet: mean("frechet"),
            centroid_cosine: mean("centroid_cosine"),
            energy: mean("energy"),
            auc: mean("auc"),
            unigram_js: mean("unigram_js"),
            unigram_cross_entropy: mean("unigram_cross_entropy"),
            vocabulary_overlap: mean("vocabulary_overlap"),
            bigram_overlap: mean("bigram_overlap"),
            trigram_overlap: mean("trigram_overlap"),
            newline_rate: mean("newline_rate"),
            intervals: super::Intervals {
                mmd2_ci95: interval("mmd2"),
                frechet_ci95: interval("frechet"),
                centroid_cosine_ci95: interval("centroid_cosine"),
                energy_ci95: interval("energy"),
                auc_ci95: interval("auc"),
                unigram_js_ci95: interval("unigram_js"),
                unigram_cross_entropy_ci95: interval("unigram_cross_entropy"),
                vocabulary_overlap_ci95: interval("vocabulary_overlap"),
                bigram_overlap_ci95: interval("bigram_overlap"),
                trigram_overlap_ci95: interval("trigram_overlap"),
                newline_rate_ci95: interval("newline_rate"),
            },
            reasons: self.reasons,
            ..Distances::default()
        }
    }
}
