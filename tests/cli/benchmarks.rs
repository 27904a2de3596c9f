//! What the benchmarks count.

#[path = "../../benches/suite/cases.rs"]
#[allow(dead_code)]
mod cases;
#[path = "../../benches/suite/work.rs"]
mod work;

use odyssey::model::ModelConfig;
use serde_json::json;

use cases::Task;
use work::Work;

fn flops(task: &Task) -> f64 {
    let gpt2 = json!({
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    });
    let config = ModelConfig::from_json("config.json", gpt2.as_object().unwrap().clone()).unwrap();
    Work::of(task, Some(&config)).unwrap().unwrap().flops
}

#[test]
fn a_step_of_gpt2_takes_the_operations_that_nanogpt_counts() {
    // nanoGPT's `estimate_mfu`: 6N + 12·L·H·Q·T a token, N without position embeddings. It takes attention for all pairs,
    // where half is masked, and biases and norms for matrices, 0.1 % of N.
    let (weights, time) = (124_439_808.0 - 1024.0 * 768.0, 1024.0);
    let of_pairs = 12.0 * 12.0 * 768.0 * time;
    let expected = (6.0 * weights + of_pairs * (time + 1.0) / (2.0 * time)) * time;
    let counted = flops(&Task::Train { batch: 1, context: 1024, rank: None });
    assert!((counted / expected - 1.0).abs() < 2e-3, "{counted:e} instead of {expected:e}");
}

#[test]
fn evaluation_takes_a_third_of_a_step_and_adapters_two_thirds_and_their_own() {
    let [step, forward, lora] = [
        Task::Train { batch: 2, context: 128, rank: None },
        Task::Evaluate { batch: 2, windows: 2, context: 128 },
        Task::Train { batch: 2, context: 128, rank: Some(8) },
    ]
    .map(|task| flops(&task));
    assert_eq!(step, 3.0 * forward);
    // Rank 8 beside each layer's [768, 2304]: 6 operations for each weight and token.
    let adapters = 12.0 * 8.0 * (768.0 + 2304.0);
    assert_eq!(lora, 2.0 * forward + 6.0 * adapters * 256.0);
}
