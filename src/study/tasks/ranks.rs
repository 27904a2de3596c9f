//! Prediction ranks in a study: the domain's prompts and the base's ranks before adaptation, the change after it.

use std::path::Path;

use crate::error::Result;
use crate::files;
use crate::model::LanguageModel;
use crate::progress::Monitor;
use crate::rank::{PromptSet, RankChange, Ranks, rank};
use crate::study::runner::{Loaded, Runner};
use crate::study::task::{Task, TaskText};
use crate::study::task_results::{PROMPTS, RANKS};
use crate::text::Split;

/// Writes what [`before`] found into a task's folder.
pub(super) fn write(folder: &Path, (prompts, ranks): &(PromptSet, Ranks)) -> Result<()> {
    prompts.write(&folder.join(PROMPTS))?;
    files::write_json(&folder.join(RANKS), ranks)
}

/// The domain's prompts, which depend only on the texts and on the reference of the model, and the base's ranks.
pub(super) fn before(
    runner: &Runner<'_>,
    task: &Task,
    text: &TaskText,
    loaded: &Loaded,
    monitor: &mut dyn Monitor,
) -> Result<(PromptSet, Ranks)> {
    let train = runner.read_split(text, loaded, Split::Train, monitor)?;
    let test = runner.read_split(text, loaded, Split::Test, monitor)?;
    let reference = runner.read_reference(task, monitor)?;
    let prompts = PromptSet::build(&train, &test, Some(&reference));
    let ranks = ask(runner, &prompts, loaded, &loaded.base.model, monitor)?;
    Ok((prompts, ranks))
}

/// The change of the ranks of the prompts in the `zero_shot` folder.
pub(super) fn change(
    runner: &Runner<'_>,
    loaded: &Loaded,
    zero_shot: &Path,
    adapted: &LanguageModel,
    monitor: &mut dyn Monitor,
) -> Result<RankChange> {
    let before: Ranks = files::read_json(&zero_shot.join(RANKS))?;
    let prompts = match before.ranks.is_empty() {
        true => PromptSet::none(before.reason.clone().unwrap_or_default()),
        false => PromptSet { similarity: before.similarity.clone(), ..PromptSet::read(&zero_shot.join(PROMPTS))? },
    };
    before.change(&ask(runner, &prompts, loaded, adapted, monitor)?)
}

fn ask(
    runner: &Runner<'_>,
    prompts: &PromptSet,
    loaded: &Loaded,
    model: &LanguageModel,
    monitor: &mut dyn Monitor,
) -> Result<Ranks> {
    rank(prompts, model, &loaded.base, loaded.tokenizer.as_ref(), runner.plan.config.text.bos, monitor)
}
