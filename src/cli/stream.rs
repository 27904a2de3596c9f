//! `odyssey adapt --stream`: additional pretraining on one domain after another.

use std::path::{Path, PathBuf};

use odyssey::continual::{DomainStream, StreamPlace, StreamResult};
use odyssey::error::{Error, Result};
use odyssey::evaluate::{ProtocolName, ProtocolResult};
use odyssey::progress::Watched;
use odyssey::shown::{fixed, signed, visible};
use odyssey::text::{Domain, Split};

use super::common::Common;
use super::{adapt, output};

/// The most domains whose matrix is shown: more columns are wider than a terminal. The JSON has it whole.
const WIDEST: usize = 6;
/// The most characters of a domain's name in a table.
const LONGEST_NAME: usize = 18;

pub fn run(args: &adapt::Args, common: &Common) -> Result<()> {
    let settings = &adapt::settings(args, common)?;
    let resume = args.resume || common.again.get();
    let Some(out) = &args.out else {
        return Err(Error::input("stream", "has no folder for its stages", "give --out"));
    };
    let place = match args.dry_run {
        true => StreamPlace::check(out).map(|_| None)?,
        false => Some(StreamPlace::take(out, resume)?),
    };
    if let Some(place) = place.as_ref().filter(|place| args.resume && place.is_new()) {
        common.say(&format!("there is no stream in {} to go on from: starting anew", place.out.display()));
    }
    let chosen = common.open_device()?;
    let texts = args.stream.iter().map(|path| common.corpus(path)).collect::<Result<Vec<PathBuf>>>()?;
    // Every text is read by some stage: the longest window of any of them counts.
    let read: Vec<(&Path, Split)> = texts.iter().map(|path| (path.as_path(), Split::Train)).collect();
    let Some(base) = adapt::base(args, settings, &read, &chosen, common)? else { return Ok(()) };
    let Some(place) = place else { return Ok(()) };
    let tokenizer = base.tokenizer()?;
    let mut monitor = common.monitor();
    let open = |path: &PathBuf| Domain::open(path, Watched::by(args.reading.read(), &mut monitor));
    let domains = texts.iter().map(open).collect::<Result<Vec<_>>>()?;
    let reading = args.reading.stream;
    let protocol = ProtocolResult::for_model(
        ProtocolName::Disjoint,
        [None, None],
        &base.config,
        tokenizer.as_ref(),
        args.reading.document,
        &reading,
    )?;
    let stream = DomainStream {
        model: &base,
        name: args.model.display().to_string(),
        tokenizer: tokenizer.as_ref(),
        domains: &domains,
        settings,
        seed: args.seed,
        files: args.reading.read(),
        reading,
        protocol,
        checkpoint_every: args.checkpoint_every,
        how_to_resume: "give the same command with --resume to go on",
    };
    let result = stream.run(&place, &mut monitor)?;
    drop(monitor);
    output::result(common, &result, || table(&result))
}

fn table(result: &StreamResult) -> String {
    let mut lines = vec![answer(result)];
    lines.extend(most_forgotten(result));
    lines.extend(transfers(result));
    lines.push(String::new());
    lines.push(by_domain(result));
    if result.domains.len() <= WIDEST && result.domains.len() > 1 {
        lines.push(String::new());
        lines.push(matrix(result));
    }
    lines.push("losses on the test texts, nats per token; a positive transfer is good".to_owned());
    lines.push(format!("written to {}", visible(&result.out)));
    lines.join("\n")
}

fn answer(result: &StreamResult) -> String {
    format!(
        "after {} domains: mean loss {} (before {}), mean forgetting {}",
        result.done,
        fixed(result.last, 4),
        fixed(result.zero_shot, 4),
        fixed(result.mean_forgetting, 4),
    )
}

/// The domain that lost most, where one did.
fn most_forgotten(result: &StreamResult) -> Option<String> {
    let most = result.forgetting.iter().zip(&result.domains).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let (forgetting, domain) = (*most.0, name_of(&most.1.domain));
    (forgetting > 0.0).then(|| format!("most forgotten: {domain}, {} above its least loss", fixed(forgetting, 4)))
}

/// The transfers of the last stages that have one.
fn transfers(result: &StreamResult) -> Option<String> {
    let words = |name: &str, transfers: &[odyssey::continual::Transfer]| {
        let last = transfers.last()?;
        Some(format!("{name} {} (stage {})", signed(last.transfer, 4), last.stage))
    };
    let both = [words("backward", &result.backward), words("forward", &result.forward)];
    let both: Vec<String> = both.into_iter().flatten().collect();
    (!both.is_empty()).then(|| format!("transfer {}", both.join(", ")))
}

fn by_domain(result: &StreamResult) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| fixed(value, 4));
    let rows = result.retention.rows();
    let (first, last) = (rows.first(), rows.last());
    let lines = result.domains.iter().enumerate().map(|(index, domain)| {
        let at = |row: Option<&Vec<f64>>| row.and_then(|row| row.get(index)).copied();
        let change = at(last).zip(at(first)).map_or("–".to_owned(), |(last, first)| signed(last - first, 4));
        vec![
            format!("{} {}", index + 1, name_of(&domain.domain)),
            number(at(first)),
            number(at(rows.get(index + 1))),
            number(at(last)),
            change,
            number(result.forgetting.get(index).copied()),
        ]
    });
    output::table(&["domain", "before", "learned", "at the end", "change", "forgotten"], lines)
}

fn matrix(result: &StreamResult) -> String {
    let numbers: Vec<String> = (1..=result.domains.len()).map(|number| number.to_string()).collect();
    let headings: Vec<&str> = std::iter::once("after stage").chain(numbers.iter().map(String::as_str)).collect();
    let rows = result.retention.rows().iter().enumerate().map(|(stage, row)| {
        let name = match stage.checked_sub(1).and_then(|index| result.domains.get(index)) {
            None => "0 (before)".to_owned(),
            Some(domain) => format!("{stage} {}", name_of(&domain.domain)),
        };
        std::iter::once(name).chain(row.iter().map(|loss| fixed(*loss, 4))).collect()
    });
    output::table(&headings, rows)
}

/// A name that is not too long for a table.
fn name_of(domain: &str) -> String {
    let name = visible(domain);
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}
