//! `odyssey pretrain`: a small base from scratch.

use std::path::PathBuf;

use odyssey::error::Result;
use odyssey::hub::name::has_prefix;
use odyssey::pretrain::{Diary, PretrainConfig, pretrain};

use super::{Common, output};

/// Train a small base model from random weights, so that its pretraining corpus is known.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  odyssey synth languages --out languages
  odyssey pretrain examples/pretrain.toml --out base
  odyssey pretrain examples/pretrain.toml --out base --metrics base.jsonl --tensorboard runs/base")]
pub struct Args {
    /// The TOML: corpus, tokenizer, architecture, recipe.
    config: PathBuf,
    /// The new model folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also keep every step and validation in this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Also write event files for TensorBoard into this folder.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let mut config = PretrainConfig::read(&args.config)?;
    if has_prefix(&config.corpus) {
        config.corpus = common.corpus(&config.corpus)?;
    }
    let chosen = common.open_device()?;
    let mut monitor = common.monitor();
    let diary =
        Diary { metrics: args.metrics.as_deref(), tensorboard: args.tensorboard.as_deref(), again: common.again.get() };
    let result = pretrain(&config, &args.out, diary, &chosen.device, &mut monitor)?;
    drop(monitor);
    output::result(common, &result, || {
        format!(
            "{} steps, {} tokens, {:.0} s; validation loss {:.4} nats per token\nwritten to {}",
            result.steps, result.tokens, result.seconds, result.best.loss, result.out
        )
    })
}
