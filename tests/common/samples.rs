//! Samples that are made up, and how the tests between two samples judge them.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use burn::tensor::Device;
use odyssey::progress::Silent;
use odyssey::similarity::bandwidth::median_distance;
use odyssey::similarity::classifier::classifier_p;
use odyssey::similarity::draws::{Draws, permutation_p};
use odyssey::similarity::features::Features;
use odyssey::similarity::kernel::Kernel;
use odyssey::similarity::principal::frechet_distances;
use odyssey::similarity::tiles::discrepancies;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Two normal samples in `dimension`, the second shifted, in documents of one to three vectors.
pub fn made_up(sizes: [usize; 2], dimension: usize, shift: f32, seed: u64) -> [Features; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    [(sizes[0], 0.0), (sizes[1], shift)].map(|(size, shift)| {
        let (mut values, mut documents) = (Vec::new(), Vec::new());
        let (mut document, mut topic) = (0, vec![0.0; dimension]);
        for _ in 0..size {
            if documents.is_empty() || rng.random::<f32>() < 0.5 {
                document += 1;
                topic = (0..dimension).map(|_| rng.random::<f32>()).collect();
            }
            documents.push(document);
            values.extend(topic.iter().map(|topic| topic + rng.random::<f32>() + shift));
        }
        Features::new(size, dimension, values).unwrap().of_documents(documents).unwrap()
    })
}

/// The p-value of a Kolmogorov–Smirnov test of "drawn uniformly from 0 to 1" (asymptotic, Stephens's correction).
pub fn uniform_p(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance =
        sorted.iter().enumerate().map(|(i, v)| (v - i as f64 / n).max((i as f64 + 1.0) / n - v)).fold(0.0, f64::max);
    let t = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    let series: f64 = (1..100).map(|k| (-1.0_f64).powi(k + 1) * (-2.0 * (f64::from(k) * t).powi(2)).exp()).sum();
    (2.0 * series).clamp(0.0, 1.0)
}

/// P-values of MMD, energy, Fréchet and the classifier.
pub fn p_values(x: &Features, y: &Features, permutations: usize, seed: u64) -> [f64; 4] {
    let draws = Draws::new(x, y, seed).permuted(permutations);
    let sigma = median_distance(&[x, y], seed).unwrap();
    let kernels = [Kernel::Rbf { sigma }, Kernel::Distance];
    let found = discrepancies(x, y, &kernels, &draws, &Device::flex(), &mut Silent).unwrap();
    let frechet = frechet_distances(x, y, &draws, &mut Silent).unwrap();
    [
        permutation_p(found[0].observed, &found[0].permuted),
        permutation_p(found[1].observed, &found[1].permuted),
        permutation_p(frechet.observed, &frechet.permuted),
        classifier_p(x, y, permutations, seed, &mut Silent).unwrap(),
    ]
}
