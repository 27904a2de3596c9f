//! Models adapted by a few steps and written, and what they compute.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use odyssey::adapt::{self, AdaptSettings, Adaptation, adapt};
use odyssey::model::parameters::to_host;
use odyssey::model::{LoadedModel, token_ids};
use odyssey::progress::Silent;
use odyssey::text::{Corpus, Document, StreamOptions};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

pub const CASES: [&str; 12] = [
    "gpt2_tied",
    "llama_gqa",
    "llama_mha",
    "mistral",
    "qwen2",
    "qwen3",
    "smollm3",
    "olmo",
    "olmo_clip",
    "olmo2",
    "neox_parallel",
    "neox_sequential",
];

pub fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
}

pub fn cpu() -> Device {
    Device::flex()
}

/// Token ids without a pattern to learn quickly: what matters is that the weights move.
pub fn numbers(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * i * 31 + i * 7) % 293).collect()
}

pub fn few_steps() -> AdaptSettings {
    AdaptSettings { steps: Some(5), batch: 2, context: Some(32), lr: 1e-3, ..AdaptSettings::default() }
}

/// Adapts a fixture model to a corpus of token ids.
pub fn adapted(case: &str) -> (LoadedModel, Adaptation) {
    let base = LoadedModel::open(&fixture(case), &cpu()).unwrap();
    let stream = |count| {
        let corpus = Corpus::new(Path::new("numbers"), None, [Document::Ids(&numbers(count))]).unwrap();
        base.stream(&corpus, None, &StreamOptions::default()).unwrap()
    };
    let adaptation = adapt(&base, stream(1000), &stream(100), &few_steps(), 42, None, &mut Silent).unwrap();
    (base, adaptation)
}

/// A model folder and, beside it, what the model in memory computes on `ids`.
pub struct Saved {
    _scratch: TempDir,
    pub folder: PathBuf,
    pub reference: PathBuf,
}

pub fn save(base: &LoadedModel, mut adaptation: Adaptation, rows: &[&[u32]], text: Option<&str>) -> Saved {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("adapted");
    adapt::write(&mut adaptation, base, &folder).unwrap();

    let (batch, time) = (rows.len(), rows[0].len());
    let logits = adaptation.last.logits(token_ids(rows, &cpu()));
    let logits = to_host(logits.flatten(0, 2)).unwrap();
    let ids: Vec<i64> = rows.concat().into_iter().map(i64::from).collect();
    let shape = vec![batch, time, base.config.vocabulary()];
    let tensors = [
        ("input_ids", TensorView::new(Dtype::I64, vec![batch, time], bytemuck::cast_slice(&ids)).unwrap()),
        ("logits", TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&logits)).unwrap()),
    ];
    let metadata = text.map(|text| HashMap::from([("text".to_owned(), text.to_owned())]));
    let reference = scratch.path().join("reference.safetensors");
    std::fs::write(&reference, safetensors::serialize(tensors, metadata).unwrap()).unwrap();
    Saved { _scratch: scratch, folder, reference }
}

pub fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
