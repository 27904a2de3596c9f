//! The kernels for graphics cards, on machines that have none.

use std::env;
use std::process::Command;

/// With this variable in the environment a software adapter gets the kernels of a graphics card.
pub const VARIABLE: &str = "ODYSSEY_AS_GRAPHICS_CARD";

/// Runs this program's tests that have to do with a software adapter again, where it gets the kernels of a graphics card.
pub fn run_again_as_a_graphics_card() {
    let output = Command::new(env::current_exe().unwrap()).arg("software_adapter").env(VARIABLE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("... ok"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
