//! `odyssey advise`: before training, whether to adapt.

use std::path::{Path, PathBuf};

use odyssey::advise::features::{is_table, shipped, write_table};
use odyssey::advise::learn::cases_in;
use odyssey::advise::{Advice, Case, Check, Means, Question, RestsOn, TableCheck, Verdict, advise, check};
use odyssey::error::{Error, Result};
use odyssey::files::write_whole;
use odyssey::memory::Work;
use odyssey::model::LoadedModel;
use odyssey::process::bytes;
use odyssey::recipe::RecipeArgs;
use odyssey::shown::{fixed, signed};
use odyssey::study::config::{EvaluationSettings, SimilaritySettings, TextSettings};
use odyssey::text::Split;
use odyssey::text::domain::name_of;

use super::common::Common;
use super::held::HeldArgs;
use super::memory::{Reader, Texts};
use super::output;
use super::text::TextArgs;

/// Before training: adapt, rely on the base, adapt in another way, or "cannot tell yet", with the evidence.
///
/// The change is predicted from what is known before training, by a regression on adaptations whose outcome is known,
/// with an interval that contains nine in ten such outcomes. If it contains zero, the answer is undecided.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  odyssey advise --model wiki-gpt2 --reference domains/wiki_general --domain domains/novels --lr 1e-3 --max-steps 48
  odyssey advise --model wiki-gpt2 --reference domains/wiki_general --domain domains/novels --lr 1e-3 --pilot 20000
  odyssey advise --model gpt2 --reference openwebtext --domain notes --fit study --explain
  odyssey advise --check --fit study")]
pub struct Args {
    /// The base model: its folder, or its name on the hub.
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["check", "write_table"])]
    model: Option<PathBuf>,
    /// The pretraining corpus or a sample of it: a domain folder, or one corpus, of which a tenth is held out.
    #[arg(long, value_name = "CORPUS", required_unless_present_any = ["check", "write_table"])]
    reference: Option<PathBuf>,
    /// The domain: a folder with splits, or one corpus.
    #[arg(long, value_name = "CORPUS", required_unless_present_any = ["check", "write_table"])]
    domain: Option<PathBuf>,
    /// Also learn from these finished studies (their folders), or tables written by --write-table.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    fit: Vec<PathBuf>,
    /// Learn from --fit alone, not from the adaptations that come with the program.
    #[arg(long, requires = "fit")]
    only_fit: bool,
    /// First run a short adaptation on so many tokens.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pilot: Option<u64>,
    /// Compute the time from this speed instead of timing a step.
    #[arg(long, value_name = "RATE")]
    tokens_per_second: Option<f64>,
    /// Also say what the prediction is based on, and how good such predictions were on domains that were left out.
    #[arg(long)]
    explain: bool,
    /// Only say how good the predictions of the table were on domains and bases that were left out.
    #[arg(long, conflicts_with_all = ["model", "reference", "domain", "pilot"])]
    check: bool,
    /// Write the table that predictions are learned from into this file.
    #[arg(long, value_name = "FILE")]
    write_table: Option<PathBuf>,
    /// Tokens of a chunk for distances; the model's longest window by default.
    #[arg(long, value_name = "TOKENS")]
    chunk: Option<usize>,
    /// Chunks of the domain, evenly spaced.
    #[arg(long, value_name = "N", default_value_t = SimilaritySettings::default().samples)]
    samples: usize,
    /// Chunks of the reference.
    #[arg(long, value_name = "N", default_value_t = SimilaritySettings::default().reference_samples)]
    reference_samples: usize,
    /// Seed of the pilot.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    settings: RecipeArgs,
    #[command(flatten)]
    reading: TextArgs,
}

impl Args {
    fn similarity(&self) -> SimilaritySettings {
        let Self { chunk, samples, reference_samples, .. } = *self;
        SimilaritySettings { chunk, samples, reference_samples, ..SimilaritySettings::default() }
    }
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    args.settings.0.check(usize::MAX)?;
    args.similarity().check(usize::MAX)?;
    if args.tokens_per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(Error::input("--tokens-per-second", "is no speed", "use a positive number"));
    }
    let inputs = args.fit.iter().chain(&args.model).chain(&args.reference).chain(&args.domain);
    let table = args.write_table.as_ref().map(|path| common.outputs(inputs).file(path, is_table)).transpose()?;
    let mut cases = if args.only_fit { Vec::new() } else { shipped()? };
    for path in &args.fit {
        cases.extend(cases_in(path)?);
    }
    if let Some(path) = &table {
        let table = write_table(&cases)?;
        write_whole(path, |file| std::io::Write::write_all(file, &table))?;
        common.say(&format!("{} rows written to {}", cases.len(), path.display()));
    }
    match (&args.model, &args.reference, &args.domain) {
        (Some(model), Some(reference), Some(domain)) => answer(args, [model, reference, domain], &cases, common),
        _ => {
            let found = check(&cases, &mut common.monitor())?;
            output::result(common, &found, || table_check(&found))
        }
    }
}

fn answer(args: &Args, [model, reference, domain]: [&Path; 3], cases: &[Case], common: &Common) -> Result<()> {
    let chosen = common.open_device()?;
    let folder = common.model(model)?;
    let (reference, domain) = (common.corpus(reference)?, common.corpus(domain)?);
    let TextArgs { document, text_field, stream } = args.reading.clone();
    let reader = Reader::of(&folder)?;
    let work = Work::Evaluate { context: reader.config.context(), precision: args.held.dtype };
    let read = [(reference.as_path(), Split::Test), (domain.as_path(), Split::Test)];
    let texts = Texts { read: &read, reading: args.reading.read(), stream, by_document: false };
    reader.plan(work, &texts, false, &chosen, common)?;
    let base = LoadedModel::open_without(&folder, &args.held.ignore_tensors, args.held.dtype, &chosen.device)?;
    let name = name_of(model);
    let question = Question {
        base: &base,
        model: &name,
        reference: &reference,
        domain: &domain,
        recipe: &args.settings.0,
        text: TextSettings { document, text_field, join: stream.join, newlines: stream.newlines, bos: stream.bos },
        evaluation: EvaluationSettings::default(),
        similarity: args.similarity(),
        seed: args.seed,
        device: &chosen,
    };
    let means = Means { pilot: args.pilot, tokens_per_second: args.tokens_per_second };
    let mut monitor = common.monitor();
    let advice = advise(&question, cases, means, &mut monitor)?;
    drop(monitor);
    output::result(common, &advice, || text(&advice, args.explain))
}

fn text(advice: &Advice, explain: bool) -> String {
    let delta = |value: Option<f64>| value.map_or("—".to_owned(), |value| signed(value, 3));
    let interval = |ends: Option<[f64; 2]>| {
        ends.map_or("—".to_owned(), |[low, high]| format!("{} to {}", signed(low, 3), signed(high, 3)))
    };
    let recipes = advice.recipes.iter().map(|recipe| {
        let predicted = recipe.predicted;
        vec![recipe.strategy.clone(), delta(predicted.map(|p| p.delta)), interval(predicted.and_then(|p| p.interval90))]
    });
    let reasons: String = advice.reasons.iter().map(|reason| format!("\n  {}", reason.words)).collect();
    let cost = &advice.cost;
    let time = cost.seconds.zip(cost.tokens_per_second);
    let time = time.map(|(seconds, rate)| format!(", about {seconds:.0} s here at {rate:.0} tokens/s"));
    let mut said = format!(
        "{}: {}\n\n{}\nδ is the change in log-perplexity, nats per token: positive is worse.\n\nbecause{reasons}\n\n\
         on the reference corpus: δ {}, 90 % interval {}{}\n\
         costs {} tokens in {} steps{}, and {} of memory",
        advice.domain,
        advice.words,
        output::table(&["recipe", "predicted δ", "90 % interval"], recipes),
        delta(advice.forgetting.predicted),
        interval(advice.forgetting.interval90),
        advice.forgetting.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default(),
        cost.tokens,
        cost.steps,
        time.unwrap_or_default(),
        bytes(cost.bytes),
    );
    if let Some(pilot) = &advice.pilot {
        let law = pilot.law.map_or(String::new(), |law| {
            format!("; its curve carried on to the full budget gives {:+.3}", law.extrapolated)
        });
        said += &format!(
            "\npilot of {} tokens: δ {:+.3} ({:+.3} to {:+.3}), {:+.3} on the reference corpus{law}; {}",
            pilot.tokens, pilot.delta, pilot.delta_ci95[0], pilot.delta_ci95[1], pilot.forgetting, pilot.words
        );
    }
    for caveat in &advice.caveats {
        said += &format!("\nnote: {caveat}");
    }
    if advice.verdict == Verdict::Undecided {
        said += "\nnote: --pilot shows the numbers of a short run, and --fit takes a study of yours";
    }
    if explain {
        said += &format!("\n\n{}", rests_on(&advice.rests_on));
    }
    said
}

fn rests_on(rests_on: &RestsOn) -> String {
    let terms: Vec<String> = rests_on.terms.iter().map(|(term, weight)| format!("{term} {weight:+.2}")).collect();
    let checks = [
        ("domains left out", rests_on.leave_domain_out.as_ref()),
        ("the same, with a pilot", rests_on.leave_domain_out_with_pilot.as_ref()),
    ];
    format!(
        "rests on {} rows: {} domains, bases {} ({})\nchosen: {}; penalty {}\n{}",
        rests_on.rows,
        rests_on.domains,
        rests_on.bases.join(", "),
        rests_on.sources.join("; "),
        if terms.is_empty() { "nothing".to_owned() } else { terms.join(", ") },
        rests_on.penalty.map_or("—".to_owned(), |penalty| penalty.to_string()),
        checks_table(&checks),
    )
}

fn checks_table(checks: &[(&str, Option<&Check>)]) -> String {
    let share = |share: Option<f64>| share.map_or("—".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let rows = checks.iter().filter_map(|(what, check)| {
        let check = (*check)?;
        Some(vec![
            (*what).to_owned(),
            check.rows.to_string(),
            share(check.sign_accuracy),
            check.median_absolute_error.map_or("—".to_owned(), |error| fixed(error, 3)),
            share(check.coverage),
            check.median_width.map_or("—".to_owned(), |width| fixed(width, 3)),
            share(check.decided),
            share(check.decided_right),
        ])
    });
    output::table(
        &["predicted without them", "rows", "sign right", "median error", "in interval", "width", "decided", "rightly"],
        rows,
    )
}

fn table_check(found: &TableCheck) -> String {
    let predictions = found.rests_on.leave_domain_out.iter().flat_map(|check| &check.predictions).map(|checked| {
        vec![
            checked.domain.clone(),
            checked.model.clone(),
            format!("{:+.3}", checked.predicted),
            checked
                .interval90
                .map_or("—".to_owned(), |[low, high]| format!("{} to {}", signed(low, 3), signed(high, 3))),
            format!("{:+.3}", checked.found),
        ]
    });
    let others = [
        ("bases left out", found.leave_base_out.as_ref()),
        ("forgetting, domains left out", found.forgetting.as_ref()),
    ];
    let reasons: String = found.reasons.iter().map(|(what, why)| format!("\nno {what}: {why}")).collect();
    format!(
        "{}\n\n{}\n{}{reasons}",
        output::table(&["domain", "base", "predicted δ", "90 % interval", "found"], predictions),
        rests_on(&found.rests_on),
        checks_table(&others),
    )
}
