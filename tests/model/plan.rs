//! What a run needs in memory is said before it starts, and a run that does not fit is refused.

use odyssey::model::{LanguageModel, ModelConfig};
use serde_json::{Value, json};

use crate::cli::Place;

const EVAL: &str = "eval --model model --text test.jsonl";
const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted";

/// A model, and the configuration of LLaMA-2 70B in `large`: no machine that runs this has its 257 GiB free.
fn place() -> Place {
    let place = Place::with_model();
    let sizes = json!({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096, "tie_word_embeddings": false, "hidden_act": "silu", "eos_token_id": 2,
    });
    std::fs::create_dir(place.path("large")).unwrap();
    place.write("large/config.json", sizes.to_string());
    place
}

fn bytes(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number of bytes"))
}

#[test]
fn a_plan_counts_the_weights_of_real_models() {
    // By the models' own pages.
    let sizes = [
        (
            json!({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}),
            124_439_808,
        ),
        (
            json!({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 1600, "n_layer": 48, "n_head": 25}),
            1_557_611_200,
        ),
        (
            json!({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
                "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
                "tie_word_embeddings": false, "hidden_act": "silu"}),
            6_738_415_616_u64,
        ),
        (
            json!({"model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512, "intermediate_size": 2048,
                "num_hidden_layers": 6, "num_attention_heads": 8, "max_position_embeddings": 2048, "rotary_pct": 0.25,
                "hidden_act": "gelu", "tie_word_embeddings": false}),
            70_426_624,
        ),
    ];
    for (json, weights) in sizes {
        let config = ModelConfig::from_json("config.json", json.as_object().unwrap().clone()).unwrap();
        let shapes = LanguageModel::shapes(&config).unwrap();
        let counted: u64 = shapes.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum();
        assert_eq!(counted, weights, "{json}");
    }
}

#[test]
fn a_dry_run_sums_its_parts_and_does_nothing_else() {
    let place = place();
    let before = place.listing();
    for line in [EVAL, ADAPT] {
        let plan = place.result(&format!("{line} --dry-run"));
        let parts = plan["parts"].as_array().unwrap();
        assert_eq!(parts.iter().map(|part| bytes(&part["bytes"])).sum::<u64>(), bytes(&plan["needs_bytes"]));
        assert_eq!(plan["fits"], json!(true));
        assert!(
            plan["options"].as_array().unwrap().iter().all(|o| bytes(&o["needs_bytes"]) < bytes(&plan["needs_bytes"]))
        );
    }
    assert_eq!(place.listing(), before);
}

#[test]
fn a_dry_run_needs_no_weights_and_offers_what_takes_less() {
    let place = place();
    let plan = place.result("eval --model large --text test.jsonl --dry-run");
    assert_eq!((plan["fits"].clone(), bytes(&plan["parameters"])), (json!(false), 68_976_648_192));
    let half = plan["options"].as_array().unwrap().iter().find(|o| o["option"] == "--dtype bf16").unwrap();
    let ratio = bytes(&half["needs_bytes"]) as f64 / bytes(&plan["needs_bytes"]) as f64;
    assert!((0.5..0.52).contains(&ratio), "{ratio}");
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_anything_is_read() {
    let place = place();
    place.refused("eval --model large --text test.jsonl", &["needs about 25", "GiB", "free"]);
    place.refused(
        "adapt --model large --train train.jsonl --valid valid.jsonl --out adapted",
        &["needs about", "GiB", "free", "--dry-run"],
    );
}

#[test]
fn evaluation_stays_within_its_plan() {
    let place = place();
    let plan = place.result(&format!("{EVAL} --dry-run"));
    let done = place.result(EVAL);
    // A model this small takes hardly more than the program itself, whose share differs by system.
    let slack = 60 << 20;
    assert!(bytes(&done["peak_memory_bytes"]) < bytes(&plan["needs_bytes"]) + slack);
    assert_eq!(done["dtype"], "f32");
    assert_eq!(place.result(&format!("{EVAL} --dtype bf16"))["dtype"], "bf16");
}
