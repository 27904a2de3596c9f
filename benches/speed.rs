//! How fast odyssey is, as ratios of one run against named references found on this machine.
//!
//! `benches/run.sh --help` says how to call it. Without `--bench`, which `cargo bench` gives, it makes sure that it works
//! at all: one tiny case, one repeat.

mod suite {
    pub mod cases;
    pub mod ours;
    pub mod report;
    pub mod run;
    pub mod side;
    pub mod work;
}

use clap::Parser;

use suite::run::{Options, measure};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if given("--worker") {
        return suite::ours::serve();
    }
    if given("--bench") {
        return measure(&Options::parse()).map(|_| ());
    }
    if given("--list") {
        return Ok(());
    }
    it_measures_a_tiny_case()
}

/// What `cargo test` runs.
fn it_measures_a_tiny_case() -> Fallible<()> {
    let report = measure(&Options::parse_from(["speed", "--filter", "tiny", "--repeats", "1", "--alone"]))?;
    let tiny = report.cases.iter().find(|case| case.name == "tiny").ok_or("the tiny case was not run")?;
    let ours = tiny.ours.as_ref().ok_or("the tiny case was not measured")?;
    // Random weights predict hardly better than chance.
    let chance = 256_f64.ln();
    assert!((ours.check - chance).abs() < 0.2, "a loss of {} at the start, ln 256 is {chance}", ours.check);
    assert!(ours.median_s > 0.0 && ours.first_s > 0.0 && ours.peak_bytes > 0, "{ours:?}");
    assert!(tiny.achieved.is_some_and(|share| share > 0.0), "{:?}", tiny.achieved);
    Ok(())
}
