//! Whether a change is one: paired tests against scipy and enumeration, and calls that are not false too often.

use odyssey::compare::{LineBreakParts, PairedChanges, PartChanges, compare};
use odyssey::evaluate::ScoredStream;
use odyssey::stats::{
    BOOTSTRAP_SEED, DEFAULT_FLIPS, PairedTest, RESAMPLES, paired_t, ratio_interval, sign_flip_p, wilcoxon,
};
use odyssey::study::calls::{self, Owner};
use odyssey::study::joint::{Draws, Joint};
use odyssey::study::{Call, DomainChange};
use odyssey::synth::{Sizes, Splits, write_family};
use odyssey::text::{Tokenizer, Vocabulary};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/stats/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found}, expected {expected}");
}

#[test]
fn paired_t_and_wilcoxon_equal_scipy_with_and_without_ties_and_zeros() {
    let golden: Value = serde_json::from_slice(&fixture("stats.json")).unwrap();
    let bytes = fixture("paired_nll.safetensors");
    let arrays = SafeTensors::deserialize(&bytes).unwrap();
    let array = |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(arrays.tensor(name).unwrap().data()) };
    for case in ["small", "long", "real"] {
        let (a, b) = (array(&format!("{case}_a")), array(&format!("{case}_b")));
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let golden = &golden["paired_tests"][case];
        let (t, ranks) = (paired_t(&differences).unwrap(), wilcoxon(&differences).unwrap());
        assert_close(t.statistic, &golden["paired_t"]);
        assert_close(t.p_two_sided, &golden["paired_t_p"]);
        assert_close(ranks.statistic, &golden["wilcoxon_statistic_min_rank_sum"]);
        assert_close(ranks.p_two_sided, &golden["wilcoxon_p"]);
        // The permutation test of the same mean says about the same as the t test.
        let flipped = sign_flip_p(&differences, DEFAULT_FLIPS, 1).unwrap();
        assert!((flipped - t.p_two_sided).abs() < 0.02, "{case}: {flipped} and {t:?}");
    }
}

/// All 2^n sign flips, counted.
fn enumerated(differences: &[f64]) -> f64 {
    let sums = |signs: u32| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { *d } else { -d }).sum::<f64>().abs()
    };
    let all = 1_u32 << differences.len();
    (0..all).filter(|&signs| sums(signs) >= sums(all - 1) - 1e-9).count() as f64 / f64::from(all)
}

#[test]
fn the_sign_flip_test_of_few_documents_is_exact() {
    assert_eq!(sign_flip_p(&[1.0, 2.0, 3.0], 5, 1), Some(2.0 / 8.0));
    assert_eq!(sign_flip_p(&[1.0, 2.0, -3.0], 5, 1), Some(1.0));
    assert_eq!(sign_flip_p(&[0.5; 12], 5, 1), Some(2.0 / 4096.0));
    assert_eq!(sign_flip_p(&[0.0, 1.0, 0.0, 2.0, 3.0], 5, 1), Some(2.0 / 8.0), "what did not change says nothing");
    let differences = [0.3, -0.1, 0.25, 0.7, -0.4, 0.05, 0.33, -0.2, 0.11, 0.6];
    assert_eq!(sign_flip_p(&differences, 5, 1), Some(enumerated(&differences)));
}

#[test]
fn the_sign_flip_test_of_many_documents_draws_its_flips_by_seed() {
    let differences: Vec<f64> = (0..16).map(|i| ((i * 7 % 11) as f64 - 3.5) / 3.0).collect();
    let (exact, flips) = (enumerated(&differences), 9999);
    let found = sign_flip_p(&differences, flips, 1).unwrap();
    let error = (exact * (1.0 - exact) / flips as f64).sqrt();
    assert!((found - exact).abs() < 4.0 * error, "{found}, expected {exact}");
    assert_eq!(sign_flip_p(&differences, flips, 1), Some(found));
    assert_ne!(sign_flip_p(&differences, flips, 2), Some(found));
    assert_eq!(sign_flip_p(&[1.0; 40], 99, 1), Some(0.01), "(k + 1) / (flips + 1)");
}

#[test]
fn what_cannot_be_tested_has_no_p_value() {
    assert_eq!(sign_flip_p(&[], 99, 1), None);
    assert_eq!(sign_flip_p(&[1.0, f64::NAN], 99, 1), None);
    assert_eq!(sign_flip_p(&[0.0; 20], 99, 1), Some(1.0));
    type Test = fn(&[f64]) -> Option<PairedTest>;
    for (test, nothing) in [(paired_t as Test, [0.2, 0.2]), (wilcoxon, [0.0, 0.0])] {
        assert_eq!((test(&[]), test(&[f64::INFINITY, 1.0]), test(&nothing)), (None, None, None));
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Documents of different lengths whose own changes scatter about `truth`, nats per token, heavy-tailed.
fn changes(documents: usize, truth: f64, rng: &mut ChaCha8Rng) -> PairedChanges {
    let (mut changes, mut tokens) = (Vec::new(), Vec::new());
    for _ in 0..documents {
        let n = rng.random_range(50..400) as f64;
        let own = 0.1 * normal(rng) / (0.3 + rng.random::<f64>());
        changes.push((truth + own) * n);
        tokens.push(n);
    }
    PairedChanges { over: "documents".into(), changes, tokens }
}

fn called(domains: &[PairedChanges], error_rate: f64) -> Vec<DomainChange> {
    let mut draws = Draws::default();
    let mut called: Vec<DomainChange> = domains
        .iter()
        .map(|seed| {
            let joint = Joint::of(std::slice::from_ref(seed), &mut draws).unwrap();
            calls::test(Owner::default(), &joint, None, error_rate).unwrap()
        })
        .collect();
    calls::decide(&mut called);
    called
}

#[test]
fn under_the_null_false_calls_are_no_more_than_the_error_rate() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let (trials, error_rate) = (150, 0.1);
    for (documents, of_family) in [(9, 1), (30, 1), (20, 4)] {
        // Where nothing changed any call is false, so that the share of studies with a call is at most the error rate.
        let false_studies = (0..trials)
            .filter(|_| {
                let domains: Vec<_> = (0..of_family).map(|_| changes(documents, 0.0, &mut rng)).collect();
                called(&domains, error_rate).iter().any(|domain| domain.call != Call::NoDifference)
            })
            .count();
        let rate = false_studies as f64 / f64::from(trials);
        let error = (error_rate * (1.0 - error_rate) / f64::from(trials)).sqrt();
        assert!(rate < error_rate + 3.0 * error, "{documents} documents, {of_family} domains: {rate}");
        assert!(rate > 0.02, "{rate}: a test that never calls says nothing");
    }
}

#[test]
fn a_change_well_above_the_smallest_effect_is_called_by_its_sign_and_one_well_below_is_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let smallest = called(&[changes(60, 0.0, &mut rng)], 0.05)[0].smallest_effect;
    assert!((0.01..0.2).contains(&smallest), "{smallest}");
    let domains = [2.5, -2.5, 0.1].map(|times| changes(60, times * smallest, &mut rng));
    let found: Vec<Call> = called(&domains, 0.05).iter().map(|domain| domain.call).collect();
    assert_eq!(found, [Call::Worse, Call::Better, Call::NoDifference]);
}

#[test]
fn the_smallest_effect_is_half_the_interval_at_the_error_rate() {
    let domain = changes(40, 0.3, &mut ChaCha8Rng::seed_from_u64(23));
    let found = &called(std::slice::from_ref(&domain), 0.05)[0];
    let [low, high] = ratio_interval(&domain.changes, &domain.tokens, 2000, 42).unwrap();
    assert_eq!(found.delta_ci95, [low, high]);
    assert!((found.smallest_effect - (high - low) / 2.0).abs() < 1e-12);
    assert!(called(&[domain], 0.01)[0].smallest_effect > 1.1 * found.smallest_effect);
}

#[test]
fn p_values_are_corrected_over_the_domains_of_one_model_and_strategy() {
    let mut rng = ChaCha8Rng::seed_from_u64(24);
    let mut draws = Draws::default();
    let mut domains = Vec::new();
    for strategy in ["full", "lora"] {
        for truth in [0.0, 0.05, 0.3] {
            let joint = Joint::of(&[changes(30, truth, &mut rng)], &mut draws).unwrap();
            let owner = Owner { strategy: strategy.into(), ..Owner::default() };
            domains.push(calls::test(owner, &joint, None, 0.05).unwrap());
        }
    }
    calls::decide(&mut domains);
    for family in domains.chunks(3) {
        let p: Vec<f64> = family.iter().map(|domain| domain.p.unwrap()).collect();
        let expected = odyssey::stats::benjamini_hochberg(&p);
        assert_eq!(family.iter().map(|domain| domain.q.unwrap()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn seeds_are_put_together_document_by_document_and_their_spread_is_said() {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    let first = changes(50, 0.1, &mut rng);
    // Another seed: the same documents a little off.
    let other = |by: f64| PairedChanges {
        changes: first.changes.iter().zip(&first.tokens).map(|(change, n)| change + by * n).collect(),
        ..first.clone()
    };
    let seeds = [first.clone(), other(0.02), other(-0.05)];
    let mut draws = Draws::default();
    let joint = Joint::of(&seeds, &mut draws).unwrap();
    let alone = Joint::of(&seeds[..1], &mut draws).unwrap();
    assert!((joint.delta - (alone.delta - 0.01)).abs() < 1e-12);
    // Seeds that agree on every document are not three times as many documents: the interval is as wide as before.
    let width = |joint: &Joint| joint.ci95[1] - joint.ci95[0];
    assert!((width(&joint) - width(&alone)).abs() < 1e-9);
    let expected = ((0.01_f64.powi(2) + 0.03_f64.powi(2) + 0.04_f64.powi(2)) / 2.0).sqrt();
    assert!((joint.seed_sd.unwrap() - expected).abs() < 1e-9);
    assert_eq!(alone.seed_sd, None);
    assert!(Joint::of(&[first, changes(50, 0.1, &mut rng)], &mut draws).is_err(), "different texts");
    assert!(Joint::of(&[], &mut draws).is_err());
}

#[test]
fn what_is_beyond_the_restart_has_the_uncertainty_of_both() {
    let mut rng = ChaCha8Rng::seed_from_u64(26);
    let mut draws = Draws::default();
    let [domain, control] = [changes(40, 0.1, &mut rng), changes(60, 0.25, &mut rng)]
        .map(|changes| Joint::of(&[changes], &mut draws).unwrap());
    let found = calls::test(Owner::default(), &domain, Some(&control), 0.05).unwrap();
    let beyond = found.beyond_restart.value.unwrap();
    assert!((beyond - (domain.delta - control.delta)).abs() < 1e-12 && found.restart_delta == Some(control.delta));
    let width = |[low, high]: [f64; 2]| high - low;
    let expected = width(domain.ci95).hypot(width(control.ci95));
    let ends = found.beyond_restart.ci95.unwrap();
    assert!((width(ends) / expected - 1.0).abs() < 0.1, "{} {expected}", width(ends));
    assert!(ends[0] < beyond && beyond < ends[1]);
}

#[test]
fn too_few_documents_for_any_call_are_said_to_be() {
    let five = PairedChanges { over: "windows".into(), changes: vec![1.0; 5], tokens: vec![10.0; 5] };
    let found = &called(&[five], 0.05)[0];
    assert_eq!((found.p, found.call), (Some(2.0 / 32.0), Call::NoDifference));
    assert!(found.reason.as_ref().unwrap().contains("5 windows are too few"), "{:?}", found.reason);
    let six = PairedChanges { over: "windows".into(), changes: vec![1.0; 6], tokens: vec![10.0; 6] };
    let found = &called(&[six], 0.05)[0];
    assert_eq!((found.call, &found.reason), (Call::Worse, &None));
}

/// Documents of random tokens with `<eot>` (1) between them, scored at random; every seventh token is not scored.
fn scored(rng: &mut ChaCha8Rng, documents: &[Vec<u32>]) -> [ScoredStream; 2] {
    let (mut ids, mut document) = (Vec::new(), Vec::new());
    for (index, tokens) in documents.iter().enumerate() {
        if index > 0 {
            ids.push(1);
            document.push(index as u32 - 1);
        }
        ids.extend(tokens);
        document.extend(vec![index as u32; tokens.len()]);
    }
    [0, 1].map(|_| {
        let unscored = |at: usize| at.is_multiple_of(7);
        let nll = (0..ids.len()).map(|at| if unscored(at) { f32::NAN } else { rng.random_range(0.0..9.0) }).collect();
        let (byte, window) = (vec![0; ids.len()].into(), vec![0; ids.len()]);
        ScoredStream { ids: ids.clone().into(), nll, document: document.clone().into(), byte, window }
    })
}

#[test]
fn the_parts_of_a_change_are_those_of_its_definition_and_add_up_with_intervals_by_document() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = Sizes {
        base: Splits { train: 500, valid: 300, test: 300 },
        domain: Splits { train: 500, valid: 300, test: 300 },
    };
    write_family(&folder.path().join("family"), 3, &[1.0], sizes).unwrap();
    let tokenizer = Tokenizer::load(&folder.path().join("family")).unwrap();
    let size = tokenizer.vocabulary_size();
    let vocabulary = Vocabulary::new(Some(&tokenizer), size);
    let newline = (0..size as u32).find(|&id| tokenizer.token_text(id).contains('\n')).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let documents: Vec<Vec<u32>> = (0..30)
        .map(|_| {
            let tokens = rng.random_range(5..40);
            // Line breaks also begin and end documents, and follow one another.
            (0..tokens).map(|_| if rng.random_bool(0.3) { newline } else { rng.random_range(4..size as u32) }).collect()
        })
        .collect();
    let seeds = [(); 2].map(|()| scored(&mut rng, &documents));
    let names = ["base", "adapted"];
    let paired = |eot| -> (Vec<PairedChanges>, Vec<PartChanges>) {
        let pairs = seeds.each_ref().map(|[before, after]| {
            let parts = PartChanges::of(before, after, names, &vocabulary, eot).unwrap();
            (PairedChanges::of(before, after, names).unwrap(), parts)
        });
        pairs.into_iter().unzip()
    };

    // One by one, by the definition: `[part][document]`, mean over the seeds.
    let mut sums = [(); 4].map(|()| vec![0.0; documents.len()]);
    for [before, after] in &seeds {
        for at in (0..before.ids.len()).filter(|&at| !before.nll[at].is_nan()) {
            let previous = if at == 0 { 0 } else { before.ids[at - 1] };
            let part = match before.ids[at] {
                id if id == newline => 0,
                1 => 2,
                _ if previous == 1 => 2,
                _ if previous == newline => 1,
                _ => 3,
            };
            let change = f64::from(after.nll[at]) - f64::from(before.nll[at]);
            sums[part][before.document[at] as usize] += change / seeds.len() as f64;
        }
    }
    let (changes, parts) = paired(Some(1));
    let mut draws = Draws::default();
    let joint = Joint::of(&changes, &mut draws).unwrap();
    let (shares, intervals) = joint.parts(&parts, &mut draws).unwrap();
    let tokens = &changes[0].tokens;
    let total: f64 = tokens.iter().sum();
    let LineBreakParts { newline: of_newlines, after_newline, boundary, rest } = shares;
    let found = [
        (of_newlines, intervals.newline),
        (after_newline, intervals.after_newline),
        (boundary.unwrap(), intervals.boundary),
        (rest, intervals.rest),
    ];
    for (part, ((share, ends), sums)) in found.into_iter().zip(&sums).enumerate() {
        assert!((share - sums.iter().sum::<f64>() / total).abs() < 1e-12, "{part}: {share}");
        let expected = ratio_interval(sums, tokens, RESAMPLES, BOOTSTRAP_SEED).unwrap();
        assert!(ends.iter().zip(expected).all(|(end, expected)| (end - expected).abs() < 1e-9), "{part}: {ends:?}");
        assert!(ends[0] < share && share < ends[1] && share != 0.0, "{part}: {share} in {ends:?}");
    }
    assert!((found.iter().map(|(share, _)| share).sum::<f64>() - joint.delta).abs() < 1e-12);

    // Without a token between documents nothing is the boundary's, and line breaks carry what `compare` says they do.
    let (_, without) = paired(None);
    assert!(without.iter().all(|parts| parts.boundary.iter().all(|sum| *sum == 0.0)));
    for ((parts, changes), [before, after]) in without.iter().zip(&changes).zip(&seeds) {
        let (shares, old) =
            (parts.shares(changes), compare(before, after, names, &vocabulary).unwrap().line_break_parts());
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(
            close(shares.newline, old.newline) && close(shares.after_newline, old.after_newline),
            "{shares:?} {old:?}"
        );
        assert!(close(shares.rest, old.rest) && old.boundary.is_none());
    }
    // Parts of other documents are refused.
    assert!(joint.parts(&[PartChanges::default()], &mut draws).is_err());
}
