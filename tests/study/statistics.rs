//! Correlation coefficients against scipy, and the cluster bootstrap against closed forms and simulation.

use odyssey::stats::{
    Coefficient, Resamples, Undefined, benjamini_hochberg, kendall, least_squares, most_influential, partial_pearson,
    pearson, pearson_ci95, pearson_ci95_by_group, pearson_within_groups, ratio_interval, spearman,
    spearman_ci95_by_group,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/stats/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Statistic within 1e-9 (relative), p-value within 1e-6 (relative) of the golden pair.
#[track_caller]
fn assert_golden(found: Result<Coefficient, Undefined>, statistic: &Value, p: &Value) {
    let (found, statistic, p) = (found.unwrap(), statistic.as_f64().unwrap(), p.as_f64().unwrap());
    assert!((found.statistic - statistic).abs() <= 1e-9 * statistic.abs().max(1e-3), "{found:?}, expected {statistic}");
    assert!((found.p_two_sided - p).abs() <= 1e-6 * p + 1e-30, "{found:?}, expected p = {p}");
}

#[test]
fn coefficients_and_p_values_equal_the_reference_with_and_without_ties() {
    let golden = fixture("stats.json");
    for case in ["no_ties", "ties"] {
        let case = &golden["correlation"][case];
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let expect = |found, name: &str| assert_golden(found, &case[name]["statistic"], &case[name]["p_two_sided"]);
        expect(pearson(&x, &y), "pearson");
        expect(spearman(&x, &y), "spearman");
        expect(kendall(&x, &y), "kendall_tau_b");
    }
}

#[test]
fn adjusted_p_values_equal_the_reference_and_ignore_tests_without_a_value() {
    let golden = &fixture("stats.json")["benjamini_hochberg"];
    let (mut p, expected) = (numbers(&golden["p"]), numbers(&golden["adjusted"]));
    let close = |found: &[f64]| found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-15);
    assert!(close(&benjamini_hochberg(&p)));
    p.push(f64::NAN);
    let found = benjamini_hochberg(&p);
    assert!(close(&found) && found[expected.len()].is_nan());
    assert!(benjamini_hochberg(&[]).is_empty());
}

#[test]
fn coefficients_and_p_values_equal_scipy_for_three_to_four_hundred_points() {
    let golden = fixture("correlation_scipy.json");
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        assert_golden(pearson(&x, &y), &case["pearson"][0], &case["pearson"][1]);
        assert_golden(spearman(&x, &y), &case["spearman"][0], &case["spearman"][1]);
        assert_golden(kendall(&x, &y), &case["kendall"][0], &case["kendall"][1]);
    }
}

#[test]
fn the_p_value_of_pearson_equals_the_closed_forms_for_three_four_and_six_points() {
    let y = [0.3, -1.2, 0.8, 0.1, 2.0, -0.4];
    let x = [1.0, 0.5, 2.5, -0.7, 1.1, 0.9];
    type ClosedForm = fn(f64) -> f64;
    let closed_forms: [(usize, ClosedForm); 3] = [
        (3, |r| 1.0 - std::f64::consts::FRAC_2_PI * r.asin()), // Beta(1/2, 1/2) is the arcsine law
        (4, |r| 1.0 - r),                                      // Beta(1, 1) is uniform
        (6, |r| 1.0 - (3.0 * r - r.powi(3)) / 2.0),
    ];
    for (n, p) in closed_forms {
        let found = pearson(&x[..n], &y[..n]).unwrap();
        assert!((found.p_two_sided - p(found.statistic.abs())).abs() < 1e-12, "n = {n}: {found:?}");
    }
}

#[test]
fn the_exact_p_value_of_kendall_is_the_share_of_orders_at_least_as_extreme() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let orders = permutations(6);
    let taus: Vec<f64> = orders.iter().map(|order| tau(&x, order)).collect();
    assert_eq!(taus.len(), 720);
    for order in &orders {
        let found = kendall(&x, order).unwrap();
        let extreme = taus.iter().filter(|t| t.abs() >= tau(&x, order).abs() - 1e-12).count();
        assert!((found.statistic - tau(&x, order)).abs() < 1e-12);
        assert!((found.p_two_sided - extreme as f64 / 720.0).abs() < 1e-12, "{order:?}: {found:?}");
    }
}

/// Kendall's τ without ties, by its definition.
fn tau(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len();
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| ((x[i] - x[j]) * (y[i] - y[j])).signum()).sum::<f64>() / (n * (n - 1) / 2) as f64
}

fn permutations(n: usize) -> Vec<Vec<f64>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let insert = |at: usize| {
        shorter.iter().map(move |order| {
            let mut order = order.clone();
            order.insert(at, n as f64);
            order
        })
    };
    (0..n).flat_map(insert).collect()
}

#[test]
fn correlation_of_what_has_none_is_a_reason_and_never_nan() {
    type Correlate = fn(&[f64], &[f64]) -> Result<Coefficient, Undefined>;
    for correlate in [pearson as Correlate, spearman, kendall] {
        assert_eq!(correlate(&[1.0, 2.0], &[2.0, 1.0]), Err(Undefined::TooFew(2)));
        assert_eq!(correlate(&[], &[]), Err(Undefined::TooFew(0)));
        assert_eq!(correlate(&[0.1; 3], &[1.0, 2.0, 3.0]), Err(Undefined::Constant));
        assert_eq!(correlate(&[1.0, 2.0, 3.0], &[0.1; 3]), Err(Undefined::Constant));
        assert_eq!(correlate(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]), Err(Undefined::NotFinite));
        assert_eq!(correlate(&[1.0, 2.0, 3.0], &[1.0, f64::INFINITY, 3.0]), Err(Undefined::NotFinite));
        assert_eq!(correlate(&[1.0, 2.0, 3.0], &[1.0, 2.0]), Err(Undefined::Unpaired { x: 3, y: 2 }));
        let huge = correlate(&[1e308, -1e308, 1e307, 0.0], &[1.0, 2.0, 4.0, 3.0]).unwrap();
        assert!(huge.statistic.is_finite() && huge.p_two_sided.is_finite());
    }
    assert_eq!(pearson_ci95(&[0.1; 3], &[1.0, 2.0, 3.0], 100, 1), None);
    assert_eq!(pearson_ci95(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0], 0, 1), None);
}

/// Two groups far apart in both values, nothing inside them.
fn two_clusters(rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<f64>, Vec<usize>) {
    let groups: Vec<usize> = (0..40).map(|i| i % 2).collect();
    let (x, y) = groups.iter().map(|&g| (5.0 * g as f64 + normal(rng), -5.0 * g as f64 + normal(rng))).unzip();
    (x, y, groups)
}

#[test]
fn within_groups_the_contrast_between_them_is_gone() {
    let (x, y, groups) = two_clusters(&mut ChaCha8Rng::seed_from_u64(4));
    let pooled = pearson(&x, &y).unwrap();
    assert!(pooled.statistic < -0.8 && pooled.p_two_sided < 1e-8);
    let within = pearson_within_groups(&x, &y, &groups, 999, 1).unwrap();
    assert!(within.p_two_sided > 0.05, "{within:?}");
    // By definition: the partial correlation with the group's indicator as the control.
    let indicator = groups.iter().map(|&g| g as f64).collect();
    let partial = partial_pearson(&x, &y, &[indicator]).unwrap();
    assert!((within.statistic - partial.coefficient.statistic).abs() < 1e-12);
    assert_eq!(pearson_within_groups(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0], &[0, 0, 1], 9, 1), Err(Undefined::Constant));
}

#[test]
fn the_p_value_inside_groups_is_the_share_of_permutations_inside_them_at_least_as_extreme() {
    let (x, y) = ([1.0, 2.0, 4.0, 3.0, 9.0, 6.0], [2.0, 1.0, 3.0, 8.0, 5.0, 4.0]);
    let groups = [0, 0, 0, 1, 1, 1];
    let r = |y: &[f64]| pearson_within_groups(&x, y, &groups, 0, 1).unwrap().statistic.abs();
    let orders = permutations(3);
    let place = |order: &[f64], from: usize| order.iter().map(|&at| y[from + at as usize - 1]).collect::<Vec<_>>();
    let all: Vec<f64> = orders
        .iter()
        .flat_map(|first| orders.iter().map(|second| r(&[place(first, 0), place(second, 3)].concat())))
        .collect();
    let exact = all.iter().filter(|other| **other >= r(&y) - 1e-12).count() as f64 / 36.0;
    assert!((0.05..0.9).contains(&exact), "{exact}");
    let found = pearson_within_groups(&x, &y, &groups, 19_999, 3).unwrap().p_two_sided;
    assert!((found - exact).abs() < 0.015, "{found}, expected {exact}"); // four standard errors
}

#[test]
fn a_bootstrap_by_group_keeps_the_sizes_of_groups_and_one_group_is_the_plain_one() {
    let (x, y, groups) = two_clusters(&mut ChaCha8Rng::seed_from_u64(5));
    assert_eq!(pearson_ci95_by_group(&x, &y, &[7; 40], 500, 1), pearson_ci95(&x, &y, 500, 1));
    // Drawn by group, a group of one is in every draw; drawn from all, a third of the draws lack it and scatter.
    let (x, y): (Vec<f64>, Vec<f64>) = (0..12).map(|i| (f64::from(i % 5), f64::from(i * i % 7))).unzip();
    let (x, y) = ([x, vec![100.0]].concat(), [y, vec![100.0]].concat());
    let groups_of_one: Vec<usize> = (0..13).map(|i| usize::from(i == 12)).collect();
    let width = |ends: Option<[f64; 2]>| ends.map(|[low, high]| high - low).unwrap();
    let by_group = width(pearson_ci95_by_group(&x, &y, &groups_of_one, 1000, 1));
    assert!(by_group < 0.01 && width(pearson_ci95(&x, &y, 1000, 1)) > 0.5, "{by_group}");
    assert!(spearman_ci95_by_group(&x, &y, &groups_of_one, 200, 1).is_some());
    assert_eq!(pearson_ci95_by_group(&x, &y, &groups, 100, 1), None, "groups that do not pair up");
}

#[test]
fn partial_correlation_equals_its_recursion_over_single_correlations() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut column = || (0..23).map(|_| normal(&mut rng)).collect::<Vec<f64>>();
    let [u, v, w, a, b] = [column(), column(), column(), column(), column()];
    let mix = |own: &[f64], c: [f64; 3]| -> Vec<f64> {
        (0..23).map(|i| own[i] + c[0] * u[i] + c[1] * v[i] + c[2] * w[i]).collect()
    };
    let (x, y) = (mix(&a, [1.0, 2.0, -1.0]), mix(&b, [-1.0, 1.5, 0.5]));
    // r_xy.zS = (r_xy.S − r_xz.S r_yz.S) / √((1 − r_xz.S²)(1 − r_yz.S²))
    fn recursion(x: &[f64], y: &[f64], controls: &[&[f64]]) -> f64 {
        let Some((z, others)) = controls.split_first() else { return pearson(x, y).unwrap().statistic };
        let [xy, xz, yz] = [(x, y), (x, *z), (y, *z)].map(|(a, b)| recursion(a, b, others));
        (xy - xz * yz) / ((1.0 - xz * xz) * (1.0 - yz * yz)).sqrt()
    }
    let found = partial_pearson(&x, &y, &[u.clone(), v.clone(), w.clone()]).unwrap();
    let expected = recursion(&x, &y, &[&u, &v, &w]);
    assert_eq!(found.controls, 3);
    assert!((found.coefficient.statistic - expected).abs() < 1e-12, "{found:?} {expected}");
    assert!((expected - pearson(&x, &y).unwrap().statistic).abs() > 0.1, "the controls matter");
    // p of r with 23 points and three controls is that of r with 20 points.
    let alone = partial_pearson(&x, &y, &[]).unwrap().coefficient;
    let plain = pearson(&x, &y).unwrap();
    assert!((alone.statistic - plain.statistic).abs() < 1e-14 && (alone.p_two_sided - plain.p_two_sided).abs() < 1e-12);

    // A control that is a sum of others, or does not vary, costs nothing and changes nothing.
    let sum = u.iter().zip(&v).map(|(u, v)| 3.0 * u - v + 2.0).collect();
    let more = partial_pearson(&x, &y, &[u.clone(), v.clone(), w, sum, vec![0.3; 23]]).unwrap();
    assert_eq!(more.controls, 3);
    assert!((more.coefficient.statistic - expected).abs() < 1e-9);
    assert!((more.coefficient.p_two_sided - found.coefficient.p_two_sided).abs() < 1e-9);

    assert_eq!(partial_pearson(&u, &y, &[u.clone(), v.clone()]), Err(Undefined::Explained));
    let few = partial_pearson(&x[..4], &y[..4], &[u[..4].to_vec(), v[..4].to_vec()]);
    assert_eq!(few, Err(Undefined::TooFewForControls { n: 4, controls: 2 }));
    assert_eq!(partial_pearson(&x, &y, &[vec![1.0; 3]]), Err(Undefined::Unpaired { x: 23, y: 3 }));
}

#[test]
fn partial_correlation_and_its_p_value_equal_statsmodels_style_residuals() {
    // numpy.linalg.lstsq on [1, c, d], scipy.stats.pearsonr of the residuals, and p from t with 8 − 2 − 2 degrees of freedom
    let x = [0.12, 0.35, 0.41, 0.08, 0.77, 0.52, 0.63, 0.29];
    let y = [0.05, -0.22, -0.31, 0.11, -0.71, -0.38, -0.55, -0.02];
    let controls = [vec![0.02, 0.03, 0.01, 0.04, 0.02, 0.05, 0.01, 0.03], vec![4.1, 4.9, 5.2, 4.0, 6.3, 5.1, 5.8, 4.4]];
    let found = partial_pearson(&x, &y, &controls).unwrap().coefficient;
    assert!(
        (found.statistic - -0.31907747154448174).abs() < 1e-9 && (found.p_two_sided - 0.5376265004281473).abs() < 1e-9,
        "{found:?}"
    );
}

#[test]
fn the_most_influential_point_is_the_one_whose_absence_changes_r_most() {
    let x = [1.0, 2.0, 3.0, 4.0, 20.0];
    let y = [2.0, 1.0, 4.0, 3.0, -30.0];
    let (at, without) = most_influential(&x, &y).unwrap();
    assert_eq!(at, 4);
    assert!((without - pearson(&x[..4], &y[..4]).unwrap().statistic).abs() < 1e-15);
    assert_eq!(most_influential(&x[..3], &y[..3]), None);
}

#[test]
fn the_bootstrap_interval_of_pearson_agrees_with_fishers_transformation() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let x: Vec<f64> = (0..300).map(|_| normal(&mut rng)).collect();
    let y: Vec<f64> = x.iter().map(|x| 0.6 * x + 0.8 * normal(&mut rng)).collect();
    let [low, high] = pearson_ci95(&x, &y, 2000, 7).unwrap();
    let z = pearson(&x, &y).unwrap().statistic.atanh();
    let half = 1.959964 / (300.0_f64 - 3.0).sqrt();
    assert!((low - (z - half).tanh()).abs() < 0.02, "{low}");
    assert!((high - (z + half).tanh()).abs() < 0.02, "{high}");
    assert_eq!(pearson_ci95(&x, &y, 2000, 7), Some([low, high]));
    assert_ne!(pearson_ci95(&x, &y, 2000, 8), Some([low, high]));
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Documents of different lengths; each has its own mean around `truth`, so that its tokens are not independent.
fn documents(clusters: usize, truth: f64, rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<f64>) {
    (0..clusters)
        .map(|_| {
            let tokens = rng.random_range(50..400) as f64;
            let mean = truth + 0.3 * normal(rng) + normal(rng) / tokens.sqrt();
            (mean * tokens, tokens)
        })
        .unzip()
}

/// Standard error of Σs/Σn by linearisation: D/(D−1) · Σ(s − δ̂ n)² / (Σn)².
fn linearised_error(sums: &[f64], counts: &[f64]) -> f64 {
    let (clusters, total) = (sums.len() as f64, counts.iter().sum::<f64>());
    let ratio = sums.iter().sum::<f64>() / total;
    let squares: f64 = sums.iter().zip(counts).map(|(s, n)| (s - ratio * n).powi(2)).sum();
    (clusters / (clusters - 1.0) * squares).sqrt() / total
}

#[test]
fn the_width_of_the_ratio_interval_is_that_of_the_linearised_variance() {
    let (sums, counts) = documents(400, 0.1, &mut ChaCha8Rng::seed_from_u64(11));
    let [low, high] = ratio_interval(&sums, &counts, 4000, 1).unwrap();
    let expected = 2.0 * 1.959964 * linearised_error(&sums, &counts);
    assert!(((high - low) / expected - 1.0).abs() < 0.06, "width {}, expected {expected}", high - low);
    let ratio = sums.iter().sum::<f64>() / counts.iter().sum::<f64>();
    assert!(((low + high) / 2.0 - ratio).abs() < 0.1 * expected);
}

#[test]
fn ninety_five_of_a_hundred_intervals_hold_the_truth() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let trials = 600;
    let held = (0..trials).filter(|&trial| {
        let (sums, counts) = documents(80, 0.1, &mut rng);
        let [low, high] = ratio_interval(&sums, &counts, 400, trial).unwrap();
        (low..=high).contains(&0.1)
    });
    // 0.95 less the small bias of the percentile method, give or take three standard errors
    let coverage = held.count() as f64 / trials as f64;
    assert!((0.915..0.975).contains(&coverage), "{coverage}");
}

#[test]
fn resampling_tokens_instead_of_documents_would_be_far_too_sure() {
    let (sums, counts) = documents(400, 0.1, &mut ChaCha8Rng::seed_from_u64(11));
    // the same tokens, each a cluster of its own with the mean of its document
    let tokens: Vec<f64> = sums.iter().zip(&counts).flat_map(|(s, n)| vec![s / n; *n as usize]).collect();
    let [low, high] = ratio_interval(&tokens, &vec![1.0; tokens.len()], 200, 1).unwrap();
    let [low_documents, high_documents] = ratio_interval(&sums, &counts, 200, 1).unwrap();
    assert!(high_documents - low_documents > 5.0 * (high - low));
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let (sums, counts) = documents(30, 0.1, &mut ChaCha8Rng::seed_from_u64(13));
    let interval = |seed| ratio_interval(&sums, &counts, 500, seed).unwrap().map(f64::to_bits);
    assert_eq!(interval(1), interval(1));
    assert_ne!(interval(1), interval(2));
}

#[test]
fn an_interval_over_a_single_cluster_is_the_ratio_itself() {
    assert_eq!(ratio_interval(&[3.0], &[4.0], 100, 1).unwrap(), [0.75, 0.75]);
}

#[test]
fn a_statistic_named_by_its_clusters_has_the_interval_of_the_full_list() {
    let counts = vec![10.0; 50];
    let mut sums = vec![0.0; 50];
    (sums[7], sums[31]) = (4.0, -1.5);
    let resamples = Resamples::new(50, 1000, 5);
    let dense = resamples.ratio_interval(&sums, &counts).unwrap();
    let sparse = resamples.over(&counts).unwrap().interval([(31, -1.5), (7, 4.0)]).unwrap();
    assert_eq!(dense, sparse);
    assert_eq!(dense, ratio_interval(&sums, &counts, 1000, 5).unwrap());
    assert!(dense[0] < dense[1]);
}

#[test]
fn contributions_under_common_draws_add_up_within_every_draw() {
    // types a and b share every cluster's tokens: where a's part is high, b's is low, and their sum does not vary
    let counts = vec![10.0; 40];
    let resamples = Resamples::new(40, 500, 9);
    let over = resamples.over(&counts).unwrap();
    let a = over.interval((0..40).map(|d| (d, d as f64 / 10.0))).unwrap();
    let b = over.interval((0..40).map(|d| (d, 1.0 - d as f64 / 10.0))).unwrap();
    assert!((a[0] + b[1] - 0.1).abs() < 1e-12 && (a[1] + b[0] - 0.1).abs() < 1e-12);
}

#[test]
fn draws_without_tokens_are_left_out_and_clusters_without_any_are_refused() {
    let [low, high] = ratio_interval(&[1.0, 0.0], &[2.0, 0.0], 200, 1).unwrap();
    assert_eq!([low, high], [0.5, 0.5]);
    assert!(ratio_interval(&[0.0, 0.0], &[0.0, 0.0], 200, 1).is_err());
    assert!(ratio_interval(&[], &[], 200, 1).is_err());
    assert!(ratio_interval(&[1.0], &[1.0], 0, 1).is_err());
    assert!(ratio_interval(&[1.0, 2.0], &[1.0], 200, 1).is_err());
    assert!(ratio_interval(&[f64::NAN, 2.0], &[1.0, 1.0], 200, 1).is_err());
    assert!(ratio_interval(&[1.0, 2.0], &[1.0, f64::NAN], 200, 1).is_err());
}

#[test]
fn a_least_squares_line_leaves_what_is_orthogonal_to_it() {
    // The residuals 1, −1, −1, 1 sum to 0, alone and times x, so the line is the one they were added to.
    let points =
        [1.0, -1.0, -1.0, 1.0].into_iter().enumerate().map(|(x, left)| (x as f64, 2.0 - 3.0 * x as f64 + left));
    let points: Vec<(f64, f64)> = points.collect();
    let (intercept, slope) = least_squares(&points).unwrap();
    assert!((intercept - 2.0).abs() < 1e-12 && (slope + 3.0).abs() < 1e-12);
    assert_eq!(least_squares(&points[..2]), None);
    assert_eq!(least_squares(&[(1.0, 0.0), (1.0, 1.0), (1.0, 2.0)]), None);
}
