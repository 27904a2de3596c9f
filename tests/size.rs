//! Models of real size, with random weights of the true shapes. They take minutes, so they are run by hand:
//! `cargo test --release --test size -- --ignored --nocapture`.

mod common;

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
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use serde_json::{Map, Value, json};

/// GPT-2 124M, the smallest published.
fn gpt2(device: &Device) -> LoadedModel {
    let json: Map<String, Value> = serde_json::from_value(json!({
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    }))
    .unwrap();
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
    let batch =
        MicroBatch { inputs: vec![ids[..context].to_vec()], targets: ids[1..].to_vec(), weights: vec![1.0; context] };
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut model = Some(model);
    let mut loss = f64::NAN;
    for _ in 0..2 {
        let started = Instant::now();
        let done = training_step(
            &Objective,
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
    DeviceChoice::Software.open().expect("this test needs a software Vulkan adapter").device
}

#[test]
#[ignore = "takes minutes; run by hand"]
fn gpt2_124m_reads_its_full_context_on_a_software_adapter_as_on_the_cpu() {
    let (cpu, software) = (forward(&Device::flex()), forward(&software()));
    let worst = cpu.iter().zip(&software).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference per token: {worst:.1e} nats");
    assert!(worst < 1e-3);
}

#[test]
#[ignore = "takes minutes; run by hand"]
fn gpt2_124m_takes_training_steps_on_the_cpu_and_on_a_software_adapter() {
    let (cpu, software) = (step(&Device::flex(), 128), step(&software(), 128));
    assert!((cpu - software).abs() < 1e-3, "second loss {cpu} against {software}");
}
