//! Adapted models as other programs see them: the layout of what is written, and what transformers computes with it.
//!
//! `tests/scripts/check_with_transformers.py` asks transformers. It needs Python with torch and transformers:
//!
//!     ODYSSEY_PYTHON=/path/to/python cargo test --release --test model transformers -- --ignored

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use odyssey::adapt::{self, AdaptSettings, Adaptation, adapt};
use odyssey::model::parameters::to_host;
use odyssey::model::{LoadedModel, ModelConfig, token_ids};
use odyssey::progress::Silent;
use odyssey::synth::{Sizes, Splits, write_family};
use odyssey::text::{Corpus, Document, DocumentRule, Domain, Split, StreamOptions, Tokenizer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const CASES: [&str; 11] = [
    "gpt2_tied",
    "llama_gqa",
    "llama_mha",
    "mistral",
    "qwen2",
    "qwen3",
    "olmo",
    "olmo_clip",
    "olmo2",
    "neox_parallel",
    "neox_sequential",
];

/// Ends of names in old files that hold no weights.
const BUFFERS: [&str; 3] = [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"];

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
}

fn cpu() -> Device {
    Device::flex()
}

/// Token ids without a pattern to learn quickly: what matters is that the weights move.
fn numbers(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * i * 31 + i * 7) % 293).collect()
}

fn few_steps() -> AdaptSettings {
    AdaptSettings { steps: Some(5), batch: 2, context: Some(32), lr: 1e-3, ..AdaptSettings::default() }
}

/// Adapts a fixture model to a corpus of token ids.
fn adapted(case: &str) -> (LoadedModel, Adaptation) {
    let base = LoadedModel::open(&fixture(case), &cpu()).unwrap();
    let stream = |count| {
        let corpus = Corpus::new(Path::new("numbers"), None, [Document::Ids(&numbers(count))]).unwrap();
        base.stream(&corpus, None, &StreamOptions::default()).unwrap()
    };
    let adaptation = adapt(&base, stream(1000), &stream(100), &few_steps(), 42, None, &mut Silent).unwrap();
    (base, adaptation)
}

/// A model folder and, beside it, what the model in memory computes on `ids`.
struct Saved {
    _scratch: TempDir,
    folder: PathBuf,
    reference: PathBuf,
}

fn save(base: &LoadedModel, mut adaptation: Adaptation, rows: &[&[u32]], text: Option<&str>) -> Saved {
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

/// Names and shapes of all tensors of a folder's safetensors files, with their types.
fn tensors(folder: &Path) -> BTreeMap<String, (Vec<usize>, Dtype)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let weights = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("model");
    let mut found = BTreeMap::new();
    for path in files.filter(weights).filter(|path| path.extension().unwrap() == "safetensors") {
        let bytes = std::fs::read(&path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            found.insert(name, (view.shape().to_vec(), view.dtype()));
        }
    }
    found
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_adapted_folder_holds_the_weights_of_its_base_by_name_and_shape_all_in_f32() {
    for case in CASES {
        let (base, adaptation) = adapted(case);
        let saved = save(&base, adaptation, &[&numbers(32)], None);
        let expected: BTreeMap<_, _> = tensors(&fixture(case))
            .into_iter()
            .filter(|(name, _)| !BUFFERS.iter().any(|end| name.ends_with(end)))
            .map(|(name, (shape, _))| (name, (shape, Dtype::F32)))
            .collect();
        assert_eq!(tensors(&saved.folder), expected, "{case}");

        // transformers asks for this before it reads a file.
        let bytes = std::fs::read(saved.folder.join("model.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt", "{case}");
    }
}

#[test]
fn an_adapted_folder_keeps_the_configuration_but_for_the_type_of_the_weights() {
    for case in ["gpt2_tied", "llama_gqa", "llama_mha", "qwen2", "neox_parallel", "neox_sequential"] {
        let (base, adaptation) = adapted(case);
        let saved = save(&base, adaptation, &[&numbers(32)], None);
        let mut expected = json_file(&fixture(case).join("config.json"));
        // One is read by transformers 4, the other by 5.
        for key in ["torch_dtype", "dtype"] {
            expected[key] = "float32".into();
        }
        assert_eq!(json_file(&saved.folder.join("config.json")), expected, "{case}");
    }
}

/// Runs the script; fails with what is missing where there is no Python to ask.
fn ask_transformers(saved: &Saved) -> Output {
    let python = std::env::var_os("ODYSSEY_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&python).args(["-c", "import torch, transformers"]).output();
    match found {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{python:?} lacks torch or transformers: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => panic!("no Python to ask ({python:?}: {e}); name one in ODYSSEY_PYTHON"),
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/check_with_transformers.py");
    Command::new(&python)
        .arg(script)
        .args([&saved.folder, &saved.reference])
        .env("HF_HUB_OFFLINE", "1") // nothing here is to be fetched
        .output()
        .unwrap()
}

fn assert_same(case: &str, saved: &Saved) {
    let output = ask_transformers(saved);
    assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
    println!("{case}: {}", String::from_utf8_lossy(&output.stdout).trim());
}

#[test]
#[ignore = "needs Python with torch and transformers; run by hand: \
            ODYSSEY_PYTHON=… cargo test --release --test model transformers -- --ignored"]
fn transformers_loads_adapted_models_whole_and_computes_the_same_logits() {
    for case in CASES {
        let (base, adaptation) = adapted(case);
        assert_same(case, &save(&base, adaptation, &[&numbers(32), &numbers(64)[32..]], None));
    }
}

#[test]
#[ignore = "needs Python with torch and transformers; run by hand: \
            ODYSSEY_PYTHON=… cargo test --release --test model transformers -- --ignored"]
fn transformers_reads_the_tokenizer_that_travels_with_an_adapted_model() {
    let scratch = tempfile::tempdir().unwrap();
    let languages = scratch.path().join("languages");
    let splits = Splits { train: 3000, valid: 500, test: 500 };
    write_family(&languages, 42, &[0.5], Sizes { base: splits, domain: splits }).unwrap();

    // A random base with this tokenizer, and with the file that tells transformers what kind it is.
    let folder = scratch.path().join("base");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(languages.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let kind = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
    std::fs::write(folder.join("tokenizer_config.json"), kind.to_string()).unwrap();
    let vocabulary = Tokenizer::load(&folder).unwrap().vocabulary_size();
    let mut config = json_file(&fixture("gpt2_tied").join("config.json"));
    config["vocab_size"] = vocabulary.into();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let base = LoadedModel::random(ModelConfig::read(&folder).unwrap(), &folder, 42, &cpu()).unwrap();
    odyssey::model::save(&base.model, &base, &folder).unwrap();
    let base = LoadedModel::open(&folder, &cpu()).unwrap();

    let tokenizer = base.tokenizer().unwrap();
    let domain = Domain::open(&languages.join("lambda-0.5"), DocumentRule::BlankLine).unwrap();
    let stream =
        |split| base.stream(&domain.split(split).unwrap(), tokenizer.as_ref(), &StreamOptions::default()).unwrap();
    let (train, valid) = (stream(Split::Train), stream(Split::Valid));
    let adaptation = adapt(&base, train, &valid, &few_steps(), 42, None, &mut Silent).unwrap();

    // A line break with words around it.
    let test = domain.split(Split::Test).unwrap();
    let text = test.documents.iter().filter_map(Document::text).find(|text| text.contains('\n')).unwrap();
    let (line, next) = text.split_once('\n').unwrap();
    let next: Vec<&str> = next.split(' ').take(5).collect();
    let text = format!("{}\n{}", line.rsplit(". ").next().unwrap(), next.join(" "));
    let ids = tokenizer.unwrap().encode(&[&text]).unwrap().remove(0).ids;
    assert!((7..=64).contains(&ids.len()), "{text:?}");
    assert_same("tokenizer", &save(&base, adaptation, &[&ids], Some(&text)));
}

#[test]
#[ignore = "needs Python with torch and transformers; run by hand: \
            ODYSSEY_PYTHON=… cargo test --release --test model transformers -- --ignored"]
fn the_check_with_transformers_fails_where_one_logit_is_off_or_a_weight_is_missing() {
    let refused = |saved: &Saved, fault: &str| {
        let output = ask_transformers(saved);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(fault), "expected {fault:?} in: {said}");
    };
    let (base, adaptation) = adapted("gpt2_tied");
    let saved = save(&base, adaptation, &[&numbers(32)], None);
    let bytes = std::fs::read(&saved.reference).unwrap();
    let (mut off, last) = (bytes.clone(), bytes.len() - 4);
    let logit = f32::from_le_bytes(bytes[last..].try_into().unwrap());
    off[last..].copy_from_slice(&(logit + 1e-3).to_le_bytes());
    std::fs::write(&saved.reference, off).unwrap();
    refused(&saved, "differ by up to 1.0e-03");
    std::fs::write(&saved.reference, bytes).unwrap();

    let weights = saved.folder.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let left = SafeTensors::deserialize(&bytes).unwrap();
    let left = left.tensors().into_iter().filter(|(name, _)| name != "transformer.ln_f.bias");
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    std::fs::write(&weights, safetensors::serialize(left, Some(metadata)).unwrap()).unwrap();
    refused(&saved, "missing_keys: ['transformer.ln_f.bias']");
}
