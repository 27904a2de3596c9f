//! Models and adapters as other programs write them: computed as transformers and PEFT do, or refused by name.

use crate::golden;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cli::Place;
use crate::common::{fixture, model_folder};
use burn::tensor::Device;
use odyssey::model::parameters::to_host;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{Adapter, LanguageModel, LoadedModel, ModelConfig, Precision, token_ids};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn cpu() -> Device {
    Device::flex()
}

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights of a folder's files, as numbers.
fn weights(folder: &Path) -> Weights {
    let mut found = Weights::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !(name.starts_with("model") || name.starts_with("adapter")) || !name.ends_with(".safetensors") {
            continue;
        }
        let bytes = fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let values = match view.dtype() {
                Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
                Dtype::BF16 => bytemuck::pod_collect_to_vec::<_, u16>(view.data())
                    .into_iter()
                    .map(|bits| half::bf16::from_bits(bits).to_f32())
                    .collect(),
                Dtype::F16 => bytemuck::pod_collect_to_vec::<_, u16>(view.data())
                    .into_iter()
                    .map(|bits| half::f16::from_bits(bits).to_f32())
                    .collect(),
                Dtype::BOOL => view.data().iter().map(|&on| f32::from(on)).collect(), // a mask in old files
                other => panic!("{name} is {other:?}"),
            };
            found.insert(name, (view.shape().to_vec(), values));
        }
    }
    found
}

fn write_weights(path: &Path, weights: &Weights) {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<(String, Vec<usize>, Vec<u8>)> =
        weights.iter().map(|(name, (shape, values))| (name.clone(), shape.clone(), bytes(values))).collect();
    let views = data
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn configuration(case: &str) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(model_folder(case).join("config.json")).unwrap()).unwrap()
}

/// A case's configuration with these changes; null takes a key out, the text "null" writes one.
fn changed(case: &str, changes: &Value) -> Map<String, Value> {
    let mut config = configuration(case);
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(config.remove(key)),
            Value::String(text) if text == "null" => drop(config.insert(key.clone(), Value::Null)),
            value => drop(config.insert(key.clone(), value.clone())),
        }
    }
    config
}

/// A model's folder of this configuration and these weights.
fn folder(config: &Map<String, Value>, weights: &Weights) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), serde_json::to_vec_pretty(config).unwrap()).unwrap();
    write_weights(&folder.path().join("model.safetensors"), weights);
    folder
}

/// The same with every weight called what `name` makes of its published name.
fn renamed(case: &str, name: impl Fn(&str) -> String) -> TempDir {
    let weights = weights(&model_folder(case)).into_iter().map(|(old, values)| (name(&old), values)).collect();
    folder(&configuration(case), &weights)
}

fn opened(folder: &Path) -> Result<LoadedModel, String> {
    LoadedModel::open(folder, &cpu()).map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    })
}

fn refusal(folder: &Path) -> String {
    opened(folder).map(|_| ()).expect_err("refused")
}

/// Negative log-likelihoods of the golden input, row by row.
fn nll(model: &LanguageModel, case: &str) -> Vec<f64> {
    let (shape, ids) = golden::array::<i64>(&model_folder(case).join("golden.safetensors"), "input_ids");
    let rows = golden::rows(&shape, &ids);
    let windows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let logits = model.logits(token_ids(&windows, &cpu()));
    let [_, time, vocabulary] = logits.dims();
    let logits = to_host(logits.flatten(0, 2)).unwrap();
    let mut found = Vec::new();
    for (row, ids) in rows.iter().enumerate() {
        for at in 0..time - 1 {
            let start = (row * time + at) * vocabulary;
            let logits: Vec<f64> = logits[start..start + vocabulary].iter().map(|&x| f64::from(x)).collect();
            let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
            found.push(most + sum.ln() - logits[ids[at + 1] as usize]);
        }
    }
    found
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn assert_close(ours: &[f64], expected: &[f64], what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let worst = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 2e-3, "{what}: differs by {worst:.1e}");
}

fn spellings() -> Value {
    serde_json::from_slice(&fs::read(fixture("spellings.json")).unwrap()).unwrap()
}

#[test]
fn every_spelling_is_computed_as_transformers_does_or_refused_by_name() {
    let mut refused = 0;
    for entry in spellings()["spellings"].as_array().unwrap() {
        let (case, changes) = (entry["model"].as_str().unwrap(), &entry["changes"]);
        let folder = folder(&changed(case, changes), &weights(&model_folder(case)));
        match (opened(folder.path()), &entry["nll"]) {
            (Ok(model), Value::Array(_)) => {
                assert_close(&nll(&model.model, case), &numbers(&entry["nll"]), &format!("{case} {changes}"));
            }
            (Err(said), Value::Null) => {
                refused += 1;
                let key = changes.as_object().unwrap().keys().any(|key| said.contains(key.as_str()));
                assert!(key && said.contains("config.json"), "{changes} says {said}");
            }
            (ours, _) => panic!("{case} {changes}: transformers differs, ours is {:?}", ours.map(|_| ())),
        }
    }
    assert!(refused >= 10, "{refused}");
}

#[test]
fn rotations_of_other_kinds_are_refused_by_their_name_and_never_plain() {
    for (kind, scaling) in [
        ("yarn", json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64 })),
        ("yarn", json!({ "type": "yarn", "factor": 4.0 })),
        ("longrope", json!({ "rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0] })),
        ("su", json!({ "type": "su", "short_factor": [1.0], "long_factor": [2.0] })),
        ("mrope", json!({ "type": "mrope", "mrope_section": [2, 2, 2] })),
        ("ntk", json!({ "type": "ntk", "factor": 2.0 })),
        ("proportional", json!({ "rope_type": "proportional" })),
        ("full_attention", json!({ "full_attention": { "rope_type": "default" } })),
        ("two kinds", json!({ "type": "linear", "rope_type": "default", "factor": 2.0 })),
        ("expected an object", json!("linear")),
        ("expected an object", json!(2.0)),
        ("factor", json!({ "type": "linear", "factor": "4" })),
        ("factor", json!({ "type": "linear", "factor": 0 })),
        ("factor", json!({ "type": "dynamic", "alpha": 1000 })),
        ("kind", json!({ "rope_type": 3 })),
        ("rope_theta", json!({ "rope_type": "default", "rope_theta": "500000" })),
        ("partial rotation", json!({ "rope_type": "default", "partial_rotary_factor": 0.5 })),
    ] {
        for key in ["rope_scaling", "rope_parameters"] {
            let mut config = configuration("llama_mha");
            config.remove("rope_parameters");
            config.insert(key.into(), scaling.clone());
            let said = ModelConfig::from_json("config.json", config).unwrap_err().to_string();
            assert!(said.contains(kind) && said.contains(key), "{key} {scaling} says {said}");
            assert!(said.starts_with("config.json: architecture \"llama\": "), "{said}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_what_to_write() {
    for (key, value, cure) in [
        ("rope_theta", json!("500000"), "without quotation marks"),
        ("rms_norm_eps", json!("1e-5"), "without quotation marks"),
        ("num_hidden_layers", json!("3"), "without quotation marks"),
        ("tie_word_embeddings", json!("true"), "true or false without quotation marks"),
        ("tie_word_embeddings", json!(1), "true or false"),
        ("num_attention_heads", json!(4.0), "a whole number"),
        ("rms_norm_eps", Value::Null, "take the key out"),
        ("eos_token_id", json!("2"), "without quotation marks"),
    ] {
        let mut config = configuration("llama_mha");
        config.remove("rope_parameters");
        config.insert(key.into(), value.clone());
        let said = ModelConfig::from_json("config.json", config).unwrap_err().to_string();
        assert!(said.contains(key) && said.contains(cure), "{key} = {value} says {said}");
    }
}

#[test]
fn what_python_writes_for_no_number_is_refused_by_its_line() {
    for word in ["NaN", "Infinity", "-Infinity"] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{{\n  \"model_type\": \"llama\",\n  \"rope_theta\": {word},\n  \"vocab_size\": 5\n}}");
        fs::write(folder.path().join("config.json"), text).unwrap();
        let said = ModelConfig::read(folder.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("line 3: \"rope_theta\": {word}: no number; write a number")), "{said}");
    }
}

#[test]
fn a_refusal_names_the_architecture_first_and_an_unknown_one_before_its_keys() {
    for (changes, says) in [
        (json!({ "sliding_window": 8 }), "config.json: architecture \"llama\": `sliding_window` is 8"),
        (json!({ "model_type": "gemma2", "attn_logit_softcapping": 30.0 }), "config.json: `model_type` is \"gemma2\""),
        (json!({ "model_type": null }), "config.json: has no `model_type`; `architectures` is [\"LlamaForCausalLM\"]"),
        (json!({ "quantization_config": { "bits": 4 } }), "dequantize"),
        (
            json!({ "norm_eps": 1e-3, "rms_norm_eps": null }),
            "`norm_eps` is 0.001: this architecture reads `rms_norm_eps`",
        ),
        (json!({ "hidden_activation": "relu", "hidden_act": null }), "this architecture reads `hidden_act`"),
        (json!({ "rotary_emb_base": 5, "rope_parameters": null }), "this architecture reads `rope_theta`"),
    ] {
        let said = ModelConfig::from_json("config.json", changed("llama_mha", &changes)).unwrap_err().to_string();
        assert!(said.contains(says), "{changes} says {said}, not {says}");
    }
}

#[test]
fn keys_that_change_the_computation_elsewhere_are_refused_and_neutral_ones_read() {
    for (case, key, value) in [
        ("llama_mha", "logit_scale", json!(0.5)),
        ("llama_mha", "final_logit_softcapping", json!(30.0)),
        ("llama_mha", "scale_attn_weights", json!(false)),
        ("llama_mha", "rotary_pct", json!(0.5)),
        ("llama_mha", "is_causal", json!(false)),
        ("llama_mha", "position_embedding_type", json!("alibi")),
        ("llama_mha", "vision_config", json!({ "depth": 2 })),
        ("llama_mha", "pruned_heads", json!({ "0": [1] })),
        ("gpt2_tied", "rope_scaling", json!({ "type": "linear", "factor": 2.0 })),
        ("gpt2_tied", "layer_types", json!(["full_attention", "sliding_attention", "full_attention"])),
        ("gpt2_tied", "position_embedding_type", json!("rotary")),
        ("neox_parallel", "num_local_experts", json!(8)),
        ("qwen2", "qk_layernorm", json!(true)),
    ] {
        let said =
            ModelConfig::from_json("config.json", changed(case, &json!({ key: value }))).unwrap_err().to_string();
        assert!(said.contains(&format!("`{key}` is ")), "{case} {key} says {said}");
    }
    for (case, key, value) in [
        ("llama_mha", "logit_scale", json!(1.0)),
        ("llama_mha", "scale_attn_weights", json!(true)),
        ("llama_mha", "is_causal", json!(true)),
        ("llama_mha", "position_embedding_type", json!("rope")),
        ("llama_mha", "sliding_window", json!("null")),
        ("llama_mha", "num_experts", json!(0)),
        ("gpt2_tied", "position_embedding_type", json!("absolute")),
        ("gpt2_tied", "layer_types", json!(["full_attention"])),
    ] {
        ModelConfig::from_json("config.json", changed(case, &json!({ key: value }))).unwrap();
    }
}

#[test]
fn a_key_that_nothing_here_has_a_use_for_is_named_once() {
    let place = Place::with_model();
    let mut config: Value = place.json("model/config.json");
    config["a_key_of_tomorrow"] = json!(0.5);
    config["task_specific_params"] = json!({ "text-generation": { "do_sample": true } });
    place.write("model/config.json", config.to_string());
    let said = place.odyssey("eval --model model --text test.jsonl");
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert_eq!(said.err.matches("a_key_of_tomorrow").count(), 1, "{}", said.err);
    assert!(!said.err.contains("task_specific_params"), "{}", said.err);
}

#[test]
fn a_head_of_its_own_is_used_whatever_the_configuration_says_and_a_copy_is_not() {
    for entry in spellings()["own_heads"].as_array().unwrap() {
        let [case, table, head] = ["model", "table", "head"].map(|key| entry[key].as_str().unwrap());
        let mut weights = weights(&model_folder(case));
        let (shape, values) = weights[table].clone();
        let made = |at: usize| (at / shape[1] * 37 + at % shape[1] * 101) % 97;
        let own: Vec<f32> = (0..values.len()).map(|at| made(at) as f32 / 97.0 - 0.5).collect();
        weights.insert(head.to_owned(), (shape.clone(), own));
        let untied = folder(&configuration(case), &weights);
        let model = opened(untied.path()).unwrap();
        assert_close(&nll(&model.model, case), &numbers(&entry["nll"]), case);
        assert!(!model.config.tied_head() && model.config.json["tie_word_embeddings"] == json!(false));

        let tied = opened(&model_folder(case)).unwrap();
        let expected = nll(&tied.model, case);
        weights.insert(head.to_owned(), (shape.clone(), values));
        let copy = opened(folder(&configuration(case), &weights).path()).unwrap();
        assert!(copy.config.tied_head());
        assert_eq!(nll(&copy.model, case), expected, "{case}");
        // Of two names for one table a file may keep either.
        weights.remove(table);
        let other = opened(folder(&configuration(case), &weights).path()).unwrap();
        assert_eq!(nll(&other.model, case), expected, "{case} by its head");
        assert!(other.config.tied_head());
    }
}

#[test]
fn words_of_wrappers_in_names_are_taken_off_where_all_names_then_fit() {
    for (case, body) in [("llama_mha", "model."), ("gpt2_tied", "transformer."), ("neox_parallel", "gpt_neox.")] {
        let expected = nll(&opened(&model_folder(case)).unwrap().model, case);
        for (what, name) in [
            ("compiled", &(|name: &str| format!("_orig_mod.{name}")) as &dyn Fn(&str) -> String),
            ("parallel", &|name: &str| format!("module.{name}")),
            ("both", &|name: &str| format!("module._orig_mod.{name}")),
            ("both, the other way", &|name: &str| format!("_orig_mod.module.{name}")),
            ("Lightning", &|name: &str| format!("model.{name}")),
            ("a saved state", &|name: &str| format!("state_dict.net.{name}")),
            ("merged by hand", &|name: &str| format!("base_model.model.{name}")),
            ("a layer at a time", &|name: &str| name.replace("layers.", "layers._fsdp_wrapped_module.")),
            ("compiled inside", &|name: &str| name.replace(".0.", ".0._orig_mod.")),
            ("without the body's name", &|name: &str| name.strip_prefix(body).unwrap_or(name).to_owned()),
            ("the body's name twice", &|name: &str| name.replace(body, &format!("{body}{body}"))),
        ] {
            let folder = renamed(case, name);
            let model = opened(folder.path()).unwrap_or_else(|said| panic!("{case}, {what}: {said}"));
            assert_eq!(nll(&model.model, case), expected, "{case}, {what}");
        }
    }
}

#[test]
fn names_that_do_not_fit_are_refused_by_what_is_missing_and_what_stands_before_the_others() {
    let lost = |name: &str| match name {
        "model.norm.weight" => "module.model.other.weight".to_owned(),
        name => format!("module.{name}"),
    };
    let said = refusal(renamed("llama_mha", lost).path());
    assert!(
        said.contains("has no tensor \"model.norm.weight\"") && said.contains("begin with \"module.model.\""),
        "{said}"
    );
    let said = refusal(renamed("llama_mha", |name| name.replace("layers", "blocks")).path());
    assert!(said.contains("has no tensor \"model.layers.0"), "{said}");
    let said = refusal(renamed("llama_mha", |name| format!("{}.x", name.replace('.', "/"))).path());
    assert!(said.contains("none of the tensors that config.json calls for"), "{said}");

    // A teacher beside the student.
    let own = weights(&model_folder("llama_mha"));
    let both: Weights = ["student.", "teacher."]
        .iter()
        .flat_map(|before| own.iter().map(move |(name, values)| (format!("{before}{name}"), values.clone())))
        .collect();
    let folder = folder(&configuration("llama_mha"), &both);
    let said = refusal(folder.path());
    assert!(said.contains("several models") && said.contains("student.model. and teacher.model."), "{said}");
    let one = LoadedModel::open_without(folder.path(), &["teacher.*".into()], Precision::F32, &cpu()).unwrap();
    let expected = nll(&opened(&model_folder("llama_mha")).unwrap().model, "llama_mha");
    assert_eq!(nll(&one.model, "llama_mha"), expected);
}

#[test]
fn tensors_for_another_use_are_refused_by_name_and_left_out_when_asked() {
    let mut weights = weights(&model_folder("gpt2_tied"));
    weights.insert("score.weight".into(), (vec![2, 48], vec![0.5; 96]));
    weights.insert("v_head.summary.bias".into(), (vec![1], vec![0.5]));
    weights.insert("transformer.h.0.attn.masked_bias".into(), (vec![1], vec![f32::NEG_INFINITY]));
    let place = Place::with_model();
    write_weights(&place.path("model/model.safetensors"), &weights);
    let line = "eval --model model --text test.jsonl";
    place.refused(line, &["2 tensors", "score.weight, v_head.summary.bias", "--ignore-tensors 'score.*'"]);
    place.refused(&format!("{line} --ignore-tensors score.*"), &["1 tensor that", "v_head"]);
    let with = place.result(&format!("{line} --ignore-tensors score.*,v_head*"));
    let without = Place::with_model().result(line);
    assert_eq!(with["texts"][0]["nll"], without["texts"][0]["nll"]);
    // Layers too many are no other use.
    let mut config: Value = place.json("model/config.json");
    config["n_layer"] = json!(2);
    place.write("model/config.json", config.to_string());
    let said = place.odyssey(&format!("{line} --ignore-tensors score.*,v_head*")).err;
    assert!(said.contains("transformer.h.2.") && !said.contains("--ignore-tensors"), "{said}");

    let files = WeightFiles::open(&place.path("model")).unwrap();
    let count = files.names().len();
    let biases = files.names().iter().filter(|name| name.ends_with(".bias")).count();
    for (pattern, left) in
        [("score", count), ("score*", count - 1), ("*.bias", count - biases), ("*", 0), ("s*e*t", count - 1)]
    {
        let files = WeightFiles::open(&place.path("model")).unwrap().ignoring(&[pattern.to_owned()]);
        assert_eq!(files.names().len(), left, "{pattern}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_named_with_their_file_before_anything_runs() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for tensor in ["transformer.wte.weight", "transformer.h.1.mlp.c_fc.bias"] {
            let mut weights = weights(&model_folder("gpt2_tied"));
            weights.get_mut(tensor).unwrap().1[7] = value;
            let said = refusal(folder(&configuration("gpt2_tied"), &weights).path());
            assert!(said.contains(&format!("model.safetensors: tensor {tensor:?} holds {value}")), "{said}");
        }
    }
}

#[test]
fn a_folder_without_safetensors_is_refused_by_what_it_holds_instead() {
    for (file, says) in [
        ("pytorch_model.bin", "pytorch_model.bin: PyTorch's own format; load it with transformers"),
        ("model.gguf", "llama.cpp's format"),
        ("tf_model.h5", "TensorFlow's format"),
        ("flax_model.msgpack", "Flax's format"),
        ("model.onnx", "ONNX"),
        ("model-00001-of-00002.safetensors", "fetch model.safetensors.index.json, too"),
        ("model.fp16.safetensors", "call the file model.safetensors"),
        ("consolidated.safetensors", "names of another program"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::to_vec(&configuration("gpt2_tied")).unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        fs::write(folder.path().join(file), "x").unwrap();
        let said = refusal(folder.path());
        assert!(said.contains("holds neither model.safetensors nor") && said.contains(says), "{file}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint-9")).unwrap();
    fs::write(folder.path().join("checkpoint-9/config.json"), "{}").unwrap();
    assert!(refusal(folder.path()).contains("the folder checkpoint-9 in it has one"));

    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(model_folder("llama_mha")).unwrap() {
        let path = entry.unwrap().path();
        fs::write(folder.path().join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("names model-00002-of-00003.safetensors, which is not there; fetch that shard"), "{said}");
}

#[test]
fn token_ids_that_the_configuration_lacks_come_from_the_generations_or_the_familys() {
    let read = |case: &str, changes: Value, generation: Option<Value>| {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::to_vec(&changed(case, &changes)).unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        if let Some(generation) = generation {
            fs::write(folder.path().join("generation_config.json"), generation.to_string()).unwrap();
        }
        let config = ModelConfig::read(folder.path()).unwrap();
        (config.bos_token_id, config.eos_token_id)
    };
    let absent = json!({ "eos_token_id": null, "bos_token_id": null });
    let null = json!({ "eos_token_id": "null", "bos_token_id": "null" });
    let generation = Some(json!({ "eos_token_id": [7, 8], "bos_token_id": 6, "do_sample": true }));
    // transformers 5: what config.json says, then the family's class; its generations have a file of their own.
    assert_eq!(read("llama_mha", json!({}), generation.clone()), (Some(0), Some(1)));
    assert_eq!(read("llama_mha", absent.clone(), generation.clone()), (Some(6), Some(7)));
    assert_eq!(read("llama_mha", null.clone(), generation), (Some(6), Some(7)));
    assert_eq!(read("llama_mha", absent.clone(), None), (Some(1), Some(2)));
    assert_eq!(read("llama_mha", null, None), (None, None));
    assert_eq!(read("neox_parallel", absent.clone(), None), (Some(0), Some(2)));
    assert_eq!(read("qwen2", absent.clone(), None), (None, None));
    assert_eq!(read("gpt2_tied", absent, None), (None, None), "50256 is no token of this vocabulary");
    assert_eq!(read("gpt2_tied", json!({ "eos_token_id": -1, "bos_token_id": [5, 6] }), None), (Some(5), None));
}

/// A trained adapter of GPT-2 whose tensors are called what `name` makes of PEFT's names.
fn adapter(name: impl Fn(&str) -> String) -> TempDir {
    let from = fixture("lora/gpt2_tied/adapter");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("adapter_config.json"), fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    let weights = weights(&from).into_iter().map(|(old, values)| (name(&old), values)).collect();
    write_weights(&folder.path().join("adapter_model.safetensors"), &weights);
    folder
}

fn attached(folder: &Path) -> Result<LoadedModel, String> {
    let base = opened(&model_folder("gpt2_tied")).unwrap();
    Adapter::read(folder).and_then(|adapter| adapter.attach(&base)).map_err(|error| error.to_string())
}

#[test]
fn an_adapters_names_are_read_as_peft_and_those_who_save_past_it_write_them() {
    let expected = nll(&attached(&fixture("lora/gpt2_tied/adapter")).unwrap().model, "gpt2_tied");
    let base = nll(&opened(&model_folder("gpt2_tied")).unwrap().model, "gpt2_tied");
    assert!(expected.iter().zip(&base).any(|(with, without)| (with - without).abs() > 0.1));
    for (what, name) in [
        ("its name", &(|name: &str| name.replace(".weight", ".default.weight")) as &dyn Fn(&str) -> String),
        ("another name", &|name: &str| name.replace(".weight", ".my-run_2.weight")),
        ("without the wrapper", &|name: &str| name.replace("base_model.model.", "")),
        ("without the body", &|name: &str| name.replace("base_model.model.transformer.", "")),
        ("compiled", &|name: &str| name.replace("base_model.model.", "base_model.model._orig_mod.")),
        ("compiled around", &|name: &str| format!("_orig_mod.{name}")),
        ("parallel", &|name: &str| format!("module.{name}")),
        ("all of it", &|name: &str| format!("module._orig_mod.{name}").replace(".weight", ".default.weight")),
    ] {
        let model = attached(adapter(name).path()).unwrap_or_else(|said| panic!("{what}: {said}"));
        assert_eq!(nll(&model.model, "gpt2_tied"), expected, "{what}");
    }
}

#[test]
fn an_adapters_tensor_that_cannot_be_placed_is_refused_and_never_dropped() {
    for (from, to, says) in [
        ("transformer.h.0", "vision.h.0", "is no linear layer of this base"),
        ("h.0.attn.c_attn.lora_A", "h.0.attn.c_attn.lora_magnitude_vector", "DoRA"),
        ("h.0.attn.c_attn.lora_A.weight", "h.0.attn.c_attn.lora_a", "mlx-lm"),
        ("h.0.attn.c_attn.lora_A", "wte.lora_embedding_A", "token table"),
        ("h.0.attn.c_attn.lora_A.weight", "h.0.attn.c_attn.lora_A.two.weight", "several adapters: "),
        ("h.0.attn.c_attn.lora_A.weight", "lm_head.weight", "a whole table"),
    ] {
        let said = attached(adapter(|name| name.replace(from, to)).path()).map(|_| ()).unwrap_err();
        assert!(said.contains(says), "{to}: {said}");
    }
    let broken = adapter(str::to_owned);
    let mut values = weights(broken.path());
    values.values_mut().next().unwrap().1[3] = f32::NAN;
    write_weights(&broken.path().join("adapter_model.safetensors"), &values);
    assert!(attached(broken.path()).map(|_| ()).unwrap_err().contains("holds NaN"));

    for (changes, says) in [
        (json!({ "use_rslora": "true" }), "`use_rslora` is \"true\", expected true or false"),
        (json!({ "r": 4.5 }), "`r` is 4.5, expected a whole number"),
        (json!({ "lora_alpha": "8" }), "`lora_alpha` is \"8\""),
        (json!({ "peft_type": null, "fine_tune_type": "lora" }), "mlx-lm"),
        (json!({ "init_lora_weights": "loftq" }), "`init_lora_weights` is \"loftq\""),
    ] {
        let folder = adapter(str::to_owned);
        let path = folder.path().join("adapter_config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(path, config.to_string()).unwrap();
        let said = attached(folder.path()).map(|_| ()).unwrap_err();
        assert!(said.contains(says), "{changes} says {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("second")).unwrap();
    fs::write(folder.path().join("second/adapter_config.json"), "{}").unwrap();
    assert!(attached(folder.path()).map(|_| ()).unwrap_err().contains("name the adapter in it, second"));
}

#[test]
fn an_adapter_beside_a_configuration_is_put_on_or_refused_and_never_passed_over() {
    let place = Place::with_model();
    let text = "--text test.jsonl";
    let apart = fixture("lora/gpt2_tied/adapter");
    let nll = |result: Value| result["texts"].as_array().unwrap().last().unwrap()["nll"].clone();
    let expected = nll(place.result(&format!("eval --model model --adapter {} {text}", apart.display())));
    let base = nll(place.result(&format!("eval --model model {text}")));
    assert_ne!(expected, base);

    // A folder with the model's configuration, as axolotl leaves one, and no weights but the adapter's.
    fs::create_dir(place.path("run")).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("run/{name}"), fs::read(apart.join(name)).unwrap());
    }
    place.write("run/config.json", place.read("model/config.json"));
    let mut config = place.json("run/adapter_config.json");
    config["base_model_name_or_path"] = json!("../model");
    place.write("run/adapter_config.json", config.to_string());
    assert_eq!(nll(place.result(&format!("eval --model run {text}"))), expected);

    // Both in one folder: transformers loads the adapter onto what is beside it.
    place.write("run/model.safetensors", place.read("model/model.safetensors"));
    assert_eq!(nll(place.result(&format!("eval --model run {text}"))), expected);
    let said = place.odyssey(&format!("eval --model run {text}"));
    assert!(said.err.contains("holds an adapter beside the model's weights"), "{}", said.err);
    let train = "adapt --model run --train train.jsonl --valid valid.jsonl --out out --steps 1";
    place.refused(train, &["run: holds an adapter (adapter_config.json) beside", "merge_and_unload"]);
}
