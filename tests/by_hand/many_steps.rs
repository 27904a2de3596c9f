//! Memory does not grow with ten thousand steps. Alone in its process, because what other tests allocate would show:
//! `cargo test --release --test by_hand many_steps -- --nocapture`.

use burn::tensor::Device;
use odyssey::device::DeviceChoice;

use crate::held::train;

#[test]
fn ten_thousand_training_steps_hold_no_more_memory_than_the_first_thousand() {
    let software = DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device;
    for (name, device) in [("cpu", Device::flex()), ("software", software)] {
        let seen = train(&device, 10_000);
        println!("{name}: MiB after each thousand steps: {seen:?}");
        assert!(seen[9] - seen[0] < 20, "{name}: {seen:?}");
    }
}
