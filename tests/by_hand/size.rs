//! Models of real size, with random weights of the true shapes. They take minutes:
//! `cargo test --release --test by_hand size -- --nocapture`.

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::data::MicroBatch;
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::training_step;
use odyssey::device::DeviceChoice;
use odyssey::evaluate::Window;
use odyssey::evaluate::score::score;
use odyssey::files::{Array, write_safetensors};
use odyssey::model::{LanguageModel, LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// What `config.json` says of GPT-2 124M, the smallest published.
fn gpt2_sizes() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
        "eos_token_id": 50256,
    })
}

/// That model with random weights.
fn gpt2(device: &Device) -> LoadedModel {
    let json: Map<String, Value> = serde_json::from_value(gpt2_sizes()).unwrap();
    let config = ModelConfig::from_json("config.json", json).unwrap();
    LoadedModel::random(config, Path::new("."), 1, device).unwrap()
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|i| (i * i * 31 + i * 7) as u32 % 50257).collect()
}

fn forward(device: &Device) -> Vec<f32> {
    let model = gpt2(device);
    let ids = ids(1024);
    let window = [Window { prefix: None, start: 0, end: 1024, scored: 1 }];
    let started = Instant::now();
    let nll = score(&model.model, device, &ids, &window, 1, &mut Silent).unwrap();
    println!("GPT-2 124M, 1 window of 1024: {:.1} s", started.elapsed().as_secs_f64());
    nll[1..].to_vec()
}

fn step(device: &Device, context: usize) -> f64 {
    let model = gpt2(device).model.train();
    let ids = ids(context + 1);
    let batch = MicroBatch {
        inputs: vec![ids[..context].to_vec()],
        targets: ids[1..].to_vec(),
        weights: vec![1.0; context],
        penalised: Vec::new(),
    };
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut model = Some(model);
    let mut loss = f64::NAN;
    for _ in 0..2 {
        let started = Instant::now();
        let done = training_step(
            &Objective::default(),
            model.take().unwrap(),
            &mut optimizer,
            std::slice::from_ref(&batch),
            1e-4,
            Some(1.0),
        )
        .unwrap();
        println!(
            "GPT-2 124M, one step of 1×{context}: {:.1} s, loss {:.5}",
            started.elapsed().as_secs_f64(),
            done.loss
        );
        (model, loss) = (Some(done.model), done.loss);
    }
    let memory = memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem >> 20);
    println!("resident after: {memory} MiB");
    loss
}

fn software() -> Device {
    DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device
}

#[test]
fn gpt2_124m_reads_its_full_context_on_a_software_card_as_on_the_cpu() {
    let (cpu, software) = (forward(&Device::flex()), forward(&software()));
    let worst = cpu.iter().zip(&software).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference per token: {worst:.1e} nats");
    assert!(worst < 1e-3);
}

#[test]
fn gpt2_124m_takes_training_steps_on_the_cpu_and_on_a_software_card() {
    let (cpu, software) = (step(&Device::flex(), 128), step(&software(), 128));
    assert!((cpu - software).abs() < 1e-3, "second loss {cpu} against {software}");
}

/// A folder with a model of these sizes, its weights drawn at random and stored in bf16, and a text of token ids.
fn bf16_folder(json: Value, tokens: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    let config = ModelConfig::read(folder.path()).unwrap();
    let arrays = LanguageModel::shapes(&config).unwrap().into_iter().map(|(name, shape)| {
        let count = shape.iter().product::<usize>();
        let numbers = move || {
            // A linear congruence, whose upper bits are random enough for weights.
            let mut state = count as u64;
            let values = (0..count).flat_map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                half::bf16::from_f32(((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.07).to_le_bytes()
            });
            Ok(Cow::Owned(values.collect::<Vec<u8>>()))
        };
        Array { name, dtype: Dtype::BF16, shape, bytes: Box::new(numbers) }
    });
    write_safetensors(&folder.path().join("model.safetensors"), arrays, ("format", "pt".into())).unwrap();
    let ids = json!({ "ids": ids(tokens) });
    std::fs::write(folder.path().join("text.jsonl"), ids.to_string()).unwrap();
    folder
}

/// `odyssey eval` of such a folder on the CPU, with these options.
fn eval(folder: &Path, options: &[&str]) -> Value {
    let output = assert_cmd::Command::cargo_bin("odyssey")
        .unwrap()
        .args(["eval", "--json", "--quiet", "--device", "cpu", "--model"])
        .arg(folder)
        .arg("--text")
        .arg(folder.join("text.jsonl"))
        .args(options)
        .assert()
        .success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

#[test]
fn olmo_1b_is_evaluated_in_bf16_within_8_gb_and_its_plan_says_so() {
    let folder = bf16_folder(
        json!({
            "model_type": "olmo", "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 16, "num_attention_heads": 16, "max_position_embeddings": 2048,
            "tie_word_embeddings": true, "eos_token_id": 50279,
        }),
        2 * 2048 + 1,
    );
    let options = ["--dtype", "bf16"];
    let plan = eval(folder.path(), &[&options[..], &["--dry-run"]].concat());
    let done = eval(folder.path(), &options);
    let (planned, peak) = (plan["needs_bytes"].as_u64().unwrap(), done["peak_memory_bytes"].as_u64().unwrap());
    println!(
        "{:.0} million weights: planned {} MiB, measured {} MiB, {:.0} tokens/s",
        plan["parameters"].as_f64().unwrap() / 1e6,
        planned >> 20,
        peak >> 20,
        done["tokens_per_second"].as_f64().unwrap(),
    );
    assert!(peak < 8_000_000_000);
    assert!((planned as f64 / peak as f64 - 1.0).abs() < 0.15);
}

#[test]
fn loading_takes_the_weights_as_held_and_at_most_the_largest_tensor_besides() {
    // GPT-2 124M: its largest tensor is the token table, 50,257 × 768.
    // Two tokens, so that nothing but loading takes memory; the head looks at one position at a time.
    let folder = bf16_folder(gpt2_sizes(), 2);
    let (weights, largest) = (124_439_808_u64, 50257 * 768);
    for (dtype, bytes) in [("f32", 4), ("bf16", 2)] {
        let peak = eval(folder.path(), &["--dtype", dtype])["peak_memory_bytes"].as_u64().unwrap();
        let (held, tensor) = (weights * bytes, largest * 4);
        println!(
            "{dtype}: held {} MiB, peak {} MiB, largest tensor in f32 {} MiB",
            held >> 20,
            peak >> 20,
            tensor >> 20
        );
        assert!(peak < held + tensor + (40 << 20), "beside the program's own 40 MiB");
    }
}

#[test]
fn gpt2_124m_trains_within_its_plan_with_every_option() {
    let folder = bf16_folder(gpt2_sizes(), 8193);
    let base = "--batch 2 --context 512 --micro-batch";
    let options = [
        "2",
        "1",
        "2 --gradient-checkpointing",
        "2 --compute bf16",
        "2 --compute f16",
        "2 --moments bf16",
        "1 --gradient-checkpointing --moments bf16",
        "2 --strategy lora",
        "2 --strategy lora --gradient-checkpointing",
        "2 --strategy lora --dtype bf16",
        "2 --strategy lora --dtype bf16 --compute bf16",
    ];
    let mut worst: f64 = 0.0;
    for option in options {
        let line = format!("{base} {option} --steps 2 --validations 1 --valid-tokens 256 --outlier 0");
        let out = folder.path().join("adapted");
        let adapt = |more: &[&str]| -> Value {
            let output = assert_cmd::Command::cargo_bin("odyssey")
                .unwrap()
                .args(["adapt", "--json", "--quiet", "--device", "cpu", "--model"])
                .arg(folder.path())
                .args(["--train", "text.jsonl", "--valid", "text.jsonl", "--out", "adapted"])
                .args(line.split(' '))
                .args(more)
                .current_dir(folder.path())
                .assert()
                .success();
            serde_json::from_slice(&output.get_output().stdout).unwrap()
        };
        let started = Instant::now();
        let (plan, done) = (adapt(&["--dry-run"]), adapt(&[]));
        let (planned, peak) = (plan["needs_bytes"].as_u64().unwrap(), done["peak_memory_bytes"].as_u64().unwrap());
        // In so short a run the best weights are still the base's.
        let best = if option.contains("lora") { 0 } else { plan["parts"][0]["bytes"].as_u64().unwrap() / 3 };
        let off = (planned - best) as f64 / peak as f64 - 1.0;
        let parts: Vec<u64> =
            plan["parts"].as_array().unwrap().iter().map(|part| part["bytes"].as_u64().unwrap() >> 20).collect();
        println!(
            "{base} {option}: planned {} MiB {parts:?} with {} MiB for the best, measured {} MiB, {:+.0} %, {:.0} s",
            planned >> 20,
            best >> 20,
            peak >> 20,
            100.0 * off,
            started.elapsed().as_secs_f64()
        );
        worst = worst.max(off.abs());
        std::fs::remove_dir_all(out).unwrap();
    }
    assert!(worst < 0.1, "{worst}");
}
