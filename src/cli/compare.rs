//! `odyssey compare`: what changed between two models, token by token.

use std::io::Write;
use std::path::{Path, PathBuf};

use odyssey::compare::{Scoring, check_comparable, compare};
use odyssey::device::ChosenDevice;
use odyssey::disk::outputs::Outputs;
use odyssey::error::{Error, Result};
use odyssey::evaluate::divergence::divergence;
use odyssey::evaluate::{EvalResult, ProtocolResult, ScoredStream, Window, per_token};
use odyssey::memory::Work;
use odyssey::model::LoadedModel;
use odyssey::perplexity::Evaluation;
use odyssey::progress::Watched;
use odyssey::rank::RankChange;
use odyssey::text::{Domain, Split, Tokenizer, Vocabulary, open_corpus};
use odyssey::{files, report};

use super::common::Common;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::output;
use super::rank::{self, RankArgs};
use super::text::{ProtocolArgs, TextArgs};

/// What changed between two models on one text, and which tokens carry it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey compare --before wiki-gpt2 --after adapted --text domains/novels
  odyssey compare --before before.safetensors --after adapted --text domains/novels --report novels.html")]
pub struct Args {
    /// The model before: its folder (also an adapter's) or name on the hub, or a file written by `eval --per-token`.
    #[arg(long, value_name = "DIR|FILE")]
    before: PathBuf,
    /// The model after: its folder (also an adapter's) or name on the hub, or a file that `eval --per-token` kept.
    #[arg(long, value_name = "DIR|FILE")]
    after: PathBuf,
    /// The text; of a domain folder its test split.
    #[arg(long, value_name = "CORPUS")]
    text: PathBuf,
    /// Token types shown from each end of the table; --json has all.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Also write a page with the passages that changed most.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    rank: RankArgs,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    reading: TextArgs,
}

/// One side of the comparison, scored now or earlier.
struct Scored {
    stream: ScoredStream,
    protocol: ProtocolResult,
    /// The source of token names: the tokenizer and the size of the vocabulary.
    names: Option<(Option<Tokenizer>, usize)>,
    /// The model and its windows, if it was scored now.
    read: Option<(LoadedModel, Vec<Window>)>,
}

impl Scored {
    fn scoring<'a>(&'a self, name: &'a str) -> Scoring<'a> {
        let Self { stream, protocol, names, read } = self;
        let tokenizer = names.as_ref().and_then(|(tokenizer, _)| tokenizer.as_ref());
        let vocabulary = read.as_ref().map(|(model, _)| model.config.vocabulary());
        Scoring { name, stream, protocol, tokenizer, vocabulary }
    }
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    let inputs = [&args.before, &args.after, &args.text].into_iter().chain(args.rank.inputs());
    let [report, prompts_place] = places(args, common.outputs(inputs))?;
    args.protocol.check()?;
    let chosen = common.open_device()?;
    let before = side(&args.before, args, &chosen, common)?;
    let after = side(&args.after, args, &chosen, common)?;
    let names = [&args.before, &args.after].map(|path| path.display().to_string());
    let other_predictions = check_comparable(before.scoring(&names[0]), after.scoring(&names[1]))?;
    let vocabulary = match before.names.or(after.names) {
        Some((tokenizer, size)) => Vocabulary::new(tokenizer.as_ref(), size),
        None => Vocabulary::new(None, before.stream.ids.iter().max().map_or(0, |&id| id as usize + 1)),
    };
    let mut result = compare(&before.stream, &after.stream, [&names[0], &names[1]], &vocabulary)?;
    if let (Some((base, windows)), Some((adapted, _))) = (&before.read, &after.read) {
        result.rank = ranks(args, [base, adapted], other_predictions.as_deref(), prompts_place.as_deref(), common)?;
        result.divergence = match &other_predictions {
            Some(_) => None,
            None => Some(divergence(base, adapted, &before.stream.ids, windows, &mut common.monitor())?),
        };
        result.divergence_reason = other_predictions;
    } else if args.rank.rank {
        return Err(Error::input("--rank", "asks both models, but a file is given", "name the folders of both models"));
    }
    if let Some(path) = &report {
        let page = report::page::comparison_page(&result)?;
        files::write_whole(path, |out| out.write_all(page.as_bytes()))?;
    }
    output::result(common, &result, || {
        let table = report::table::comparison_table(&result, args.top);
        match &result.rank {
            Some(change) => format!("{table}\n\n{}", rank::change_table(change, [&names[0], &names[1]])),
            None => table,
        }
    })
}

/// Where the page and the prompts are written, if they are.
fn places(args: &Args, mut outputs: Outputs) -> Result<[Option<PathBuf>; 2]> {
    let is_page = report::page::is_comparison_page;
    let report = args.report.as_ref().map(|path| outputs.file(path, is_page)).transpose()?;
    Ok([report, args.rank.prompts_place(&mut outputs)?])
}

/// The change in prediction rank, where it is asked for.
///
/// Ranks among different vocabularies are no change: `other_predictions` says then why.
fn ranks(
    args: &Args,
    models: [&LoadedModel; 2],
    other_predictions: Option<&str>,
    prompts_place: Option<&Path>,
    common: &Common,
) -> Result<Option<RankChange>> {
    if !args.rank.rank {
        return Ok(None);
    }
    let text = common.corpus(&args.text)?;
    let test = open_corpus(&text, Split::Test, args.reading.read())?;
    let prompts = args.rank.prompts(&text, &test, &args.reading, prompts_place, common)?;
    let ask = |model: &LoadedModel| {
        rank::ask(prompts.as_ref(), model, model.tokenizer()?.as_ref(), &args.reading, &mut common.monitor())
    };
    match (ask(models[0])?, ask(models[1])?) {
        (Some(before), Some(after)) => {
            let change = before.change(&after)?;
            Ok(Some(match other_predictions {
                Some(reason) => {
                    RankChange { change: None, change_ci95: None, reason: Some(reason.to_owned()), ..change }
                }
                None => change,
            }))
        }
        _ => Ok(None),
    }
}

fn side(path: &Path, args: &Args, chosen: &ChosenDevice, common: &Common) -> Result<Scored> {
    if path.is_file() {
        let (stream, result) = per_token::read(path)?;
        check_text(path, &result, args, common)?;
        let names = tokenizer_of(&result, common);
        return Ok(Scored { stream, protocol: result.protocol, names, read: None });
    }
    let named = common.named(path)?;
    places(args, common.outputs([&named.folder]))?; // the base of an adapter, which was not known before
    let reader = Reader::of(&named.folder)?;
    let protocol = args.protocol.for_model(&reader.config, reader.tokenizer.as_ref(), &args.reading)?;
    // Of the second model, beside the first.
    let work = Work::Evaluate { context: protocol.protocol.context, precision: args.held.dtype };
    let by_document = protocol.protocol.name.by_document();
    let read = [(args.text.as_path(), Split::Test)];
    let texts = Texts { read: &read, reading: args.reading.read(), stream: protocol.stream(), by_document };
    reader.plan(work, &texts, false, chosen, common)?;
    let model = named.open(&args.held, &chosen.device)?;
    let mut monitor = common.monitor();
    let corpus = open_corpus(&common.corpus(&args.text)?, Split::Test, Watched::by(args.reading.read(), &mut monitor))?;
    let evaluation = Evaluation::new(&model, reader.tokenizer.as_ref(), protocol);
    let stream = evaluation.read(&corpus, &mut monitor)?;
    let scored = evaluation.score(&model.model, &stream, &mut monitor)?;
    let protocol = evaluation.protocol;
    let windows = protocol.protocol.windows(&stream.document);
    let names = Some((reader.tokenizer, model.config.vocabulary()));
    Ok(Scored { stream: scored, protocol, names, read: Some((model, windows)) })
}

/// Refuses a per-token file of another text than the one asked for.
fn check_text(path: &Path, result: &EvalResult, args: &Args, common: &Common) -> Result<()> {
    let text = common.corpus(&args.text)?;
    let rule = args.reading.read();
    let scored = result.texts.first();
    let is_scored = |hash: &str| scored.is_some_and(|text| text.corpus_hash == hash);
    // A study also scores the test split of a domain that is one file.
    let split = || Domain::open(&text, rule.clone()).and_then(|domain| domain.split(Split::Test));
    if is_scored(&open_corpus(&text, Split::Test, rule.clone())?.hash)
        || split().is_ok_and(|test| is_scored(&test.hash))
    {
        return Ok(());
    }
    let of = scored.map_or("nothing", |text| &text.text);
    Err(Error::file(
        path,
        format!("holds the scores of {of}, another text than {}", args.text.display()),
        "name the text it was made from",
    ))
}

/// The tokenizer a per-token file was made with, if it is still where it was.
fn tokenizer_of(result: &EvalResult, common: &Common) -> Option<(Option<Tokenizer>, usize)> {
    let tokenizer = Tokenizer::load(&common.hub.borrow().model_here(Path::new(&result.model))?).ok()?;
    let size = tokenizer.vocabulary_size();
    (tokenizer.hash() == result.protocol.tokenizer).then_some((Some(tokenizer), size))
}
