//! The families against transformers' and f64 golden values, on the CPU backend.

mod common;
#[path = "common/golden.rs"]
mod golden;

use burn::tensor::Device;

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
