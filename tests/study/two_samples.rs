//! Permutation tests, resamples and classifiers between two samples, against numpy, closed forms and their own null.

use burn::tensor::Device;
use odyssey::progress::{Monitor, Silent};
use odyssey::similarity::bandwidth::median_distance;
use odyssey::similarity::classifier::{classifier_p, classify};
use odyssey::similarity::draws::{Draws, permutation_p};
use odyssey::similarity::energy::energy_distance;
use odyssey::similarity::features::Features;
use odyssey::similarity::frechet::{Gaussian, frechet};
use odyssey::similarity::kernel::{Kernel, KernelKind};
use odyssey::similarity::mmd::mmd2;
use odyssey::similarity::principal::frechet_distances;
use odyssey::similarity::tiles::discrepancies;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{fixture, test_data};
use crate::samples::{made_up, p_values, uniform_p};

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

#[machine::needs(test_data)]
#[test]
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
