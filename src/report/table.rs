//! Results as tables for a terminal: plain UTF-8, as wide as the terminal allows.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::before_after::{before_and_after, null_lines};
use super::{
    Direction, class_label, correlations, count, delta, handful_sentence, interval, percent, significant, visible,
    visible_token,
};
use crate::columns::{Cell, Face, Heading, Sheet, measure_label, without_label};
use crate::compare::{Comparison, TypeChange};
use crate::evaluate::divergence::Divergence;
use crate::study::StudyResults;

/// Before and after, one line per row, and the reference against itself.
pub fn results_table(results: &StudyResults) -> String {
    if results.rows.is_empty() {
        return "No adaptation is finished yet.".to_owned();
    }
    let mut sheet = before_and_after(results, Face::Terminal);
    let ranked = sheet.column("rank_change").is_some();
    let null = null_lines(results, &sheet);
    sheet.rows.extend(null);
    format!(
        "{}\nδ is the change in log-perplexity, nats per token: positive is worse. ⏎ stands for line breaks. In train: \
         the test text's runs of 13 tokens that the training text holds too.{}",
        sheet_table(&sheet),
        if ranked { RANK_NOTE } else { "" }
    )
}

/// The explanation of the columns of correlations.
const CORRELATION_NOTE: &str = "\nInside groups: r once each group's means are taken off, its p by permutations inside \
    groups. Partial: with the rate of line breaks, ln of the domain's tokens and of the base's perplexity allowed for. \
    Without one: r without the domain that counts most.";

/// What the columns of prediction rank say.
const RANK_NOTE: &str = " Rank: how high the model ranks the word that follows where a term of the domain should, \
    trimmed mean; Δ ln rank in nats, positive is worse.";

/// A table of cells for the terminal.
pub fn sheet_table(sheet: &Sheet) -> String {
    let mut table = empty(&sheet.headings);
    for row in &sheet.rows {
        table.add_row(row.iter().zip(&sheet.headings).map(|(c, heading)| cell(&c.text, heading.number)));
    }
    table.to_string()
}

/// The change in log-perplexity against every distance, pooled and within groups.
pub fn correlations_table(results: &StudyResults) -> String {
    let Some(sheet) = correlations::sheet(results) else {
        return "No correlations: they need three domains or more.".to_owned();
    };
    let mut reasons: Vec<String> = results
        .correlations
        .iter()
        .filter_map(|c| {
            let reason = c.pearson.reason.as_ref()?;
            Some(format!("\n{}, {}: {}", measure_label(&c.x), visible(&c.scope), visible(reason)))
        })
        .collect();
    reasons.dedup();
    let warnings = results.correlations.iter().filter_map(|c| {
        let warning = c.warning.as_ref()?;
        Some(format!("\n{}, {}: {}", measure_label(&c.x), visible(&c.of), visible(warning)))
    });
    let warnings: String = warnings.collect();
    format!("{}{}{warnings}{CORRELATION_NOTE}", sheet_table(&sheet), reasons.concat())
}

/// One comparison: the change, the `top` token types that carry a worsening, the classes, and perplexity without them.
pub fn comparison_table(comparison: &Comparison, top: usize) -> String {
    let mut parts = vec![format!(
        "{}  perplexity {}\n{}  perplexity {}\nδ = {} {} nats per token over {} tokens: {}",
        visible(&comparison.before.model),
        significant(comparison.before.ppl),
        visible(&comparison.after.model),
        significant(comparison.after.ppl),
        delta(comparison.delta),
        interval(comparison.delta_ci95, delta),
        count(comparison.scored as u64),
        Direction::of(comparison.delta_ci95).name(),
    )];

    if let Some(Divergence { kl, top1_agreement, .. }) = comparison.divergence {
        parts.push(format!(
            "KL(before‖after) {} nats per token; both find the same token most likely at {} of positions",
            significant(kl),
            percent(top1_agreement),
        ));
    }
    if let Some(reason) = &comparison.divergence_reason {
        parts.push(format!("no KL(before‖after): {}", visible(reason)));
    }
    let worst: Vec<&TypeChange> = comparison.types.iter().filter(|t| t.contribution > 0.0).take(top).collect();
    if !worst.is_empty() {
        let mut types = table(&["token", "class", "count", "before", "after", "part of δ", "95 % interval"], 2);
        for t in worst {
            let cells = vec![
                visible_token(&t.token),
                class_label(t.class.name()),
                count(t.count as u64),
                significant(t.before),
                significant(t.after),
                delta(t.contribution),
                interval(t.contribution_ci95, delta),
            ];
            add(&mut types, cells, 2);
        }
        parts.push(types.to_string());
    }
    parts.push(handful_sentence(&comparison.handful));

    let mut classes = table(&["class", "share", "before", "after", "part of δ"], 1);
    for c in &comparison.classes {
        let cells = vec![
            class_label(c.class.name()),
            percent(c.share),
            significant(c.before),
            significant(c.after),
            delta(c.contribution),
        ];
        add(&mut classes, cells, 1);
    }
    parts.push(classes.to_string());

    let mut without = table(&["perplexity without", "tokens left", "before", "after", "δ"], 1);
    for (name, w) in &comparison.without {
        let cells = vec![
            without_label(name),
            count(w.scored as u64),
            Cell::number(w.before, significant, "").text,
            Cell::number(w.after, significant, "").text,
            Cell::number(w.delta, delta, "").text,
        ];
        add(&mut without, cells, 1);
    }
    parts.push(without.to_string());
    parts.join("\n\n")
}

/// An empty table; numbers are set to the right.
fn empty(headings: &[Heading]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.iter().map(|heading| cell(&heading.title, heading.number)));
    table
}

/// An empty table whose columns after the first `texts` are numbers.
fn table(header: &[&str], texts: usize) -> Table {
    empty(&header.iter().enumerate().map(|(i, title)| Heading::new(title, i >= texts)).collect::<Vec<_>>())
}

fn add(table: &mut Table, cells: Vec<String>, texts: usize) {
    table.add_row(cells.iter().enumerate().map(|(i, text)| cell(text, i >= texts)));
}

fn cell(text: &str, number: bool) -> comfy_table::Cell {
    let alignment = if number { CellAlignment::Right } else { CellAlignment::Left };
    comfy_table::Cell::new(text).set_alignment(alignment)
}
