//! `odyssey pretrain`: a small base from scratch.

use std::path::PathBuf;

use odyssey::error::Result;
use odyssey::hub::name::has_prefix;
use odyssey::pretrain::{PretrainConfig, pretrain};

use super::{Common, output};

/// Train a small base model from random weights, so that its pretraining corpus is known.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  odyssey synth languages --out languages\n  odyssey pretrain examples/pretrain.toml --out base"
)]
pub struct Args {
    /// The TOML: corpus, tokenizer, architecture, recipe.
    config: PathBuf,
    /// The new model folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let mut config = PretrainConfig::read(&args.config)?;
    if has_prefix(&config.corpus) {
        config.corpus = common.corpus(&config.corpus)?;
    }
    let chosen = common.open_device()?;
    let mut monitor = common.monitor();
    let result = pretrain(&config, &args.out, &chosen.device, &mut monitor)?;
    drop(monitor);
    output::result(common, &result, || {
        format!(
            "{} steps, {} tokens, {:.0} s; validation loss {:.4} nats per token\nwritten to {}",
            result.steps, result.tokens, result.seconds, result.best.loss, result.out
        )
    })
}
