//! `results.csv`, one line per row of a study, `domains.csv`, one per domain, and `ablation.csv`, one per cell of the grid:
//! flat columns, numbers in full precision.

use super::plots::word;
use super::{Outcome, change_of};
use crate::error::{Error, Result};
use crate::similarity::{Distances, Measure, Tests};
use crate::study::{AblationRow, DomainChange, PartIntervals, Row, RowRank, StudyResults};

/// Sets of targets with a column for the change without them: the line breaks, the tokens after them, the worst types.
const WITHOUT: [&str; 4] = ["newline", "after_newline", "newline_and_after", "handful"];

/// Reads an effect size.
type Effect = fn(&Tests) -> Option<f64>;

/// Effect sizes, by column.
const EFFECTS: [(&str, Effect); 3] = [
    ("effect_mmd2", |tests| tests.effect_mmd2),
    ("effect_frechet", |tests| tests.effect_frechet),
    ("effect_energy", |tests| tests.effect_energy),
];

/// The columns of prediction rank; present if a row has it.
const RANK: [&str; 6] =
    ["rank_before", "rank_after", "rank_change", "rank_change_ci95_low", "rank_change_ci95_high", "rank_prompts"];

/// The file's bytes. A number that is missing is an empty field.
///
/// The columns `mmd2` to `newline_rate` are the distances by the key of their [`crate::similarity::Measure`]. After them
/// stand the p-values of those that are tested, the same corrected over the domains (`_q`), the ends of all 95 % intervals,
/// and the effect sizes. `test_newline_rate` is [`Row::newline_rate`].
///
/// # Errors
/// None that input can cause.
pub fn rows(results: &StudyResults) -> Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let failed =
        |e: ::csv::Error| Error::Io { path: "results.csv".into(), action: "write", source: std::io::Error::other(e) };
    let ranked = results.rows.iter().any(|row| row.rank.is_some());
    let [mut names, of_ranks] = [header(), RANK.map(str::to_owned).to_vec()];
    names.extend(of_ranks.into_iter().filter(|_| ranked));
    writer.write_record(names).map_err(failed)?;
    for row in &results.rows {
        let mut fields = fields(results, row);
        fields.extend(rank_fields(row.rank.as_ref()).into_iter().filter(|_| ranked));
        writer.write_record(fields).map_err(failed)?;
    }
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
}

/// The bytes of `domains.csv`; `None` without domains.
///
/// # Errors
/// None that input can cause.
pub fn domains(results: &StudyResults) -> Result<Option<Vec<u8>>> {
    const HEADER: [&str; 22] = [
        "model",
        "domain",
        "group",
        "strategy",
        "seeds",
        "over",
        "clusters",
        "delta",
        "delta_ci95_low",
        "delta_ci95_high",
        "seed_sd",
        "p",
        "q",
        "t_p",
        "wilcoxon_p",
        "call",
        "error_rate",
        "smallest_effect",
        "restart_delta",
        "beyond_restart",
        "beyond_restart_ci95_low",
        "beyond_restart_ci95_high",
    ];
    let line = |change: &DomainChange| {
        let [beyond_low, beyond_high] = change.beyond_restart_ci95.map_or([None; 2], |ends| ends.map(Some));
        vec![
            change.model.clone(),
            change.domain.clone(),
            change.group.clone(),
            change.strategy.clone(),
            seeds(&change.seeds),
            change.over.clone(),
            change.clusters.to_string(),
            number(Some(change.delta)),
            number(Some(change.delta_ci95[0])),
            number(Some(change.delta_ci95[1])),
            number(change.seed_sd),
            number(change.p),
            number(change.q),
            number(change.t_p),
            number(change.wilcoxon_p),
            change.call.name().to_owned(),
            number(Some(change.error_rate)),
            number(Some(change.smallest_effect)),
            number(change.restart_delta),
            number(change.beyond_restart),
            number(beyond_low),
            number(beyond_high),
        ]
    };
    lines("domains.csv", &HEADER, results.domains.iter().map(line).collect())
}

/// Domains of one model and strategy, their seeds together, beside one distance: the data of a scatter plot or a table.
/// `measure` is the distance's key.
///
/// # Errors
/// None that input could cause.
pub fn outcomes(outcomes: &[&Outcome<'_>], measure: &str) -> Result<Vec<u8>> {
    let header = [
        "domain",
        "group",
        "zero_shot_ppl",
        "adapted_ppl",
        "delta",
        "delta_ci95_low",
        "delta_ci95_high",
        "verdict",
        "p",
        "q",
        "beyond_restart",
        measure,
        &format!("{measure}_ci95_low"),
        &format!("{measure}_ci95_high"),
        "forgetting",
        "test_newline_rate",
        "test_tokens",
    ];
    let line = |outcome: &&Outcome<'_>| {
        let row = outcome.rows.first();
        let [before, after] = outcome.perplexities().map(Some);
        let ends = row.and_then(|row| row.similarity.interval(measure)).map_or([None; 2], |ends| ends.map(Some));
        vec![
            outcome.domain.to_owned(),
            outcome.group.to_owned(),
            number(before),
            number(after),
            number(Some(outcome.delta)),
            number(Some(outcome.ci95[0])),
            number(Some(outcome.ci95[1])),
            outcome.verdict().name().to_owned(),
            number(outcome.change.and_then(|change| change.p)),
            number(outcome.change.and_then(|change| change.q)),
            number(outcome.change.and_then(|change| change.beyond_restart)),
            number(outcome.measure(measure)),
            number(ends[0]),
            number(ends[1]),
            number(outcome.mean(|row| row.evidence.forgetting)),
            number(outcome.mean(|row| Some(row.newline_rate))),
            row.map(|row| row.test_tokens.to_string()).unwrap_or_default(),
        ]
    };
    // Without a line there would be no header either.
    let lines = lines("points.csv", &header, outcomes.iter().map(line).collect())?;
    Ok(lines.unwrap_or_else(|| (header.join(",") + "\n").into_bytes()))
}

/// The bytes of `ablation.csv`; `None` without a grid.
///
/// # Errors
/// None that input could cause.
pub fn ablation(results: &StudyResults) -> Result<Option<Vec<u8>>> {
    const HEADER: [&str; 27] = [
        "model",
        "domain",
        "group",
        "control",
        "strategy",
        "train_join",
        "newlines",
        "eval_join",
        "eval_newlines",
        "lr",
        "seeds",
        "delta",
        "delta_ci95_low",
        "delta_ci95_high",
        "part_newline",
        "part_newline_ci95_low",
        "part_newline_ci95_high",
        "part_after_newline",
        "part_after_newline_ci95_low",
        "part_after_newline_ci95_high",
        "part_boundary",
        "part_boundary_ci95_low",
        "part_boundary_ci95_high",
        "part_rest",
        "part_rest_ci95_low",
        "part_rest_ci95_high",
        "restart_delta",
    ];
    let line = |row: &AblationRow| {
        type Ends = fn(&PartIntervals) -> [f64; 2];
        let ends = |part: Ends| {
            let ends = row.parts_ci95.as_ref().map(part);
            [ends.map(|[low, _]| low), ends.map(|[_, high]| high)].map(number)
        };
        let mut fields = vec![
            row.model.clone(),
            row.domain.clone(),
            row.group.clone(),
            row.control.to_string(),
            row.strategy.clone(),
            word(row.train_join),
            word(row.newlines),
            word(row.eval_join),
            word(row.eval_newlines),
            number(Some(row.lr)),
            seeds(&row.seeds),
            number(Some(row.delta)),
            number(Some(row.delta_ci95[0])),
            number(Some(row.delta_ci95[1])),
        ];
        let parts: [(Option<f64>, Ends); 4] = [
            (Some(row.parts.newline), |ends| ends.newline),
            (Some(row.parts.after_newline), |ends| ends.after_newline),
            (row.parts.boundary, |ends| ends.boundary),
            (Some(row.parts.rest), |ends| ends.rest),
        ];
        for (part, of) in parts {
            fields.push(number(part));
            fields.extend(ends(of));
        }
        fields.push(number(row.restart_delta));
        fields
    };
    lines("ablation.csv", &HEADER, results.ablation.iter().map(line).collect())
}

fn lines(file: &'static str, header: &[&str], lines: Vec<Vec<String>>) -> Result<Option<Vec<u8>>> {
    let failed = |e: ::csv::Error| Error::Io { path: file.into(), action: "write", source: std::io::Error::other(e) };
    if lines.is_empty() {
        return Ok(None);
    }
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for line in lines {
        writer.write_record(line).map_err(failed)?;
    }
    writer.into_inner().map(Some).map_err(|e| failed(e.into_error().into()))
}

fn seeds(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn header() -> Vec<String> {
    let mut names: Vec<String> = [
        "model",
        "domain",
        "group",
        "strategy",
        "seed",
        "device",
        "fingerprint",
        "zero_shot_ppl",
        "adapted_ppl",
        "delta",
        "delta_ci95_low",
        "delta_ci95_high",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(WITHOUT.map(|name| format!("delta_without_{name}")));
    names.push("samples".to_owned());
    names.extend(Distances::MEASURES.map(|measure| measure.key.to_owned()));
    names.extend(Distances::TESTED.into_iter().flat_map(|key| ["p", "q"].map(|which| format!("{key}_{which}"))));
    let ends = |measure: Measure| ["low", "high"].map(|end| format!("{}_ci95_{end}", measure.key));
    names.extend(Distances::MEASURES.into_iter().flat_map(ends));
    names.extend(EFFECTS.map(|(name, _)| name.to_owned()));
    names.extend(
        [
            "test_newline_rate",
            "test_13grams_in_train",
            "near_duplicate_documents",
            "forgetting",
            "forgetting_ci95_low",
            "forgetting_ci95_high",
            "base_loss_document_sd",
            "available_tokens",
            "train_tokens",
            "test_tokens",
            "handful_types",
            "handful_share_of_worsening",
            "held_out_share_of_top_10",
            "held_out_share_of_random_10",
            "seconds",
            "restart_delta",
            "beyond_restart",
        ]
        .map(str::to_owned),
    );
    names
}

fn fields(results: &StudyResults, row: &Row) -> Vec<String> {
    let restart = change_of(results, row).and_then(|change| change.restart_delta);
    let mut fields = vec![
        row.model.clone(),
        row.domain.clone(),
        row.group.clone(),
        row.strategy.clone(),
        row.seed.to_string(),
        row.device.clone(),
        row.fingerprint.clone(),
        number(Some(row.zero_shot_ppl)),
        number(Some(row.adapted_ppl)),
        number(Some(row.delta)),
        number(Some(row.delta_ci95[0])),
        number(Some(row.delta_ci95[1])),
    ];
    fields.extend(WITHOUT.map(|name| number(row.without.get(name).and_then(|without| without.delta))));
    fields.push(row.similarity.samples.to_string());
    let distances = &row.similarity;
    fields.extend(Distances::MEASURES.map(|measure| number(distances.get(measure.key))));
    fields.extend(Distances::TESTED.into_iter().flat_map(|key| [distances.p(key), distances.q(key)].map(number)));
    let ends = |measure: Measure| {
        let ends = distances.interval(measure.key);
        [ends.map(|[low, _]| low), ends.map(|[_, high]| high)].map(number)
    };
    fields.extend(Distances::MEASURES.into_iter().flat_map(ends));
    fields.extend(EFFECTS.map(|(_, effect)| number(effect(&distances.tests))));
    fields.extend([
        number(Some(row.newline_rate)),
        number(row.overlap.as_ref().and_then(|overlap| overlap.test_13grams_in_train)),
        number(row.overlap.as_ref().and_then(|overlap| overlap.near_duplicate_documents)),
        number(row.evidence.forgetting),
        number(row.evidence.forgetting_ci95.map(|[low, _]| low)),
        number(row.evidence.forgetting_ci95.map(|[_, high]| high)),
        number(row.evidence.base_loss.as_ref().and_then(|profile| profile.document_sd)),
        row.evidence.available_tokens.map(|tokens| tokens.to_string()).unwrap_or_default(),
        row.train_tokens.to_string(),
        row.test_tokens.to_string(),
        row.handful.types.to_string(),
        number(Some(row.handful.share_of_worsening)),
        number(row.handful.held_out_share_of_top_10),
        number(row.handful.held_out_share_of_random_10),
        number(Some(row.seconds)),
        number(restart),
        number(restart.map(|restart| row.delta - restart)),
    ]);
    fields
}

/// The fields of [`RANK`].
fn rank_fields(rank: Option<&RowRank>) -> [String; 6] {
    let Some(rank) = rank else { return Default::default() };
    let [low, high] = rank.rank_change_ci95.map_or([None; 2], |ends| ends.map(Some));
    let [before, after, change, low, high] =
        [rank.rank_before, rank.rank_after, rank.rank_change, low, high].map(number);
    [before, after, change, low, high, rank.rank_prompts.to_string()]
}

/// The shortest text that reads back as the same number.
fn number(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map(|v| v.to_string()).unwrap_or_default()
}
