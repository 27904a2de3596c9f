//! Prediction ranks in a study: prompts and ranks of the base before adaptation, the change after it.

use std::path::Path;

use super::kept::RANKS;
use super::plan::Task;
use super::run::{Loaded, Runner};
use crate::error::Result;
use crate::files;
use crate::model::LanguageModel;
use crate::progress::Monitor;
use crate::rank::{PromptSet, RankChange, Ranks, rank};
use crate::text::Split;

/// The prompts of a zero-shot task, where the study measures prediction rank.
const PROMPTS: &str = "prompts.jsonl";

/// Writes what [`Runner::rank_before`] found into a task's folder.
pub(super) fn write(folder: &Path, (prompts, ranks): &(PromptSet, Ranks)) -> Result<()> {
    prompts.write(&folder.join(PROMPTS))?;
    files::write_json(&folder.join(RANKS), ranks)
}

impl Runner<'_> {
    /// The domain's prompts, which depend only on the texts and on the reference of the model, and the base's ranks.
    pub(super) fn rank_before(
        &self,
        task: &Task,
        loaded: &Loaded,
        monitor: &mut dyn Monitor,
    ) -> Result<(PromptSet, Ranks)> {
        let train = self.read_split(task, loaded, Split::Train, monitor)?;
        let test = self.read_split(task, loaded, Split::Test, monitor)?;
        let reference = self.read_reference(task, monitor)?;
        let prompts = PromptSet::build(&train, &test, Some(&reference));
        let ranks = self.ask(&prompts, loaded, &loaded.base.model, monitor)?;
        Ok((prompts, ranks))
    }

    /// The change of the ranks of the prompts in the `zero_shot` folder.
    pub(super) fn rank_change(
        &self,
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
        before.change(&self.ask(&prompts, loaded, adapted, monitor)?)
    }

    fn ask(
        &self,
        prompts: &PromptSet,
        loaded: &Loaded,
        model: &LanguageModel,
        monitor: &mut dyn Monitor,
    ) -> Result<Ranks> {
        rank(prompts, model, &loaded.base, loaded.tokenizer.as_ref(), self.plan.config.text.bos, monitor)
    }
}
