//! What transformers computes with an adapted model. `tests/scripts/check_with_transformers.py` asks it, by a Python that has torch and
//! transformers:
//!
//!     ODYSSEY_PYTHON=/path/to/python cargo test --release --test by_hand transformers

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use odyssey::adapt::adapt;
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use odyssey::synth::{Sizes, Splits, write_family};
use odyssey::text::{Document, DocumentRule, Domain, Split, StreamOptions, Tokenizer};
use safetensors::SafeTensors;
use serde_json::json;

use crate::saved::{CASES, Saved, adapted, cpu, few_steps, fixture, json_file, numbers, save};

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
fn transformers_loads_adapted_models_whole_and_computes_the_same_logits() {
    for case in CASES {
        let (base, adaptation) = adapted(case);
        assert_same(case, &save(&base, adaptation, &[&numbers(32), &numbers(64)[32..]], None));
    }
}

#[test]
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
    let domain = Domain::open(languages.join("lambda-0.5"), DocumentRule::BlankLine).unwrap();
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
