//! `odyssey doctor`: checks that a device computes right.

use odyssey::device::diagnosis;
use odyssey::doctor::{self, Case, Diagnosis, Verdict};
use odyssey::error::{DeviceFault, Error, Result};

use super::common::Common;
use super::output;

const ABOUT: &str = "\
Every operation the models use, one training step of a tiny model of each family, numbers at the edge of their range and
16-bit weights are compared with the truth in 64 bits, computed apart from the device, and with the CPU backend. Each
error is measured in units that --json names with the reason why so much is allowed.

The diagnosis is kept for this card, its driver and this version of odyssey, in ODYSSEY_CACHE or the platform's cache
folder: --device auto passes over a card found wrong, naming it warns, and --dtype f16 is refused where f16 is wrong.

Exit status: 0 where the device can be used, 1 where it cannot.

Examples:
  odyssey doctor
  odyssey doctor --device gpu:1
  odyssey doctor --device software --json";

/// Check that a device computes right, and how fast: say what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct Args {}

pub fn run(_args: &Args, common: &Common) -> Result<()> {
    let chosen = common.device()?.find()?;
    common.say(&format!("device: {}", chosen.name));
    let mut monitor = common.monitor();
    let diagnosis = doctor::examine(&chosen, doctor::PATIENCE, &mut monitor)?;
    drop(monitor);
    if let Err(e) = diagnosis::keep(&diagnosis::folder(), &diagnosis) {
        tracing::warn!("the diagnosis cannot be kept for later runs: {e}");
    }
    output::result(common, &diagnosis, || table(&diagnosis))?;
    match diagnosis.verdict {
        Verdict::Wrong => {
            let (device, fault) = (chosen.name.to_string(), "its results cannot be trusted");
            Err(Error::Device { device, kind: DeviceFault::Other, fault: fault.into() })
        }
        Verdict::Fine | Verdict::Limited => Ok(()),
    }
}

fn table(diagnosis: &Diagnosis) -> String {
    let number = |value: Option<f64>| match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.1e}"),
    };
    let rows = diagnosis.checks.iter().map(|check| {
        let Case { at, worst, allowed, cpu, reason } = check.tightest.clone();
        let said = reason.unwrap_or_else(|| if check.ok { "fine" } else { "TOO FAR OFF" }.to_owned());
        vec![check.about.name.clone(), number(worst), number(allowed), number(cpu), at, said]
    });
    let checks = output::table(&["check", "error", "allowed", "on the CPU", "worst at", ""], rows);
    let rows = diagnosis.timings.iter().map(|timing| {
        let value = timing.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
        let milliseconds = timing.seconds.map_or_else(|| "–".to_owned(), |s| format!("{:.1}", 1e3 * s));
        vec![timing.name.clone(), timing.size.clone(), value, timing.unit.clone(), milliseconds]
    });
    let timings = output::table(&["speed", "of", "", "", "ms"], rows);
    format!("{checks}\n\n{timings}\n\n{}", diagnosis.words)
}
