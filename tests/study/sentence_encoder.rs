//! Sentence encoders: against transformers in f64, by the rules of sentence-transformers, and with what is not as it should be.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::memory::{MemoryPlan, Work};
use odyssey::model::{ModelConfig, Precision};
use odyssey::progress::{Monitor, Silent};
use odyssey::similarity::encoder::folder::EncoderFolder;
use odyssey::similarity::encoder::{SampleUnit, SentenceEncoder, hash_of};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::encoder::{Golden, embed, error_of, folder, golden};
use crate::{common, encoder};

fn cpu() -> Device {
    Device::flex()
}

fn open(folder: &Path) -> Result<SentenceEncoder, String> {
    SentenceEncoder::open(folder, &cpu()).map_err(|e| {
        assert_eq!(e.exit_code(), 2, "{e}");
        e.to_string()
    })
}

fn tiny() -> SentenceEncoder {
    open(&folder()).unwrap()
}

/// The golden encoder's folder, to be changed.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        fs::create_dir(copy.path("1_Pooling")).unwrap();
        for name in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "modules.json",
            "sentence_bert_config.json",
            "1_Pooling/config.json",
        ] {
            fs::copy(folder().join(name), copy.path(name)).unwrap();
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn without(self, name: &str) -> Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    /// With a key of a JSON file set to another value, or taken out where it is null.
    fn with(self, name: &str, key: &str, value: Value) -> Self {
        let mut json: Value = serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap();
        let object = json.as_object_mut().unwrap();
        object.remove(key);
        if !value.is_null() {
            object.insert(key.into(), value);
        }
        self.write(name, json.to_string())
    }

    /// With every tensor renamed, or left out, and its bytes converted.
    fn with_weights(
        self,
        name: impl Fn(&str) -> Option<String>,
        convert: impl Fn(Dtype, &[u8]) -> (Dtype, Vec<u8>),
    ) -> Self {
        let bytes = fs::read(self.path("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let changed: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .filter_map(|(old, view)| {
                let (dtype, data) = convert(view.dtype(), view.data());
                Some((name(old)?, dtype, view.shape().to_vec(), data))
            })
            .collect();
        let views = changed
            .iter()
            .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        let file = safetensors::serialize(views, None).unwrap();
        self.write("model.safetensors", file)
    }

    fn open(&self) -> Result<SentenceEncoder, String> {
        open(self.0.path())
    }

    fn refused(&self, says: &str) {
        let said = self.open().expect_err(says);
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
}

fn as_it_is(dtype: Dtype, bytes: &[u8]) -> (Dtype, Vec<u8>) {
    (dtype, bytes.to_vec())
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

// ---------------------------------------------------------------------------------------------------------------------
// Equal to the reference.

#[test]
fn tokens_are_those_of_the_reference_whatever_truncation_and_padding_the_tokenizer_stores() {
    let encoder = tiny();
    assert_eq!(encoder.passage(), 14);
    for Golden { text, passages, .. } in golden() {
        let ids = encoder.token_ids(&text).unwrap();
        let around = |passage: &[u32]| [&[2], passage, &[3]].concat();
        assert_eq!(ids.chunks(14).map(around).collect::<Vec<_>>(), passages, "{text}");
    }
}

#[test]
fn vectors_of_documents_equal_the_golden_ones_by_mean_pooling() {
    encoder::check(&cpu());
}

#[test]
fn vectors_of_documents_equal_the_golden_ones_by_cls_pooling_in_either_spelling() {
    for pooling in [
        json!({ "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false, "include_prompt": true }),
        json!({ "pooling_mode": "cls", "include_prompt": true }),
    ] {
        let error =
            error_of(&Copy::new().write("1_Pooling/config.json", pooling.to_string()).open().unwrap(), |case| {
                &case.cls
            });
        assert!(error < 1e-6, "{error:.1e}");
    }
    assert!(error_of(&tiny(), |case| &case.cls) > 0.1, "the two poolings differ");
}

#[test]
fn weights_may_carry_the_prefix_bert_and_heads_of_other_uses() {
    let prefixed = Copy::new().with_weights(|name| Some(format!("bert.{name}")), as_it_is).open().unwrap();
    assert!(error_of(&prefixed, |case| &case.mean) < 1e-6);
    // As in the files of the first BERTs, which came from TensorFlow.
    let greek = |name: &str| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        Some(format!("bert.{name}"))
    };
    assert!(error_of(&Copy::new().with_weights(greek, as_it_is).open().unwrap(), |case| &case.mean) < 1e-6);
    let bytes = fs::read(folder().join("model.safetensors")).unwrap();
    let names = SafeTensors::deserialize(&bytes).unwrap().names().join(" ");
    assert!(names.contains("pooler.dense.weight") && names.contains("embeddings.position_ids"), "{names}");
    let bare = |name: &str| (!name.starts_with("pooler")).then(|| name.to_owned());
    let bare = Copy::new().with_weights(bare, as_it_is).open().unwrap();
    assert!(error_of(&bare, |case| &case.mean) < 1e-6);
}

#[test]
fn weights_in_16_bits_are_read() {
    let narrow = |to: fn(f32) -> u16, kind: Dtype| {
        let convert = move |dtype: Dtype, bytes: &[u8]| match dtype {
            Dtype::F32 => (kind, floats(bytes).flat_map(|v| to(v).to_le_bytes()).collect()),
            other => as_it_is(other, bytes),
        };
        Copy::new().with_weights(|name| Some(name.to_owned()), convert).open().unwrap()
    };
    for (encoder, most) in [
        (narrow(|v| half::f16::from_f32(v).to_bits(), Dtype::F16), 5e-3),
        (narrow(|v| half::bf16::from_f32(v).to_bits(), Dtype::BF16), 5e-2),
    ] {
        let error = error_of(&encoder, |case| &case.mean);
        assert!(error > 1e-6 && error < most, "{error:.1e}");
    }
}

#[test]
fn padding_and_company_do_not_change_a_vector() {
    let encoder = tiny();
    let ids: Vec<Vec<u32>> =
        golden().iter().map(|case| case.passages[0][1..case.passages[0].len() - 1].to_vec()).collect();
    let passages: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let together = encoder.encode(&passages).unwrap();
    let alone: Vec<f32> = passages.iter().flat_map(|passage| encoder.encode(&[passage]).unwrap()).collect();
    let difference = largest_difference(&together, &alone);
    assert!(difference < 1e-6, "{difference:.1e}");
    for vector in together.chunks(32) {
        let length: f64 = vector.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Documents and samples.

#[test]
fn samples_are_documents_spaced_evenly_over_the_corpus() {
    let encoder = tiny();
    let texts: Vec<String> = (0..9).map(|i| format!("the sea is {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let all = embed(&encoder, &texts);
    assert_eq!((all.unit, &all.document, &all.caveats), (SampleUnit::Document, &(0..9).collect(), &vec![]));
    let some = encoder.embed(texts.iter().copied(), 3, &mut Silent).unwrap();
    assert_eq!(some.document, [0, 4, 8]);
    let (all, some) = (all.features.unwrap(), some.features.unwrap());
    for (row, index) in some.rows().zip([0, 4, 8]) {
        assert!(largest_difference(row, all.row(index)) < 1e-6);
    }
    assert_eq!(some.values, encoder.embed(texts.into_iter(), 3, &mut Silent).unwrap().features.unwrap().values);
}

#[test]
fn a_document_too_long_to_be_tokenised_at_once_is_the_weighted_mean_of_its_passages() {
    let encoder = tiny();
    let long = "the old stone house and the new red river walk to the sea, ".repeat(6000); // 354 kB
    let ids = encoder.token_ids(&long).unwrap();
    let mut expected = vec![0.0_f64; 32];
    for passage in ids.chunks(14) {
        let vector = encoder.encode(&[passage]).unwrap();
        expected.iter_mut().zip(vector).for_each(|(e, v)| *e += passage.len() as f64 * f64::from(v));
    }
    let length = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
    let expected: Vec<f32> = expected.iter().map(|v| (v / length) as f32).collect();
    let found = embed(&encoder, &["a red tree", &long, "the sea"]);
    assert_eq!(found.tokens, ids.len() as u64 + 5);
    let difference = largest_difference(found.features.unwrap().row(1), &expected);
    assert!(difference < 1e-6, "{difference:.1e}");
}

#[test]
fn of_a_single_document_the_passages_are_samples_and_the_result_says_so() {
    let encoder = tiny();
    let text = "the river walks to the sea and the tree sings in the night. ".repeat(5); // 75 tokens
    let found = embed(&encoder, &[&text]);
    assert_eq!((found.unit, found.document), (SampleUnit::Passage, vec![0; 5]));
    assert!(found.caveats[0].contains("one document only: its 5 passages of at most 14 tokens"), "{:?}", found.caveats);
    let ids = encoder.token_ids(&text).unwrap();
    let passages: Vec<&[u32]> = ids.chunks_exact(14).collect();
    assert!(largest_difference(&found.features.unwrap().values, &encoder.encode(&passages).unwrap()) < 1e-6);
    let few = encoder.embed([text.as_str()].into_iter(), 3, &mut Silent).unwrap().features.unwrap();
    let chosen = [0, 2, 4].map(|index| passages[index]);
    assert!(largest_difference(&few.values, &encoder.encode(&chosen).unwrap()) < 1e-6);
    assert_eq!(embed(&encoder, &["the sea"]).features.unwrap().samples, 1);
}

#[test]
fn documents_without_anything_the_encoder_knows_are_passed_over_and_counted() {
    let found =
        embed(&tiny(), &["the old house walks to the sea", " \n ", "Москва", "the night is red and old", "\u{200b}"]);
    assert_eq!(found.document, [0, 3]);
    assert_eq!(found.features.unwrap().samples, 2);
    assert_eq!(
        found.caveats[..2],
        ["2 documents without text passed over", "1 document of which the encoder knows no token passed over"]
    );
    assert!(found.caveats[2].contains("does not know 7 % of the tokens"), "{:?}", found.caveats);
    assert_eq!((found.tokens, found.unknown), (14, 1));
}

#[test]
fn a_corpus_in_another_script_has_no_features_but_a_reason() {
    let encoder = tiny();
    for (texts, says) in [
        (vec!["Москва и Волга", "Волга и море"], "does not know 100 % of the tokens"),
        (vec!["the Волга", "море и sea"], "does not know 60 % of the tokens"),
        (vec!["   ", "\n"], "no text"),
        (vec!["  "], "no text"),
        (vec![], "no text"),
    ] {
        let found = embed(&encoder, &texts);
        let reason = found.features.expect_err(says);
        assert!(reason.contains(says), "{reason}");
        assert!(found.document.is_empty() && !reason.contains("NaN"));
    }
}

#[test]
fn a_text_that_is_spelled_out_letter_by_letter_is_marked() {
    let spelled = embed(&tiny(), &["q x z q x z q x z", "zxq zxq zxq"]);
    assert!(spelled.features.is_ok());
    assert!(spelled.caveats[0].contains("1.0 characters on average"), "{:?}", spelled.caveats);
}

#[test]
fn an_interruption_ends_the_work_and_progress_is_in_bytes_of_text() {
    #[derive(Default)]
    struct Watcher {
        total: u64,
        done: u64,
        stop_at: u64,
        begun: i32,
    }
    impl Monitor for Watcher {
        fn begin(&mut self, _what: &str, total: u64) {
            (self.total, self.begun) = (total, self.begun + 1);
        }
        fn advance(&mut self, units: u64, _note: &str) {
            self.done += units;
        }
        fn end(&mut self) {
            self.begun -= 1;
        }
        fn stopped(&self) -> bool {
            self.done >= self.stop_at
        }
    }
    let encoder = tiny();
    let texts = ["the sea and the river.  ", &"the old stone ".repeat(20), "a tree"];
    let bytes = texts.iter().map(|text| text.len() as u64).sum();
    let mut whole = Watcher { stop_at: u64::MAX, ..Watcher::default() };
    encoder.embed(texts.into_iter(), 9, &mut whole).unwrap();
    assert_eq!((whole.total, whole.done, whole.begun), (bytes, bytes, 0));
    let mut stopped = Watcher { stop_at: 1, ..Watcher::default() };
    let error = encoder.embed(texts.into_iter(), 9, &mut stopped).unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
    assert!(stopped.done < bytes && stopped.begun == 0);
}

#[test]
fn passages_that_do_not_fit_are_refused() {
    let encoder = tiny();
    for (passage, says) in [(vec![], "has 0 tokens"), (vec![9; 15], "has 15 tokens; give it 1 to 14")] {
        let said = encoder.encode(&[&[9, 9], &passage]).unwrap_err().to_string();
        assert!(said.contains("passage 1") && said.contains(says), "{said}");
    }
    assert_eq!(encoder.encode(&[]).unwrap(), Vec::<f32>::new());
}

// ---------------------------------------------------------------------------------------------------------------------
// What a folder says.

#[test]
fn the_longest_passage_is_what_the_folder_says_first() {
    let passage = |copy: Copy| copy.open().unwrap().passage() + 2;
    let file = "sentence_bert_config.json";
    assert_eq!(passage(Copy::new().with(file, "max_seq_length", json!(10))), 10);
    assert_eq!(passage(Copy::new().with(file, "max_seq_length", Value::Null)), 24);
    assert_eq!(passage(Copy::new().without(file)), 24);
    let limited = |limit: &str| Copy::new().without(file).write("tokenizer_config.json", limit);
    assert_eq!(passage(limited("{\"model_max_length\": 12}")), 12);
    assert_eq!(passage(limited("{\"model_max_length\": 1000000000000000019884624838656}")), 24);
    for length in [0, 2, 25] {
        Copy::new()
            .with(file, "max_seq_length", json!(length))
            .refused(&format!("`max_seq_length` is {length}, expected 3 to 24"));
    }
}

#[test]
fn a_plain_bert_is_pooled_by_the_mean_and_the_result_says_that_this_was_assumed() {
    let encoder = Copy::new().without("modules.json").open().unwrap();
    assert!(error_of(&encoder, |case| &case.mean) < 1e-6);
    let found = embed(&encoder, &["the sea", "the old river"]);
    assert!(found.caveats[0].contains("no modules.json: mean pooling was taken"), "{:?}", found.caveats);
}

#[test]
fn a_body_in_a_folder_of_its_own_is_found_and_never_outside() {
    let copy = Copy::new();
    fs::create_dir(copy.path("0_Transformer")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"] {
        fs::rename(copy.path(name), copy.path("0_Transformer").join(name)).unwrap();
    }
    let modules = fs::read_to_string(copy.path("modules.json")).unwrap();
    let named = |path: &str| modules.replacen("\"path\": \"\"", &format!("\"path\": \"{path}\""), 1);
    let copy = copy.write("modules.json", named("0_Transformer"));
    assert!(error_of(&copy.open().unwrap(), |case| &case.mean) < 1e-6);
    for path in ["../elsewhere", "/etc", "a/../../b"] {
        copy.path("modules.json");
        fs::write(copy.path("modules.json"), named(path)).unwrap();
        copy.refused("is not a folder beside it");
    }
}

#[test]
fn texts_are_made_lower_case_where_the_folder_says_so() {
    // A tokenizer that does not do it itself.
    let cased = || {
        Copy::new().with(
            "tokenizer.json",
            "normalizer",
            json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                    "lowercase": false }),
        )
    };
    let text = "THE SEA";
    let lower = cased().with("sentence_bert_config.json", "do_lower_case", json!(true)).open().unwrap();
    assert_eq!(lower.token_ids(text).unwrap(), tiny().token_ids(text).unwrap());
    assert_eq!(cased().open().unwrap().token_ids(text).unwrap(), [1, 1]);
}

#[test]
fn the_hash_tells_apart_what_gives_other_vectors() {
    let copies = [
        Copy::new(),
        Copy::new().with("sentence_bert_config.json", "max_seq_length", json!(12)),
        Copy::new().with("sentence_bert_config.json", "do_lower_case", json!(true)),
        Copy::new().write("1_Pooling/config.json", "{\"pooling_mode\": \"cls\"}"),
        Copy::new().with("config.json", "layer_norm_eps", json!(1e-5)),
        Copy::new().with("tokenizer.json", "normalizer", Value::Null),
    ];
    let hashes: std::collections::BTreeSet<String> =
        copies.iter().map(|copy| copy.open().unwrap().hash().unwrap()).collect();
    assert_eq!(hashes.len(), copies.len());
    assert!(hashes.contains(&tiny().hash().unwrap()), "the same encoder elsewhere has the same hash");
}

#[test]
fn the_memory_plan_counts_every_weight_of_an_encoder_and_what_it_computes_beside_the_model() {
    let bytes = fs::read(folder().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| !name.contains("pooler") && !name.contains("position_ids");
    let weights: usize =
        tensors.iter().filter(|(name, _)| read(name)).map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    let size = EncoderFolder::read(&folder()).unwrap().size(&cpu());
    assert_eq!(size.weights, weights as u64);

    let model = ModelConfig::read(&common::fixture("models/gpt2_tied")).unwrap();
    let device = DeviceChoice::Cpu.open().unwrap();
    let plan = |work| MemoryPlan::new(&model, work, &device).unwrap();
    let part = |plan: &MemoryPlan, what: &str| plan.parts.iter().find(|part| part.what == what).unwrap().bytes;
    let embed = plan(Work::Embed(size));
    assert_eq!(part(&embed, "weights of the sentence encoder"), 4 * weights as u64);
    let evaluate = plan(Work::Evaluate { context: 64, precision: Precision::F32 });
    assert_eq!(part(&embed, "weights"), part(&evaluate, "weights"));
    // A thousand tokens of 32 channels and more in an MLP: more than nothing, less than the weights of a real encoder.
    let pass = part(&embed, "one pass through a layer of it");
    assert!(pass >= 4 * 1024 * (4 * 32 + 3 * size.inner as u64) && pass < 16 << 20, "{pass}");
    assert_eq!(embed.needs_bytes, embed.parts.iter().map(|part| part.bytes).sum::<u64>());

    let encoder = tiny();
    assert_eq!(hash_of(&folder()).unwrap(), encoder.hash().unwrap(), "known without being opened");
}

#[test]
fn what_is_not_implemented_is_refused_in_words() {
    let pooling = |json: Value| Copy::new().write("1_Pooling/config.json", json.to_string());
    pooling(json!({ "pooling_mode_max_tokens": true })).refused("pools by max_tokens, which is not implemented");
    pooling(json!({ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true })).refused("mean_tokens and cls");
    pooling(json!({ "pooling_mode": "lasttoken" })).refused("pools by lasttoken");
    pooling(json!({})).refused("switches no pooling on");

    let dense = "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},
                  {\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},
                  {\"path\": \"2_Dense\", \"type\": \"sentence_transformers.models.Dense\"}]";
    Copy::new().write("modules.json", dense).refused("sentence_transformers.models.Dense");
    Copy::new().write("modules.json", "[]").refused("no Transformer with a Pooling after it");

    for (kind, says) in [("mpnet", "\"mpnet\""), ("roberta", "\"roberta\""), ("gpt2", "only \"bert\" is implemented")] {
        Copy::new().with("config.json", "model_type", json!(kind)).refused(says);
    }
    for (key, value) in [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("hidden_act", json!("relu")),
        ("num_attention_heads", json!(5)),
        ("num_hidden_layers", json!(0)),
        ("hidden_size", json!(1_u64 << 40)),
        ("vocab_size", Value::Null),
    ] {
        let copy = Copy::new().with("config.json", key, value);
        copy.refused(if key == "num_hidden_layers" { "number of layers" } else { key });
    }
    let prompts = "{\"prompts\": {\"query\": \"query: \", \"none\": \"\"}, \"default_prompt_name\": \"NAME\"}";
    let prompts = |name| Copy::new().write("config_sentence_transformers.json", prompts.replace("NAME", name));
    prompts("query").refused("puts the prompt \"query\" in front");
    assert!(prompts("none").open().is_ok());
}

#[test]
fn a_folder_that_is_not_whole_is_refused_by_the_name_of_what_is_wrong() {
    let said = open(Path::new("no/such/encoder")).unwrap_err();
    assert!(said.contains("no such folder of a sentence encoder"), "{said}");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"] {
        Copy::new().without(name).refused(name);
        Copy::new().write(name, "{\"a\": ").refused(name);
        Copy::new().write(name, "").refused(name);
    }
    for name in ["modules.json", "sentence_bert_config.json"] {
        Copy::new().write(name, "{\"max_seq_length\": \"long\"}").refused(name);
    }
    let bytes = fs::read(folder().join("model.safetensors")).unwrap();
    Copy::new().write("model.safetensors", &bytes[..bytes.len() / 2]).refused("not a whole safetensors file");

    let lost = "encoder.layer.1.output.dense.bias";
    Copy::new().with_weights(|name| (name != lost).then(|| name.to_owned()), as_it_is).refused(lost);
    Copy::new().with("config.json", "num_hidden_layers", json!(1)).refused("no place for");
    Copy::new().with("config.json", "intermediate_size", json!(47)).refused("intermediate.dense.weight");

    let plain = Copy::new().with("tokenizer.json", "post_processor", Value::Null);
    plain.refused("does not put one token before and one after");
    Copy::new().with("config.json", "vocab_size", json!(50)).refused("has 100 token ids");
}

#[test]
fn weights_that_are_no_numbers_are_an_error_and_no_vector() {
    let spoiled = |dtype: Dtype, bytes: &[u8]| match dtype {
        Dtype::F32 => (dtype, bytes.chunks(4).flat_map(|_| f32::NAN.to_le_bytes()).collect()),
        other => as_it_is(other, bytes),
    };
    let said = Copy::new().with_weights(|name| Some(name.to_owned()), spoiled).open().unwrap_err().to_string();
    assert!(said.contains("model.safetensors: tensor \"") && said.contains("holds NaN"), "{said}");
}
