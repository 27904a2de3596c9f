//! Correlations of a study against the coefficients computed by hand from its rows.

use odyssey::similarity::Measure;
use odyssey::stats;
use odyssey::study::{Correlation, Row, RowEvidence, correlate};

/// A row with a distance `mmd2` and a similarity `centroid_cosine`.
fn row(domain: &str, group: &str, seed: u64, delta: f64, mmd2: f64) -> Row {
    Row {
        model: "base".into(),
        domain: domain.into(),
        group: group.into(),
        strategy: "full".into(),
        seed,
        zero_shot_ppl: 20.0,
        adapted_ppl: 20.0 * delta.exp(),
        delta,
        delta_ci95: [delta - 0.1, delta + 0.1],
        similarity: [(Measure::Mmd2, mmd2), (Measure::CentroidCosine, 1.0 - mmd2)].into_iter().collect(),
        newline_rate: 0.02,
        train_tokens: 1000,
        test_tokens: 100,
        ..Row::default()
    }
}

/// Six domains in two groups; the first was adapted to with two seeds.
fn rows() -> Vec<Row> {
    vec![
        row("history", "wiki", 1, 0.10, 0.1),
        row("history", "wiki", 2, 0.30, 0.1),
        row("sports", "wiki", 1, 0.25, 0.2),
        row("nature", "wiki", 1, 0.05, 0.4),
        row("physics", "science", 1, -0.30, 0.9),
        row("biology", "science", 1, -0.10, 0.6),
        row("finance", "science", 1, -0.25, 0.5),
    ]
}

#[track_caller]
fn find<'a>(all: &'a [Correlation], x: &str, scope: &str) -> &'a Correlation {
    let found: Vec<_> = all.iter().filter(|c| c.x == x && c.scope == scope).collect();
    assert_eq!(found.len(), 1, "{x} {scope}");
    found[0]
}

#[test]
fn seeds_are_averaged_before_domains_are_correlated() {
    let all = correlate(&rows(), 1);
    let x = [0.1, 0.2, 0.4, 0.9, 0.6, 0.5];
    let y = [0.20, 0.25, 0.05, -0.30, -0.10, -0.25];
    let found = find(&all, "mmd2", "pooled");
    assert_eq!((found.n, found.of.as_str()), (6, "base / full"));
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-12, "{a:?} and {b}");
    let expected = [stats::pearson(&x, &y), stats::spearman(&x, &y), stats::kendall(&x, &y)].map(Result::unwrap);
    close(found.pearson.value, expected[0].statistic);
    close(found.pearson.p, expected[0].p_two_sided);
    close(found.spearman.value, expected[1].statistic);
    close(found.spearman.p, expected[1].p_two_sided);
    close(found.kendall.value, expected[2].statistic);
    close(found.kendall.p, expected[2].p_two_sided);
    let [low, high] = found.pearson.ci95.unwrap();
    assert!(low <= expected[0].statistic && expected[0].statistic <= high);
    assert!(found.pearson.value.unwrap() < -0.8 && found.pearson.reason.is_none());
}

#[test]
fn a_measure_of_similarity_correlates_with_the_opposite_sign() {
    let all = correlate(&rows(), 1);
    let (distance, similarity) = (find(&all, "mmd2", "pooled"), find(&all, "centroid_cosine", "pooled"));
    assert!((distance.pearson.value.unwrap() + similarity.pearson.value.unwrap()).abs() < 1e-12);
}

#[test]
fn groups_are_correlated_on_their_own_after_the_pool() {
    let all = correlate(&rows(), 1);
    let wiki = find(&all, "mmd2", "within:wiki");
    assert_eq!(wiki.n, 3);
    let expected = stats::pearson(&[0.1, 0.2, 0.4], &[0.20, 0.25, 0.05]).unwrap().statistic;
    assert!((wiki.pearson.value.unwrap() - expected).abs() < 1e-12);
    let scopes: Vec<&str> = all.iter().filter(|c| c.x == "mmd2").map(|c| c.scope.as_str()).collect();
    assert_eq!(scopes, ["pooled", "within:science", "within:wiki"]);
    assert_eq!(all.len(), 3 * Measure::shown().count());
}

#[test]
fn models_and_strategies_are_never_mixed() {
    let mut rows = rows();
    let other: Vec<Row> = rows.iter().cloned().map(|r| Row { strategy: "lora".into(), delta: -r.delta, ..r }).collect();
    rows.extend(other);
    let all = correlate(&rows, 1);
    let pearson = |of: &str| {
        let mut matching = all.iter().filter(|c| c.of == of && c.x == "mmd2" && c.scope == "pooled");
        matching.next().unwrap().pearson.value.unwrap()
    };
    assert!((pearson("base / full") + pearson("base / lora")).abs() < 1e-12);
    assert_eq!(all.len(), 2 * 3 * Measure::shown().count());
}

#[test]
fn what_cannot_be_correlated_is_empty_with_a_reason() {
    let mut rows = rows();
    for row in &mut rows {
        row.similarity[Measure::NewlineRate] = 0.02.into();
    }
    rows.retain(|row| row.domain != "sports");
    let all = correlate(&rows, 1);
    let empty = |c: &Correlation| {
        assert_eq!([c.pearson.value, c.pearson.p, c.spearman.value, c.spearman.p], [None; 4]);
        assert_eq!((c.kendall.value, c.kendall.p, c.pearson.ci95), (None, None, None));
        c.pearson.reason.clone().unwrap()
    };
    let few = find(&all, "mmd2", "within:wiki");
    assert_eq!(few.n, 2);
    assert!(empty(few).contains("at least 3"));
    let missing = find(&all, "frechet", "pooled");
    assert_eq!(missing.n, 0);
    assert!(empty(missing).contains("0 domains"));
    let constant = find(&all, "newline_rate", "pooled");
    assert_eq!(constant.n, 5);
    assert!(empty(constant).contains("equal"));
}

#[test]
fn domains_without_a_value_are_left_out_of_that_measure_only() {
    let mut rows = rows();
    rows[4].similarity[Measure::Mmd2] = None.into(); // physics
    rows[5].delta = f64::NAN; // biology
    let all = correlate(&rows, 1);
    assert_eq!(find(&all, "mmd2", "pooled").n, 4);
    assert_eq!(find(&all, "centroid_cosine", "pooled").n, 5);
    assert!(find(&all, "mmd2", "pooled").pearson.value.unwrap().is_finite());
}

#[test]
fn correlations_do_not_depend_on_the_order_of_rows_and_repeat_by_seed() {
    let forward = correlate(&rows(), 1);
    let mut reversed = rows();
    reversed.reverse();
    let backward = correlate(&reversed, 1);
    assert_eq!(forward.len(), backward.len());
    for (a, b) in forward.iter().zip(&backward) {
        assert_eq!((&a.x, &a.scope, &a.pearson), (&b.x, &b.scope, &b.pearson));
    }
    assert_ne!(
        find(&forward, "mmd2", "pooled").pearson.ci95,
        find(&correlate(&rows(), 2), "mmd2", "pooled").pearson.ci95
    );
    assert!(correlate(&[], 1).is_empty());
}

#[test]
fn what_is_mostly_a_contrast_between_groups_is_warned_of_and_what_is_not_is_not() {
    let all = correlate(&rows(), 1);
    let pooled = find(&all, "mmd2", "pooled");
    assert!(pooled.within_groups.is_some() && pooled.permutation_p.is_some());
    assert_eq!(find(&all, "mmd2", "within:wiki").within_groups, None, "one group has nothing else");

    // Two clusters with the opposite tendency inside.
    let clusters: Vec<Row> = (0..12)
        .map(|i| {
            let (group, step) = (i / 6, (i % 6) as f64);
            let far = group as f64;
            let name = ["wiki", "science"][group];
            row(&format!("{name} {step}"), name, 1, 0.2 - 0.8 * far + 0.01 * step, 0.1 + far + 0.01 * step)
        })
        .collect();
    let all = correlate(&clusters, 1);
    let pooled = find(&all, "mmd2", "pooled");
    assert!(pooled.pearson.value.unwrap() < -0.95 && pooled.within_groups.unwrap() > 0.95);
    let warning = pooled.warning.as_ref().unwrap();
    assert!(warning.contains("mostly the contrast between groups") && warning.contains("+1.00"), "{warning}");
    let [low, high] = pooled.pearson.ci95.unwrap();
    assert!(low < high && high < -0.9, "drawn within groups, the contrast is in every draw");

    // The same tendency inside and between is no artefact.
    let straight: Vec<Row> =
        clusters.iter().cloned().map(|r| Row { delta: -r.similarity.get(Measure::Mmd2).unwrap(), ..r }).collect();
    let all = correlate(&straight, 1);
    assert_eq!(find(&all, "mmd2", "pooled").warning, None);
    assert!(find(&all, "mmd2", "pooled").permutation_p.unwrap() < 0.001);
}

#[test]
fn rivals_are_allowed_for_and_the_domain_that_counts_most_is_named() {
    let mut rows: Vec<Row> = (0..9)
        .map(|i| {
            let x = f64::from(i);
            // The rate of line breaks follows the distance; δ follows the rate alone, but for one domain.
            let rate = 0.01 * x + 0.002 * f64::from(i * 5 % 7);
            let delta = 10.0 * rate + if i == 8 { 3.0 } else { 0.01 * f64::from(i * 3 % 4) };
            let row = row(&format!("d{i}"), "one", 1, delta, 0.1 * x);
            Row {
                newline_rate: rate,
                evidence: RowEvidence { available_tokens: Some(1000), ..Default::default() },
                ..row
            }
        })
        .collect();
    let all = correlate(&rows, 1);
    let found = find(&all, "mmd2", "pooled");
    assert_eq!(found.influence.as_ref().unwrap().domain, "d8");
    rows.pop();
    let all = correlate(&rows, 1);
    let found = find(&all, "mmd2", "pooled");
    let partial = found.partial.as_ref().unwrap();
    assert_eq!(partial.controls, ["newline_rate", "ln_domain_tokens", "ln_zero_shot_ppl"]);
    assert!(found.pearson.value.unwrap() > 0.9 && partial.pearson.value.unwrap().abs() < 0.8, "{found:?}");
    // By the same function over the rows' own numbers; sizes and perplexities do not vary here.
    let column = |of: fn(&Row) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
    let expected = stats::partial_pearson(
        &column(|r| r.similarity.get(Measure::Mmd2).unwrap()),
        &column(|r| r.delta),
        &[column(|r| r.newline_rate)],
    )
    .unwrap();
    assert!((partial.pearson.value.unwrap() - expected.coefficient.statistic).abs() < 1e-12);
    assert!((partial.pearson.p.unwrap() - expected.coefficient.p_two_sided).abs() < 1e-12);
    assert_eq!(find(&all, "newline_rate", "pooled").partial, None, "there is no such distance here");
}

#[test]
fn too_few_domains_to_allow_for_rivals_say_so() {
    let mut few = rows()[..4].to_vec();
    (1..).zip(&mut few).for_each(|(i, row)| row.newline_rate = 0.01 * f64::from(i * i));
    let all = correlate(&few, 1);
    let partial = find(&all, "mmd2", "pooled").partial.clone().unwrap();
    assert_eq!((partial.pearson.value, partial.pearson.p), (None, None));
    assert!(partial.pearson.reason.unwrap().contains("other values"), "three domains, one control that varies");
}
