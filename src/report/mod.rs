//! Results as people read them: `results.json`, `results.csv`, `report.html` and the figures of a study.
//!
//! Everything is drawn from [`StudyResults`] alone, so the same results give the same bytes. This file holds what the
//! parts share: the outcome of a domain over its seeds, and how numbers and text are written.

pub mod ablation;
pub mod advice;
mod axis;
pub mod calls;
mod card;
pub mod correlations;
pub mod csv;
pub mod distances;
mod draw;
pub mod page;
mod panels;
pub mod plots;
mod rates;
pub mod sheet;
pub mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::compare::Handful;
use crate::error::Result;
use crate::files;
use crate::study::{Call, DomainChange, Row, StudyResults};

/// Colours of groups and strategies, after Okabe and Ito: they stand out on white and stay apart under every
/// colour-vision deficiency. Red, green, blue.
pub const PALETTE: [[u8; 3]; 6] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0x56, 0xb4, 0xe9],
    [0x80, 0x60, 0x00],
];

/// The files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPaths {
    /// All results.
    pub json: PathBuf,
    /// One line per row.
    pub csv: PathBuf,
    /// The page to read.
    pub html: PathBuf,
    /// Every figure, as SVG and as PNG.
    pub plots: Vec<PathBuf>,
}

/// Writes `results.json`, `results.csv`, `report.html` and `plots/*.{svg,png}` into `folder`, each whole; `domains.csv`
/// with a line per domain, and `ablation.csv` with a line per cell of the grid, where there are any.
///
/// # Errors
/// When a file cannot be written.
pub fn write(results: &StudyResults, folder: &Path) -> Result<ReportPaths> {
    let mut paths = ReportPaths {
        json: folder.join("results.json"),
        csv: folder.join("results.csv"),
        html: folder.join("report.html"),
        plots: Vec::new(),
    };
    files::write_json(&paths.json, results)?;
    write_bytes(&paths.csv, &csv::rows(results)?)?;
    for (name, bytes) in [("domains.csv", csv::domains(results)?), ("ablation.csv", csv::ablation(results)?)] {
        if let Some(bytes) = bytes {
            write_bytes(&folder.join(name), &bytes)?;
        }
    }
    for figure in plots::figures(results) {
        for (kind, bytes) in [("svg", figure.svg()?.into_bytes()), ("png", figure.png()?)] {
            let path = folder.join("plots").join(format!("{}.{kind}", figure.name));
            write_bytes(&path, &bytes)?;
            paths.plots.push(path);
        }
    }
    write_bytes(&paths.html, page::study_page(results)?.as_bytes())?;
    Ok(paths)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write_whole(path, |out| out.write_all(bytes))
}

/// The direction of a domain's change, by the 95 % interval of δ or by the call of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval lies below 0.
    Better,
    /// The interval lies above 0.
    Worse,
    /// The interval contains 0.
    Undecided,
    /// The test of the study, corrected over domains, shows no difference.
    NoDifference,
}

impl From<Call> for Verdict {
    fn from(call: Call) -> Self {
        match call {
            Call::Better => Self::Better,
            Call::Worse => Self::Worse,
            Call::NoDifference => Self::NoDifference,
        }
    }
}

impl Verdict {
    /// The verdict of an interval; an interval that is not a pair of numbers gives "undecided".
    pub fn of(interval: [f64; 2]) -> Self {
        match interval {
            [_, high] if high < 0.0 => Self::Better,
            [low, _] if low > 0.0 => Self::Worse,
            _ => Self::Undecided,
        }
    }

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undecided => "undecided",
            Self::NoDifference => "no difference",
        }
    }
}

/// One domain under one model and strategy, averaged over seeds: a point of a scatter plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Mean δ over seeds, nats per token; positive is worse.
    pub delta: f64,
    /// Its 95 % interval, documents resampled for all seeds at once. In results of older versions, the mean ends of the
    /// intervals over seeds (seeds share the test text, so averaging them does not narrow it).
    pub ci95: [f64; 2],
    /// The test and call of the domain; `None` in results of older versions.
    pub change: Option<&'a DomainChange>,
    /// Its rows, one for each seed.
    pub rows: Vec<&'a Row>,
}

impl Outcome<'_> {
    /// The call or, if there is none, the direction of the interval.
    pub fn verdict(&self) -> Verdict {
        self.change.map_or_else(|| Verdict::of(self.ci95), |change| change.call.into())
    }

    /// The mean of something over seeds; `None` where no row has it.
    pub fn mean(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        mean(self.rows.iter().filter_map(|row| of(row)))
    }

    /// Perplexity before and after, geometric means over seeds: the log of their ratio is the mean of δ over seeds.
    pub fn perplexities(&self) -> [f64; 2] {
        let geometric = |of: fn(&Row) -> f64| self.mean(|row| Some(of(row).ln())).map_or(f64::NAN, f64::exp);
        match self.rows[..] {
            [row] => [row.zero_shot_ppl, row.adapted_ppl],
            _ => [geometric(|row| row.zero_shot_ppl), geometric(|row| row.adapted_ppl)],
        }
    }

    /// The mean of a measure over seeds; `None` where no row has it.
    pub fn measure(&self, key: &str) -> Option<f64> {
        self.mean(|row| row.similarity.get(key).or_else(|| (key == "newline_rate").then_some(row.newline_rate)))
    }
}

/// The key of rows that belong together: "model / strategy", as in [`crate::study::Correlation::of`].
pub fn arm(row: &Row) -> String {
    format!("{} / {}", row.model, row.strategy)
}

/// The outcomes by [`arm`], each in order of domain. Rows without a finite δ are left out.
pub fn outcomes<'a>(results: &'a StudyResults) -> BTreeMap<String, Vec<Outcome<'a>>> {
    let mut rows: BTreeMap<String, BTreeMap<&'a str, Vec<&'a Row>>> = BTreeMap::new();
    for row in results.rows.iter().filter(|row| row.delta.is_finite()) {
        rows.entry(arm(row)).or_default().entry(&row.domain).or_default().push(row);
    }
    let of_arm = |domains: BTreeMap<&'a str, Vec<&'a Row>>| {
        domains.into_iter().filter_map(|(domain, rows)| outcome(results, domain, rows)).collect()
    };
    rows.into_iter().map(|(arm, domains)| (arm, of_arm(domains))).collect()
}

/// The call of the row's domain or, if there is none, the direction of the row's interval.
fn verdict_of(change: Option<&DomainChange>, row: &Row) -> Verdict {
    change.map_or_else(|| Verdict::of(row.delta_ci95), |change| change.call.into())
}

/// The test and call of a row's domain.
pub fn change_of<'a>(results: &'a StudyResults, row: &Row) -> Option<&'a DomainChange> {
    results
        .domains
        .iter()
        .find(|change| (&change.model, &change.domain, &change.strategy) == (&row.model, &row.domain, &row.strategy))
}

fn outcome<'a>(results: &'a StudyResults, domain: &'a str, rows: Vec<&'a Row>) -> Option<Outcome<'a>> {
    let change = change_of(results, rows.first()?);
    if let Some(change) = change.filter(|change| change.delta.is_finite()) {
        let (delta, ci95) = (change.delta, change.delta_ci95);
        return Some(Outcome { domain, group: &rows.first()?.group, delta, ci95, change: Some(change), rows });
    }
    let average = |of: fn(&Row) -> f64| mean(rows.iter().map(|row| of(row)));
    let (low, high) = (average(|row| row.delta_ci95[0]), average(|row| row.delta_ci95[1]));
    Some(Outcome {
        domain,
        group: &rows.first()?.group,
        delta: average(|row| row.delta)?,
        ci95: [low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN)],
        change: None,
        rows,
    })
}

/// Mean of the finite values; `None` without one.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.filter(|v| v.is_finite()).fold((0.0, 0_u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The sign for a missing number.
pub const MISSING: &str = "–";

/// A number with four significant digits: perplexities, distances. Very large and very small ones as `1.234e-5`.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.3e}");
    // The exponent after rounding, so that 9.9999 has as many digits as 10.
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    let plain = match exponent {
        -4..=5 => format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(0)),
        _ => scientific,
    };
    plain.replace('-', "−")
}

/// A change in log-perplexity or a part of one, nats per token: sign and four decimals.
pub fn delta(value: f64) -> String {
    signed(value, 4)
}

/// A correlation coefficient: sign and two decimals.
pub fn coefficient(value: f64) -> String {
    signed(value, 2)
}

fn signed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let text = format!("{value:+.decimals$}");
    if text.bytes().all(|b| matches!(b, b'+' | b'-' | b'.' | b'0')) {
        return text.trim_start_matches(['+', '-']).to_owned(); // zero has no sign
    }
    text.replace('-', "−")
}

/// An interval in brackets.
pub fn interval([low, high]: [f64; 2], write: fn(f64) -> String) -> String {
    if low.is_finite() && high.is_finite() { format!("[{}, {}]", write(low), write(high)) } else { MISSING.to_owned() }
}

/// A p-value: `<0.001`, three decimals below 0.1, two above.
pub fn p_value(p: f64) -> String {
    match p {
        p if !p.is_finite() => MISSING.to_owned(),
        p if p < 0.001 => "<0.001".to_owned(),
        p if p < 0.0995 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

/// A p-value in running text: `p < 0.001`, `p = 0.003`.
pub fn p_phrase(p: f64) -> String {
    match p_value(p) {
        small if small.starts_with('<') => small.replace('<', "p < "),
        other => format!("p = {other}"),
    }
}

/// A share as a percentage, one decimal.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share).replace('-', "−") } else { MISSING.to_owned() }
}

/// A count with thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// Text in which everything invisible can be seen: ⏎ for a line break, ⇥ for a tab, `\u{202e}` and the like for control
/// characters and those that have no shape or change the order of others. Spaces stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            c if c.is_control() => out.extend(c.escape_default()),
            '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}'
            | '\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}' => {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// A token as text, its spaces as ·.
pub fn visible_token(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { visible(text).replace(' ', "·") }
}

/// How concentrated the worsening is, in words.
pub fn handful_sentence(handful: &Handful) -> String {
    if handful.types == 0 {
        return "No token type got worse.".to_owned();
    }
    let (verb, noun) = if handful.types == 1 { ("carries", "type") } else { ("carry", "types") };
    let carried =
        format!("{} token {noun} {verb} {} of the worsening.", handful.types, percent(handful.share_of_worsening));
    match (handful.held_out_share_of_top_10, handful.held_out_share_of_random_10) {
        (Some(worst), Some(random)) => format!(
            "{carried} The ten worst types of one half of the documents carry {} of the worsening in the other half; \
             ten types drawn at random carry {}.",
            percent(worst),
            percent(random)
        ),
        _ => format!("{carried} It could not be checked on another half of the text."),
    }
}
