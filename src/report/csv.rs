//! `results.csv`: one line per row of a study, flat columns, numbers in full precision.

use crate::error::{Error, Result};
use crate::similarity::Distances;
use crate::study::{Row, RowRank, StudyResults};

/// Sets of targets whose absence is worth a column: the line breaks, the tokens after them, the worst types.
const WITHOUT: [&str; 4] = ["newline", "after_newline", "newline_and_after", "handful"];

/// The columns of prediction rank, which are there where a row has it.
const RANK: [&str; 6] =
    ["rank_before", "rank_after", "rank_change", "rank_change_ci95_low", "rank_change_ci95_high", "rank_prompts"];

/// The file's bytes. A number that is missing is an empty field.
///
/// The columns `mmd2` to `newline_rate` are the distances by the key of their [`crate::similarity::Measure`];
/// `test_newline_rate` is [`Row::newline_rate`].
///
/// # Errors
/// None that input could cause.
pub fn rows(results: &StudyResults) -> Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let failed =
        |e: ::csv::Error| Error::Io { path: "results.csv".into(), action: "write", source: std::io::Error::other(e) };
    let ranked = results.rows.iter().any(|row| row.rank.is_some());
    let [mut names, of_ranks] = [header(), RANK.map(str::to_owned).to_vec()];
    names.extend(of_ranks.into_iter().filter(|_| ranked));
    writer.write_record(names).map_err(failed)?;
    for row in &results.rows {
        let mut fields = fields(row);
        fields.extend(rank_fields(row.rank.as_ref()).into_iter().filter(|_| ranked));
        writer.write_record(fields).map_err(failed)?;
    }
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
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
        ]
        .map(str::to_owned),
    );
    names
}

fn fields(row: &Row) -> Vec<String> {
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
    fields.extend(Distances::MEASURES.map(|measure| number(row.similarity.get(measure.key))));
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
