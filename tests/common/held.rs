//! Memory that a process holds while it trains.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::data::{Order, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::training_step;
use odyssey::model::LoadedModel;

use crate::common::{id_stream, model_folder};

/// MiB the process holds now.
pub fn resident() -> i64 {
    (memory_stats::memory_stats().expect("this system tells a process's memory").physical_mem >> 20) as i64
}

/// Trains for `steps` steps; MiB held after each tenth of them.
pub fn train(device: &Device, steps: usize) -> Vec<i64> {
    let base = LoadedModel::open(&model_folder("gpt2_tied"), device).unwrap();
    let windows = TrainingWindows::new(id_stream(&[1000]), 32, Packing::Stream, Order::File, 0).unwrap();
    let batches = [windows.micro_batch(&[0, 1])];
    let mut model = base.model.clone().train();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut seen = Vec::new();
    for step in 1..=steps {
        model = training_step(&Objective::default(), model, &mut optimizer, &batches, 1e-4, Some(1.0)).unwrap().model;
        if step % (steps / 10) == 0 {
            seen.push(resident());
        }
    }
    seen
}
