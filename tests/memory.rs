//! Memory does not grow with steps or windows. Alone in this file, one at a time: what other tests allocate would show.

mod common;

use std::sync::Mutex;

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::data::{Order, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::training_step;
use odyssey::device::DeviceChoice;
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::LoadedModel;
use odyssey::progress::Silent;

use common::{id_stream, model_folder};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// MiB the process holds now.
fn resident() -> i64 {
    (memory_stats::memory_stats().expect("this system tells a process's memory").physical_mem >> 20) as i64
}

/// Trains for `steps` steps; MiB held after each tenth of them.
fn train(device: &Device, steps: usize) -> Vec<i64> {
    let base = LoadedModel::open(&model_folder("gpt2_tied"), device).unwrap();
    let blocks = TrainingWindows::new(id_stream(&[1000]), 32, Packing::Stream, Order::File, 0).unwrap();
    let batches = [blocks.micro_batch(&[0, 1])];
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

// Weights, moments and gradients of this model are 2 MB: a leaked set a step would be gigabytes over these runs.

#[test]
fn a_thousand_training_steps_on_the_cpu_hold_no_more_memory_than_the_first_hundred() {
    let _alone = ONE_AT_A_TIME.lock();
    let seen = train(&Device::flex(), 1000);
    println!("MiB after each hundred steps: {seen:?}");
    assert!(seen[9] - seen[0] < 20, "MiB after each hundred steps: {seen:?}");
}

#[test]
fn three_hundred_training_steps_on_a_software_adapter_hold_no_more_memory_than_the_first_sixty() {
    let _alone = ONE_AT_A_TIME.lock();
    let device = DeviceChoice::Software.open().expect("this test needs a software Vulkan adapter").device;
    let seen = train(&device, 300);
    println!("MiB after each thirty steps: {seen:?}");
    assert!(seen[9] - seen[1] < 20, "MiB after each thirty steps: {seen:?}");
}

#[test]
#[ignore = "takes minutes; run by hand"]
fn ten_thousand_training_steps_hold_no_more_memory_than_the_first_thousand() {
    let _alone = ONE_AT_A_TIME.lock();
    let software = DeviceChoice::Software.open().expect("this test needs a software Vulkan adapter").device;
    for (name, device) in [("cpu", Device::flex()), ("software", software)] {
        let seen = train(&device, 10_000);
        println!("{name}: MiB after each thousand steps: {seen:?}");
        assert!(seen[9] - seen[0] < 20, "{name}: {seen:?}");
    }
}

#[test]
fn two_thousand_evaluation_windows_hold_no_more_memory_than_two_hundred() {
    let _alone = ONE_AT_A_TIME.lock();
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap();
    let protocol = Protocol::new(ProtocolName::Disjoint, Some(64), None, 64).unwrap();
    let score = |windows: usize| {
        evaluate(&base.model, &base.device, &id_stream(&[windows * 64]), &protocol, &mut Silent).unwrap()
    };
    score(200);
    let before = resident();
    score(2000);
    let grown = resident() - before;
    println!("grown by {grown} MiB");
    assert!(grown < 20, "grown by {grown} MiB");
}
