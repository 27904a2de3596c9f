//! The families against transformers' and f64 golden values, on the CPU backend.

use crate::{common, golden};

use burn::tensor::Device;
use odyssey::model::family::{About, Entry, Sizes};
use odyssey::model::{Architecture, FAMILIES, LoadedModel, ModelConfig};
use serde_json::{Map, Value, json};

fn cpu() -> Device {
    Device::flex()
}

#[test]
fn logits_and_likelihoods_equal_the_golden_ones() {
    for case in golden::CASES {
        let (logits, nll) = golden::check_forward(case, &cpu());
        println!("{case}: largest logit error {logits:.1e}, largest NLL error {nll:.1e}");
    }
}

#[test]
fn gradients_equal_the_golden_ones() {
    for case in golden::CASES {
        golden::check_gradients(case, &cpu());
    }
}

#[test]
fn twenty_steps_of_adamw_equal_the_golden_trajectory() {
    for case in golden::TRAINED {
        golden::check_training(case, &cpu());
    }
}

#[test]
fn the_documentation_lists_the_families_that_there_are() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/models.md")).unwrap();
    let listed: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let row = |family: &Entry| {
        let About { model_type, models, reads, .. } = family.about;
        format!("| `{model_type}` | {models} | {reads} |")
    };
    assert_eq!(listed, FAMILIES.iter().map(row).collect::<Vec<_>>());
}

/// A case's `config.json` with some keys set to other values, or taken out where the value is null.
fn configuration(case: &str, changes: &[(&str, Value)]) -> Map<String, Value> {
    let bytes = std::fs::read(common::model_folder(case).join("config.json")).unwrap();
    let mut json: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
    for (key, value) in changes {
        json.remove(*key);
        if !value.is_null() {
            json.insert((*key).to_owned(), value.clone());
        }
    }
    json
}

fn read(case: &str, changes: &[(&str, Value)]) -> Result<ModelConfig, String> {
    ModelConfig::from_json("config.json", configuration(case, changes)).map_err(|e| e.to_string())
}

/// What a model is built by.
fn all(config: &ModelConfig) -> (&Architecture, &Sizes) {
    (&config.architecture, &config.sizes)
}

#[test]
fn each_switch_of_a_family_moves_the_logits_far_beyond_the_tolerance() {
    for (case, key, value) in [
        ("mistral", "sliding_window", json!(5)),
        ("mistral", "sliding_window", json!(7)),
        ("mistral", "sliding_window", Value::Null), // 4096 then
        ("mistral", "rms_norm_eps", json!(1e-2)),
        ("qwen2", "use_sliding_window", json!(true)),
        ("qwen3", "use_sliding_window", json!(false)),
        ("qwen3", "max_window_layers", json!(0)),
        ("qwen3", "layer_types", json!(["sliding_attention", "full_attention"])),
        ("smollm3", "no_rope_layer_interval", json!(4)),
        ("smollm3", "no_rope_layers", json!([0, 1, 1])),
        ("smollm3", "no_rope_layers", json!([1, 0, 0, 1])), // transformers reads as many as there are layers
        ("smollm3", "use_sliding_window", json!(false)),
        ("smollm3", "layer_types", json!(["sliding_attention", "full_attention", "full_attention"])),
        ("olmo_clip", "clip_qkv", json!(1.1)),
        ("olmo2", "rms_norm_eps", json!(1e-2)),
        ("neox_parallel", "use_parallel_residual", json!(false)),
        ("neox_parallel", "rotary_pct", json!(0.5)),
        ("neox_parallel", "rotary_emb_base", json!(9000)),
        ("neox_sequential", "use_parallel_residual", json!(true)),
        ("neox_sequential", "hidden_act", json!("gelu_new")),
    ] {
        let folder = common::model_folder(case);
        let scratch = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("model.safetensors"), scratch.path().join("model.safetensors")).unwrap();
        let json = configuration(case, &[(key, value.clone())]);
        std::fs::write(scratch.path().join("config.json"), serde_json::to_vec(&json).unwrap()).unwrap();
        let model = LoadedModel::open(scratch.path(), &cpu()).unwrap().model;
        let error = golden::logit_error(&model, case, &cpu());
        assert!(error > 1e-3, "{case} with {key} = {value}: logits differ by {error:.1e} only");
    }
}

#[test]
fn keys_that_a_file_lacks_have_the_values_that_transformers_gives_them() {
    // The right-hand sides are those of the configuration classes of transformers 5.23.
    for (case, key, value) in [
        ("mistral", "sliding_window", json!(4096)),
        ("mistral", "rms_norm_eps", json!(1e-6)),
        ("mistral", "rope_theta", json!(10000.0)),
        ("qwen2", "max_window_layers", json!(28)),
        ("qwen2", "use_sliding_window", json!(false)),
        ("qwen2", "tie_word_embeddings", json!(false)),
        ("qwen3", "sliding_window", json!(4096)),
        ("qwen3", "head_dim", json!(128)),
        ("smollm3", "rope_theta", json!(2e6)),
        ("smollm3", "no_rope_layer_interval", json!(4)),
        ("smollm3", "use_sliding_window", json!(false)),
        ("smollm3", "tie_word_embeddings", json!(true)),
        ("olmo2", "rms_norm_eps", json!(1e-5)),
        ("neox_parallel", "rotary_pct", json!(0.25)),
        ("neox_parallel", "rotary_emb_base", json!(10000)),
        ("neox_parallel", "layer_norm_eps", json!(1e-5)),
        ("neox_parallel", "hidden_act", json!("gelu")),
        ("neox_parallel", "use_parallel_residual", json!(true)),
    ] {
        let absent = read(case, &[(key, Value::Null)]).unwrap();
        let given = read(case, &[(key, value)]).unwrap();
        assert_eq!(all(&absent), all(&given), "{case} {key}");
    }
    for case in ["mistral", "qwen2", "qwen3"] {
        let heads =
            |count| [("num_attention_heads", json!(32)), ("hidden_size", json!(512)), ("num_key_value_heads", count)];
        let default = if case == "mistral" { 8 } else { 32 };
        let [absent, given] = [Value::Null, json!(default)].map(|count| read(case, &heads(count)).unwrap());
        assert_eq!(all(&absent), all(&given), "{case}");
    }
}

#[test]
fn rotations_are_read_in_the_spelling_of_either_transformers() {
    let four = [("rotary_pct", json!(0.5)), ("rotary_emb_base", json!(5000)), ("rope_parameters", Value::Null)];
    let [four, five] = [read("neox_sequential", &four), read("neox_sequential", &[])].map(Result::unwrap);
    assert_eq!(all(&four), all(&five));
    let parameters = json!({ "rope_type": "default", "rope_theta": 1e6 });
    let five = [("rope_theta", Value::Null), ("rope_parameters", parameters)];
    assert_eq!(all(&read("qwen2", &five).unwrap()), all(&read("qwen2", &[]).unwrap()));
}

#[test]
fn a_family_refuses_what_only_another_one_implements() {
    for (case, key, value, says) in [
        ("llama_gqa", "clip_qkv", json!(8.0), "`clip_qkv` is 8.0"),
        ("olmo", "sliding_window", json!(8), "`sliding_window` is 8"),
        ("olmo2", "clip_qkv", json!(8.0), "`clip_qkv` is 8.0"),
        ("neox_parallel", "sliding_window", json!(8), "`sliding_window` is 8"),
        ("llama_gqa", "use_parallel_residual", json!(true), "`use_parallel_residual` is true"),
        ("mistral", "sliding_window", json!(0), "`sliding_window` is 0"),
        ("mistral", "attention_bias", json!(true), "`attention_bias` is true: only false"),
        ("olmo", "mlp_bias", json!(true), "`mlp_bias` is true: only false"),
        ("mistral", "layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types` is"),
        ("qwen2", "layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types` is"),
        ("qwen3", "layer_types", json!(["full_attention"]), "`num_hidden_layers`"),
        ("qwen3", "layer_types", json!(["full_attention", "chunked_attention"]), "chunked_attention"),
        ("smollm3", "no_rope_layers", json!([1, 0]), "`no_rope_layers` is [1,0]"),
        ("smollm3", "no_rope_layers", json!([1, 0, 2]), "`no_rope_layers` is [1,0,2]"),
        ("smollm3", "no_rope_layer_interval", json!(0), "`no_rope_layer_interval` is 0"),
        ("llama_gqa", "no_rope_layers", json!([1, 0]), "`no_rope_layers` is [1,0]"),
        ("olmo2", "hidden_act", json!("gelu"), "`hidden_act` is \"gelu\": only \"silu\""),
        ("mistral", "partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("neox_parallel", "rotary_pct", json!(0.01), "`rotated channels of a head` = 0"),
        ("neox_parallel", "hidden_act", json!("relu"), "relu"),
        ("neox_parallel", "num_attention_heads", json!(3), "num_attention_heads = 3"),
    ] {
        let said = read(case, &[(key, value.clone())]).expect_err(key);
        assert!(said.contains(says), "{case} with {key} = {value} says {said:?}, not {says:?}");
    }
}
