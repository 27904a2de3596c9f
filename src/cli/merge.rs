//! `odyssey merge`: weights between a base and what was adapted from it, without training.

use std::path::{Path, PathBuf};
use std::time::Instant;

use odyssey::adapt::{Form, RunPlace};
use odyssey::device::ChosenDevice;
use odyssey::error::{Error, Result};
use odyssey::evaluate::ProtocolResult;
use odyssey::files;
use odyssey::memory::Work;
use odyssey::merge::{
    Choice, Curve, CurveText, Loss, Measure, Merge, MergeResult, Method, Part, Point, Request, Select, Shares, choose,
    curve,
};
use odyssey::process::peak_resident;
use odyssey::progress::Watched;
use odyssey::shown::{fixed, plain, signed, visible};
use odyssey::text::{Corpus, Split, Tokenizer, open_corpus};

use super::common::Common;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::text::{ProtocolArgs, TextArgs};
use super::{output, place};

/// Weights after adaptation: a share α of the way from a base to what was adapted from it, without training. Often that keeps
/// the gain on the domain and forgets less.
///
/// With --target and --reference the losses at each share are shown and one share is chosen; with --out it is written, as a
/// whole model, also where the adapted models are adapters.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey merge --base wiki-gpt2 --adapted adapted --target domains/novels --reference domains/wiki_general
  odyssey merge --base wiki-gpt2 --adapted adapted --alpha 0.5 --out merged
  odyssey merge --base wiki-gpt2 --adapted seed-1 seed-2 seed-3 --method soup --alpha 1 --out soup
  odyssey merge --base wiki-gpt2 --adapted novels speeches --method ties --density 0.2 --alpha 1 --out both
  odyssey merge --base wiki-gpt2 --adapted novels-adapter --general wiki-adapter --target domains/novels --reference domains/wiki_general")]
pub struct Args {
    /// The model before adaptation: its folder, or its name on the hub.
    #[arg(long, value_name = "MODEL")]
    base: PathBuf,
    /// What was adapted from it: whole models, or adapters as peft or `adapt --strategy lora` writes them.
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    adapted: Vec<PathBuf>,
    /// An adapter (or whole model) trained on general text, which then stands at α = 0 in place of the base: base + α · (what
    /// the domain changed) + (1 − α) · (what general text changed). The curve shows what replay would give, without training
    /// it.
    #[arg(long, value_name = "DIR")]
    general: Option<PathBuf>,
    /// The new folder: the merged model and merge.json. Without it only the curve is shown.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How weights are merged.
    #[arg(long, value_enum, default_value_t)]
    method: Method,
    /// The share of the adapted model, from 0 to 1: one, several such as 0,0.5,1, or FROM:TO:STEP [default: 0:1:0.1 with
    /// --target, 0:1:0.25 with --general too, else 0.5].
    #[arg(long, value_name = "SHARE|RANGE")]
    alpha: Option<String>,
    /// TIES: the share of each model's changes that is kept, the largest ones [default: 0.2].
    #[arg(long, value_name = "SHARE")]
    density: Option<f64>,
    /// The text of the domain; of a domain folder its test split.
    #[arg(long, value_name = "CORPUS")]
    target: Option<PathBuf>,
    /// The text that should not be forgotten, such as a sample of the pretraining corpus; of a domain folder its test split.
    #[arg(long, value_name = "CORPUS", requires = "target")]
    reference: Option<PathBuf>,
    /// By what the share is chosen [default: pareto with --reference, else target].
    #[arg(long, value_enum, requires = "target")]
    select: Option<Select>,
    /// Only say how much memory the run takes, whether it is free, and which other options would fit.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    reading: TextArgs,
}

impl Args {
    fn shares(&self) -> Result<Shares> {
        let given = self.alpha.as_deref().unwrap_or(match (&self.target, &self.general) {
            (None, _) => "0.5",
            (Some(_), None) => "0:1:0.1",
            (Some(_), Some(_)) => "0:1:0.25",
        });
        let shares: Shares = given.parse()?;
        if self.target.is_none() {
            if self.out.is_none() {
                return Err(Error::input("merge", "has nothing to do", "give --out, or --target to see the curve"));
            }
            if shares.only().is_none() {
                let fault = "names several shares, and nothing says which is to be written";
                return Err(Error::input("alpha", fault, "name one, or give --target (and --reference) to choose by"));
            }
        }
        Ok(shares)
    }

    fn select(&self) -> Result<Select> {
        let otherwise = if self.reference.is_some() { Select::Pareto } else { Select::Target };
        let select = self.select.unwrap_or(otherwise);
        if select != Select::Target && self.reference.is_none() {
            let fault = "asks for the loss on a reference, and none is given";
            return Err(Error::input("--select", fault, "give --reference, or use --select target"));
        }
        Ok(select)
    }

    fn texts(&self) -> Vec<&Path> {
        self.target.iter().chain(&self.reference).map(PathBuf::as_path).collect()
    }
}

/// What the curve needs beside the models.
struct Reading {
    chosen: ChosenDevice,
    tokenizer: Option<Tokenizer>,
    protocol: ProtocolResult,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let started = Instant::now();
    let (shares, select) = (args.shares()?, args.select()?);
    args.protocol.check()?;
    let part = |path: &PathBuf| Ok(Part { name: path.display().to_string(), folder: common.model(path)? });
    let named = |path: &PathBuf| Part { name: path.display().to_string(), folder: path.clone() };
    // What is wrong with the request itself is said before anything is fetched or opened.
    let unopened: Vec<Part> = args.adapted.iter().map(named).collect();
    let (base, general) = (named(&args.base), args.general.as_ref().map(named));
    request(args, &base, &unopened, general.as_ref()).check()?;
    let place = match &args.out {
        Some(out) if !args.dry_run => Some(take_place(out, common)?),
        Some(out) => RunPlace::check(out, Form::default()).map(|_| None)?,
        None => None,
    };
    let chosen = common.open_device()?;
    let (base, adapted) = (part(&args.base)?, args.adapted.iter().map(part).collect::<Result<Vec<_>>>()?);
    let general = args.general.as_ref().map(part).transpose()?;
    let mut merge = Merge::open(&request(args, &base, &adapted, general.as_ref()))?;
    let reading = plan(args, &merge, &base, chosen, common)?;
    let Some(reading) = reading else { return Ok(()) };

    let measured = measured(args, &mut merge, &shares, &reading, common)?;
    let choice = match (&measured, shares.only()) {
        (Some(curve), None) => choose(&curve.points, select)?,
        (_, only) => Choice { alpha: only.unwrap_or_default(), words: String::new() },
    };
    let is_chosen = !choice.words.is_empty();
    let (target, reference, points) = match measured {
        Some(Curve { target, reference, points }) => (Some(target), reference, points),
        None => (None, None, Vec::new()),
    };
    let mut result = MergeResult {
        schema: "odyssey.merge/1".to_owned(),
        out: place.as_ref().map(|place| place.out.display().to_string()),
        base: base.name,
        adapted: adapted.into_iter().map(|part| part.name).collect(),
        general: general.map(|part| part.name),
        method: args.method,
        density: (args.method == Method::Ties).then(|| args.density.unwrap_or(Method::DENSITY)),
        alpha: choice.alpha,
        select: is_chosen.then_some(select),
        words: choice.words,
        protocol: target.is_some().then_some(reading.protocol),
        target,
        reference,
        curve: points,
        dtype: args.held.dtype,
        seconds: 0.0,
        peak_memory_bytes: 0,
    };
    match place {
        Some(place) => {
            let mut monitor = common.monitor();
            files::folder_whole(&place.out, |folder| {
                merge.write(choice.alpha, folder, &mut monitor)?;
                measure_work(&mut result, started);
                files::write_json(&folder.join("merge.json"), &result)
            })?;
        }
        None => measure_work(&mut result, started),
    }
    output::result(common, &result, || table(&result))
}

fn measure_work(result: &mut MergeResult, started: Instant) {
    result.seconds = started.elapsed().as_secs_f64();
    result.peak_memory_bytes = peak_resident();
}

fn request<'a>(args: &'a Args, base: &'a Part, adapted: &'a [Part], general: Option<&'a Part>) -> Request<'a> {
    let Args { method, density, held, .. } = args;
    Request { base, adapted, general, method: *method, density: *density, ignored: &held.ignore_tensors }
}

/// Takes the new folder, in which nothing may be.
fn take_place(out: &Path, common: &Common) -> Result<RunPlace> {
    let place = place::take(out, Form::default(), false, "merge", common)?;
    files::check_new_folder(&place.out)?; // what adapt left there is no result of this command
    Ok(place)
}

/// Whether there is room; `None` where only that was asked.
fn plan(args: &Args, merge: &Merge, base: &Part, chosen: ChosenDevice, common: &Common) -> Result<Option<Reading>> {
    let reader = Reader::of(&base.folder)?;
    let protocol = args.protocol.for_model(merge.config(), reader.tokenizer.as_ref(), &args.reading)?;
    let scored = args.target.is_some().then_some((protocol.protocol.context, args.held.dtype));
    let work = Work::Merge { models: merge.models(), scored };
    let read: Vec<_> = args.texts().into_iter().map(|path| (path, Split::Test)).collect();
    let texts = Texts {
        read: &read,
        reading: args.reading.read(),
        stream: protocol.stream(),
        by_document: protocol.protocol.name.by_document(),
    };
    reader.plan(work, &texts, args.dry_run, &chosen, common)?;
    let tokenizer = reader.tokenizer;
    Ok((!args.dry_run).then_some(Reading { chosen, tokenizer, protocol }))
}

/// The curve, if a text is given.
fn measured(
    args: &Args,
    merge: &mut Merge,
    shares: &Shares,
    reading: &Reading,
    common: &Common,
) -> Result<Option<Curve>> {
    let mut monitor = common.monitor();
    let mut open = |path: &PathBuf| -> Result<Corpus> {
        open_corpus(&common.corpus(path)?, Split::Test, Watched::by(args.reading.read(), &mut monitor))
    };
    let target = args.target.as_ref().map(&mut open).transpose()?;
    let reference = args.reference.as_ref().map(&mut open).transpose()?;
    let Some(target) = &target else { return Ok(None) };
    let measure = Measure {
        target: named(args.target.as_deref(), target),
        reference: reference.as_ref().map(|corpus| named(args.reference.as_deref(), corpus)),
        protocol: &reading.protocol,
        tokenizer: reading.tokenizer.as_ref(),
        precision: args.held.dtype,
        device: &reading.chosen.device,
    };
    curve(merge, shares, &measure, &mut monitor).map(Some)
}

fn named<'a>(path: Option<&Path>, corpus: &'a Corpus) -> CurveText<'a> {
    CurveText { name: path.map(|path| path.display().to_string()).unwrap_or_default(), corpus }
}

/// The answer first, then the curve.
fn table(result: &MergeResult) -> String {
    let chosen = result.curve.iter().find(|point| point.alpha == result.alpha);
    let mut lines = vec![answer(result, chosen)];
    if !result.words.is_empty() {
        lines.push(format!("chosen: {}", result.words));
    }
    lines.extend(chosen.and_then(|chosen| kept(result, chosen)));
    if let Some(target) = &result.target {
        lines.push(String::new());
        lines.push(curve_table(result));
        lines.push("δ against the base, nats per token, with its 95 % interval; positive is worse".to_owned());
        let about = [("target", Some(target)), ("reference", result.reference.as_ref())];
        lines.extend(about.into_iter().filter_map(|(name, text)| {
            let text = text?;
            let loss = fixed(text.base_loss, 4);
            Some(format!("{name}: {}, {} tokens, loss of the base {loss}", visible(&text.text), text.scored))
        }));
    }
    lines.push(match &result.out {
        Some(out) => {
            let formula = match result.general {
                Some(_) => "base + α · what the domain changed + (1 − α) · what general text changed",
                None => result.method.formula(),
            };
            format!("written to {}, a whole model:\n{formula}", visible(out))
        }
        None => "nothing is written; --out DIR writes the model".to_owned(),
    });
    lines.join("\n")
}

/// The share, and what it changes.
fn answer(result: &MergeResult, chosen: Option<&Point>) -> String {
    let change = |loss: &Loss| {
        let [low, high] = loss.delta_ci95.map(|end| signed(end, 3));
        format!("{} ({low} … {high})", signed(loss.delta, 3))
    };
    let alpha = plain(result.alpha);
    match chosen {
        None => format!("α = {alpha}"),
        Some(Point { target, reference: None, .. }) => format!("α = {alpha}: target {}", change(target)),
        Some(Point { target, reference: Some(reference), .. }) => {
            format!("α = {alpha}: target {}, reference {}", change(target), change(reference))
        }
    }
}

/// How much of what α = 1 gained and forgot is left, where it did both.
fn kept(result: &MergeResult, chosen: &Point) -> Option<String> {
    let whole = result.curve.iter().find(|point| point.alpha == 1.0 && chosen.alpha != 1.0)?;
    let (gain, harm) = (-whole.target.delta, whole.reference?.delta);
    let percent = |part: f64, whole: f64| format!("{:.0} %", 100.0 * part / whole);
    (gain > 0.0 && harm > 0.0).then(|| {
        let [gain, harm] =
            [percent(-chosen.target.delta, gain), percent(chosen.reference.map_or(0.0, |r| r.delta), harm)];
        format!("of α = 1: {gain} of the gain on the target, {harm} of the harm on the reference")
    })
}

fn curve_table(result: &MergeResult) -> String {
    let cells = |loss: &Loss| {
        let [low, high] = loss.delta_ci95.map(|end| signed(end, 3));
        vec![fixed(loss.loss, 4), signed(loss.delta, 3), format!("{low}…{high}")]
    };
    let rows = result.curve.iter().map(|point| {
        let mark = if point.alpha == result.alpha && !result.words.is_empty() { " ←" } else { "" };
        let mut row = vec![format!("{}{mark}", plain(point.alpha))];
        row.extend(cells(&point.target));
        row.extend(point.reference.iter().flat_map(cells));
        row
    });
    let mut headings = vec!["α", "target", "δ", "95 %"];
    if result.reference.is_some() {
        headings.extend(["reference", "δ", "95 %"]);
    }
    output::table(&headings, rows)
}
