//! `odyssey adapt`: additional pretraining.

use std::path::{Path, PathBuf};

use odyssey::adapt::find_lr::{RateSweep, Sweep, find_lr};
use odyssey::adapt::{AdaptResult, Form, Resumable, RunPlace, Trainable, Training};
use odyssey::device::ChosenDevice;
use odyssey::error::{Error, Result};
use odyssey::hub::{Kind, Name};
use odyssey::memory::Work;
use odyssey::model::LoadedModel;
use odyssey::process::bytes;
use odyssey::progress::Watched;
use odyssey::recipe::{AdaptSettings, NamedPlace, Packing, RecipeArgs};
use odyssey::shown::{fixed, signed};
use odyssey::spool::cache_folder;
use odyssey::text::{Split, TextOptions, open_corpus};

use super::common::Common;
use super::diary::DiaryArgs;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::text::TextArgs;
use super::{output, place};

/// Additional pretraining of a model on a text; writes a Hugging Face folder that transformers loads, or with --strategy
/// lora a folder that peft loads.
///
/// Ctrl-C saves where it is in DIR.checkpoint, and so do a scheduler's signal to end, a terminal that is closed, and every
/// tenth minute; the same command with --resume goes on from there. Where the device has no memory for a micro-batch, the
/// step is done with a smaller one and the same batch. A device that is lost is opened once more, and the run goes on from
/// what was saved.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapted
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --find-lr
  odyssey adapt --model wiki-gpt2 --train notes.txt --valid held-out.txt --out adapted --lr 1e-4 --epochs 3
  odyssey adapt --model wiki-gpt2 --train notes.txt --valid held-out.txt --out adapted --lr 1e-4 --epochs 3 --resume
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapter --strategy lora --lr 1e-3
  odyssey adapt --model wiki-gpt2 --stream domains/novels,domains/speeches --out stream --lr 1e-4")]
pub struct Args {
    /// The base model: its folder, or its name on the hub.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// What to train on; of a domain folder its train split.
    #[arg(long, value_name = "CORPUS", required_unless_present = "stream")]
    train: Option<PathBuf>,
    /// What to validate on; of a domain folder its valid split.
    #[arg(long, value_name = "CORPUS", required_unless_present = "stream")]
    valid: Option<PathBuf>,
    /// Adapt to these domains one after another, each time from the last weights of the stage before: to --out/1-NAME,
    /// --out/2-NAME, …, with the losses on all their test splits after each in stream.json. A domain is a folder with splits,
    /// or one corpus that is divided by document.
    #[arg(
        long,
        value_name = "DOMAIN,…",
        value_delimiter = ',',
        conflicts_with_all = ["train", "valid", "find_lr", "metrics", "tensorboard"]
    )]
    pub(super) stream: Vec<PathBuf>,
    /// The new folder: the last weights, the best ones in best/, and adapt.json.
    #[arg(long, value_name = "DIR", required_unless_present = "find_lr")]
    pub(super) out: Option<PathBuf>,
    /// Seed of the order of windows, and of adapters and their dropout.
    #[arg(long, default_value_t = 42)]
    pub(super) seed: u64,
    /// Save a checkpoint every N steps too, besides every ten minutes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) checkpoint_every: Option<u64>,
    /// Go on from the checkpoint of an interrupted run.
    #[arg(long)]
    pub(super) resume: bool,
    /// Only say how much memory the run takes, whether it is free, and which other options would fit.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    diary: DiaryArgs,
    #[command(flatten)]
    rates: RateArgs,
    /// With --strategy lora: write a whole model with the adapters merged into it, and the adapters in adapter/.
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    pub(super) held: HeldArgs,
    #[command(flatten)]
    pub(super) settings: RecipeArgs,
    #[command(flatten)]
    pub(super) reading: TextArgs,
}

/// Options of the trial of learning rates.
#[derive(Debug, clap::Args)]
struct RateArgs {
    /// Only try learning rates, a few steps each, and say which lowers the loss on the validation text most; nothing is
    /// written.
    #[arg(long, conflicts_with_all = ["resume", "dry_run", "checkpoint_every", "metrics", "tensorboard"])]
    find_lr: bool,
    /// Steps with each rate.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    find_lr_steps: u64,
    /// How many rates, in equal ratios.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..1000))]
    find_lr_rates: u64,
    /// The lowest.
    #[arg(long, value_name = "RATE", default_value_t = Sweep::RANGE.0)]
    find_lr_from: f64,
    /// The highest.
    #[arg(long, value_name = "RATE", default_value_t = Sweep::RANGE.1)]
    find_lr_to: f64,
}

impl RateArgs {
    fn sweep(&self) -> Result<Sweep> {
        let Self { find_lr_from: from, find_lr_to: to, .. } = *self;
        if !(0.0 < from && from <= to && to.is_finite()) {
            return Err(Error::input("--find-lr", format!("from {from} to {to} is no range"), "use 0 < from ≤ to"));
        }
        Ok(Sweep::new(from, to, self.find_lr_rates as usize, self.find_lr_steps))
    }
}

impl Args {
    fn form(&self) -> Form {
        if self.merge { Form::Merged } else { Form::Adapter }
    }
}

/// Takes the place where the result is to come; `None` where nothing will be written.
fn take_place(out: &Path, args: &Args, common: &Common) -> Result<Option<RunPlace>> {
    match args.dry_run {
        true => RunPlace::check(out, args.form()).map(|_| None),
        false => place::take(out, args.form(), args.resume, "adapt", common).map(Some),
    }
}

/// The settings, as far as they can be checked before a model is read.
pub(super) fn settings(args: &Args, common: &Common) -> Result<AdaptSettings> {
    if args.merge && args.settings.0.strategy != Trainable::Lora {
        return Err(Error::input(
            "--merge",
            "is for adapters, and none are trained",
            "add --strategy lora, or leave it out",
        ));
    }
    let settings = with_places(&args.settings.0, common)?;
    settings.check(usize::MAX)?; // what depends on the model is checked with that
    Ok(settings)
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let settings = &settings(args, common)?;
    let [train_path, valid_path] = [&args.train, &args.valid].map(|path| path.clone().unwrap_or_default());
    let sweep = args.rates.sweep()?;
    let place = match &args.out {
        Some(out) if !args.rates.find_lr => take_place(out, args, common)?,
        _ => None,
    };
    let resume = args.resume || common.again.get();
    let diary = match &place {
        Some(place) if !place.is_filled() => {
            let outputs = common.outputs([&args.model, &train_path, &valid_path]).beside_new_folder(&place.out);
            Some(args.diary.check(outputs, resume, common.force)?)
        }
        _ => None,
    };
    let chosen = common.open_device()?;
    let read = [(train_path.as_path(), Split::Train), (valid_path.as_path(), Split::Valid)];
    let Some(base) = base(args, settings, &read, &chosen, common)? else { return Ok(()) };
    let tokenizer = base.tokenizer()?;
    let mut monitor = common.monitor();
    let mut stream = |path: &Path, split| {
        let corpus = open_corpus(&common.corpus(path)?, split, Watched::by(args.reading.read(), &mut monitor))?;
        base.stream(&corpus, tokenizer.as_ref(), Watched::by(&args.reading.stream, &mut monitor))
    };
    let (train, valid) = (stream(&train_path, Split::Train)?, stream(&valid_path, Split::Valid)?);

    let Some(place) = place else {
        let found = find_lr(&base, &train, &valid, settings, &sweep, args.seed, &mut monitor)?;
        drop(monitor);
        output::result(common, &found, || rates_table(&found))?;
        return match found.is_whole() {
            true => Ok(()),
            false => Err(Error::Interrupted(format!(
                "after {} of {} rates, which are shown; nothing is saved, give the same command again to try them all",
                found.rates.len(),
                found.of
            ))),
        };
    };
    let how_to_resume = "give the same command with --resume to go on";
    let resumable = Some(place.resumable(args.checkpoint_every, Resumable::LONGEST, how_to_resume));
    let texts = TextOptions { read: args.reading.read(), stream: args.reading.stream, divide: false };
    let cache = cache_folder();
    let training = Training { base: &base, settings, seed: args.seed, resumable, texts: &texts, keep: Some(&cache) };
    let Some(diary) = diary else {
        // There is a result: this run's, or none of its business.
        let determined_by = training.determined_by(&train, &valid, &mut monitor)?;
        drop(monitor);
        let result = place.result_of(&determined_by)?;
        return result.map_or(Ok(()), |result| done_before(&result, common));
    };
    let mut recorded = diary.open(&mut monitor)?;
    let mut adapted = training.run(train, &valid, &mut recorded)?;
    drop(monitor);
    adapted.form = args.form();
    place.write(&mut adapted, &base)?;
    output::result(common, &adapted.result, || table(&adapted.result))
}

/// The settings with the corpora and models that strategies name brought to this machine.
fn with_places(settings: &AdaptSettings, common: &Common) -> Result<AdaptSettings> {
    let mut settings = settings.clone();
    for place in settings.strategies.places() {
        match place {
            NamedPlace::Corpus(path) => *path = common.corpus(path)?,
            NamedPlace::Model(path) => *path = common.model(path)?,
        }
    }
    Ok(settings)
}

/// The model that is trained by `settings` on texts like `read`; `None` where only the memory that it takes was asked.
pub(super) fn base(
    args: &Args,
    settings: &AdaptSettings,
    read: &[(&Path, Split)],
    chosen: &ChosenDevice,
    common: &Common,
) -> Result<Option<LoadedModel>> {
    let name = Name::of_path(Kind::Model, &args.model)?;
    let folder = common.model(&args.model)?;
    let reader = Reader::of(&folder)?;
    settings.check(reader.config.context())?;
    let work = Work::training(settings, &reader.config, args.held.dtype)?;
    let by_document = settings.packing == Packing::Document;
    let texts = Texts { read, reading: args.reading.read(), stream: args.reading.stream, by_document };
    reader.plan(work, &texts, args.dry_run, chosen, common)?;
    if args.dry_run {
        return Ok(None);
    }
    let mut base = LoadedModel::open_without(&folder, &args.held.ignore_tensors, args.held.dtype, &chosen.device)?;
    if let Some(name) = name {
        // The name on the hub, so that the base of an adapter is found on any machine.
        base.revision = (!name.has_default_revision()).then_some(name.revision);
        base.name = name.repository;
    }
    Ok(Some(base))
}

/// Says the result of a run that is done already.
fn done_before(result: &AdaptResult, common: &Common) -> Result<()> {
    place::say_done(result, common);
    output::result(common, result, || table(result))
}

fn rates_table(found: &RateSweep) -> String {
    let number = |number: Option<f64>| number.map_or("—".to_owned(), |number| fixed(number, 4));
    let rows = found.rates.iter().map(|rate| {
        let delta = rate.delta.map_or("—".to_owned(), |delta| signed(delta, 4));
        vec![format!("{:.2e}", rate.lr), number(rate.train_loss), number(rate.valid_loss), delta]
    });
    format!(
        "{}\n{} steps each; change of the validation loss from {}, nats per token\n{}",
        output::table(&["rate", "train loss", "validation loss", "change"], rows),
        found.steps,
        fixed(found.base_valid_loss, 4),
        found.words,
    )
}

fn table(result: &AdaptResult) -> String {
    let first = result.curves.valid_loss.first().map_or(f64::NAN, |(_, loss)| *loss);
    let last = result.curves.valid_loss.last().map_or(f64::NAN, |(_, loss)| *loss);
    let [first, last] = [first, last].map(|loss| fixed(loss, 4));
    let stopped = match &result.stopped {
        Some(stopped) => format!("stopped after step {} of {}: {}\n", stopped.step, stopped.of, stopped.words),
        None => String::new(),
    };
    let strategies: String = result.strategies.iter().map(|(name, did)| output::strategy_line(name, did)).collect();
    format!(
        "{} steps, {} tokens, {:.0} s, {:.0} tokens/s, at most {}\n\
         validation loss {first} before, {last} after, best {} at step {}\n{strategies}{stopped}\
         written to {}",
        result.steps,
        result.tokens,
        result.seconds,
        result.tokens_per_second,
        bytes(result.peak_memory_bytes),
        fixed(result.best.loss, 4),
        result.best.step,
        result.out,
    )
}
