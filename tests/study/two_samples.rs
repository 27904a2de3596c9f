//! Permutation tests, resamples and classifiers between two samples, against numpy, closed forms and their own null.

use burn::tensor::Device;
use odyssey::model::LoadedModel;
use odyssey::progress::{Monitor, Silent};
use odyssey::similarity::bandwidth::median_distance;
use odyssey::similarity::classifier::{classifier_p, classify};
use odyssey::similarity::draws::{Draws, permutation_p};
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::energy::energy_distance;
use odyssey::similarity::extract::Hidden;
use odyssey::similarity::features::Features;
use odyssey::similarity::frechet::{Gaussian, frechet};
use odyssey::similarity::kernel::{Kernel, KernelKind};
use odyssey::similarity::mmd::mmd2;
use odyssey::similarity::principal::frechet_distances;
use odyssey::similarity::tiles::discrepancies;
use odyssey::text::{DocumentRule, Split, StreamOptions, Vocabulary, open_corpus};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{fixture, test_data};

const KERNELS: [Kernel; 5] = [
    Kernel::Rbf { sigma: 8.8 },
    Kernel::RbfMixture { sigma: 8.8 },
    Kernel::Polynomial,
    Kernel::Linear,
    Kernel::Distance,
];

struct Golden {
    x: Features,
    y: Features,
    /// Vectors that fall to x in each permutation, and its MMD².
    permutations: Option<(Vec<Vec<usize>>, Vec<f64>)>,
    values: Value,
    test: Value,
}

fn golden(name: &str) -> Golden {
    let stats: Value = serde_json::from_str(&std::fs::read_to_string(fixture("stats/stats.json")).unwrap()).unwrap();
    let file = format!("features_{name}.safetensors");
    let path = match name {
        "large" => test_data().join("reference/stats").join(file),
        _ => fixture("stats").join(file),
    };
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let features = |name| {
        let tensor = tensors.tensor(name).unwrap();
        Features::new(tensor.shape()[0], tensor.shape()[1], bytemuck::pod_collect_to_vec(tensor.data())).unwrap()
    };
    let x = features("x");
    let permutations = tensors.tensor("permutations").ok().map(|tensor| {
        let all: Vec<i32> = bytemuck::pod_collect_to_vec(tensor.data());
        let sets = all.chunks(tensor.shape()[1]).map(|order| order[..x.samples].iter().map(|&i| i as usize).collect());
        (sets.collect(), bytemuck::pod_collect_to_vec(tensors.tensor("null_statistics_f64").unwrap().data()))
    });
    let (values, test) = (stats["two_sample"][name].clone(), stats["permutation_test"][name].clone());
    Golden { y: features("y"), x, permutations, values, test }
}

#[track_caller]
fn assert_close(found: f64, expected: f64, absolute: f64) {
    assert!((found - expected).abs() <= absolute, "found {found}, expected {expected}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Two normal samples in `dimension`, the second shifted, in documents of one to three vectors.
fn made_up(sizes: [usize; 2], dimension: usize, shift: f32, seed: u64) -> [Features; 2] {
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

#[test]
fn every_kernel_gives_the_reference_values() {
    for name in ["small", "near", "null"] {
        let Golden { x, y, values, .. } = golden(name);
        let sigma = median_distance(&[&x, &y], 0).unwrap();
        for (kernel, expected) in [
            (Kernel::Rbf { sigma }, &values["mmd2_rbf"]),
            (Kernel::Polynomial, &values["kid_poly3"]),
            (Kernel::Linear, &values["mmd2_linear"]),
        ] {
            let expected = number(&expected["unbiased"]);
            assert_close(mmd2(&x, &y, kernel).unwrap(), expected, 1e-9 * expected.abs());
        }
        assert_eq!(-mmd2(&x, &y, Kernel::Distance).unwrap() < 0.0, energy_distance(&x, &y).unwrap() > 0.0);
        assert_close(mmd2(&x, &y, Kernel::Distance).unwrap(), energy_distance(&x, &y).unwrap(), 1e-12);
        let each = [0.5, 1.0, 2.0, 4.0].map(|factor| mmd2(&x, &y, factor * sigma).unwrap());
        let mixture = mmd2(&x, &y, Kernel::RbfMixture { sigma }).unwrap();
        assert_close(mixture, each.iter().sum::<f64>() / 4.0, 1e-12);
        let fitted = KernelKind::Rbf.fit(&[&x, &y], 0).unwrap();
        assert_eq!(fitted, Kernel::Rbf { sigma });
    }
}

#[test]
fn the_reference_permutations_give_the_reference_statistics_and_p_values() {
    let mut checked = 0;
    for name in ["small", "near", "null"] {
        let Golden { x, y, permutations, test, .. } = golden(name);
        let Some((sets, expected)) = permutations else { continue };
        let sigma = median_distance(&[&x, &y], 0).unwrap();
        let draws = Draws::new(&x, &y, 0).with_sets(&sets).unwrap();
        let found =
            discrepancies(&x, &y, &[Kernel::Rbf { sigma }], &draws, &Device::flex(), &mut Silent).unwrap().remove(0);
        assert_close(found.observed, number(&test["observed"]), 1e-6);
        assert_eq!(found.permuted.len(), expected.len());
        for (found, expected) in found.permuted.iter().zip(&expected) {
            assert_close(*found, *expected, 1e-6);
        }
        assert_eq!(permutation_p(found.observed, &found.permuted), number(&test["p_value"]), "{name}");
        checked += 1;
    }
    assert_eq!(checked, 3);
}

/// The discrepancy of two sets of vectors taken from a pool so many times each; a vector is not paired with its copies.
fn written_out(pool: &[&[f32]], kernel: Kernel, first: &[usize], second: &[usize]) -> f64 {
    let of = |a: &[f32], b: &[f32]| {
        let squared: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let rbf = |sigma: f64| (-squared / (2.0 * sigma * sigma)).exp();
        match kernel {
            Kernel::Rbf { sigma } => rbf(sigma),
            Kernel::RbfMixture { sigma } => [0.5, 1.0, 2.0, 4.0].map(|f| rbf(f * sigma)).iter().sum::<f64>() / 4.0,
            Kernel::Polynomial => (product / a.len() as f64 + 1.0).powi(3),
            Kernel::Linear => product,
            Kernel::Distance => -squared.sqrt(),
        }
    };
    let mean = |a: &[usize], b: &[usize]| {
        let pairs = a.iter().flat_map(|i| b.iter().map(move |j| (*i, *j))).filter(|(i, j)| i != j);
        let (sum, count) = pairs.fold((0.0, 0.0), |(s, n), (i, j)| (s + of(pool[i], pool[j]), n + 1.0));
        sum / count
    };
    mean(first, first) + mean(second, second) - 2.0 * mean(first, second)
}

#[test]
fn tiled_sums_of_permuted_documents_and_resamples_equal_the_sums_written_out_in_f64() {
    // far from the origin, as hidden states are
    let [x, y] = made_up([70, 45], 5, 0.3, 3).map(|set| {
        let values = set.values.iter().map(|v| 3.0 * v + 40.0).collect();
        Features::new(set.samples, set.dimension, values).unwrap().of_documents(set.documents().to_vec()).unwrap()
    });
    let draws = Draws::new(&x, &y, 7).permuted(6).resampled(6);
    let found = discrepancies(&x, &y, &KERNELS, &draws, &Device::flex(), &mut Silent).unwrap();
    let pool: Vec<&[f32]> = x.rows().chain(y.rows()).collect();
    let centre: Vec<f64> =
        (0..5).map(|k| pool.iter().map(|row| f64::from(row[k])).sum::<f64>() / pool.len() as f64).collect();
    let about_centre = |row: &[f32]| row.iter().zip(&centre).map(|(v, c)| (f64::from(*v) - c) as f32).collect();
    let centred: Vec<Vec<f32>> = pool.iter().map(|row| about_centre(row)).collect();
    let centred: Vec<&[f32]> = centred.iter().map(Vec::as_slice).collect();
    for (kernel, found) in KERNELS.into_iter().zip(found) {
        // in proportion to what the draws vary by
        let largest = found.permuted.iter().fold(found.observed.abs(), |most, v| most.max(v.abs()));
        let tolerance = 1e-5 * largest.max(1.0);
        assert_close(found.observed, mmd2(&x, &y, kernel).unwrap(), tolerance);
        for (p, value) in found.permuted.iter().enumerate() {
            let (first, second): (Vec<usize>, Vec<usize>) =
                (0..pool.len()).partition(|i| draws.falls_to_first(p + 1, *i) == 1);
            assert_close(*value, written_out(&pool, kernel, &first, &second), tolerance);
        }
        if kernel == Kernel::Polynomial {
            assert!(found.resampled.iter().all(|value| value.is_finite()));
            continue; // less what it owes to single vectors, which is not written out here
        }
        for (r, value) in found.resampled.iter().enumerate() {
            let take = |range: std::ops::Range<usize>| -> Vec<usize> {
                range.flat_map(|i| std::iter::repeat_n(i, usize::from(draws.taken(r, i)))).collect()
            };
            let pool = if kernel == Kernel::Linear { &centred } else { &pool };
            assert_close(*value, written_out(pool, kernel, &take(0..70), &take(70..115)), tolerance);
        }
    }
}

#[test]
fn documents_move_as_a_whole_and_the_vectors_of_a_single_one_by_themselves() {
    let [x, y] = made_up([60, 40], 2, 0.0, 1);
    let draws = Draws::new(&x, &y, 5).permuted(20).resampled(20);
    let documents = |range: std::ops::Range<usize>, offset: u32, set: &Features| -> Vec<(usize, u32)> {
        range.zip(set.documents().iter().map(|d| d + offset).collect::<Vec<_>>()).collect()
    };
    let all = [documents(0..60, 0, &x), documents(60..100, 1000, &y)].concat();
    for pair in all.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
        assert!((0..21).all(|p| draws.falls_to_first(p, pair[0].0) == draws.falls_to_first(p, pair[1].0)));
        assert!((0..20).all(|r| draws.taken(r, pair[0].0) == draws.taken(r, pair[1].0)));
    }
    let count = |set: &Features| set.documents().iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(!x.units().single && x.units().count == count(&x) && count(&x) < 60);

    let few = Features::new(60, 2, x.values.clone()).unwrap().of_documents((0..60).map(|i| i / 30).collect()).unwrap();
    assert!(!few.units().single && few.units().count == 2);
    let one = few.of_documents(vec![7; 60]).unwrap();
    assert!(one.units().single && one.units().count == 60);
    assert!(Features::new(2, 1, vec![0.0; 2]).unwrap().of_documents(vec![0]).is_err());
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
fn f32_tiles_are_within_1e_5_of_f64_for_a_thousand_vectors_of_dimension_64() {
    let Golden { x, y, values, .. } = golden("large");
    let sigma = number(&values["median_bandwidth_sigma"]);
    let kernels = [Kernel::Rbf { sigma }, Kernel::Distance];
    let draws = Draws::new(&x, &y, 0);
    let found = discrepancies(&x, &y, &kernels, &draws, &Device::flex(), &mut Silent).unwrap();
    assert_close(found[0].observed, number(&values["mmd2_rbf"]["unbiased"]), 1e-6);
    assert_close(found[1].observed, number(&values["energy_distance"]["u_statistic"]), 1e-5);
}

#[test]
fn draws_and_their_statistics_have_the_same_bits_for_a_seed() {
    let [x, y] = made_up([50, 30], 4, 0.1, 2);
    let run = |seed| {
        let draws = Draws::new(&x, &y, seed).permuted(30).resampled(30);
        discrepancies(&x, &y, &[Kernel::Distance], &draws, &Device::flex(), &mut Silent).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1)[0].permuted, run(2)[0].permuted);
    assert_eq!(run(1)[0].observed, run(2)[0].observed);
}

#[test]
fn a_permutation_p_value_counts_the_observed_arrangement_itself() {
    assert_eq!(permutation_p(1.0, &[0.0; 99]), 0.01);
    assert_eq!(permutation_p(-1.0, &[0.0; 99]), 1.0);
    assert_eq!(permutation_p(0.5, &[0.0, 1.0, f64::NAN]), 0.75);
    assert_eq!(permutation_p(0.0, &[]), 1.0);
}

#[test]
fn permuting_hears_that_it_should_stop() {
    struct Stopped;
    impl Monitor for Stopped {
        fn stopped(&self) -> bool {
            true
        }
    }
    let [x, y] = made_up([20, 20], 2, 0.0, 1);
    let draws = Draws::new(&x, &y, 1).permuted(3);
    let error = discrepancies(&x, &y, &KERNELS[..1], &draws, &Device::flex(), &mut Stopped).unwrap_err();
    assert_eq!(error.exit_code(), 130);
}

#[test]
fn frechet_distances_of_permutations_and_resamples_equal_fits_to_the_vectors_drawn() {
    let [x, y] = made_up([80, 60], 6, 0.4, 4);
    let draws = Draws::new(&x, &y, 3).permuted(8).resampled(8);
    let found = frechet_distances(&x, &y, &draws, &mut Silent).unwrap();
    assert_eq!((found.components, found.variance_kept), (6, 1.0));
    let pool: Vec<&[f32]> = x.rows().chain(y.rows()).collect();
    let fit = |rows: Vec<usize>| {
        let values = rows.iter().flat_map(|i| pool[*i].to_vec()).collect();
        Gaussian::fit(&Features::new(rows.len(), 6, values).unwrap()).unwrap()
    };
    assert_close(found.observed, frechet(&fit((0..80).collect()), &fit((80..140).collect())).unwrap().distance, 1e-9);
    for (p, value) in found.permuted.iter().enumerate() {
        let (first, second) = (0..140).partition(|i| draws.falls_to_first(p + 1, *i) == 1);
        assert_close(*value, frechet(&fit(first), &fit(second)).unwrap().distance, 1e-9);
    }
    for (r, value) in found.resampled.iter().enumerate() {
        let take = |range: std::ops::Range<usize>| -> Vec<usize> {
            range.flat_map(|i| std::iter::repeat_n(i, usize::from(draws.taken(r, i)))).collect()
        };
        assert_close(*value, frechet(&fit(take(0..80)), &fit(take(80..140))).unwrap().distance, 1e-9);
    }
}

#[test]
fn leading_principal_components_keep_the_frechet_distance_of_what_varies() {
    // forty dimensions that are three turned about: nothing is lost by keeping 32
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let basis: Vec<f32> = (0..3 * 40).map(|_| rng.random::<f32>() - 0.5).collect();
    let [x, y] = made_up([120, 90], 3, 0.5, 6).map(|set| {
        let turned =
            |row: &[f32]| -> Vec<f32> { (0..40).map(|k| (0..3).map(|j| row[j] * basis[40 * j + k]).sum()).collect() };
        Features::new(set.samples, 40, set.rows().flat_map(turned).collect()).unwrap()
    });
    let found = frechet_distances(&x, &y, &Draws::new(&x, &y, 0), &mut Silent).unwrap();
    let whole = frechet(&Gaussian::fit(&x).unwrap(), &Gaussian::fit(&y).unwrap()).unwrap().distance;
    assert_eq!(found.components, 32);
    assert!(found.variance_kept > 0.999_999);
    assert_close(found.observed, whole, 1e-4 * whole);
}

/// `scikit-learn` 1.7: a LogisticRegression (C 1, tol 1e-12) on a StandardScaler, both fitted to four of five folds to
/// which the vectors of each side are dealt in turn; the mean of the five held-out areas under the ROC curve.
#[test]
fn the_cross_fitted_area_under_the_curve_is_that_of_scikit_learn() {
    for (name, expected) in
        [("small", 0.768_733_333_333_333_3), ("near", 0.651_733_333_333_333_3), ("null", 0.484_666_666_666_666_6)]
    {
        let Golden { x, y, .. } = golden(name);
        let found = classify(&x, &y, &mut Silent).unwrap();
        assert_close(found.auc, expected, 1e-9);
        assert!(found.ci95[0] < expected && expected < found.ci95[1], "{found:?}");
        let p = classifier_p(&x, &y, 199, 1, &mut Silent).unwrap();
        assert_eq!(p < 0.05, name != "null", "{name}: {p}");
    }
}

#[test]
fn samples_that_any_line_divides_have_an_area_of_1_and_too_few_documents_none() {
    let [x, y] = made_up([60, 50], 3, 5.0, 8);
    let found = classify(&x, &y, &mut Silent).unwrap();
    assert_eq!((found.auc, found.ci95), (1.0, [1.0, 1.0]));
    assert_eq!(classifier_p(&x, &y, 99, 1, &mut Silent).unwrap(), 0.01);
    let few = Features::new(9, 3, x.values[..27].to_vec()).unwrap();
    assert!(classify(&few, &y, &mut Silent).unwrap_err().to_string().contains("at least 10"));
    let constant = Features::new(20, 3, vec![1.0; 60]).unwrap();
    assert_eq!(classify(&constant, &constant, &mut Silent).unwrap().auc, 0.5);
}

/// The p-value of a Kolmogorov–Smirnov test of "drawn uniformly from 0 to 1" (asymptotic, Stephens's correction).
fn uniform_p(values: &[f64]) -> f64 {
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
fn p_values(x: &Features, y: &Features, permutations: usize, seed: u64) -> [f64; 4] {
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

#[test]
fn p_values_are_uniform_where_documents_come_from_one_distribution_and_small_where_not() {
    // documents of several vectors that are alike: permuting vectors would reject far too often
    let null: Vec<[f64; 4]> = (0..300)
        .map(|seed| {
            let [x, y] = made_up([60, 50], 2, 0.0, 1000 + seed);
            p_values(&x, &y, 99, seed)
        })
        .collect();
    for (test, name) in ["MMD", "energy", "Fréchet", "classifier"].into_iter().enumerate() {
        let values: Vec<f64> = null.iter().map(|p| p[test]).collect();
        // steps of a hundredth, spread evenly within
        let mut rng = ChaCha8Rng::seed_from_u64(test as u64);
        let spread: Vec<f64> = values.iter().map(|p| p - 0.01 * rng.random::<f64>()).collect();
        let uniform = uniform_p(&spread);
        assert!(uniform > 0.01, "{name}: Kolmogorov–Smirnov p {uniform}");
    }
    let [x, y] = made_up([80, 60], 2, 0.5, 5);
    assert!(p_values(&x, &y, 99, 5).iter().all(|p| *p < 0.05));
    // the check can fail: vectors that move one by one are taken for more evidence than they are
    let single: Vec<f64> = (0..300)
        .map(|seed| {
            let [x, y] = made_up([60, 50], 2, 0.0, 1000 + seed);
            let [x, y] = [x, y].map(|set| Features::new(set.samples, 2, set.values).unwrap());
            p_values(&x, &y, 99, seed)[1]
        })
        .collect();
    assert!(uniform_p(&single) < 1e-4, "{}", uniform_p(&single));
}

// ---------------------------------------------------------------------------------------------------------------------
// By hand: `cargo test --release --test study two_samples -- --ignored --nocapture NAME`.

/// Features of a shared domain through wiki-gpt2, chunks of 64 tokens.
fn real_features(domain: &str, samples: usize) -> Features {
    let device = Device::flex();
    let base = LoadedModel::open(&test_data().join("models/wiki-gpt2"), &device).unwrap();
    let tokenizer = base.tokenizer().unwrap();
    let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
    let path = test_data().join("data/domains").join(domain);
    // the small split: what is embedded must be tokenised first
    let corpus = open_corpus(&path, Split::Valid, DocumentRule::BlankLine).unwrap();
    let stream = base.stream(&corpus, tokenizer.as_ref(), &StreamOptions::default()).unwrap();
    let hidden = Hidden::default();
    let embedder = Embedder { model: &base.model, device: &device, vocabulary: &vocabulary, chunk: 64, hidden };
    embedder.features(&stream, samples, &mut Silent).unwrap().unwrap()
}

/// The vectors of so many documents drawn at random; those not drawn stay.
fn take_documents(from: &mut Vec<Vec<usize>>, documents: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    (0..documents)
        .flat_map(|_| {
            let at = rng.random_range(0..from.len());
            from.swap_remove(at)
        })
        .collect()
}

fn documents_of(set: &Features) -> Vec<Vec<usize>> {
    let mut documents = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    set.documents().iter().enumerate().for_each(|(i, document)| documents.entry(*document).or_default().push(i));
    documents.into_values().collect()
}

fn rows_of(sets: &[(&Features, &[usize])]) -> Features {
    let (mut values, mut documents) = (Vec::new(), Vec::new());
    for (at, (set, rows)) in sets.iter().enumerate() {
        for &row in *rows {
            values.extend_from_slice(set.row(row));
            documents.push(set.documents()[row] + 1_000_000 * at as u32);
        }
    }
    let dimension = sets[0].0.dimension;
    Features::new(documents.len(), dimension, values).unwrap().of_documents(documents).unwrap()
}

const NAMES: [&str; 4] = ["MMD", "energy", "Fréchet", "classifier"];

#[test]
#[ignore = "by hand: 500 splits of a real corpus"]
fn p_values_of_random_splits_of_a_real_corpus_are_uniform() {
    for domain in ["wiki_general", "arxiv_cs.CL"] {
        let all = real_features(domain, 800);
        println!("{domain}: {} chunks of {} documents", all.samples, documents_of(&all).len());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let null: Vec<[f64; 4]> = (0..500)
            .map(|seed| {
                let mut documents = documents_of(&all);
                let [x, y] = [60, 40].map(|size| take_documents(&mut documents, size, &mut rng));
                let p = p_values(&rows_of(&[(&all, &x)]), &rows_of(&[(&all, &y)]), 99, seed);
                p.map(|p| p - 0.01 * rng.random::<f64>())
            })
            .collect();
        for (test, name) in NAMES.into_iter().enumerate() {
            let values: Vec<f64> = null.iter().map(|p| p[test]).collect();
            let rejected = values.iter().filter(|p| **p < 0.05).count() as f64 / 5.0;
            println!("{domain}, {name}: KS p {:.3}, {rejected:.1} % below 0.05", uniform_p(&values));
        }
    }
}

#[test]
#[ignore = "by hand: power against the share of another domain mixed in"]
fn power_grows_with_the_share_of_another_domain() {
    let (wiki, papers) = (real_features("wiki_general", 1200), real_features("arxiv_cs.CL", 800));
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    println!("share | {}", NAMES.join(" | "));
    for share in [0.0, 0.05, 0.1, 0.2, 0.3, 0.5] {
        let mut rejected = [0.0; 4];
        for seed in 0..40 {
            let (mut of_wiki, mut of_papers) = (documents_of(&wiki), documents_of(&papers));
            let x = take_documents(&mut of_wiki, 60, &mut rng);
            let mixed = (40.0 * share) as usize;
            let y = take_documents(&mut of_wiki, 40 - mixed, &mut rng);
            let other = take_documents(&mut of_papers, mixed, &mut rng);
            let p = p_values(&rows_of(&[(&wiki, &x)]), &rows_of(&[(&wiki, &y), (&papers, &other)]), 99, seed);
            rejected.iter_mut().zip(p).for_each(|(r, p)| *r += f64::from(u8::from(p <= 0.05)) / 40.0);
        }
        println!("{share:.2} | {}", rejected.map(|r| format!("{r:.2}")).join(" | "));
    }
}

#[test]
#[ignore = "by hand: time and memory of large samples"]
fn ten_thousand_against_ten_thousand_in_768_dimensions() {
    let samples: usize = std::env::var("SAMPLES").map_or(10_000, |text| text.parse().unwrap());
    let [x, y] = made_up([samples, samples], 768, 0.01, 1);
    let (device, mut silent) = (Device::flex(), Silent);
    let mut since = std::time::Instant::now();
    let mut lap = |what: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
        println!("{what}: {:.1} s, {peak}", since.elapsed().as_secs_f64());
        since = std::time::Instant::now();
    };
    lap("samples");
    let sigma = median_distance(&[&x, &y], 1).unwrap();
    lap("bandwidth");
    let draws = Draws::new(&x, &y, 1).permuted(1000).resampled(500);
    lap("draws");
    let found =
        discrepancies(&x, &y, &[Kernel::Distance, Kernel::Rbf { sigma }], &draws, &device, &mut silent).unwrap();
    println!("energy {:.6}, MMD² {:.3e}", found[0].observed, found[1].observed);
    println!("p {:.4}", permutation_p(found[1].observed, &found[1].permuted));
    lap("1000 permutations and 500 resamples of two kernels");
    let exact = mmd2(&x, &y, Kernel::Rbf { sigma }).unwrap();
    println!("MMD² {exact:.3e} in f64, off by {:.1e}", (exact - found[1].observed).abs());
    lap("f64");
    frechet_distances(&x, &y, &draws.limited(200, 200), &mut silent).unwrap();
    lap("Fréchet, 200 and 200");
    classify(&x, &y, &mut silent).unwrap();
    lap("classifier");
}
