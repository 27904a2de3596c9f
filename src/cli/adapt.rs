//! `odyssey adapt`: additional pretraining.

use std::path::{Path, PathBuf};

use odyssey::adapt::{AdaptResult, AdaptSettings, Resumable, adapt, write};
use odyssey::error::Result;
use odyssey::files::check_new_folder;
use odyssey::model::LoadedModel;
use odyssey::text::{Split, open_corpus};

use super::text::TextArgs;
use super::{Common, output};

/// Additional pretraining of a model on a text; writes a Hugging Face folder that transformers loads.
///
/// Ctrl-C saves where it is in DIR.checkpoint; the same command with --resume goes on from there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapted
  odyssey adapt --model wiki-gpt2 --train notes.txt --valid held-out.txt --out adapted --lr 1e-4 --epochs 3
  odyssey adapt --model wiki-gpt2 --train notes.txt --valid held-out.txt --out adapted --lr 1e-4 --epochs 3 --resume")]
pub struct Args {
    /// The base model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to train on; of a domain folder its train split.
    #[arg(long, value_name = "CORPUS")]
    train: PathBuf,
    /// What to watch; of a domain folder its valid split.
    #[arg(long, value_name = "CORPUS")]
    valid: PathBuf,
    /// The new folder: the last weights, the best ones in best/, and adapt.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the order of blocks.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Also save where the run is every N steps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Go on from the checkpoint of an interrupted run.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    settings: AdaptSettings,
    #[command(flatten)]
    reading: TextArgs,
}

/// `DIR.checkpoint`, beside the folder that does not exist yet.
fn checkpoint_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    check_new_folder(&args.out)?;
    let checkpoint = checkpoint_of(&args.out);
    if checkpoint.exists() && !args.resume {
        return Err(odyssey::error::Error::file(
            &checkpoint,
            "is left by an interrupted run",
            "give --resume to go on from it, or remove it to start again",
        ));
    }
    if args.resume && !checkpoint.exists() {
        common.say(&format!("there is no {} to go on from: starting anew", checkpoint.display()));
    }
    let chosen = common.open_device()?;
    let base = LoadedModel::open(&args.model, &chosen.device)?;
    let tokenizer = base.tokenizer()?;
    let stream = |path: &Path, split| {
        base.stream(&open_corpus(path, split, args.reading.document)?, tokenizer.as_ref(), &args.reading.stream)
    };
    let (train, valid) = (stream(&args.train, Split::Train)?, stream(&args.valid, Split::Valid)?);

    let resumable = Resumable {
        path: &checkpoint,
        resume: args.resume,
        every: args.checkpoint_every,
        how_to_resume: "give the same command with --resume to go on",
    };
    let mut monitor = common.monitor();
    let mut adapted = adapt(&base, train, &valid, &args.settings, args.seed, Some(resumable), &mut monitor)?;
    drop(monitor);
    write(&mut adapted, &base, &args.out)?;
    let _ = std::fs::remove_file(&checkpoint); // its result is whole now
    output::result(common, &adapted.result, || table(&adapted.result))
}

fn table(result: &AdaptResult) -> String {
    let first = result.curves.valid_loss.first().map_or(f64::NAN, |(_, loss)| *loss);
    let last = result.curves.valid_loss.last().map_or(f64::NAN, |(_, loss)| *loss);
    format!(
        "{} steps, {} tokens, {:.0} s, {:.0} tokens/s, at most {} MiB\n\
         validation loss {first:.4} before, {last:.4} after, best {:.4} at step {}\n\
         written to {}",
        result.steps,
        result.tokens,
        result.seconds,
        result.tokens_per_second,
        result.peak_memory_bytes >> 20,
        result.best.loss,
        result.best.step,
        result.out,
    )
}
