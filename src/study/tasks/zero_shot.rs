//! The task of the base model's perplexity on a text.

use std::path::Path;

use super::ranks;
use super::scores::score_test;
use crate::error::Result;
use crate::evaluate::per_token;
use crate::files;
use crate::progress::Monitor;
use crate::seal;
use crate::study::runner::{Loaded, Runner};
use crate::study::task::{Task, TaskText};
use crate::study::task_results::{EVAL, PER_TOKEN};
use crate::text::StreamOptions;

/// Scores a text with the base; `evaluation` is how it is read, where that is not the study's own way.
pub(in crate::study) fn run(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    evaluation: Option<StreamOptions>,
    loaded: &Loaded,
    out: &Path,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    let options = evaluation.unwrap_or(runner.plan.config.text.stream());
    let (scored, result) = score_test(runner, task, text, loaded, &loaded.base.model, &options, monitor)?;
    let ranked = runner.plan.config.evaluation.rank && evaluation.is_none() && text.domain().is_some();
    let rank = match ranked {
        true => Some(ranks::before(runner, task, text, loaded, monitor)?),
        false => None,
    };
    seal::folder_whole(out, &runner.plan.made_with(task), |folder| {
        if let Some(rank) = &rank {
            ranks::write(folder, rank)?;
        }
        per_token::write(&folder.join(PER_TOKEN), &scored, &result)?;
        files::write_json(&folder.join(EVAL), &result)
    })
}
