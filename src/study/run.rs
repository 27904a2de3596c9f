//! Runs a study: each result appears complete in its own folder, so an interrupted study continues where it stopped.

use std::path::Path;

use super::collect::collect;
use super::config::StudyConfig;
use super::kept::{self, State};
use super::plan::Plan;
use super::results::StudyResults;
use super::runner::Runner;
use super::task::{Task, TaskText, TaskWork};
use super::tasks;
use crate::device::ChosenDevice;
use crate::disk::lock::Lock;
use crate::disk::scratch;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::{Monitor, Watched};
use crate::text::Domain;

/// Plans the study and runs its missing tasks in `folder`. Returns its results.
///
/// # Errors
/// The error of the first task that fails or is interrupted; finished tasks stay.
pub fn run(config: StudyConfig, folder: &Path, monitor: &mut dyn Monitor) -> Result<StudyResults> {
    // From here on nobody else works here, so that what is left of other runs is dead.
    let _lock = Lock::inside(folder, "study")?;
    for place in [folder, &folder.join("tasks"), &folder.join("plots")] {
        scratch::sweep_folder(place);
    }
    let devices = config.devices.iter().map(|choice| choice.open()).collect::<Result<Vec<ChosenDevice>>>()?;
    let plan = Plan::new(config, &devices, monitor)?;
    kept::adopt(folder)?;
    plan.write(folder)?;
    let mut missing: Vec<&Task> = Vec::new();
    for task in &plan.tasks {
        if !plan.state(task, folder)?.is_done() {
            missing.push(task);
        }
    }
    let mut runner = Runner::new(&plan, folder, &devices);
    runner.remove_old_checkpoints();
    monitor.begin(&plan.config.name, missing.len() as u64);
    for task in missing {
        monitor.begin(&task.label(), 0);
        run_task(&mut runner, task, monitor).map_err(|error| match error {
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

/// Runs `task`, unless its result is there.
///
/// # Errors
/// Errors of the task. An interruption keeps the checkpoint of an adaptation for the next run.
pub fn run_task(runner: &mut Runner<'_>, task: &Task, monitor: &mut dyn Monitor) -> Result<()> {
    let out = runner.folder.join(&task.folder);
    match runner.plan.state(task, runner.folder)? {
        State::Done | State::Unchecked => return Ok(()),
        State::Missing => {}
        State::Damaged(damage) => {
            tracing::warn!("{damage}; {} is computed anew", task.label());
            files::remove(&out)?;
        }
    }
    let mut loaded = runner.load(task)?;
    runner.hold_encoder(task)?;
    let reads_control = match &task.work {
        TaskWork::Reference | TaskWork::Similarity { .. } => false,
        TaskWork::ZeroShot { text, .. } => *text == TaskText::Control,
        TaskWork::Adapt(_) => runner.has_control(task),
    };
    if reads_control && loaded.control.is_none() {
        let rule = Watched::by(runner.plan.config.text.read(), monitor);
        loaded.control = Some(Domain::open(&runner.model(&task.model)?.reference, rule)?);
    }
    let done = match &task.work {
        TaskWork::Reference => tasks::reference::run(runner, task, &loaded, &out, monitor),
        TaskWork::ZeroShot { text, evaluation } => {
            tasks::zero_shot::run(runner, task, text, *evaluation, &loaded, &out, monitor)
        }
        TaskWork::Similarity { domain } => tasks::similarity::run(runner, task, domain, &mut loaded, &out, monitor),
        TaskWork::Adapt(adaptation) => tasks::adapt::run(runner, task, adaptation, &loaded, &out, monitor),
    };
    runner.keep(loaded);
    done
}
