//! A study's results, collected from the folders of its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ablation::Training;
use super::calls::{self, Owner};
use super::correlations::correlate;
use super::joint::{Draws, Joint};
use super::kept::{self, State};
use super::plan::Plan;
use super::results::{
    AblationRow, Base, DomainChange, NullDistance, PartIntervals, RestartControl, Row, RowEvidence, RowRank,
    StudyResults,
};
use super::task::{Adaptation, Task, TaskText, TaskWork};
use super::task_results::{self, AdaptTaskResult, OtherEvaluation, ReferenceResult, SimilarityTaskResult, TYPES_KEPT};
use crate::compare::{LineBreakParts, PairedChanges, PartChanges};
use crate::error::Result;
use crate::evaluate::{EvalResult, beyond_f64, per_token};
use crate::files;
use crate::similarity::{self, Distances};
use crate::stats::BOOTSTRAP_SEED;
use crate::stats::Estimate;
use crate::text::StreamOptions;

/// Collects the results that the study in `folder` has so far.
///
/// # Errors
/// [`crate::error::Error::Input`] where the folder holds no study, or the result of a task is damaged.
pub fn collect(folder: &Path) -> Result<StudyResults> {
    let plan = Plan::read(folder)?;
    let at = |task: &Task, file: &str| -> PathBuf { folder.join(&task.folder).join(file) };
    let finished = finished(&plan, folder)?;
    let done = |task: &&Task| finished.contains(task.folder.as_path());

    let distances = distances(&plan, folder, &finished)?;
    let mut rows = Vec::new();
    let mut cells = Cells::default();
    let mut bases: Vec<Base> = Vec::new();
    for task in plan.tasks.iter().filter(done) {
        let Some(adaptation) = task.adaptation() else { continue };
        let Some(zero_shot) = plan.zero_shot_of(task).filter(done) else { continue };
        let mut adapted: AdaptTaskResult = files::read_json(&at(task, task_results::ADAPT))?;
        let changes = match adapted.changes.take() {
            Some(changes) => changes,
            None => {
                let scores = |task| per_token::read_kept(&at(task, task_results::PER_TOKEN));
                let ((before, _), (after, _)) = (scores(zero_shot)?, scores(task)?);
                PairedChanges::of(&before, &after, [&task.model, &task.label()])?
            }
        };
        cells.add(&plan, task, adaptation, &adapted, changes);
        know(&mut bases, plan.model_label(task), adaptation.text == TaskText::Control, &adapted);
        if !adaptation.is_row() {
            continue;
        }
        let Some(similarity) = plan.similarity_of(task).filter(done) else { continue };
        let before: EvalResult = files::read_json(&at(zero_shot, task_results::EVAL))?;
        let similarity = distances.get(&similarity.folder).cloned().unwrap_or_default();
        rows.push(row(&plan, task, adaptation, &before, similarity, adapted));
    }
    let mut null = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.work == TaskWork::Reference).filter(done) {
        let result: ReferenceResult = files::read_json(&at(task, task_results::REFERENCE))?;
        null.push(NullDistance { model: plan.model_label(task), reference: result.reference, distances: result.null });
    }
    let cells = cells.finish()?;
    let domains = domains(&plan, &cells)?;
    Ok(StudyResults {
        schema: "odyssey.study/1".into(),
        name: plan.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        settings: plan.config.to_toml(),
        correlations: correlate(&rows, BOOTSTRAP_SEED),
        rows,
        domains,
        null,
        restart_control: restart_control(&plan, &cells),
        ablation: if plan.config.ablation.is_some() { ablation(&plan, &cells) } else { Vec::new() },
        bases,
        missing: plan.tasks.iter().filter(|task| !done(task)).map(Task::label).collect(),
    })
}

/// The folders of the tasks that are done.
///
/// # Errors
/// [`crate::error::Error::Input`] where a result is not as it was written: a table without it would look whole.
fn finished<'a>(plan: &'a Plan, folder: &Path) -> Result<BTreeSet<&'a Path>> {
    let (mut finished, mut unchecked) = (BTreeSet::new(), 0);
    for task in &plan.tasks {
        match plan.state(task, folder)? {
            State::Missing => continue,
            State::Damaged(damage) => return Err(kept::unusable(&damage)),
            State::Done => {}
            State::Unchecked => unchecked += 1,
        }
        finished.insert(task.folder.as_path());
    }
    if unchecked > 0 {
        tracing::warn!(
            "{}: {unchecked} results of an older version have no checksums; they are taken as they are",
            folder.display()
        );
    }
    Ok(finished)
}

/// Takes the facts about the base from an adaptation. The test text of the restart control belongs to the reference
/// corpus.
fn know(bases: &mut Vec<Base>, model: String, is_control: bool, done: &AdaptTaskResult) {
    let Some((parameters, vocabulary)) = done.base_size else { return };
    let at = bases.iter().position(|base| base.model == model).unwrap_or_else(|| {
        bases.push(Base { model, parameters, vocabulary, reference_loss: None });
        bases.len() - 1
    });
    if is_control {
        bases[at].reference_loss.clone_from(&done.base_loss);
    }
}

/// One way to train and to evaluate, of one model, domain and strategy: its seeds, in the order of the plan.
struct Cell {
    /// The first seed's task.
    task: Task,
    /// Its adaptation.
    adaptation: Adaptation,
    model: String,
    training: Training,
    /// Whether that is the strategy's own way.
    own_training: bool,
    evaluation: StreamOptions,
    seeds: Vec<u64>,
    parts: Vec<LineBreakParts>,
    changes: Vec<PairedChanges>,
    /// Of the seeds whose documents' parts were kept.
    part_changes: Vec<PartChanges>,
    divided: bool,
    train_tokens: u64,
    /// δ on the reference corpus, by seed.
    forgetting: Vec<f64>,
}

/// A cell whose seeds are put together.
struct Joined {
    cell: Cell,
    joint: Joint,
    parts: LineBreakParts,
    parts_ci95: Option<PartIntervals>,
}

#[derive(Default)]
struct Cells(Vec<Cell>);

impl Cells {
    fn add(
        &mut self,
        plan: &Plan,
        task: &Task,
        adaptation: &Adaptation,
        done: &AdaptTaskResult,
        changes: PairedChanges,
    ) {
        let Some(strategy) = plan.config.strategies.iter().find(|s| s.name == adaptation.strategy) else { return };
        let training = adaptation.training.unwrap_or(plan.config.training(strategy));
        let own = (plan.config.text.stream(), done.comparison.line_break_parts(), changes, done.part_changes.clone());
        let others = done.evaluations.iter().map(|OtherEvaluation { text, parts, changes, part_changes, .. }| {
            (*text, *parts, changes.clone(), part_changes.clone())
        });
        for (evaluation, parts, changes, part_changes) in std::iter::once(own).chain(others) {
            let at = self.0.iter().position(|cell| {
                cell.task.is_of(&task.model, task.device)
                    && cell.adaptation.text == adaptation.text
                    && cell.adaptation.strategy == adaptation.strategy
                    && cell.training == training
                    && cell.evaluation == evaluation
            });
            let at = at.unwrap_or_else(|| {
                self.0.push(Cell {
                    model: plan.model_label(task),
                    training,
                    own_training: adaptation.training.is_none(),
                    evaluation,
                    seeds: Vec::new(),
                    parts: Vec::new(),
                    changes: Vec::new(),
                    part_changes: Vec::new(),
                    divided: done.divided,
                    train_tokens: done.adapt.tokens,
                    forgetting: Vec::new(),
                    task: task.clone(),
                    adaptation: adaptation.clone(),
                });
                self.0.len() - 1
            });
            let cell = &mut self.0[at];
            cell.seeds.push(adaptation.seed);
            cell.parts.push(parts);
            cell.changes.push(changes);
            cell.part_changes.extend(part_changes);
            let is_own = evaluation == plan.config.text.stream();
            cell.forgetting.extend(done.forgetting.as_ref().filter(|_| is_own).map(|f| f.delta));
        }
    }

    fn finish(self) -> Result<Vec<Joined>> {
        let mut draws = Draws::default();
        let join = |cell: Cell| {
            let joint = Joint::of(&cell.changes, &mut draws)?;
            let (parts, parts_ci95) = match cell.part_changes.len() == cell.changes.len() {
                true => joint.parts(&cell.part_changes, &mut draws).map(|(parts, ends)| (parts, Some(ends)))?,
                false => (cell.mean_parts(), None),
            };
            Ok(Joined { joint, parts, parts_ci95, cell })
        };
        self.0.into_iter().map(join).collect()
    }
}

impl Cell {
    /// Whether it belongs to the restart control.
    fn is_control(&self) -> bool {
        self.adaptation.text == TaskText::Control
    }

    /// The mean over seeds of parts that were counted when each was scored.
    fn mean_parts(&self) -> LineBreakParts {
        let mean =
            |part: fn(&LineBreakParts) -> f64| self.parts.iter().map(part).sum::<f64>() / self.parts.len() as f64;
        let boundaries: Option<Vec<f64>> = self.parts.iter().map(|parts| parts.boundary).collect();
        LineBreakParts {
            newline: mean(|p| p.newline),
            after_newline: mean(|p| p.after_newline),
            boundary: boundaries.map(|all| all.iter().sum::<f64>() / all.len() as f64),
            rest: mean(|p| p.rest),
        }
    }
}

/// The control that is adapted to and evaluated as `of` is.
fn control_of<'a>(of: &Cell, cells: &'a [Joined]) -> Option<&'a Joint> {
    let found = cells.iter().find(|Joined { cell, .. }| {
        cell.is_control()
            && cell.model == of.model
            && cell.adaptation.strategy == of.adaptation.strategy
            && cell.training == of.training
            && cell.evaluation == of.evaluation
    });
    found.map(|Joined { joint, .. }| joint)
}

fn domains(plan: &Plan, cells: &[Joined]) -> Result<Vec<DomainChange>> {
    let own = plan.config.text.stream();
    let plain =
        cells.iter().filter(|Joined { cell, .. }| !cell.is_control() && cell.own_training && cell.evaluation == own);
    let mut domains = plain
        .map(|Joined { cell, joint, .. }| {
            let owner = Owner {
                model: cell.model.clone(),
                domain: cell.adaptation.text.in_results().to_owned(),
                group: plan.group(&cell.adaptation.text),
                strategy: cell.adaptation.strategy.clone(),
                seeds: cell.seeds.clone(),
            };
            calls::test(owner, joint, control_of(cell, cells), plan.config.statistics.error_rate)
        })
        .collect::<Result<Vec<DomainChange>>>()?;
    calls::decide(&mut domains);
    Ok(domains)
}

fn restart_control(plan: &Plan, cells: &[Joined]) -> Vec<RestartControl> {
    let own = plan.config.text.stream();
    let reference = |model: &str| {
        plan.config.models.iter().find(|m| m.name == model).map_or(String::new(), |m| m.reference.display().to_string())
    };
    let controls =
        cells.iter().filter(|Joined { cell, .. }| cell.is_control() && cell.own_training && cell.evaluation == own);
    let mut found: Vec<RestartControl> = controls
        .map(|Joined { cell, joint, .. }| RestartControl {
            model: cell.model.clone(),
            reference: reference(&cell.task.model),
            strategy: cell.adaptation.strategy.clone(),
            seeds: cell.seeds.clone(),
            delta: Estimate { ci95: Some(joint.ci95), ..joint.delta.into() },
            seed_sd: joint.seed_sd,
            held_out: if cell.divided {
                "documents of the reference corpus kept out of this training; the base may have seen them".to_owned()
            } else {
                "the reference corpus's own test split".to_owned()
            },
            train_tokens: cell.train_tokens,
            test_tokens: joint.tokens(),
        })
        .collect();
    for (model, reason) in &plan.no_control {
        found.extend(plan.config.strategies.iter().map(|strategy| RestartControl {
            model: model.clone(),
            reference: reference(model),
            strategy: strategy.name.clone(),
            delta: Estimate { reason: Some(reason.clone()), ..Estimate::default() },
            ..RestartControl::default()
        }));
    }
    found
}

fn ablation(plan: &Plan, cells: &[Joined]) -> Vec<AblationRow> {
    cells
        .iter()
        .map(|Joined { cell, joint, parts, parts_ci95 }| AblationRow {
            model: cell.model.clone(),
            domain: cell.adaptation.text.domain().unwrap_or("reference corpus").to_owned(),
            group: plan.group(&cell.adaptation.text),
            control: cell.is_control(),
            strategy: cell.adaptation.strategy.clone(),
            train_join: cell.training.text.join,
            newlines: cell.training.text.newlines,
            eval_join: cell.evaluation.join,
            eval_newlines: cell.evaluation.newlines,
            lr: cell.training.lr,
            seeds: cell.seeds.clone(),
            delta: joint.delta,
            delta_ci95: joint.ci95,
            seed_sd: joint.seed_sd,
            parts: *parts,
            parts_ci95: *parts_ci95,
            forgetting: (!cell.forgetting.is_empty())
                .then(|| cell.forgetting.iter().sum::<f64>() / cell.forgetting.len() as f64),
            restart_delta: control_of(cell, cells).map(|control| control.delta),
        })
        .collect()
}

/// The distances that are done, by the task's folder, p-values corrected for the domains of one model.
fn distances(plan: &Plan, folder: &Path, finished: &BTreeSet<&Path>) -> Result<BTreeMap<PathBuf, Distances>> {
    let mut all = BTreeMap::new();
    for reference in plan.tasks.iter().filter(|task| task.work == TaskWork::Reference) {
        let of_model = plan.tasks.iter().filter(|task| {
            task.is_of(&reference.model, reference.device) && matches!(task.work, TaskWork::Similarity { .. })
        });
        let mut found = Vec::new();
        for task in of_model.filter(|task| finished.contains(task.folder.as_path())) {
            let path = folder.join(&task.folder).join(task_results::SIMILARITY);
            let SimilarityTaskResult { distances } = files::read_json(&path)?;
            found.push((task.folder.clone(), distances));
        }
        similarity::adjust(&mut found.iter_mut().map(|(_, distances)| distances).collect::<Vec<_>>());
        all.extend(found);
    }
    Ok(all)
}

fn row(
    plan: &Plan,
    task: &Task,
    adaptation: &Adaptation,
    before: &EvalResult,
    similarity: Distances,
    done: AdaptTaskResult,
) -> Row {
    let AdaptTaskResult { adapt, after, mut comparison, test_newline_rate, overlap, rank, .. } = done;
    let AdaptTaskResult { base_loss, available_tokens, forgetting, .. } = done;
    comparison.shorten(TYPES_KEPT);
    let no_control = plan.no_control.get(&task.model).map_or("the study has no restart control", String::as_str);
    let evidence = RowEvidence {
        forgetting: Estimate {
            ci95: forgetting.as_ref().map(|f| f.delta_ci95),
            ..forgetting.as_ref().map(|f| f.delta).ok_or_else(|| no_control.to_owned()).into()
        },
        base_loss,
        available_tokens,
    };
    Row {
        model: plan.model_label(task),
        domain: adaptation.text.in_results().to_owned(),
        group: plan.group(&adaptation.text),
        strategy: adaptation.strategy.clone(),
        seed: adaptation.seed,
        device: after.device.to_string(),
        fingerprint: before.protocol.fingerprint.clone(),
        zero_shot_ppl: comparison.before.ppl,
        adapted_ppl: comparison.after.ppl,
        reason: beyond_f64([comparison.before.ppl, comparison.after.ppl]),
        delta: comparison.delta,
        delta_ci95: comparison.delta_ci95,
        similarity,
        newline_rate: test_newline_rate,
        overlap,
        rank: rank.map(RowRank::from),
        evidence,
        train_tokens: adapt.tokens,
        test_tokens: comparison.scored,
        train_loss: adapt.curves.train_loss,
        valid_loss: adapt.curves.valid_loss,
        top_types: comparison.types,
        classes: comparison.classes,
        loss_classes: comparison.loss_classes,
        handful: comparison.handful,
        without: comparison.without,
        passages: comparison.passages,
        seconds: adapt.seconds,
    }
}
