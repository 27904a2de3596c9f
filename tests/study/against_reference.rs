//! What a domain's distances come with: tests, intervals, caveats, the reference against itself, words, the cache.

use std::collections::HashSet;

use burn::tensor::Device;
use odyssey::model::{LoadedModel, token_ids};
use odyssey::progress::Silent;
use odyssey::similarity::counts::Tokens;
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::extract::{FeatureSpec, Hidden, Pooling};
use odyssey::similarity::words::Words;
use odyssey::similarity::{
    CorpusSample, Counts, Distances, Features, Measure, Reference, TestSettings, adjust, cache, stored,
};
use odyssey::text::{Corpus, DocumentRule, Vocabulary};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::common::model_folder;

const TESTS: TestSettings =
    TestSettings { kernel: odyssey::similarity::KernelKind::Rbf, permutations: 99, resamples: 99, seed: 1 };

/// Documents of 20 tokens of a skewed distribution over 50, and a feature vector for each.
fn corpus(documents: usize, shift: u32, seed: u64) -> CorpusSample {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || (rng.random::<f64>().powi(2) * 40.0) as u32 + shift;
    let ids: Vec<u32> = (0..20 * documents).map(|_| draw()).collect();
    let of: Vec<u32> = (0..20 * documents).map(|at| at as u32 / 20).collect();
    let row = |ids: &[u32]| [ids.iter().sum::<u32>() as f32 / 20.0, ids[0] as f32, ids[1] as f32];
    let values = ids.chunks(20).flat_map(row).collect();
    let features = Features::new(documents, 3, values).map_err(|e| e.to_string());
    CorpusSample { features, counts: Counts::of(Tokens::new(&ids, &of), 20, |id| id == 3) }
}

fn test(reference: CorpusSample, domain: &CorpusSample) -> Distances {
    Reference::new(reference, 64, 1).test(domain, &TESTS, &Device::flex(), &mut Silent).unwrap()
}

#[test]
fn every_measure_has_its_value_inside_its_interval_and_the_tests_their_p_values() {
    let found = test(corpus(300, 0, 1), &corpus(120, 3, 2));
    assert!(found.reasons().is_empty() && found.caveats.is_empty(), "{:?} {:?}", found.reasons(), found.caveats);
    for measure in Measure::shown() {
        let value = found.get(measure).unwrap();
        let [low, high] = found[measure].ci95.unwrap_or_else(|| panic!("{measure:?} has no interval"));
        assert!(low <= value && value <= high && low < high, "{measure:?}: {value} in {low} to {high}");
    }
    for measure in Measure::tested() {
        assert_eq!(found[measure].p, Some(0.01), "{measure:?}");
    }
    assert!(found.effects[&Measure::Mmd2] > 1.5 && found.effects[&Measure::Frechet] > 1.5);
    let coefficient = found.effects[&Measure::Energy];
    assert!(0.0 < coefficient && coefficient < 1.0);
    let alike = test(corpus(300, 0, 1), &corpus(120, 0, 3));
    assert!(alike[Measure::Mmd2].p.unwrap() > 0.05 && alike.effects[&Measure::Energy] < 0.1 * coefficient);
}

#[test]
fn values_without_tests_are_the_same_and_no_draws_mean_no_tests() {
    let (reference, domain) = (corpus(60, 0, 1), corpus(50, 2, 2));
    let tested = test(reference.clone(), &domain);
    let untested = Reference::new(reference.clone(), 64, 1).distances(&domain);
    for measure in Measure::shown() {
        assert_eq!(tested.get(measure), untested.get(measure), "{measure:?}");
    }
    let none = TestSettings { permutations: 0, resamples: 0, ..TESTS };
    let reference = Reference::new(reference, 64, 1);
    assert_eq!(reference.test(&domain, &none, &Device::flex(), &mut Silent).unwrap(), untested);
}

#[test]
fn a_text_is_at_distance_zero_from_itself_and_that_is_said() {
    let reference = corpus(80, 0, 1);
    let found = test(reference.clone(), &reference);
    let (zero, one) = ([Measure::Mmd2, Measure::Energy, Measure::Frechet, Measure::UnigramJs], Measure::CentroidCosine);
    assert_eq!(zero.map(|measure| found.get(measure)), [Some(0.0); 4]);
    assert_eq!([one, Measure::BigramOverlap, Measure::TrigramTypeOverlap].map(|m| found.get(m)), [Some(1.0); 3]);
    assert!(Measure::tested().all(|measure| found[measure].p == Some(1.0)));
    assert!(found.caveats[0].contains("own text"));
}

#[test]
fn what_makes_numbers_mislead_is_said_beside_them() {
    let says = |domain: &CorpusSample, words: &str| {
        let found = test(corpus(60, 0, 1), domain);
        assert!(found.caveats.iter().any(|caveat| caveat.contains(words)), "{words}: {:?}", found.caveats);
        let numbers = serde_json::to_value(&found).unwrap();
        assert!(!numbers.to_string().contains("null") || !found.reasons().is_empty(), "{numbers}");
        found
    };
    // another vocabulary
    says(&corpus(60, 1000, 2), "another language");
    // fewer samples than dimensions
    says(&corpus(3, 0, 2), "3 samples in 3 dimensions");
    says(&corpus(20, 0, 2), "only 20 samples");
    // one document
    let mut one = corpus(60, 0, 2);
    one.features = one.features.map(|features| features.of_documents(vec![7; 60]).unwrap());
    says(&one, "come from 1 document: they are permuted");
    let mut few = corpus(60, 0, 2);
    few.features = few.features.map(|features| features.of_documents((0..60).map(|i| i / 20).collect()).unwrap());
    let found = says(&few, "come from 3 documents: too few");
    assert!(found.get(Measure::Auc).is_none() && found.why_missing(Measure::Auc).contains("at least 10"));
    // constant features
    let mut constant = corpus(60, 0, 2);
    constant.features = Ok(Features::new(60, 3, vec![1.0; 180]).unwrap());
    says(&constant, "vectors are equal");
    // none at all
    let mut missing = corpus(60, 0, 2);
    missing.features = Features::new(1, 3, vec![f32::NAN; 3]).map_err(|e| e.to_string());
    let found = test(corpus(60, 0, 1), &missing);
    let mmd2 = &found[Measure::Mmd2];
    assert!(mmd2.value.is_none() && mmd2.p.is_none() && mmd2.why_missing().unwrap().contains("NaN"));
    assert!(found.get(Measure::UnigramJs).is_some());
}

#[test]
fn the_reference_against_parts_of_itself_is_no_distance_with_a_band_around_it() {
    let reference = Reference::new(corpus(300, 0, 1), 64, 1);
    let null = reference.against_itself(60, 1200, &TESTS, &Device::flex(), &mut Silent).unwrap();
    assert!(null.reasons().is_empty(), "{:?}", null.reasons());
    assert_eq!(null.samples, 60);
    for measure in Measure::shown() {
        let (value, [low, high]) = (null.get(measure).unwrap(), null[measure].ci95.unwrap());
        assert!(low <= value && value <= high, "{measure:?}: {value} in {low} to {high}");
    }
    let within = |measure: Measure, domain: &CorpusSample| {
        let [low, high] = null[measure].ci95.unwrap();
        let value = reference.distances(domain).get(measure).unwrap();
        low <= value && value <= high
    };
    let (alike, unlike) = (corpus(60, 0, 5), corpus(60, 4, 6));
    for measure in [Measure::Mmd2, Measure::Energy, Measure::UnigramJs] {
        assert!(within(measure, &alike) && !within(measure, &unlike), "{measure:?}");
    }
    let [low, high] = null[Measure::Mmd2].ci95.unwrap();
    assert!(low < 0.0 && 0.0 < high, "unbiased: on both sides of zero");
    // too little to divide
    let few = Reference::new(corpus(3, 0, 1), 64, 1).against_itself(60, 100, &TESTS, &Device::flex(), &mut Silent);
    let few = few.unwrap();
    assert!(few[Measure::Mmd2].why_missing().unwrap().contains("at least 4") && few.get(Measure::UnigramJs).is_none());
}

#[test]
fn p_values_of_several_domains_are_corrected_for_their_number() {
    let mut domains: Vec<Distances> = [Some(0.01), None, Some(0.04), Some(0.5)]
        .into_iter()
        .map(|p| {
            let mut distances = Distances::default();
            distances[Measure::Mmd2].p = p;
            distances
        })
        .collect();
    adjust(&mut domains.iter_mut().collect::<Vec<_>>());
    let q: Vec<Option<f64>> = domains.iter().map(|domain| domain[Measure::Mmd2].q).collect();
    assert_eq!(q, [Some(0.03), None, Some(0.06), Some(0.5)]);
    assert!(domains.iter().all(|domain| domain[Measure::Energy].q.is_none()));
}

#[test]
fn distances_written_before_they_were_tested_still_read() {
    let old = json!({
        "samples": 30, "mmd2": 0.1, "frechet": 1.0, "centroid_cosine": 0.9, "energy": 0.2, "unigram_js": 0.1,
        "unigram_cross_entropy": 5.0, "vocabulary_overlap": 0.5, "newline_rate": 0.01
    });
    let read: Distances = serde_json::from_value(old).unwrap();
    assert_eq!((read.get(Measure::Mmd2), read.get(Measure::Auc), read[Measure::Mmd2].p), (Some(0.1), None, None));
    let full = test(corpus(60, 0, 1), &corpus(50, 2, 2));
    assert_eq!(serde_json::from_value::<Distances>(serde_json::to_value(&full).unwrap()).unwrap(), full);
}

#[test]
fn n_gram_overlap_equals_sets_of_windows_and_ends_with_a_document() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut draw = |n: usize| -> Vec<u32> { (0..n).map(|_| (rng.random::<f64>().powi(3) * 30.0) as u32).collect() };
    let (a, b) = (draw(600), draw(900));
    let documents = |n: usize| -> Vec<u32> { (0..n).map(|at| at as u32 / 13).collect() };
    let count = |ids: &[u32]| Counts::of(Tokens::new(ids, &documents(ids.len())), 1, |_| false);
    let (of_a, of_b) = (count(&a), count(&b));
    for (which, n) in [2, 3].into_iter().enumerate() {
        let windows = |ids: &[u32]| -> Vec<Vec<u32>> {
            ids.chunks(13).flat_map(|document| document.windows(n).map(<[u32]>::to_vec)).collect()
        };
        let (windows, known): (Vec<_>, HashSet<_>) = (windows(&a), windows(&b).into_iter().collect());
        let share = windows.iter().filter(|w| known.contains(*w)).count() as f64 / windows.len() as f64;
        let types: HashSet<_> = windows.iter().collect();
        let of_types = types.iter().filter(|w| known.contains(**w)).count() as f64 / types.len() as f64;
        let seen = of_a.ngrams[which].seen_in(&of_b.ngrams[which], 50);
        assert_eq!((seen.share(), seen.share_of_types()), (Some(share), Some(of_types)));
        assert!(0.0 < share && share < 1.0);
    }
}

#[test]
fn samples_of_n_grams_estimate_the_overlap_of_corpora_with_more_of_them_than_are_kept() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut draw = |n: usize| -> Vec<u32> { (0..n).map(|_| rng.random_range(0..1000)).collect() };
    // bigrams out of a million, so a text of 700,000 has about half of them
    let (a, b) = (draw(50_000), draw(700_000));
    let count = |ids: &[u32]| Counts::of(Tokens::from(ids), ids.len(), |_| false);
    let (of_a, of_b) = (count(&a), count(&b));
    assert_eq!(of_a.ngrams[0].level, 0);
    assert!(of_b.ngrams[0].level <= 1 && of_b.ngrams[1].level >= 1 && of_b.ngrams[1].entries.len() <= 1 << 19);
    let known: HashSet<&[u32]> = b.windows(2).collect();
    let share = a.windows(2).filter(|w| known.contains(w)).count() as f64 / (a.len() - 1) as f64;
    let estimate = of_a.ngrams[0].seen_in(&of_b.ngrams[0], 1).share().unwrap();
    assert!((share - 0.5034).abs() < 0.01 && (estimate - share).abs() < 0.01, "{estimate} and {share}");
    // trigrams out of a milliard: hardly any in common
    assert!(of_a.ngrams[1].seen_in(&of_b.ngrams[1], 1).share().unwrap() < 0.005);
}

#[test]
fn words_are_lower_case_runs_of_letters_and_digits_with_line_breaks_and_signs_apart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Corpus::read(&path, DocumentRule::BlankLine).unwrap()
    };
    let mut words = Words::default();
    let a = words.divide(&write("a.txt", "The cat, the\nCAT 3a!\n\nÉtude")).unwrap();
    // the cat , the \n cat 3a ! étude
    assert_eq!(Tokens::from(&a).ids, [1, 2, 3, 1, 0, 2, 4, 5, 6]);
    assert_eq!([0, 7, 8].map(|at| Tokens::from(&a).document(at, 1)), [0, 0, 1]);
    assert!(words.is_newline(0) && !words.is_newline(1));
    let b = words.divide(&write("b.txt", "cat dog")).unwrap();
    assert_eq!(Tokens::from(&b).ids, [2, 7]);
    assert_eq!(words.len(), 8);
    let error = words.divide(&write("c.jsonl", "{\"ids\": [1, 2]}\n")).unwrap_err().to_string();
    assert!(error.contains("c.jsonl") && error.contains("one kind"), "{error}");
}

#[test]
fn what_features_are_asked_for_is_read_and_written_back() {
    let read = |text: &str| text.parse::<FeatureSpec>();
    let model = |folder: Option<&str>, layer, pooling| FeatureSpec::Model {
        folder: folder.map(Into::into),
        hidden: Hidden { layer, pooling },
    };
    for (text, expected) in [
        ("model", model(None, None, Pooling::Mean)),
        ("model@3", model(None, Some(3), Pooling::Mean)),
        ("model,last", model(None, None, Pooling::Last)),
        ("model:a/b", model(Some("a/b"), None, Pooling::Mean)),
        ("model:a@12,last", model(Some("a"), Some(12), Pooling::Last)),
        ("model:owner/name@main", model(Some("owner/name@main"), None, Pooling::Mean)),
        ("model:owner/name@main@0", model(Some("owner/name@main"), Some(0), Pooling::Mean)),
        ("lexical", FeatureSpec::Lexical),
        ("minilm:x", FeatureSpec::Encoder { folder: "x".into() }),
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
        assert_eq!(expected.to_string(), text);
    }
    assert_eq!(read("model:a,mean").unwrap(), model(Some("a"), None, Pooling::Mean));
    for bad in ["", "colours", "model:", "model:@3", "minilm", "minilm:", "lexical:x", "modelx", "model@x"] {
        assert!(read(bad).unwrap_err().to_string().contains("model:DIR"), "{bad}");
    }
    assert!(Hidden { layer: Some(3), ..Hidden::default() }.check(2).unwrap_err().to_string().contains("layer 3"));
    assert!(Hidden { layer: Some(2), ..Hidden::default() }.check(2).is_ok());
}

#[test]
fn layers_and_pooling_pick_the_hidden_states_they_name() {
    let device = Device::flex();
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &device).unwrap();
    let vocabulary = Vocabulary::new(None, 512);
    let ids: Vec<u32> = (0..16).map(|i| (i * 37 + 5) % 512).collect();
    let layers = base.config.layers();
    let features = |layer, pooling| {
        let hidden = Hidden { layer, pooling };
        let embedder = Embedder { model: &base.model, device: &device, vocabulary: &vocabulary, chunk: 8, hidden };
        embedder.features(ids.as_slice(), 2, &mut Silent).unwrap().unwrap()
    };
    // written out, token by token
    let mut states = base.model.embed(token_ids(&[&ids[..8], &ids[8..]], &device));
    let stages = base.model.stages(8, &device);
    assert_eq!(stages.len(), layers + 1);
    for layer in 0..=layers {
        let shown = if layer == layers { stages[layers](states.clone()) } else { states.clone() };
        let [_, _, channels] = shown.dims();
        let all: Vec<f32> = shown.clone().into_data().try_to_vec().unwrap();
        for (window, values) in all.chunks(8 * channels).enumerate() {
            let last = features(Some(layer), Pooling::Last);
            assert_eq!(last.row(window), &values[7 * channels..]);
            let mean = features(Some(layer), Pooling::Mean);
            for k in 0..channels {
                let expected = (0..8).map(|t| f64::from(values[t * channels + k])).sum::<f64>() / 8.0;
                assert!((f64::from(mean.row(window)[k]) - expected).abs() < 1e-5);
            }
        }
        if layer < layers {
            states = stages[layer](states);
        }
    }
    assert_eq!(features(None, Pooling::Mean), features(Some(layers), Pooling::Mean));
}

#[test]
fn kept_features_are_used_again_and_made_anew_where_the_file_is_damaged_or_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let features = Features::new(4, 2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
    let features = features.of_documents(vec![0, 0, 3, 9]).unwrap();
    let get = |key: Value, computed: &Features| {
        let mut asked = false;
        let (found, kept) = cache::features(folder.path(), &key, || {
            asked = true;
            Ok(Ok(computed.clone()))
        })
        .unwrap();
        assert_eq!(asked, !kept);
        (found.unwrap(), kept)
    };
    assert_eq!(get(json!("a"), &features), (features.clone(), false));
    let other = Features::new(1, 1, vec![0.0]).unwrap();
    assert_eq!(get(json!("a"), &other), (features.clone(), true));
    let doubted = other.clone().with_caveats(vec!["one".into(), "and another".into()]);
    for kept in [false, true] {
        assert_eq!(get(json!("b"), &doubted), (doubted.clone(), kept));
    }

    let files = || std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files().len(), 2);
    for file in files() {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() - 40;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    assert_eq!(get(json!("a"), &other), (other.clone(), false));
    assert_eq!(get(json!("a"), &features), (other.clone(), true));
    // no features are not kept, and a folder that cannot be written does no harm
    let none = cache::features(folder.path(), &json!("c"), || Ok(Err("too short".into()))).unwrap();
    assert_eq!(none, (Err("too short".to_owned()), false));
    assert_eq!(files().len(), 2);
    let file = files()[0].join("below a file");
    assert_eq!(cache::features(&file, &json!("d"), || Ok(Ok(other.clone()))).unwrap(), (Ok(other.clone()), false));
}

#[test]
fn a_stored_reference_gives_the_distances_of_the_one_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.safetensors");
    let (reference, domain) = (corpus(60, 0, 1), corpus(50, 2, 2));
    stored::write(&path, &reference).unwrap();
    assert_eq!(test(stored::read(&path).unwrap(), &domain), test(reference, &domain));
    let without = CorpusSample { features: Err("too short".into()), ..corpus(20, 0, 1) };
    stored::write(&path, &without).unwrap();
    assert_eq!(stored::read(&path).unwrap().features, without.features);
    std::fs::write(&path, b"something else").unwrap();
    assert!(stored::read(&path).unwrap_err().to_string().contains("not a sample"));
}
