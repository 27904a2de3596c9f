//! `odyssey demo`: the whole experiment on built-in data.

use std::path::PathBuf;

use odyssey::demo;
use odyssey::error::Result;

use super::common::Common;
use super::study;

/// The whole experiment on built-in data: synthetic languages, a base that is trained first, seven domains.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  odyssey demo\n  odyssey demo --out another-demo --seed 7")]
pub struct Args {
    /// The folder for corpora, base model, study and report; give the same one to go on after an interruption.
    #[arg(long, value_name = "DIR", default_value = "odyssey-demo")]
    out: PathBuf,
    /// Seed of everything.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let choice = common.device()?;
    let chosen = common.open_device()?;
    let mut monitor = common.monitor();
    common.say("making corpora of related synthetic languages, and a base model that knows one of them");
    let config = demo::prepare(&args.out, args.seed, choice, &chosen.device, &mut monitor)?;
    drop(monitor);
    common.say("adapting the base to each of the others");
    let folder = args.out.join("study");
    odyssey::report::check_folder(&folder, &mut common.outputs(&config.inputs()))?;
    let results = study::run_study(config, &folder, common)?;
    study::show(&results, &folder, common)
}
