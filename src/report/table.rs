//! Results as tables for a terminal: plain UTF-8, as wide as the terminal allows.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::sheet::Sheet;
use super::{
    MISSING, Verdict, arm, change_of, coefficient, count, delta, handful_sentence, interval, p_value, percent,
    significant, verdict_of, visible, visible_token,
};
use crate::compare::{Comparison, TypeChange};
use crate::evaluate::divergence::Divergence;
use crate::study::{RowRank, StudyResults};

/// Before and after, one line per row, and the reference against itself.
///
/// Columns that say the same on every line (model, strategy, seed) are left out.
pub fn results_table(results: &StudyResults) -> String {
    if results.rows.is_empty() {
        return "No adaptation is finished yet.".to_owned();
    }
    let several_arms = results.rows.iter().any(|row| results.rows.first().is_some_and(|first| arm(first) != arm(row)));
    let several_seeds = results.rows.iter().any(|row| results.rows.first().is_some_and(|first| first.seed != row.seed));
    let mut header = vec!["domain", "group"];
    header.extend(several_arms.then_some("model / strategy"));
    let texts = header.len();
    header.extend(several_seeds.then_some("seed"));
    header.extend([
        "ppl before",
        "ppl after",
        "δ",
        "95 % interval",
        "δ without ⏎",
        "MMD²",
        "JS, bits",
        "⏎ rate",
        "in train",
    ]);
    let controlled = results.domains.iter().any(|change| change.restart_delta.is_some());
    header.extend(controlled.then_some("δ beyond restart"));
    header.push("");
    let ranked = results.rows.iter().any(|row| row.rank.is_some());
    header.extend(RANK_COLUMNS.into_iter().filter(|_| ranked));
    let mut table = table(&header, texts);
    for row in &results.rows {
        let mut cells = vec![visible(&row.domain), visible(&row.group)];
        cells.extend(several_arms.then(|| visible(&arm(row))));
        cells.extend(several_seeds.then(|| row.seed.to_string()));
        cells.extend([
            significant(row.zero_shot_ppl),
            significant(row.adapted_ppl),
            delta(row.delta),
            interval(row.delta_ci95, delta),
            optional(row.without.get("newline").and_then(|without| without.delta), delta),
            optional(row.similarity.mmd2, significant),
            optional(row.similarity.unigram_js, significant),
            percent(row.newline_rate),
            optional(row.overlap.as_ref().and_then(|overlap| overlap.test_13grams_in_train), percent),
        ]);
        let change = change_of(results, row);
        let restart = change.and_then(|change| change.restart_delta);
        cells.extend(controlled.then(|| optional(restart.map(|restart| row.delta - restart), delta)));
        cells.push(verdict_of(change, row).name().to_owned());
        cells.extend(rank_cells(row.rank.as_ref()).into_iter().filter(|_| ranked));
        add(&mut table, cells, texts);
    }
    for null in &results.null {
        let mut cells = vec![format!("{} against itself", visible(&null.reference)), MISSING.to_owned()];
        cells.extend(several_arms.then(|| visible(&null.model)));
        cells.extend(several_seeds.then(|| MISSING.to_owned()));
        cells.extend(std::iter::repeat_n(MISSING.to_owned(), 5));
        cells.extend([
            optional(null.distances.mmd2, significant),
            optional(null.distances.unigram_js, significant),
            optional(null.distances.newline_rate, percent),
            MISSING.to_owned(),
        ]);
        cells.extend(controlled.then(|| MISSING.to_owned()));
        cells.push(String::new());
        cells.extend(rank_cells(None).into_iter().filter(|_| ranked));
        add(&mut table, cells, texts);
    }
    format!(
        "{table}\nδ is the change in log-perplexity, nats per token: positive is worse. ⏎ stands for line breaks. In train: \
         the test text's runs of 13 tokens that the training text holds too.{}",
        if ranked { RANK_NOTE } else { "" }
    )
}

/// The explanation of the columns of correlations.
const CORRELATION_NOTE: &str = "\nInside groups: r once each group's means are taken off, its p by permutations inside \
    groups. Partial: with the rate of line breaks, ln of the domain's tokens and of the base's perplexity allowed for. \
    Without one: r without the domain that counts most.";

/// The explanation of the columns of prediction rank.
const RANK_COLUMNS: [&str; 4] = ["rank before", "rank after", "Δ ln rank", "95 % interval"];
const RANK_NOTE: &str = " Rank: how high the model ranks the word that follows where a term of the domain should, \
    trimmed mean; Δ ln rank in nats, positive is worse.";

fn rank_cells(rank: Option<&RowRank>) -> [String; 4] {
    let Some(rank) = rank else { return [MISSING; 4].map(str::to_owned) };
    [
        optional(rank.rank_before, significant),
        optional(rank.rank_after, significant),
        optional(rank.rank_change, delta),
        rank.rank_change_ci95.map_or_else(|| MISSING.to_owned(), |ends| interval(ends, delta)),
    ]
}

/// A table of cells for the terminal.
pub fn sheet_table(sheet: &Sheet) -> String {
    let header: Vec<&str> = sheet.header.iter().map(String::as_str).collect();
    let mut table = table(&header, sheet.texts);
    for row in &sheet.rows {
        add(&mut table, row.iter().map(|cell| cell.text.clone()).collect(), sheet.texts);
    }
    table.to_string()
}

/// The change in log-perplexity against every distance, pooled and within groups.
pub fn correlations_table(results: &StudyResults) -> String {
    if results.correlations.is_empty() {
        return "No correlations: they need three domains or more.".to_owned();
    }
    let several =
        results.correlations.iter().any(|c| results.correlations.first().is_some_and(|first| first.of != c.of));
    let mut header = vec!["δ against", "over"];
    header.extend(several.then_some("model / strategy"));
    let texts = header.len();
    header.extend(["n", "r", "95 % interval", "p", "ρ", "p", "τ", "p"]);
    header.extend(["inside groups", "p", "partial r", "p", "without one"]);
    let mut table = table(&header, texts);
    for c in &results.correlations {
        let mut cells = vec![super::page::measure_label(&c.x), super::page::scope_label(&c.scope)];
        cells.extend(several.then(|| visible(&c.of)));
        cells.extend([
            c.n.to_string(),
            optional(c.pearson, coefficient),
            c.ci95.map_or_else(|| MISSING.to_owned(), |ci| interval(ci, coefficient)),
            optional(c.pearson_p, p_value),
            optional(c.spearman, coefficient),
            optional(c.spearman_p, p_value),
            optional(c.kendall, coefficient),
            optional(c.kendall_p, p_value),
            optional(c.within_groups, coefficient),
            optional(c.permutation_p, p_value),
            optional(c.partial.as_ref().and_then(|partial| partial.pearson), coefficient),
            optional(c.partial.as_ref().and_then(|partial| partial.pearson_p), p_value),
            optional(c.influence.as_ref().map(|influence| influence.pearson), coefficient),
        ]);
        add(&mut table, cells, texts);
    }
    let mut reasons: Vec<String> = results
        .correlations
        .iter()
        .filter_map(|c| {
            let reason = c.reason.as_ref()?;
            Some(format!("\n{}, {}: {}", super::page::measure_label(&c.x), visible(&c.scope), visible(reason)))
        })
        .collect();
    reasons.dedup();
    let warnings = results.correlations.iter().filter_map(|c| {
        let warning = c.warning.as_ref()?;
        Some(format!("\n{}, {}: {}", super::page::measure_label(&c.x), visible(&c.of), visible(warning)))
    });
    let warnings: String = warnings.collect();
    format!("{table}{}{warnings}{CORRELATION_NOTE}", reasons.concat())
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
        Verdict::of(comparison.delta_ci95).name(),
    )];

    if let Some(Divergence { kl, top1_agreement, .. }) = comparison.divergence {
        parts.push(format!(
            "KL(before‖after) {} nats per token; both find the same token most likely at {} of positions",
            significant(kl),
            percent(top1_agreement),
        ));
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
            optional(w.before, significant),
            optional(w.after, significant),
            optional(w.delta, delta),
        ];
        add(&mut without, cells, 1);
    }
    parts.push(without.to_string());
    parts.join("\n\n")
}

/// A token class in words.
pub fn class_label(name: &str) -> String {
    name.replace('_', " ")
}

/// The targets that are left out, in words.
pub(super) fn without_label(name: &str) -> String {
    match name {
        "after_newline" => "the token after a line break".to_owned(),
        "newline_and_after" => "line breaks and the token after".to_owned(),
        "newline" => "line breaks".to_owned(),
        "handful" => "the handful".to_owned(),
        class => format!("class {}", visible(&class_label(class))),
    }
}

/// An empty table whose columns after the first `texts` are numbers.
fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().enumerate().map(|(i, name)| cell((*name).to_owned(), i >= texts)));
    table
}

fn add(table: &mut Table, cells: Vec<String>, texts: usize) {
    table.add_row(cells.into_iter().enumerate().map(|(i, text)| cell(text, i >= texts)));
}

fn cell(text: String, number: bool) -> Cell {
    Cell::new(text).set_alignment(if number { CellAlignment::Right } else { CellAlignment::Left })
}

fn optional(value: Option<f64>, write: fn(f64) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), write)
}
