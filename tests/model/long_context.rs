//! A model that knows very long windows is computed, and its memory planned, for the windows that texts have.

use crate::cli;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::data::{Order, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::training_step;
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::parameters::to_host;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{LoadedModel, ModelConfig, token_ids};
use odyssey::progress::Silent;
use odyssey::text::TokenStream;
use serde_json::{Value, json};

use crate::cli::Place;
use crate::common::{id_stream, model_folder};

const ROTATED: [&str; 4] = ["llama_gqa", "neox_parallel", "olmo2", "mistral"];
const LONGEST: [u64; 4] = [131_072, 1 << 20, 10 * (1 << 20), i32::MAX as u64];

/// A model that claims to read so many tokens.
fn claiming(case: &str, positions: u64) -> LoadedModel {
    let folder = model_folder(case);
    let mut json = ModelConfig::read(&folder).unwrap().json;
    json.insert("max_position_embeddings".into(), positions.into());
    let config = ModelConfig::from_json("config.json", json).unwrap();
    LoadedModel::from_files(config, &folder, WeightFiles::open(&folder).unwrap(), &Device::flex()).unwrap()
}

/// A stream that fits the vocabulary of these models.
fn stream(tokens: usize) -> TokenStream {
    let stream = id_stream(&[tokens]);
    TokenStream { ids: stream.ids.iter().map(|id| id % 300).collect::<Vec<_>>().into(), ..stream }
}

#[test]
fn losses_do_not_depend_on_how_long_windows_could_be() {
    let stream = stream(50);
    for case in ROTATED {
        let losses = |model: &LoadedModel| {
            let protocol = Protocol::new(ProtocolName::Disjoint, None, None, model.config.context()).unwrap();
            let scored = evaluate(&model.model, &model.device, &stream, &protocol, &mut Silent).unwrap();
            scored.nll.iter().map(|nll| nll.to_bits()).collect::<Vec<_>>()
        };
        let known = losses(&LoadedModel::open(&model_folder(case), &Device::flex()).unwrap());
        for positions in LONGEST {
            let started = Instant::now();
            assert_eq!(losses(&claiming(case, positions)), known, "{case}, {positions} positions");
            assert!(started.elapsed() < Duration::from_secs(5), "{case}, {positions}: {:?}", started.elapsed());
        }
    }
}

#[test]
fn windows_of_any_order_are_rotated_by_their_own_positions() {
    for case in ROTATED {
        let ids = stream(48).ids;
        let hidden = |model: &LoadedModel, time: usize| {
            to_host(model.model.hidden_states(token_ids(&[&ids[..time]], &model.device)).flatten(0, 2)).unwrap()
        };
        let shared = claiming(case, 1 << 20);
        // Rotations are made for the first of these, and made anew and taken from for the others.
        for time in [20, 3, 21, 48, 47, 1] {
            assert_eq!(hidden(&shared, time), hidden(&claiming(case, 1 << 20), time), "{case}, {time} tokens");
        }
    }
}

#[test]
fn training_steps_do_not_depend_on_how_long_windows_could_be() {
    for case in ["llama_gqa", "neox_parallel"] {
        let step = |model: LoadedModel| {
            let windows = TrainingWindows::new(stream(100), 32, Packing::Stream, Order::File, 0).unwrap();
            let batches = [windows.micro_batch(&[0, 1])];
            let mut optimizer = AdamW::new(AdamWConfig::default());
            let mut model = model.model.train();
            let mut losses = Vec::new();
            for _ in 0..2 {
                let done =
                    training_step(&Objective::default(), model, &mut optimizer, &batches, 1e-3, Some(1.0)).unwrap();
                losses.push(done.loss.to_bits());
                model = done.model;
            }
            losses
        };
        let known = step(LoadedModel::open(&model_folder(case), &Device::flex()).unwrap());
        assert_eq!(step(claiming(case, 10 << 20)), known, "{case}");
    }
}

/// A folder with the sizes of a model with a billion weights that reads 131,072 tokens, without its weights.
fn place() -> Place {
    let place = Place::with_model();
    let sizes = json!({
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 131072, "tie_word_embeddings": true, "hidden_act": "silu",
        "eos_token_id": 2,
    });
    std::fs::create_dir(place.path("billion")).unwrap();
    place.write("billion/config.json", sizes.to_string());
    place
}

fn needs(plan: &Value) -> f64 {
    plan["needs_bytes"].as_u64().unwrap() as f64 / f64::from(1 << 30)
}

#[test]
fn memory_is_planned_for_the_windows_of_the_text() {
    let place = place();
    let plan = |options: &str| place.result(&format!("eval --model billion --dry-run --text {options}"));
    // 1.236 billion weights in f32 are 4.60 GiB. Of windows of 131,072 tokens one layer alone would hold 16 GiB.
    let short = needs(&plan("test.jsonl"));
    assert!((4.6..6.0).contains(&short), "{short}");
    // As if the context had been given.
    let tokens: usize = String::from_utf8(place.read("test.jsonl")).unwrap().matches(',').count();
    let given = needs(&plan(&format!("test.jsonl --context {}", 2 * tokens)));
    assert!((short - given).abs() < 0.1, "{short} and {given}");
    // The longest of several texts counts, and a long one is planned for the whole context.
    let ids: Vec<u32> = (0..200_000).map(|i| i % 500).collect();
    place.write("long.jsonl", json!({ "ids": ids }).to_string());
    let long = needs(&plan("test.jsonl long.jsonl"));
    assert!(long > 15.0, "{long}");
    assert_eq!(needs(&plan("long.jsonl test.jsonl")), long);
    // Documents that are read by themselves are as long as they are.
    let documents: Vec<String> = ids.chunks(100).map(|ids| json!({ "ids": ids }).to_string()).collect();
    place.write("many.jsonl", documents.join("\n"));
    assert!(needs(&plan("many.jsonl")) > 15.0);
    let apart = needs(&plan("many.jsonl --protocol rolling"));
    assert!(apart < 6.0, "{apart}");
}

#[test]
fn training_is_planned_for_the_windows_of_the_text() {
    let place = place();
    let line =
        "adapt --model billion --valid valid.jsonl --out adapted --dry-run --strategy lora --micro-batch 1 --train";
    let short = needs(&place.result(&format!("{line} train.jsonl")));
    let ids: Vec<u32> = (0..200_000).map(|i| i % 500).collect();
    place.write("long.jsonl", json!({ "ids": ids }).to_string());
    let long = needs(&place.result(&format!("{line} long.jsonl")));
    assert!(long > 10.0 * short, "{short} and {long}");
}

#[test]
fn commands_read_short_texts_with_models_of_very_long_windows() {
    let place = Place::empty();
    cli::copy_model("llama_gqa", &place.path("model"));
    let mut config = place.json("model/config.json");
    config["max_position_embeddings"] = (10 << 20).into();
    place.write("model/config.json", config.to_string());
    let ids = |seed: u32| -> Vec<u32> { (0..300).map(|i| (i * i * 7 + seed) % 250).collect() };
    for (seed, split) in [(1, "train"), (2, "valid"), (3, "test")] {
        let documents: Vec<String> = ids(seed).chunks(100).map(|ids| json!({ "ids": ids }).to_string()).collect();
        place.write(&format!("{split}.jsonl"), documents.join("\n"));
    }
    let started = Instant::now();
    let scored = place.result("eval --model model --text test.jsonl");
    assert_eq!(scored["protocol"]["context"], json!(10 << 20));
    assert!(scored["peak_memory_bytes"].as_u64().unwrap() < 400 << 20, "{scored}");
    let adapted = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --steps 2 --batch 1";
    place.result(adapted);
    let compared = place.result("compare --before model --after adapted --text test.jsonl");
    assert!(compared["divergence"]["kl"].as_f64().unwrap() > 0.0);
    place.result("similarity --reference train.jsonl --domain test.jsonl --features model:model");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
