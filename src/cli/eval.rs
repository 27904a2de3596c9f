//! `odyssey eval`: perplexity with its interval.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use odyssey::compare::{Comparison, compare};
use odyssey::disk::outputs::Outputs;
use odyssey::error::{Error, Result};
use odyssey::evaluate::positions::Bin;
use odyssey::evaluate::{AdapterChange, EvalResult, Positions, ScoredStream, TextResult, per_token, summarise};
use odyssey::memory::Work;
use odyssey::model::Adapter;
use odyssey::perplexity::Evaluation;
use odyssey::progress::Watched;
use odyssey::shown::{fixed, signed, visible};
use odyssey::text::{Split, Vocabulary, open_corpus};

use super::common::Common;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::output;
use super::rank::{self, RankArgs};
use super::text::{ProtocolArgs, TextArgs};

/// Perplexity of texts, with a 95 % interval: one row each, and the macro-average.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey eval --model wiki-gpt2 --text domains/wiki_sports domains/novels
  odyssey eval --model wiki-gpt2 --adapter adapter --text domains/novels
  odyssey eval --model wiki-gpt2 --text domains/contracts --rank --rank-prompts prompts.jsonl
  odyssey eval --model wiki-gpt2 --text notes.txt --protocol strided --stride 128 --per-token notes.safetensors")]
pub struct Args {
    /// The model: its folder (config.json, model.safetensors, tokenizer.json), or its name on the hub, such as gpt2; or
    /// an adapter's folder, which says what its base is.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// A LoRA adapter for the model, as peft or `adapt --strategy lora` writes it: its folder, or its name on the hub. Each
    /// text is scored without it and with it.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Texts: .txt, .jsonl or .parquet files, also compressed, folders of them, or domains, whose test split
    /// is taken; or OWNER/NAME/FILE of a data set on the hub.
    #[arg(long, required = true, num_args = 1.., value_name = "CORPUS")]
    text: Vec<PathBuf>,
    /// Write the negative log-likelihood of every token into this safetensors file (one text only).
    #[arg(long, value_name = "FILE")]
    per_token: Option<PathBuf>,
    /// Also show the loss by position in the window and in the document.
    #[arg(long)]
    by_position: bool,
    /// Only say how much memory the run takes, whether it is free, and which other options would fit.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    rank: RankArgs,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    reading: TextArgs,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    if args.per_token.is_some() && args.text.len() > 1 {
        return Err(Error::input("--per-token", "keeps one text, but several are given", "evaluate them one by one"));
    }
    args.rank.check(args.text.len())?;
    let inputs = args.adapter.iter().chain([&args.model]).chain(&args.text).chain(args.rank.inputs());
    let [per_token, prompts_place] = places(args, common.outputs(inputs))?;
    args.protocol.check()?;
    let chosen = common.open_device()?;
    let named = common.named(&args.model)?;
    let folder = &named.folder;
    places(args, common.outputs([folder]))?; // the base of an adapter, which was not known before
    let adapter = match (&named.adapter, &args.adapter) {
        (Some(_), Some(_)) => {
            return Err(Error::input("--model", "is an adapter, and --adapter gives another", "name a base"));
        }
        (None, Some(path)) => Some((Adapter::read(&common.adapter(path)?)?, path)),
        _ => None,
    };
    let reader = Reader::of(folder)?;
    let Reader { config, tokenizer, .. } = &reader;
    let protocol = args.protocol.for_model(config, tokenizer.as_ref(), &args.reading)?;
    let work = Work::Evaluate { context: protocol.protocol.context, precision: args.held.dtype };
    let by_document = protocol.protocol.name.by_document();
    let read: Vec<_> = args.text.iter().map(|path| (path.as_path(), Split::Test)).collect();
    let texts = Texts { read: &read, reading: args.reading.read(), stream: protocol.stream(), by_document };
    reader.plan(work, &texts, args.dry_run, &chosen, common)?;
    if args.dry_run {
        return Ok(());
    }
    let model = named.open(&args.held, &chosen.device)?;
    // One base, shared: without the adapter and with it.
    let mut sides = vec![(model, named.adapter.as_ref().map(|_| args.model.display().to_string()))];
    if let Some((adapter, path)) = &adapter {
        sides.push((adapter.attach(&sides[0].0)?, Some(path.display().to_string())));
    }

    let texts = args.text.iter().map(|path| common.corpus(path)).collect::<Result<Vec<_>>>()?;

    let evaluation = Evaluation::new(&sides[0].0, tokenizer.as_ref(), protocol);
    let started = Instant::now();
    let mut monitor = common.monitor();
    let mut rows = Vec::new();
    let mut changes = Vec::new();
    let mut last = None;
    let mut besides = Duration::ZERO; // time that does not count for the reported speed
    for (path, found) in args.text.iter().zip(&texts) {
        let corpus = open_corpus(found, Split::Test, Watched::by(args.reading.read(), &mut monitor))?;
        let stream = evaluation.read(&corpus, &mut monitor)?;
        let text = path.display().to_string();
        let prompting = Instant::now();
        let prompts = args.rank.prompts(found, &corpus, &args.reading, prompts_place.as_deref(), common)?;
        besides += prompting.elapsed();
        let mut without: Option<ScoredStream> = None;
        for (model, adapter) in &sides {
            let scored = evaluation.score(&model.model, &stream, &mut monitor)?;
            let scored_at = Instant::now();
            let mut row = evaluation.summary(&text, &scored, &stream)?;
            row.adapter.clone_from(adapter);
            row.positions = args.by_position.then(|| Positions::of(&scored, &evaluation.protocol.protocol));
            let ranks = rank::ask(prompts.as_ref(), model, tokenizer.as_ref(), &args.reading, &mut monitor)?;
            row.rank = ranks.map(|ranks| ranks.summary()).transpose()?;
            rows.push(row);
            if let Some(without) = without.replace(scored.clone()) {
                let vocabulary = Vocabulary::new(None, model.config.vocabulary());
                let Comparison { delta, delta_ci95, .. } = compare(&without, &scored, ["", ""], &vocabulary)?;
                changes.push(AdapterChange { text: text.clone(), delta, delta_ci95 });
            }
            besides += scored_at.elapsed();
        }
        last = without;
    }
    drop(monitor);
    let name = args.model.display().to_string();
    let mut result = summarise(&name, args.held.dtype, &chosen.name, evaluation.protocol, rows, started + besides);
    result.adapter_changes = changes;
    if let (Some(path), Some(scored)) = (&per_token, last) {
        per_token::write(path, &scored, &result)?;
    }
    output::result(common, &result, || table(&result))
}

/// Where the scores of tokens and the prompts are written, if they are.
fn places(args: &Args, mut outputs: Outputs) -> Result<[Option<PathBuf>; 2]> {
    let per_token = args.per_token.as_ref().map(|path| outputs.file(path, per_token::is_in)).transpose()?;
    Ok([per_token, args.rank.prompts_place(&mut outputs)?])
}

fn table(result: &EvalResult) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| fixed(value, 3));
    let rows = result.texts.iter().map(|t| {
        let adapter = if t.adapter.is_some() { " + adapter" } else { "" };
        vec![
            format!("{}{adapter}", t.text),
            t.scored.to_string(),
            fixed(t.nll, 4),
            fixed(t.ppl, 3),
            format!("{} … {}", fixed(t.ppl_ci95[0], 3), fixed(t.ppl_ci95[1], 3)),
            number(t.bits_per_byte),
            number(t.word_ppl),
        ]
    });
    let headings =
        ["text", "tokens scored", "nats/token", "perplexity", "95 % interval", "bits/byte", "word perplexity"];
    let protocol = &result.protocol;
    let positions: String = result.texts.iter().filter_map(by_position).collect();
    let ranks: Vec<_> = result.texts.iter().filter_map(|t| Some((t.text.as_str(), t.rank.as_ref()?))).collect();
    let ranks = if ranks.is_empty() { String::new() } else { format!("{}\n", rank::table(&ranks)) };
    let reasons: String =
        result.texts.iter().filter_map(|t| Some(format!("{}: {}\n", visible(&t.text), t.reason.as_ref()?))).collect();
    let change = |c: &AdapterChange| {
        let [low, high] = c.delta_ci95;
        let [delta, low, high] = [c.delta, low, high].map(|value| signed(value, 4));
        format!("the adapter changes {} by {delta} nats/token ({low} … {high})\n", visible(&c.text))
    };
    let changes: String = result.adapter_changes.iter().map(change).collect();
    format!(
        "{}\n{reasons}{positions}{ranks}{changes}macro-average perplexity {} · {}, context {}, stride {} · fingerprint {} · {:.0} tokens/s",
        output::table(&headings, rows),
        fixed(result.macro_ppl, 3),
        protocol.protocol.name,
        protocol.protocol.context,
        protocol.protocol.stride,
        protocol.fingerprint,
        result.tokens_per_second,
    )
}

/// Two small tables of one text, where positions were asked for.
fn by_position(text: &TextResult) -> Option<String> {
    let positions = text.positions.as_ref()?;
    let row = |bin: &Bin| {
        let range = if bin.from == bin.to { bin.from.to_string() } else { format!("{}–{}", bin.from, bin.to) };
        vec![range, bin.count.to_string(), fixed(bin.nll, 4)]
    };
    let of = |place: &str, bins: &[Bin]| {
        output::table(
            &[&format!("tokens before it in the {place}"), "tokens scored", "nats/token"],
            bins.iter().map(row),
        )
    };
    let adapter = if text.adapter.is_some() { " + adapter" } else { "" };
    Some(format!(
        "\n{}{adapter}\n{}\n{}\n\n",
        visible(&text.text),
        of("window", &positions.window),
        of("document", &positions.document)
    ))
}
