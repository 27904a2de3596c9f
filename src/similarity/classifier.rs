//! The classifier two-sample test: how well a classifier separates the vectors of two samples.
//!
//! Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017; with the area under the ROC curve instead of
//! the accuracy, so that samples may have different sizes. The classifier is a logistic regression on standardised
//! features, `½|w|² + Σ log(1 + exp(−yf))`, as scikit-learn's with C = 1. Documents are assigned to five folds in turn,
//! and each fold is scored by a classifier fitted to the other four. Classifiers of overlapping data depend on one
//! another. So the p-value uses halves: the classifier of one half scores the other half, and there documents are
//! permuted.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::draws::permutation_p;
use super::features::{Features, Units, comparable};
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// Folds.
pub const FOLDS: usize = 5;
/// Rows summed by one thread; sums of threads are added in order, so that their number does not matter.
const ROWS: usize = 256;
/// Newton steps, of which a convex objective takes about eight.
const STEPS: usize = 50;

/// How well a classifier tells the samples apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classified {
    /// Mean over the folds of the probability that a vector of y is scored above one of x: 0.5 is chance, 1 is always.
    pub auc: f64,
    /// 95 % interval by the standard error over documents, widened because folds share training data (Nadeau and
    /// Bengio, Machine Learning 52, 2003).
    pub ci95: [f64; 2],
}

/// Cross-fits the classifier.
///
/// # Errors
/// [`Error::Numeric`] for samples that cannot be compared or have fewer than ten documents (or vectors) on a side, an
/// interruption.
pub fn classify(x: &Features, y: &Features, monitor: &mut dyn Monitor) -> Result<Classified> {
    let units = units(x, y)?;
    monitor.begin("classifying", FOLDS as u64);
    let mut folds = Vec::new();
    for held_out in 0..FOLDS {
        let [below, above] = held_out_scores(x, y, &units, |unit| unit % FOLDS == held_out, monitor)?;
        folds.push(Fold::new(&below, &above));
        monitor.advance(1, "");
    }
    monitor.end();
    let count = folds.len() as f64;
    let auc = folds.iter().map(|fold| fold.auc).sum::<f64>() / count;
    let variance = folds.iter().map(|fold| fold.variance).sum::<f64>() / count;
    // the mean of k independent folds would have 1/k of the variance; a fold is 1/(k − 1) of what its classifier saw
    let reach = 1.959_963_984_540_054 * (variance * (1.0 / count + 1.0 / (count - 1.0))).sqrt();
    Ok(Classified { auc, ci95: [(auc - reach).max(0.0), (auc + reach).min(1.0)] })
}

/// The p-value of "no classifier tells the samples apart": fitted to every other document, it scores the rest, whose
/// documents are then permuted between the sides.
///
/// # Errors
/// As [`classify`].
pub fn classifier_p(
    x: &Features,
    y: &Features,
    permutations: usize,
    seed: u64,
    monitor: &mut dyn Monitor,
) -> Result<f64> {
    let units = units(x, y)?;
    let [below, above] = held_out_scores(x, y, &units, |unit| unit % 2 == 1, monitor)?;
    // ranks of the scores in documents, sides told apart
    let mut scored: Vec<(f64, [usize; 2])> = Vec::new();
    for (side, scores) in [&below, &above].into_iter().enumerate() {
        scored.extend(scores.iter().map(|(score, unit)| (*score, [side, *unit as usize])));
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut documents = std::collections::BTreeMap::<[usize; 2], Vec<f64>>::new();
    let mut before = 0;
    for run in scored.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (run.len() as f64 + 1.0) / 2.0;
        run.iter().for_each(|(_, document)| documents.entry(*document).or_default().push(rank));
        before += run.len();
    }
    let totals: Vec<(f64, f64)> = documents.values().map(|ranks| (ranks.iter().sum(), ranks.len() as f64)).collect();
    let mut labels: Vec<bool> = documents.keys().map(|[side, _]| *side == 1).collect();
    let all = before as f64;
    let auc = |labels: &[bool]| {
        let of_y = totals.iter().zip(labels).filter(|(_, label)| **label);
        let (ranks, n) = of_y.fold((0.0, 0.0), |(ranks, n), ((r, k), _)| (ranks + r, n + k));
        (ranks - n * (n + 1.0) / 2.0) / (n * (all - n))
    };
    let observed = auc(&labels);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let permuted: Vec<f64> = (0..permutations)
        .map(|_| {
            labels.shuffle(&mut rng);
            auc(&labels)
        })
        .collect();
    Ok(permutation_p(observed, &permuted))
}

fn units(x: &Features, y: &Features) -> Result<[Units; 2]> {
    comparable(x, y)?;
    let units = [x.units(), y.units()];
    match units.iter().find(|units| units.count < 2 * FOLDS) {
        Some(few) => Err(Error::numeric(format!(
            "{} documents or vectors on a side, a classifier needs at least {}",
            few.count,
            2 * FOLDS
        ))),
        None => Ok(units),
    }
}

/// Scores and units of the vectors of x and of y whose unit is held out, by a classifier fitted to the others.
fn held_out_scores(
    x: &Features,
    y: &Features,
    units: &[Units; 2],
    held_out: impl Fn(usize) -> bool,
    monitor: &mut dyn Monitor,
) -> Result<[Vec<(f64, u32)>; 2]> {
    let sides = [(x, &units[0]), (y, &units[1])];
    let rows = sides.map(|(set, units)| -> (Vec<usize>, Vec<usize>) {
        (0..set.samples).partition(|i| held_out(units.of[*i] as usize))
    });
    let classifier = Classifier::fit(&x.select(&rows[0].1), &y.select(&rows[1].1), monitor)?;
    let scores = |side: usize| {
        let (set, units) = sides[side];
        rows[side].0.iter().map(|&i| (classifier.score(set.row(i)), units.of[i])).collect()
    };
    Ok([scores(0), scores(1)])
}

/// The area under a fold's ROC curve and its variance over documents.
struct Fold {
    auc: f64,
    variance: f64,
}

impl Fold {
    /// From scores and units of the held-out vectors. The variance is Obuchowski's for clustered data (Biometrics 53, 1997),
    /// DeLong's where every vector is a unit of its own.
    fn new(x: &[(f64, u32)], y: &[(f64, u32)]) -> Self {
        // share of the other side below a score, equal ones counting half
        let shares = |own: &[(f64, u32)], other: &[(f64, u32)]| -> Vec<f64> {
            let mut sorted: Vec<f64> = other.iter().map(|(score, _)| *score).collect();
            sorted.sort_by(f64::total_cmp);
            let share = |score: f64| {
                let below = sorted.partition_point(|v| *v < score);
                let reached = sorted.partition_point(|v| *v <= score);
                (below + reached) as f64 / (2 * sorted.len()) as f64
            };
            own.iter().map(|(score, _)| share(*score)).collect()
        };
        let above = shares(y, x);
        let below: Vec<f64> = shares(x, y).iter().map(|share| 1.0 - share).collect();
        let auc = above.iter().sum::<f64>() / above.len() as f64;
        let variance = |values: &[f64], of: &[(f64, u32)]| {
            let mut units = std::collections::BTreeMap::<u32, f64>::new();
            values.iter().zip(of).for_each(|(value, (_, unit))| *units.entry(*unit).or_default() += value - auc);
            let n = units.len() as f64;
            units.values().map(|sum| sum * sum).sum::<f64>() * n / (n - 1.0).max(1.0) / (values.len() as f64).powi(2)
        };
        Self { auc, variance: variance(&above, y) + variance(&below, x) }
    }
}

/// A logistic regression on standardised features.
struct Classifier {
    mean: Vec<f64>,
    /// Standard deviations; 1 for constant components, which carry no information.
    deviation: Vec<f64>,
    /// Weights, then the intercept, `[dimension + 1]`.
    weights: Vec<f64>,
}

/// Standardised rows with a 1 at the end, `[n, dimension + 1]`, and their labels.
struct Design {
    rows: Vec<f32>,
    labels: Vec<f64>,
    width: usize,
}

impl Classifier {
    /// By Newton's method, each step by conjugate gradients: no matrix of dimension² is made.
    fn fit(x: &Features, y: &Features, monitor: &mut dyn Monitor) -> Result<Self> {
        let (n, d) = ((x.samples + y.samples) as f64, x.dimension);
        let sides = [x.mean(), y.mean()];
        let sizes = [x.samples as f64, y.samples as f64];
        let mean: Vec<f64> = (0..d).map(|k| (sides[0][k] * sizes[0] + sides[1][k] * sizes[1]) / n).collect();
        let mut deviation = vec![0.0; d];
        for row in x.rows().chain(y.rows()) {
            row.iter().zip(&mean).zip(&mut deviation).for_each(|((v, m), s)| *s += (f64::from(*v) - m).powi(2) / n);
        }
        deviation.iter_mut().for_each(|s| *s = if *s > 0.0 { s.sqrt() } else { 1.0 });
        let mut classifier = Self { mean, deviation, weights: vec![0.0; d + 1] };
        let labels = [(x, 0.0), (y, 1.0)].iter().flat_map(|(set, label)| vec![*label; set.samples]).collect();
        let rows = x.rows().chain(y.rows()).flat_map(|row| classifier.standardised(row).chain([1.0])).map(|v| v as f32);
        let design = Design { rows: rows.collect(), labels, width: d + 1 };

        for _ in 0..STEPS {
            let (loss, gradient) = design.loss(&classifier.weights);
            let size = length(&gradient);
            if size <= 1e-8 * n {
                break;
            }
            let mut step = design.newton_step(&classifier.weights, &gradient);
            // halve the step until the loss falls by a tenth of what its slope predicts
            let mut found = None;
            for _ in 0..30 {
                let next: Vec<f64> = classifier.weights.iter().zip(&step).map(|(w, s)| w + s).collect();
                if design.loss(&next).0 <= loss + 0.1 * dot(&step, &gradient) {
                    found = Some(next);
                    break;
                }
                step.iter_mut().for_each(|s| *s *= 0.5);
            }
            let Some(next) = found else { break }; // as near as rounding allows
            classifier.weights = next;
            if monitor.stopped() {
                return Err(Error::Interrupted(
                    "stopped while classifying; the next run starts from the beginning".into(),
                ));
            }
        }
        Ok(classifier)
    }

    fn standardised<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
        row.iter().zip(&self.mean).zip(&self.deviation).map(|((v, mean), deviation)| (f64::from(*v) - mean) / deviation)
    }

    /// Log-odds that a vector is of y.
    fn score(&self, row: &[f32]) -> f64 {
        self.standardised(row).chain([1.0]).zip(&self.weights).map(|(v, w)| v * w).sum()
    }
}

impl Design {
    /// The objective and its gradient.
    fn loss(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let (sum, mut gradient) = self.sum_rows(|row, label| {
            let score = product(row, weights);
            let probability = 1.0 / (1.0 + (-score).exp());
            // log(1 + exp(s)) − label s, without overflow
            (score.max(0.0) + (-score.abs()).exp().ln_1p() - label * score, probability - label)
        });
        let penalised = &weights[..self.width - 1]; // not the intercept
        gradient.iter_mut().zip(penalised).for_each(|(g, w)| *g += w);
        (sum + 0.5 * penalised.iter().map(|w| w * w).sum::<f64>(), gradient)
    }

    /// The step −H⁻¹g, by conjugate gradients to a hundredth of the gradient.
    fn newton_step(&self, weights: &[f64], gradient: &[f64]) -> Vec<f64> {
        let curvature = |direction: &[f64]| {
            let (_, mut out) = self.sum_rows(|row, _| {
                let probability = 1.0 / (1.0 + (-product(row, weights)).exp());
                (0.0, probability * (1.0 - probability) * product(row, direction))
            });
            out.iter_mut().zip(&direction[..self.width - 1]).for_each(|(o, v)| *o += v);
            out
        };
        let mut step = vec![0.0; self.width];
        let mut residual: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut direction = residual.clone();
        let (mut square, goal) = (dot(&residual, &residual), 1e-2 * length(gradient));
        for _ in 0..4 * self.width.min(250) {
            if square.sqrt() <= goal {
                break;
            }
            let image = curvature(&direction);
            let bend = dot(&direction, &image);
            if bend <= 0.0 {
                break; // saturated: the curvature is zero
            }
            let rate = square / bend;
            step.iter_mut().zip(&direction).for_each(|(s, d)| *s += rate * d);
            residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= rate * i);
            let next = dot(&residual, &residual);
            direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + next / square * *d);
            square = next;
        }
        if step.iter().all(|s| *s == 0.0) { residual } else { step }
    }

    /// Σ a and Σ b·row over all rows, with `(a, b) = f(row, label)`.
    fn sum_rows(&self, f: impl Fn(&[f32], f64) -> (f64, f64) + Sync) -> (f64, Vec<f64>) {
        let parts: Vec<(f64, Vec<f64>)> = self
            .rows
            .par_chunks(ROWS * self.width)
            .zip(self.labels.par_chunks(ROWS))
            .map(|(rows, labels)| {
                let (mut sum, mut vector) = (0.0, vec![0.0; self.width]);
                for (row, label) in rows.chunks_exact(self.width).zip(labels) {
                    let (a, b) = f(row, *label);
                    sum += a;
                    vector.iter_mut().zip(row).for_each(|(v, r)| *v += b * f64::from(*r));
                }
                (sum, vector)
            })
            .collect();
        let mut total = (0.0, vec![0.0; self.width]);
        for (sum, vector) in parts {
            total.0 += sum;
            total.1.iter_mut().zip(vector).for_each(|(t, v)| *t += v);
        }
        total
    }
}

fn product(row: &[f32], weights: &[f64]) -> f64 {
    row.iter().zip(weights).map(|(v, w)| f64::from(*v) * w).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}
