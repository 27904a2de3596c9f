//! The reference corpus, and how a domain is compared with it: values, then tests and intervals.

use burn::tensor::Device;
use rayon::prelude::*;

use super::counts::{Counts, Part};
use super::draws::{Draws, permutation_p, spread};
use super::features::{self, Features, comparable, finite, squared_distance};
use super::frechet::{self, Gaussian};
use super::kernel::{Kernel, KernelKind};
use super::lexical::{self, Unigrams};
use super::measures::Compares;
use super::{CorpusSample, Distances, Measure, TestSettings, classifier, principal, tiles};
use crate::error::{Error, Result};
use crate::progress::{Monitor, Silent};
use crate::stats::{Estimate, Resamples, percentile_interval};

/// Draws for measures that need an eigenvalue problem or a pass over all counts for each draw.
pub const COSTLY_DRAWS: usize = 200;
/// With a smaller vocabulary overlap the two texts may have different languages or tokenizers.
const HARDLY_ANY_OVERLAP: f64 = 0.1;
/// Feature vectors below which values are mostly noise.
const FEW_SAMPLES: usize = 50;

/// The reference corpus with everything that is fixed once.
pub struct Reference {
    pub(super) sample: CorpusSample,
    vocabulary: usize,
    pub(super) kernel: Result<Kernel, String>,
    gaussian: Result<Gaussian, String>,
}

impl Reference {
    /// Takes an RBF kernel of the median distance in the reference alone, see [`Reference::with_kernel`], and fits a Gaussian.
    /// `vocabulary` is the size of the tokenizer's.
    pub fn new(sample: CorpusSample, vocabulary: usize, seed: u64) -> Self {
        let features = sample.features.as_ref().map_err(String::clone);
        let kernel = features.clone().and_then(|f| text(KernelKind::Rbf.fit(&[f], seed)));
        let gaussian = features.and_then(|f| text(Gaussian::fit(f)));
        Self { sample, vocabulary, kernel, gaussian }
    }

    /// The size of the tokenizer's vocabulary.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Takes a kernel that was fixed on the pool of all corpora of the run, or why there is none.
    pub fn with_kernel(self, kernel: Result<Kernel, String>) -> Self {
        Self { kernel, ..self }
    }

    /// The distances of `domain` to this corpus, without tests. What cannot be computed is missing, with its reason.
    pub fn distances(&self, domain: &CorpusSample) -> Distances {
        self.values(domain, &mut Silent).unwrap_or_default() // `Silent` never interrupts, so this cannot fail
    }

    /// The distances of `domain` to this corpus with their tests and intervals. What cannot be computed is missing, with
    /// its reason; a text that is the reference's own is at distance 0.
    ///
    /// # Errors
    /// The device's failure or an interruption.
    pub fn test(
        &self,
        domain: &CorpusSample,
        settings: &TestSettings,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<Distances> {
        let mut distances = self.values(domain, monitor)?;
        if self.is_text_of(domain) {
            distances.become_none();
            return Ok(distances);
        }
        if let (Ok(x), Ok(y)) = (&self.sample.features, &domain.features) {
            self.test_features(x, y, &mut distances, settings, device, monitor)?;
        }
        self.lexical_intervals(&domain.counts, &mut distances, settings);
        self.caveats(domain, &mut distances);
        Ok(distances)
    }

    /// Whether it is the same text, by all its counts.
    fn is_text_of(&self, domain: &CorpusSample) -> bool {
        let (a, b) = (&self.sample.counts, &domain.counts);
        let ngrams = a.ngrams.iter().zip(&b.ngrams);
        a.unigrams == b.unigrams
            && a.unigrams.total() > 0
            && ngrams.into_iter().all(|(a, b)| a.level != b.level || a.hashes().eq(b.hashes()))
    }

    fn values(&self, domain: &CorpusSample, monitor: &mut dyn Monitor) -> Result<Distances> {
        let both = || Ok((self.sample.features.as_ref()?, domain.features.as_ref()?));
        let both = both().map_err(|reason: &String| reason.clone());
        let [mmd2, energy, between] = match &both {
            Ok((x, y)) => self.kernel_distances(x, y, monitor)?,
            Err(reason) => [(); 3].map(|()| Err(reason.clone())),
        };
        let frechet = both.clone().and_then(|(_, y)| {
            let reference = self.gaussian.as_ref().map_err(String::clone)?;
            Ok(text(frechet::frechet(reference, &text(Gaussian::fit(y))?))?.distance)
        });
        let auc = match &both {
            Ok((x, y)) => unless_fatal(classifier::classify(x, y, monitor))?,
            Err(reason) => Err(reason.clone()),
        };
        let (own, other) = (&self.sample.counts, &domain.counts);
        let [bigrams, trigrams] = [0, 1].map(|n| other.ngrams[n].seen_in(&own.ngrams[n], 1));
        let none = || "the text has no sequence of so many tokens".to_owned();
        let effect = match (&energy, between) {
            (Ok(energy), Ok(between)) if between > 0.0 => Some((energy / (2.0 * between)).clamp(0.0, 1.0)),
            _ => None,
        };
        let cosine = both.and_then(|(x, y)| text(features::centroid_cosine(x, y)));
        let cross_entropy = lexical::cross_entropy(&other.unigrams, &own.unigrams, self.vocabulary);
        let mut distances: Distances = [
            (Measure::Mmd2, Estimate::from(mmd2)),
            (Measure::Frechet, frechet.into()),
            (Measure::CentroidCosine, cosine.into()),
            (Measure::Energy, energy.into()),
            (Measure::Auc, auc.clone().map(|found| found.auc).into()),
            (Measure::UnigramJs, text(lexical::jensen_shannon(&other.unigrams, &own.unigrams)).into()),
            (Measure::UnigramCrossEntropy, text(cross_entropy).into()),
            (Measure::VocabularyOverlap, self.overlap(&other.unigrams).into()),
            (Measure::BigramOverlap, bigrams.share().ok_or_else(none).into()),
            (Measure::BigramTypeOverlap, bigrams.share_of_types().into()),
            (Measure::TrigramOverlap, trigrams.share().ok_or_else(none).into()),
            (Measure::TrigramTypeOverlap, trigrams.share_of_types().into()),
            (Measure::NewlineRate, other.newline_rate().into()),
        ]
        .into_iter()
        .collect();
        distances.samples = domain.features.as_ref().map_or(0, |f| f.samples);
        distances.effects.extend(effect.map(|effect| (Measure::Energy, effect)));
        distances[Measure::Auc].ci95 = auc.ok().map(|found| found.ci95);
        Ok(distances)
    }

    fn overlap(&self, unigrams: &Unigrams) -> Result<f64, String> {
        // Any two corpora share the whole of a small vocabulary, so only its more frequent part is compared.
        let top_types = lexical::TOP_TYPES.min(self.vocabulary / 4);
        text(lexical::vocabulary_overlap(unigrams, &self.sample.counts.unigrams, top_types))
    }

    /// MMD², energy distance, and the mean distance between the two, all in f64 from one pass.
    fn kernel_distances(
        &self,
        x: &Features,
        y: &Features,
        monitor: &mut dyn Monitor,
    ) -> Result<[Result<f64, String>; 3]> {
        if let Err(reason) = text(comparable(x, y)) {
            return Ok([(); 3].map(|()| Err(reason.clone())));
        }
        let kernel = self.kernel.clone().unwrap_or(Kernel::Distance);
        let pair = |a: &[f32], b: &[f32]| {
            let squared = squared_distance(a, b);
            let value = match kernel {
                Kernel::Polynomial | Kernel::Linear => kernel.of(a, b),
                _ => kernel.of_squared_distance(squared),
            };
            [value, squared.sqrt()]
        };
        let means = x.pair_means(y, pair, monitor)?;
        let discrepancy = |which: usize| 2.0 * means.between[which] - means.within[which] - means.within_other[which];
        let mmd2 = self.kernel.clone().and_then(|_| text(finite(-discrepancy(0), "MMD²")));
        let energy = text(finite(discrepancy(1), "the energy distance"));
        Ok([mmd2, energy, text(finite(means.between[1], "the mean distance"))])
    }

    fn test_features(
        &self,
        x: &Features,
        y: &Features,
        distances: &mut Distances,
        settings: &TestSettings,
        device: &Device,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let TestSettings { permutations, resamples, seed, .. } = *settings;
        if comparable(x, y).is_err() || permutations + resamples == 0 {
            return Ok(()); // `values` has already reported it
        }
        let draws = Draws::new(x, y, seed).permuted(permutations).resampled(resamples);
        let mut kernels = vec![Kernel::Distance];
        kernels.extend(self.kernel.as_ref().ok());
        match unless_fatal(tiles::discrepancies(x, y, &kernels, &draws, device, monitor))? {
            Err(reason) => {
                untested(distances, Measure::Energy, &reason);
                untested(distances, Measure::Mmd2, &reason);
            }
            Ok(found) => {
                if let Some(energy) = distances.get(Measure::Energy) {
                    let estimate = &mut distances[Measure::Energy];
                    estimate.p = tested(permutations, found[0].observed, &found[0].permuted);
                    estimate.ci95 = interval_about(energy, found[0].resampled.clone());
                }
                if let (Some(mmd2), Some(drawn)) = (distances.get(Measure::Mmd2), found.get(1)) {
                    let estimate = &mut distances[Measure::Mmd2];
                    estimate.p = tested(permutations, drawn.observed, &drawn.permuted);
                    estimate.ci95 = interval_about(mmd2, drawn.resampled.clone());
                    let effect = deviations(drawn.observed, &drawn.permuted);
                    distances.effects.extend(effect.map(|effect| (Measure::Mmd2, effect)));
                    let error = (drawn.observed - mmd2).abs();
                    if error > 1e-5 * mmd2.abs().max(1.0) {
                        distances.caveats.push(format!(
                            "MMD² on the device is {error:.1e} off its exact value; do not trust its p-value"
                        ));
                    }
                }
            }
        }
        let draws = draws.limited(COSTLY_DRAWS, COSTLY_DRAWS);
        if let Some(frechet) = distances.get(Measure::Frechet) {
            match unless_fatal(principal::frechet_distances(x, y, &draws, monitor))? {
                Err(reason) => untested(distances, Measure::Frechet, &reason),
                Ok(found) => {
                    let effect = deviations(found.observed, &found.permuted);
                    distances.effects.extend(effect.map(|effect| (Measure::Frechet, effect)));
                    let estimate = &mut distances[Measure::Frechet];
                    estimate.p = tested(permutations, found.observed, &found.permuted);
                    estimate.ci95 = interval_about(frechet, found.resampled).map(|[low, high]| [low.max(0.0), high]);
                }
            }
        }
        if distances.get(Measure::Auc).is_some() && permutations > 0 {
            let p = classifier::classifier_p(x, y, permutations, seed, monitor);
            distances[Measure::Auc].p = unless_fatal(p)?.ok();
        }
        if let Some(cosine) = distances.get(Measure::CentroidCosine) {
            let draw = |r: usize| {
                let mean = |set: &Features, offset: usize| {
                    let mut mean = vec![0.0; set.dimension];
                    for (i, row) in set.rows().enumerate() {
                        let taken = f64::from(draws.taken(r, offset + i));
                        if taken > 0.0 {
                            mean.iter_mut().zip(row).for_each(|(m, v)| *m += taken * f64::from(*v));
                        }
                    }
                    mean
                };
                features::cosine(&mean(x, 0), &mean(y, x.samples)).unwrap_or(f64::NAN)
            };
            let drawn: Vec<f64> = (0..draws.resamples()).into_par_iter().map(draw).collect();
            distances[Measure::CentroidCosine].ci95 =
                interval_about(cosine, drawn).map(|ends| ends.map(|end| end.clamp(-1.0, 1.0)));
        }
        Ok(())
    }

    /// Intervals of the lexical measures. The domain's documents are resampled, the reference is taken as it is.
    fn lexical_intervals(&self, domain: &Counts, distances: &mut Distances, settings: &TestSettings) {
        let (own, parts, resamples) = (&self.sample.counts, &domain.parts, settings.resamples.min(COSTLY_DRAWS));
        if parts.len() < 2 || resamples == 0 {
            return;
        }
        let draws = Resamples::new(parts.len(), resamples, settings.seed);
        let of_parts = |f: &dyn Fn(&Part) -> f64| parts.iter().map(f).collect::<Vec<f64>>();
        let totals = of_parts(&|part| part.unigrams.total() as f64);
        let ratio = |sums: &[f64], counts: &[f64]| draws.ratio_interval(sums, counts).ok();
        distances[Measure::NewlineRate].ci95 = ratio(&of_parts(&|part| part.newlines as f64), &totals);
        let nats = |part: &Part| {
            let of_part = lexical::cross_entropy(&part.unigrams, &own.unigrams, self.vocabulary);
            of_part.unwrap_or(0.0) * part.unigrams.total() as f64
        };
        if distances.get(Measure::UnigramCrossEntropy).is_some() {
            distances[Measure::UnigramCrossEntropy].ci95 = ratio(&of_parts(&nats), &totals);
        }
        let [bigrams, trigrams] = [0, 1].map(|n| domain.ngrams[n].seen_in(&own.ngrams[n], parts.len()));
        distances[Measure::BigramOverlap].ci95 = ratio(&bigrams.hits, &bigrams.counts);
        distances[Measure::TrigramOverlap].ci95 = ratio(&trigrams.hits, &trigrams.counts);

        let drawn: Vec<[f64; 2]> = (0..resamples)
            .into_par_iter()
            .map(|resample| {
                let taken = |(part, counts): (usize, &Part)| {
                    let times = u64::from(draws.taken(part, resample));
                    counts.unigrams.iter().map(move |(id, count)| (id, count * times)).collect::<Vec<_>>()
                };
                let unigrams: Unigrams = parts.iter().enumerate().flat_map(taken).collect();
                let js = lexical::jensen_shannon(&unigrams, &own.unigrams).unwrap_or(f64::NAN);
                [js, self.overlap(&unigrams).unwrap_or(f64::NAN)]
            })
            .collect();
        for (which, measure) in [Measure::UnigramJs, Measure::VocabularyOverlap].into_iter().enumerate() {
            let drawn = drawn.iter().map(|values| values[which]).collect();
            let ends = distances.get(measure).and_then(|value| interval_about(value, drawn));
            distances[measure].ci95 = ends.map(|ends| ends.map(|end| end.clamp(0.0, 1.0)));
        }
    }

    fn caveats(&self, domain: &CorpusSample, distances: &mut Distances) {
        let [overlap, frechet] = [Measure::VocabularyOverlap, Measure::Frechet].map(|measure| distances.get(measure));
        let caveats = &mut distances.caveats;
        if overlap.is_some_and(|overlap| overlap < HARDLY_ANY_OVERLAP) {
            caveats.push(
                "shares hardly any frequent tokens with the reference: another language, or a text that this tokenizer is \
                 not made for; distances then say little beyond that"
                    .into(),
            );
        }
        let (Ok(x), Ok(y)) = (&self.sample.features, &domain.features) else { return };
        let fewest = x.samples.min(y.samples);
        if fewest <= x.dimension && frechet.is_some() {
            caveats.push(format!(
                "{fewest} samples in {} dimensions: the covariance is regularised, and the Fréchet distance depends more on \
                 the number of samples than on the texts",
                x.dimension
            ));
        } else if fewest < FEW_SAMPLES {
            caveats.push(format!("only {fewest} samples: values are mostly noise"));
        }
        for (name, set) in [("the reference", x), ("the domain", y)] {
            caveats.extend(set.caveats.iter().map(|caveat| format!("{name}: {caveat}")));
            let units = set.units();
            if units.single {
                caveats.push(format!(
                    "the samples of {name} come from 1 document: they are permuted and resampled one by one, which makes \
                     p-values too small and intervals too narrow"
                ));
            } else if units.count < features::FEW_DOCUMENTS && units.count < set.samples {
                caveats.push(format!(
                    "the samples of {name} come from {} documents: too few to tell what is theirs alone from what is the \
                     corpus's",
                    units.count
                ));
            }
        }
        if (0..x.dimension).all(|k| y.rows().all(|row| row[k] == y.row(0)[k])) {
            caveats.push("all its feature vectors are equal".into());
        }
    }
}

impl Distances {
    /// Those of a text from itself.
    fn become_none(&mut self) {
        for measure in Measure::ALL {
            let compares_features = measure.about().compares == Compares::Features;
            let estimate = &mut self[measure];
            estimate.ci95 = None;
            if let Some(value) = estimate.value.as_mut().filter(|_| compares_features) {
                *value = match measure {
                    Measure::Auc => 0.5,
                    _ => f64::from(measure.is_similarity()),
                };
                estimate.p = measure.about().tested.then_some(1.0);
            }
        }
        self.effects = self.get(Measure::Energy).map(|none| (Measure::Energy, none)).into_iter().collect();
        self.caveats
            .push("is the reference's own text, word for word: distances are 0 and p-values 1 by definition".into());
    }
}

/// Says why a measure has no p-value.
fn untested(distances: &mut Distances, measure: Measure, reason: &str) {
    distances[measure].reason.get_or_insert_with(|| reason.to_owned());
}

fn tested(permutations: usize, observed: f64, permuted: &[f64]) -> Option<f64> {
    (permutations > 0).then(|| permutation_p(observed, permuted))
}

/// The observed value in standard deviations of the permuted ones from their mean.
fn deviations(observed: f64, permuted: &[f64]) -> Option<f64> {
    let (mean, deviation) = spread(permuted);
    (deviation > 0.0).then(|| (observed - mean) / deviation)
}

/// The percentile interval of `draws`, moved so that their mean is `value`.
fn interval_about(value: f64, mut draws: Vec<f64>) -> Option<[f64; 2]> {
    draws.retain(|draw| draw.is_finite()); // with two documents a resample may take one of them twice
    let shift = value - draws.iter().sum::<f64>() / draws.len() as f64;
    percentile_interval(draws).map(|ends| ends.map(|end| end + shift))
}

/// A measure that cannot be computed from these numbers becomes a reason. Failures of the device and interruptions
/// remain errors.
pub(super) fn unless_fatal<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Numeric(reason)) => Ok(Err(reason.to_string())),
        Err(error) => Err(error),
    }
}

fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}
