//! The table of the ablation grid. `ablation.csv` has the columns in this order.

use super::calls::joined;
use super::cell::Value;
use super::column::{Column, columns};
use crate::study::{self, AblationRow, PartIntervals};

const NOT_FINITE: &str = "not a finite number";

/// Every column of a cell of the grid. The faces in brackets: CSV, points, terminal, page, app, strategies; the application
/// shows the grid as the page does.
pub fn grid() -> Vec<Column<AblationRow>> {
    columns! { AblationRow;
        "model" "model" Text [A N N N N N] r => r.model.as_str(),
            "The base model";
        "domain" "domain" Text [A N A A N N] r => r.domain.as_str(),
            "The domain";
        "group" "group" Text [A N N N N N] r => r.group.as_str(),
            "Its group in the study";
        "control" "control" Text [A N N N N N] r => r.control.to_string(),
            "Whether it is the restart control";
        "strategy" "strategy" Text [A N N N N N] r => r.strategy.as_str(),
            "The name of the strategy";
        "arm" "model / strategy" Text [N N V V N N] r => study::arm(&r.model, &r.strategy),
            "The base model and the name of the strategy";
        "train_join" "train join" Text [A N V V N N] r => word(r.train_join),
            "What stood between documents in training";
        "newlines" "train line breaks" Text [A N V V N N] r => word(r.newlines),
            "Line breaks inside documents in training";
        "eval_join" "test join" Text [A N V V N N] r => word(r.eval_join),
            "What stood between documents in evaluation";
        "eval_newlines" "test line breaks" Text [A N V V N N] r => word(r.eval_newlines),
            "Line breaks inside documents in evaluation";
        "lr" "rate" Exact [A N V V N N] r => r.lr,
            "The peak learning rate";
        "seeds" "seeds" Text [A N N N N N] r => joined(&r.seeds),
            "The seeds";
        "delta" "δ" Nats [A N A A N N] r => r.delta,
            "Change in log-perplexity, nats per token, mean over seeds: positive is worse";
        "delta_ci95" "95 % interval" Nats [A N A A N N] r => (r.delta_ci95, NOT_FINITE),
            "Of δ, documents resampled for all seeds at once";
        "part_newline" "of line breaks" Nats [A N A A N N] r => r.parts.newline,
            "The part of δ that tokens with a line break carry";
        "part_newline_ci95" "95 % interval" Nats [A N A A N N] r => ends(r, |ends| ends.newline),
            "Of that part";
        "part_after_newline" "of tokens after" Nats [A N A A N N] r => r.parts.after_newline,
            "The part of the tokens right after line breaks";
        "part_after_newline_ci95" "95 % interval" Nats [A N N N N N] r => ends(r, |ends| ends.after_newline),
            "Of that part";
        "part_boundary" "of document ends" Nats [A N A A N N] r => (r.parts.boundary, "was not counted apart"),
            "The part of the ends of documents";
        "part_boundary_ci95" "95 % interval" Nats [A N N N N N] r => ends(r, |ends| ends.boundary),
            "Of that part";
        "part_rest" "of the rest" Nats [A N A A N N] r => r.parts.rest,
            "The part of all other tokens";
        "part_rest_ci95" "95 % interval" Nats [A N N N N N] r => ends(r, |ends| ends.rest),
            "Of that part";
        "restart_delta" "δ of the restart" Nats [A N N N N N] r => r.restart_delta,
            "δ of the restart control in the same cell";
        "beyond_restart" "beyond the restart" Nats [N N A A N N] r => (beyond(r), "no restart control"),
            "δ minus that of the restart control";
    }
}

fn ends(row: &AblationRow, of: fn(&PartIntervals) -> [f64; 2]) -> Value {
    Value::or(row.parts_ci95.as_ref().map(of), "documents' parts were not kept")
}

fn beyond(row: &AblationRow) -> Option<f64> {
    row.restart_delta.filter(|_| !row.control).map(|restart| row.delta - restart)
}

/// A setting as the TOML of a study writes it.
pub fn word(setting: impl clap::ValueEnum) -> String {
    setting.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
