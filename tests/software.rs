//! The same golden checks on a software adapter, through wgpu, and the pipeline's smallest run there.

#[path = "common/golden.rs"]
mod golden;

use burn::tensor::Device;
use odyssey::device::DeviceChoice;

fn software() -> Device {
    DeviceChoice::Software.open().expect("these tests need a software Vulkan adapter (mesa-vulkan-drivers)").device
}

#[test]
fn golden_forward_gradients_and_training_hold_on_a_software_adapter() {
    let device = software();
    for case in golden::CASES {
        let (logits, nll) = golden::check_forward(case, &device);
        println!("{case}: largest logit error {logits:.1e}, largest NLL error {nll:.1e}");
        golden::check_gradients(case, &device);
    }
    for case in golden::TRAINED {
        golden::check_training(case, &device);
    }
}
