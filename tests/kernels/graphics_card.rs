//! The kernels for graphics cards, on machines that have none.

use std::env;
use std::process::Command;

/// With this variable in the environment a software card gets the kernels of a graphics card.
pub const VARIABLE: &str = "ODYSSEY_AS_GRAPHICS_CARD";

/// Runs this program's tests of single kernels on a software card again, where it gets the kernels of a graphics card.
#[test]
fn the_kernels_for_graphics_cards_pass_the_same_tests() {
    // Whole models are run by other files of this program: their kernels are the same.
    let left_out = ["--skip", "doctor::", "--skip", "software::", "--skip", "device_faults::"];
    let mut again = Command::new(env::current_exe().unwrap());
    let output = again.arg("software_card").args(left_out).env(VARIABLE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for file in ["attention::", "functions::", "shaders::"] {
        let passed = said.lines().any(|line| line.contains(file) && line.ends_with("... ok"));
        assert!(passed, "no test of {file} ran: {said}");
    }
}
