//! Memory does not grow with steps or windows. Alone in this file, one at a time: what other tests allocate would show.

mod common;
#[path = "common/held.rs"]
mod held;

use std::sync::Mutex;

use burn::tensor::Device;
use odyssey::device::DeviceChoice;
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::LoadedModel;
use odyssey::progress::Silent;

use common::{id_stream, model_folder};
use held::{resident, train};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// Weights, moments and gradients of this model are 2 MB: a leaked set a step would be gigabytes over these runs.

#[test]
fn a_thousand_training_steps_on_the_cpu_hold_no_more_memory_than_the_first_hundred() {
    let _alone = ONE_AT_A_TIME.lock();
    let seen = train(&Device::flex(), 1000);
    println!("MiB after each hundred steps: {seen:?}");
    assert!(seen[9] - seen[0] < 20, "MiB after each hundred steps: {seen:?}");
}

#[test]
fn three_hundred_training_steps_on_a_software_card_hold_no_more_memory_than_the_first_sixty() {
    let _alone = ONE_AT_A_TIME.lock();
    let device = DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device;
    let seen = train(&device, 300);
    println!("MiB after each thirty steps: {seen:?}");
    assert!(seen[9] - seen[1] < 20, "MiB after each thirty steps: {seen:?}");
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
