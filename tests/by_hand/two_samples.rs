//! Tests between two samples on real corpora (which need the shared test data), and on large ones:
//! `cargo test --release --test by_hand two_samples -- --nocapture`.

use burn::tensor::Device;
use odyssey::model::LoadedModel;
use odyssey::progress::Silent;
use odyssey::similarity::bandwidth::median_distance;
use odyssey::similarity::classifier::classify;
use odyssey::similarity::draws::{Draws, permutation_p};
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::extract::Hidden;
use odyssey::similarity::features::Features;
use odyssey::similarity::kernel::Kernel;
use odyssey::similarity::mmd::mmd2;
use odyssey::similarity::principal::frechet_distances;
use odyssey::similarity::tiles::discrepancies;
use odyssey::text::{DocumentRule, Split, StreamOptions, Vocabulary, open_corpus};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::test_data;
use crate::samples::{made_up, p_values, uniform_p};

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
