//! The whole experiment over models, domains, strategies and seeds: planned, run, resumed, put together.
//!
//! [`config`] reads a study's TOML, [`plan`] lists its tasks, [`run`] does what is missing, and [`results`] are put
//! together from the tasks' folders by [`collect`].

pub mod config;
mod correlations;
pub mod plan;
mod results;
pub mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use config::StudyConfig;
pub use correlations::correlate;
pub use plan::{Plan, Task, TaskKind};
pub use results::{Correlation, NullDistance, Row, RowRank, StudyResults};

use crate::device::ChosenDevice;
use crate::error::{Error, Result};
use crate::evaluate::{BOOTSTRAP_SEED, EvalResult, beyond_f64};
use crate::files;
use crate::progress::Monitor;
use crate::similarity::{self, Distances};
use run::{AdaptTaskResult, ReferenceResult, Runner, SimilarityTaskResult};

/// Token types kept in a row, from either end of the list.
const TYPES_KEPT: usize = 50;

/// Plans the study and runs what is missing of it in `folder`. Returns its results.
///
/// # Errors
/// The first task's that fails or is interrupted; what was done before stays.
pub fn run(config: StudyConfig, folder: &Path, monitor: &mut dyn Monitor) -> Result<StudyResults> {
    let devices = config.devices.iter().map(|choice| choice.open()).collect::<Result<Vec<ChosenDevice>>>()?;
    let plan = Plan::new(config, &devices, monitor)?;
    plan.write(folder)?;
    let missing: Vec<&Task> = plan.tasks.iter().filter(|task| !folder.join(&task.folder).exists()).collect();
    let mut runner = Runner::new(&plan, folder, &devices);
    monitor.begin(&plan.config.name, missing.len() as u64);
    for task in missing {
        monitor.begin(&task.label(), 0);
        runner.run(task, monitor).map_err(|error| match error {
            Error::Interrupted(what) => Error::Interrupted(format!(
                "{}: {what}; tasks that are done stay in {}, give the same command again to go on",
                task.label(),
                folder.display()
            )),
            other => other,
        })?;
        monitor.end();
        monitor.advance(1, "");
    }
    monitor.end();
    collect(folder)
}

/// A study's progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Tasks with their labels and whether they are done.
    pub tasks: Vec<(String, bool)>,
}

/// Which tasks of the study in `folder` are done.
pub fn status(folder: &Path) -> Result<Status> {
    let plan = Plan::read(folder)?;
    let tasks = plan.tasks.iter().map(|task| (task.label(), folder.join(&task.folder).exists())).collect();
    Ok(Status { tasks })
}

/// Puts together what the study in `folder` has found so far.
pub fn collect(folder: &Path) -> Result<StudyResults> {
    let plan = Plan::read(folder)?;
    let at = |task: &Task, file: &str| -> PathBuf { folder.join(&task.folder).join(file) };
    let done = |task: &&Task| folder.join(&task.folder).exists();

    let distances = distances(&plan, folder)?;
    let mut rows = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.kind == TaskKind::Adapt).filter(done) {
        let siblings = [TaskKind::ZeroShot, TaskKind::Similarity].map(|kind| plan.sibling(task, kind).filter(done));
        let [Some(zero_shot), Some(similarity)] = siblings else { continue };
        let before: EvalResult = files::read_json(&at(zero_shot, "eval.json"))?;
        let similarity = distances.get(&similarity.folder).cloned().unwrap_or_default();
        let adapted: AdaptTaskResult = files::read_json(&at(task, "adapt.json"))?;
        rows.push(row(&plan, task, &before, similarity, adapted));
    }
    let mut null = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.kind == TaskKind::Reference).filter(done) {
        let result: ReferenceResult = files::read_json(&at(task, "reference.json"))?;
        null.push(NullDistance { model: plan.model_label(task), reference: result.reference, distances: result.null });
    }
    Ok(StudyResults {
        schema: "odyssey.study/1".into(),
        name: plan.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        settings: plan.config.to_toml(),
        correlations: correlate(&rows, BOOTSTRAP_SEED),
        rows,
        null,
        missing: plan.tasks.iter().filter(|task| !done(task)).map(Task::label).collect(),
    })
}

/// The distances that are done, by the task's folder, p-values corrected for the domains of one model.
fn distances(plan: &Plan, folder: &Path) -> Result<BTreeMap<PathBuf, Distances>> {
    let mut all = BTreeMap::new();
    for reference in plan.tasks.iter().filter(|task| task.kind == TaskKind::Reference) {
        let of_model = plan.tasks.iter().filter(|task| {
            task.kind == TaskKind::Similarity && (&task.model, task.device) == (&reference.model, reference.device)
        });
        let mut found = Vec::new();
        for task in of_model.filter(|task| folder.join(&task.folder).exists()) {
            let path = folder.join(&task.folder).join("similarity.json");
            let SimilarityTaskResult { distances } = files::read_json(&path)?;
            found.push((task.folder.clone(), distances));
        }
        similarity::adjust(&mut found.iter_mut().map(|(_, distances)| distances).collect::<Vec<_>>());
        all.extend(found);
    }
    Ok(all)
}

fn row(plan: &Plan, task: &Task, before: &EvalResult, similarity: Distances, done: AdaptTaskResult) -> Row {
    let AdaptTaskResult { adapt, after, comparison, test_newline_rate, overlap, rank } = done;
    let group = plan.config.domains.iter().find(|d| d.name == task.domain).map_or("", |d| d.group.as_str());
    let mut types = comparison.types;
    if types.len() > 2 * TYPES_KEPT {
        types.drain(TYPES_KEPT..types.len() - TYPES_KEPT);
    }
    Row {
        model: plan.model_label(task),
        domain: task.domain.clone(),
        group: group.to_owned(),
        strategy: task.strategy.clone(),
        seed: task.seed,
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
        train_tokens: adapt.tokens,
        test_tokens: comparison.scored,
        train_loss: adapt.curves.train_loss,
        valid_loss: adapt.curves.valid_loss,
        top_types: types,
        classes: comparison.classes,
        handful: comparison.handful,
        without: comparison.without,
        passages: comparison.passages,
        seconds: adapt.seconds,
    }
}
