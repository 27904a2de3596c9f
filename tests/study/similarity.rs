//! Distances between feature sets and between token frequencies, against numpy and scipy, closed forms and properties.

use odyssey::similarity::bandwidth::{MEDIAN_SAMPLES, median_distance};
use odyssey::similarity::energy::{energy_distance, energy_distance_v};
use odyssey::similarity::features::{Features, centroid_cosine};
use odyssey::similarity::frechet::{Gaussian, frechet};
use odyssey::similarity::lexical::{TOP_TYPES, Unigrams, cross_entropy, jensen_shannon, vocabulary_overlap};
use odyssey::similarity::mmd::mmd2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::Value;

fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stats")
}

/// The shared test data: texts, tokenizers, and what is too large to keep here.
fn shared(path: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("ODYSSEY_TEST_DATA").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(path)
}

fn golden() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("stats.json")).unwrap()).unwrap()
}

fn read_pair(path: &std::path::Path) -> (Features, Features) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name| {
        let tensor = tensors.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Features::new(tensor.shape()[0], tensor.shape()[1], values).unwrap()
    };
    (read("x"), read("y"))
}

fn small() -> (Features, Features) {
    read_pair(&fixtures().join("features_small.safetensors"))
}

#[track_caller]
fn assert_close(found: f64, expected: &Value, relative: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= relative * expected.abs(), "found {found}, expected {expected}");
}

fn assert_pair_equals_the_reference(x: &Features, y: &Features, golden: &Value) {
    let sigma = median_distance(&[x, y], 0).unwrap();
    assert_close(sigma, &golden["median_bandwidth_sigma"], 1e-12);
    // the statistic is a difference of means near 1: 1e-9 of it is 1e-12 of them
    assert_close(mmd2(x, y, sigma).unwrap(), &golden["mmd2_rbf"]["unbiased"], 1e-9);
    let distance = frechet(&Gaussian::fit(x).unwrap(), &Gaussian::fit(y).unwrap()).unwrap();
    assert_close(distance.distance, &golden["frechet"]["distance_by_symmetric_eigenvalues"], 1e-9);
    assert_close(distance.distance, &golden["frechet"]["distance"], 1e-7);
    assert!(!distance.regularised);
    assert_close(centroid_cosine(x, y).unwrap(), &golden["centroid_cosine"], 1e-9);
    assert_close(energy_distance(x, y).unwrap(), &golden["energy_distance"]["u_statistic"], 1e-9);
    assert_close(energy_distance_v(x, y).unwrap(), &golden["energy_distance"]["v_statistic"], 1e-9);
}

#[test]
fn distances_equal_the_reference_for_shifted_near_and_equal_distributions() {
    let golden = golden();
    for name in ["small", "near", "null"] {
        let (x, y) = read_pair(&fixtures().join(format!("features_{name}.safetensors")));
        assert_pair_equals_the_reference(&x, &y, &golden["two_sample"][name]);
    }
}

#[machine::needs(test_data)]
#[test]
fn distances_equal_the_reference_for_a_thousand_vectors_of_dimension_64() {
    let (x, y) = read_pair(&shared("reference/stats/features_large.safetensors"));
    assert_pair_equals_the_reference(&x, &y, &golden()["two_sample"]["large"]);
}

#[test]
fn distances_of_a_handful_of_points_equal_the_sums_written_out() {
    let x = Features::new(2, 1, vec![0.0, 3.0]).unwrap();
    let y = Features::new(3, 1, vec![1.0, 1.0, 5.0]).unwrap();
    let k = |d: f64| (-d * d / 8.0).exp(); // sigma 2
    let expected = k(3.0) + (k(0.0) + 2.0 * k(4.0)) / 3.0 - 2.0 * (2.0 * k(1.0) + k(5.0) + 3.0 * k(2.0)) / 6.0;
    assert!((mmd2(&x, &y, 2.0).unwrap() - expected).abs() < 1e-14);
    // mean |x − y| = (1 + 1 + 5 + 2 + 2 + 2) / 6, within x 3, within y (0 + 4 + 4) / 3
    assert!((energy_distance(&x, &y).unwrap() - (26.0 / 6.0 - 3.0 - 8.0 / 3.0)).abs() < 1e-14);
    assert!((energy_distance_v(&x, &y).unwrap() - (26.0 / 6.0 - 6.0 / 4.0 - 16.0 / 9.0)).abs() < 1e-14);
    // all pairs of the pool 0 3 1 1 5: 3 1 1 5 2 2 2 0 4 4, in order 0 1 1 2 2 2 3 4 4 5
    assert_eq!(median_distance(&[&x, &y], 0).unwrap(), 2.0);
    // one dimension: (μ1 − μ2)² + (s1 − s2)²
    let found = frechet(&Gaussian::fit(&x).unwrap(), &Gaussian::fit(&y).unwrap()).unwrap();
    let (s1, s2) = (4.5_f64.sqrt(), (16.0_f64 / 3.0).sqrt());
    assert!((found.distance - ((1.5_f64 - 7.0 / 3.0).powi(2) + (s1 - s2).powi(2))).abs() < 1e-12);
}

#[test]
fn distances_are_symmetric_in_their_arguments() {
    let (x, y) = small();
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} and {b}");
    close(mmd2(&x, &y, 8.0).unwrap(), mmd2(&y, &x, 8.0).unwrap());
    close(energy_distance(&x, &y).unwrap(), energy_distance(&y, &x).unwrap());
    close(centroid_cosine(&x, &y).unwrap(), centroid_cosine(&y, &x).unwrap());
    let (fit_x, fit_y) = (Gaussian::fit(&x).unwrap(), Gaussian::fit(&y).unwrap());
    close(frechet(&fit_x, &fit_y).unwrap().distance, frechet(&fit_y, &fit_x).unwrap().distance);
}

#[test]
fn halves_of_one_set_are_at_a_distance_of_about_zero() {
    let (x, y) = small();
    let apart = mmd2(&x, &y, 8.8).unwrap();
    let halves: Vec<f64> = (0..20)
        .map(|seed| {
            let (a, b) = x.split_halves(seed).unwrap();
            mmd2(&a, &b, 8.8).unwrap()
        })
        .collect();
    let mean = halves.iter().sum::<f64>() / 20.0;
    assert!(mean.abs() < 0.2 * apart, "halves {mean}, sets {apart}");
    assert!(halves.iter().any(|v| *v < 0.0) && halves.iter().any(|v| *v > 0.0), "unbiased: on both sides of zero");
}

#[test]
fn splitting_in_halves_keeps_every_vector_once() {
    let x = Features::new(5, 2, (0..10).map(|v| v as f32).collect()).unwrap();
    let (a, b) = x.split_halves(4).unwrap();
    assert_eq!((a.samples, b.samples), (3, 2));
    let mut rows: Vec<&[f32]> = a.rows().chain(b.rows()).collect();
    rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    assert_eq!(rows, x.rows().collect::<Vec<_>>());
    assert_eq!(x.split_halves(4).unwrap(), (a, b));
    assert!((0..9).any(|seed| x.split_halves(seed).unwrap() != x.split_halves(4).unwrap()));
}

#[test]
fn a_set_is_at_frechet_distance_zero_from_itself() {
    let (x, y) = small();
    let fit = Gaussian::fit(&x).unwrap();
    let itself = frechet(&fit, &fit).unwrap().distance;
    assert!(itself.abs() < 1e-9 * fit.covariance.trace(), "{itself}");
    // a fit that has served as the reference gives the same bits again
    let other = Gaussian::fit(&y).unwrap();
    assert_eq!(frechet(&fit, &other).unwrap(), frechet(&Gaussian::fit(&x).unwrap(), &other).unwrap());
}

#[test]
fn frechet_of_diagonal_covariances_is_the_distance_of_means_and_deviations() {
    // ±s along each axis: mean 0 and a diagonal covariance, s² · 2 / (n − 1)
    let cross = |deviations: [f32; 3], mean: [f32; 3]| {
        let mut values = Vec::new();
        for axis in 0..3 {
            for sign in [-1.0, 1.0] {
                let mut row = mean;
                row[axis] += sign * deviations[axis];
                values.extend(row);
            }
        }
        Gaussian::fit(&Features::new(6, 3, values).unwrap()).unwrap()
    };
    let found = frechet(&cross([1.0, 2.0, 3.0], [0.0; 3]), &cross([2.0, 2.0, 0.5], [1.0, -1.0, 0.0])).unwrap();
    let expected = 2.0 + (1.0 + 0.0 + 2.5_f64.powi(2)) * 2.0 / 5.0;
    assert!((found.distance - expected).abs() < 1e-12, "{found:?}");
    assert!(!found.regularised);
}

#[test]
fn frechet_of_too_few_samples_is_finite_and_says_that_it_was_regularised() {
    let (x, y) = small();
    let few = Features::new(20, x.dimension, x.values[..20 * x.dimension].to_vec()).unwrap();
    let found = frechet(&Gaussian::fit(&few).unwrap(), &Gaussian::fit(&y).unwrap()).unwrap();
    assert!(found.regularised && found.distance.is_finite());
    // the ridge is on both sides, so a set is still at distance zero from itself
    let fit = Gaussian::fit(&few).unwrap();
    let itself = frechet(&fit, &fit).unwrap();
    assert!(itself.regularised && itself.distance.abs() < 1e-6, "{itself:?}");
}

#[test]
fn sums_over_pairs_have_the_same_bits_for_any_number_of_threads() {
    let (x, y) = small();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| [mmd2(&x, &y, 8.0).unwrap(), energy_distance(&x, &y).unwrap()].map(f64::to_bits))
    };
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(7));
}

#[test]
fn the_bandwidth_of_a_large_pool_comes_from_a_sample_drawn_by_seed() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f32> = (0..3000 * 4).map(|_| rng.random::<f32>()).collect();
    let large = Features::new(3000, 4, values).unwrap();
    assert!(large.samples > MEDIAN_SAMPLES);
    let sigma = median_distance(&[&large], 1).unwrap();
    assert_eq!(sigma.to_bits(), median_distance(&[&large], 1).unwrap().to_bits());
    assert_ne!(sigma, median_distance(&[&large], 2).unwrap());
    let mut all = Vec::new();
    for i in 0..large.samples {
        for j in 0..i {
            let squares = large.row(i).iter().zip(large.row(j)).map(|(a, b)| f64::from(a - b).powi(2));
            all.push(squares.sum::<f64>().sqrt());
        }
    }
    all.sort_by(f64::total_cmp);
    assert!((sigma / all[all.len() / 2] - 1.0).abs() < 0.02, "{sigma}");
}

#[test]
fn bad_features_are_refused_with_a_reason_and_never_give_nan() {
    let message = |error: odyssey::error::Error| error.to_string();
    assert!(message(Features::new(2, 3, vec![0.0; 5]).unwrap_err()).contains("5 values"));
    assert!(Features::new(0, 3, vec![]).is_err());
    assert!(Features::new(usize::MAX, 2, vec![0.0; 2]).is_err());
    let nan = message(Features::new(2, 2, vec![0.0, 1.0, f32::NAN, 0.0]).unwrap_err());
    assert!(nan.contains("vector 1") && nan.contains("component 0"), "{nan}");

    let two = Features::new(2, 2, vec![0.0, 1.0, 2.0, 3.0]).unwrap();
    let one = Features::new(1, 2, vec![0.0, 1.0]).unwrap();
    let wide = Features::new(2, 3, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    for bad in [&one, &wide] {
        assert!(mmd2(&two, bad, 1.0).is_err());
        assert!(energy_distance(&two, bad).is_err());
        assert!(energy_distance_v(&two, bad).is_err());
    }
    assert!(Gaussian::fit(&one).is_err());
    assert!(frechet(&Gaussian::fit(&two).unwrap(), &Gaussian::fit(&wide).unwrap()).is_err());
    assert!(centroid_cosine(&two, &wide).is_err());
    assert!(two.split_halves(0).is_err());
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(mmd2(&two, &two, sigma).is_err());
    }

    let constant = Features::new(5, 2, vec![0.0; 10]).unwrap();
    assert!(message(median_distance(&[&constant], 0).unwrap_err()).contains("equal"));
    assert!(median_distance(&[], 0).is_err());
    assert!(median_distance(&[&one], 0).is_err());
    assert!(median_distance(&[&two, &wide], 0).is_err());
    assert!(centroid_cosine(&constant, &two).is_err());
    // equal vectors are no fault where nothing is divided by them
    let fit = Gaussian::fit(&constant).unwrap();
    assert_eq!(frechet(&fit, &fit).unwrap().distance, 0.0);
    assert_eq!(energy_distance(&constant, &constant).unwrap(), 0.0);
    // the largest finite features do not overflow
    let huge = Features::new(3, 1, vec![f32::MAX, -f32::MAX, 0.0]).unwrap();
    assert!(mmd2(&huge, &huge, 1.0).unwrap().is_finite());
    assert!(frechet(&Gaussian::fit(&huge).unwrap(), &Gaussian::fit(&huge).unwrap()).unwrap().distance.is_finite());
}

fn unigrams(counts: &[(u32, usize)]) -> Unigrams {
    Unigrams::count(counts.iter().flat_map(|(id, count)| std::iter::repeat_n(*id, *count)))
}

#[test]
fn token_frequencies_are_counted_and_ranked_with_ties_to_the_smaller_id() {
    let counted = unigrams(&[(9, 2), (4, 5), (1, 2), (7, 1)]);
    assert_eq!((counted.total(), counted.types(), counted.get(4), counted.get(5)), (10, 4, 5, 0));
    assert_eq!(counted.top(2), [4, 1]);
    assert_eq!(counted.top(9), [4, 1, 9, 7]);
}

#[test]
fn jensen_shannon_equals_its_entropy_form_and_is_symmetric() {
    let (p, q) = (unigrams(&[(0, 3), (1, 5), (2, 2)]), unigrams(&[(1, 1), (2, 4), (3, 15)]));
    let entropy = |shares: &[f64]| -shares.iter().map(|s| s * s.log2()).sum::<f64>();
    // H(m) − (H(p) + H(q)) / 2 with m = (p + q) / 2
    let expected =
        entropy(&[0.15, 0.275, 0.2, 0.375]) - (entropy(&[0.3, 0.5, 0.2]) + entropy(&[0.05, 0.2, 0.75])) / 2.0;
    let found = jensen_shannon(&p, &q).unwrap();
    assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    assert!((found - jensen_shannon(&q, &p).unwrap()).abs() < 1e-15);
}

#[test]
fn jensen_shannon_runs_from_zero_for_equal_texts_to_one_bit_for_disjoint_ones() {
    let p = unigrams(&[(0, 3), (1, 5)]);
    assert_eq!(jensen_shannon(&p, &unigrams(&[(0, 6), (1, 10)])).unwrap(), 0.0);
    assert_eq!(jensen_shannon(&p, &unigrams(&[(2, 1), (3, 1)])).unwrap(), 1.0);
}

#[test]
fn cross_entropy_under_smoothed_unigrams_equals_the_sum_written_out() {
    let (domain, reference) = (unigrams(&[(0, 1), (3, 3)]), unigrams(&[(0, 5), (1, 1)]));
    // vocabulary of 4: p(0) = 6/10, p(1) = 2/10, p(2) = p(3) = 1/10
    let expected = -(0.25 * 0.6_f64.ln() + 0.75 * 0.1_f64.ln());
    assert!((cross_entropy(&domain, &reference, 4).unwrap() - expected).abs() < 1e-12);
    assert!(cross_entropy(&domain, &reference, 3).unwrap_err().to_string().contains("token 3"));
}

#[test]
fn overlap_is_counted_over_the_smaller_set_of_types() {
    let (a, b) = (unigrams(&[(0, 9), (1, 8), (2, 7), (3, 1)]), unigrams(&[(0, 2), (3, 5)]));
    assert_eq!(vocabulary_overlap(&a, &b, 3).unwrap(), 0.5);
    assert_eq!(vocabulary_overlap(&a, &b, TOP_TYPES).unwrap(), 1.0);
    assert_eq!(vocabulary_overlap(&a, &b, 1).unwrap(), 0.0);
    assert!(vocabulary_overlap(&a, &b, 0).is_err());
}

#[test]
fn a_text_without_tokens_has_no_lexical_distance() {
    let (some, none) = (unigrams(&[(0, 1)]), Unigrams::default());
    for (a, b) in [(&some, &none), (&none, &some), (&none, &none)] {
        assert!(jensen_shannon(a, b).is_err());
        assert!(cross_entropy(a, b, 10).is_err());
        assert!(vocabulary_overlap(a, b, 10).is_err());
    }
}

#[machine::needs(test_data)]
#[test]
fn lexical_distances_of_two_domains_equal_the_reference() {
    let golden = &golden()["unigrams"];
    let tokenizer = tokenizers::Tokenizer::from_file(shared("data/tokenizers/gpt2/tokenizer.json")).unwrap();
    let [a, b] = ["a", "b"].map(|side| {
        let side = &golden[side];
        let text = std::fs::read_to_string(shared("data").join(side["source"].as_str().unwrap())).unwrap();
        let text = &text[..side["bytes"].as_u64().unwrap() as usize];
        let counted = Unigrams::count(tokenizer.encode(text, false).unwrap().get_ids().iter().copied());
        assert_eq!(counted.total(), side["tokens"].as_u64().unwrap());
        assert_eq!(counted.types() as u64, side["types"].as_u64().unwrap());
        counted
    });
    assert_close(jensen_shannon(&a, &b).unwrap(), &golden["js_divergence_base2"], 1e-9);
    assert_close(vocabulary_overlap(&a, &b, TOP_TYPES).unwrap(), &golden["overlap_over_smaller"], 1e-12);
    // the domain costs more under another corpus's frequencies than under its own
    let vocabulary = tokenizer.get_vocab_size(true);
    assert!(cross_entropy(&b, &a, vocabulary).unwrap() > cross_entropy(&b, &b, vocabulary).unwrap());
}
