//! `odyssey eval`: perplexity with its interval.

use std::path::PathBuf;
use std::time::Instant;

use odyssey::error::{Error, Result};
use odyssey::evaluate::positions::Bin;
use odyssey::evaluate::{EvalResult, Positions, TextResult, evaluate, per_token, summarise};
use odyssey::model::LoadedModel;
use odyssey::text::{Split, open_corpus};

use super::text::{ProtocolArgs, TextArgs};
use super::{Common, output};

/// Perplexity of texts, with a 95 % interval: one row each, and the macro-average.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey eval --model wiki-gpt2 --text domains/wiki_sports domains/novels
  odyssey eval --model wiki-gpt2 --text notes.txt --protocol strided --stride 128 --per-token notes.safetensors")]
pub struct Args {
    /// The model's folder: config.json, model.safetensors, tokenizer.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Texts: .txt, .jsonl or .parquet files, also compressed, folders of them, or domains, whose test split is taken.
    #[arg(long, required = true, num_args = 1.., value_name = "CORPUS")]
    text: Vec<PathBuf>,
    /// Keep every token's negative log-likelihood in this safetensors file (one text only).
    #[arg(long, value_name = "FILE")]
    per_token: Option<PathBuf>,
    /// Also the loss by distance into the window and into the document.
    #[arg(long)]
    by_position: bool,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    reading: TextArgs,
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    if args.per_token.is_some() && args.text.len() > 1 {
        return Err(Error::input("--per-token", "keeps one text, but several are given", "evaluate them one by one"));
    }
    let chosen = common.open_device()?;
    let model = LoadedModel::open(&args.model, &chosen.device)?;
    let tokenizer = model.tokenizer()?;
    let recipe = args.protocol.recipe(&model, tokenizer.as_ref(), &args.reading)?;

    let started = Instant::now();
    let mut monitor = common.monitor();
    let mut rows = Vec::new();
    let mut last = None;
    for path in &args.text {
        let corpus = open_corpus(path, Split::Test, args.reading.document)?;
        let stream = model.stream(&corpus, tokenizer.as_ref(), &recipe.stream())?;
        let scored = evaluate(&model.model, &model.device, &stream, &recipe.protocol, &mut monitor)?;
        let mut row = scored.summary(&path.display().to_string(), &stream, &recipe.protocol)?;
        row.positions = args.by_position.then(|| Positions::of(&scored, &recipe.protocol));
        rows.push(row);
        last = Some(scored);
    }
    drop(monitor);
    let result = summarise(&args.model.display().to_string(), &chosen.name, recipe, rows, started);
    if let (Some(path), Some(scored)) = (&args.per_token, last) {
        per_token::write(path, &scored, &result)?;
    }
    output::result(common, &result, || table(&result))
}

fn table(result: &EvalResult) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let rows = result.texts.iter().map(|t| {
        vec![
            t.text.clone(),
            t.scored.to_string(),
            format!("{:.4}", t.nll),
            format!("{:.3}", t.ppl),
            format!("{:.3} … {:.3}", t.ppl_ci95[0], t.ppl_ci95[1]),
            number(t.bits_per_byte),
            number(t.word_ppl),
        ]
    });
    let headings =
        ["text", "tokens scored", "nats/token", "perplexity", "95 % interval", "bits/byte", "word perplexity"];
    let protocol = &result.protocol;
    let positions: String = result.texts.iter().filter_map(by_position).collect();
    format!(
        "{}\n{positions}macro-average perplexity {:.3} · {}, context {}, stride {} · fingerprint {} · {:.0} tokens/s",
        output::table(&headings, rows),
        result.macro_ppl,
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
        vec![range, bin.count.to_string(), format!("{:.4}", bin.nll)]
    };
    let of = |place: &str, bins: &[Bin]| {
        output::table(
            &[&format!("tokens before it in the {place}"), "tokens scored", "nats/token"],
            bins.iter().map(row),
        )
    };
    Some(format!("\n{}\n{}\n{}\n\n", text.text, of("window", &positions.window), of("document", &positions.document)))
}
