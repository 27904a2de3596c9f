//! `odyssey pretrain`: trains a small base from random weights.

use std::path::PathBuf;

use odyssey::adapt::{AdaptResult, Form, Resumable};
use odyssey::error::Result;
use odyssey::hub::name::has_prefix;
use odyssey::pretrain::{PretrainConfig, Pretraining};

use super::common::Common;
use super::diary::DiaryArgs;
use super::{output, place};

/// Train a small base model from random weights, so that its pretraining corpus is known.
///
/// Ctrl-C saves where it is in DIR.checkpoint, and so does every tenth minute; the same command with --resume goes on from
/// there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  odyssey synth languages --out languages
  odyssey pretrain examples/pretrain.toml --out base
  odyssey pretrain examples/pretrain.toml --out base --resume
  odyssey pretrain examples/pretrain.toml --out base --metrics base.jsonl --tensorboard runs/base")]
pub struct Args {
    /// The TOML: corpus, tokenizer, architecture, recipe.
    config: PathBuf,
    /// The new model folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also save where the run is every N steps, besides every ten minutes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Go on from the checkpoint of an interrupted run.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    diary: DiaryArgs,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let mut config = PretrainConfig::read(&args.config)?;
    let resume = args.resume || common.again.get();
    let place = place::take(&args.out, Form::default(), args.resume, "pretrain", common)?;
    let outputs = common.outputs([&args.config, &config.corpus, &config.tokenizer]).beside_new_folder(&place.out);
    let diary = match place.is_filled() {
        true => None,
        false => Some(args.diary.check(outputs, resume, common.force)?),
    };
    if has_prefix(&config.corpus) {
        config.corpus = common.corpus(&config.corpus)?;
    }
    let chosen = common.open_device()?;
    let mut monitor = common.monitor();
    let ready = Pretraining::prepare(&config, &place, &chosen.device, &mut monitor)?;
    let Some(diary) = diary else {
        let result = ready.done_before(&place, &mut monitor)?;
        drop(monitor);
        return result.map_or(Ok(()), |result| {
            place::say_done(&result, common);
            show(&result, common)
        });
    };
    let how_to_resume = "give the same command with --resume to go on";
    let resumable = place.resumable(args.checkpoint_every, Resumable::LONGEST, how_to_resume);
    let result = ready.run(&place, resumable, &mut diary.open(&mut monitor)?)?;
    drop(monitor);
    show(&result, common)
}

fn show(result: &AdaptResult, common: &Common) -> Result<()> {
    output::result(common, result, || {
        format!(
            "{} steps, {} tokens, {:.0} s; validation loss {:.4} nats per token\nwritten to {}",
            result.steps, result.tokens, result.seconds, result.best.loss, result.out
        )
    })
}
