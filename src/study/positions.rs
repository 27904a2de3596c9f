//! Loss by position, before and after an adaptation, from the per-token files of a study's tasks.

use std::path::Path;

use super::plan::Plan;
use super::results::Row;
use super::task::{Adaptation, Task, TaskText};
use super::task_results::PER_TOKEN;
use crate::error::{Error, Result};
use crate::evaluate::{Positions, per_token};

/// Mean loss by position of the base and of the adapted model on the test text of `row`, which belongs to the study in
/// `folder`.
///
/// # Errors
/// The study does not plan this row, or the per-token files of its tasks are gone or broken.
pub fn positions(folder: &Path, row: &Row) -> Result<[Positions; 2]> {
    let plan = Plan::read(folder)?;
    let of_row = Adaptation {
        text: TaskText::Domain(row.domain.clone()),
        strategy: row.strategy.clone(),
        seed: row.seed,
        training: None,
    };
    let is_it = |task: &&Task| task.adaptation() == Some(&of_row) && plan.model_label(task) == row.model;
    let adapted = plan.tasks.iter().find(is_it);
    let base = adapted.and_then(|task| plan.zero_shot_of(task));
    let (Some(adapted), Some(base)) = (adapted, base) else {
        return Err(Error::file(folder, "its plan has no such adaptation", "run the study anew in a new folder"));
    };
    let of = |task: &Task| {
        let (scored, result) = per_token::read_kept(&plan.result_of(task, folder)?.join(PER_TOKEN))?;
        Ok(Positions::of(&scored, &result.protocol.protocol))
    };
    Ok([of(base)?, of(adapted)?])
}
