//! The thread that runs jobs, one after another.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::{Outcome, Running, Shared};
use super::watch::Watcher;
use super::{Job, Work};
use crate::demo;
use crate::device::DeviceChoice;
use crate::device::faults::{once_more, renew};
use crate::disk::outputs::Outputs;
use crate::error::{Error, Result};
use crate::guard;
use crate::gui::wording::Labels;
use crate::hub::Hub;
use crate::progress::Monitor;
use crate::report;
use crate::study::{self, Plan, StudyConfig};

/// Runs what waits until the program ends.
pub(super) fn run(shared: &Arc<Shared>) {
    give_way();
    while let Some(job) = next(shared) {
        let mut watcher = Watcher::new(Arc::clone(shared));
        let work = |again| {
            if again {
                watcher.begin_anew();
            }
            work(&job, &mut watcher)
        };
        let done = guard::caught(|| once_more(work, renew));
        let outcome = match done {
            Ok(Ok(())) => Outcome::Finished,
            Ok(Err(Error::Interrupted(words))) => Outcome::Stopped(words),
            Ok(Err(error)) => Outcome::Failed(error.worded(&Labels)),
            Err(panic) => {
                let words = panic.words().unwrap_or("a panic");
                Outcome::Failed(format!("this is a fault of odyssey itself: {words}; finished tasks are kept"))
            }
        };
        shared.change(|state| state.end(outcome));
    }
}

/// The next job, once there is one; `None` when the program ends.
fn next(shared: &Shared) -> Option<Job> {
    let mut state = shared.lock();
    loop {
        if shared.closing.load(Ordering::SeqCst) {
            return None;
        }
        if !state.held && !state.waiting.is_empty() {
            let entry = state.waiting.remove(0);
            let job = entry.job.clone();
            state.stop = false;
            state.running = Some(Running::new(entry));
            shared.announce(state);
            return Some(job);
        }
        state = shared.wait(state);
    }
}

fn work(job: &Job, watcher: &mut Watcher) -> Result<()> {
    let folder = job.folder();
    match &job.work {
        Work::Demo { device, seed } => {
            let choice: DeviceChoice = device.parse()?;
            let chosen = choice.open()?;
            watcher.computes_on(std::slice::from_ref(&chosen.name));
            let home = folder.parent().unwrap_or(folder);
            watcher.begin("making corpora of synthetic languages, and a base model that knows one of them", 0);
            let config = demo::prepare(home, *seed, choice, &chosen.device, watcher)?;
            watcher.end();
            run_study(config, folder, watcher)
        }
        Work::Study(config) => run_study((**config).clone(), folder, watcher),
        Work::Resume => run_study(Plan::read(folder)?.config, folder, watcher),
    }
}

/// Runs the missing tasks of a study and writes its report, as `odyssey study run` does.
fn run_study(mut config: StudyConfig, folder: &Path, watcher: &mut Watcher) -> Result<()> {
    report::check_folder(folder, &mut Outputs::new(false, config.inputs()))?;
    let devices = config.devices.iter().map(|choice| Ok(choice.open()?.name)).collect::<Result<Vec<_>>>()?;
    watcher.computes_on(&devices);
    config.fetch(&mut Hub::new(), watcher)?;
    watcher.expect(&config.name, folder.to_owned());
    let results = study::run(config, folder, watcher)?;
    watcher.begin("writing the report", 0);
    report::write(&results, folder)?;
    watcher.end();
    Ok(())
}

/// Lowers the priority of this thread and of its compute threads below the drawing thread.
///
/// Linux has a niceness for every thread, which the threads it starts inherit; rayon's threads may have been started by
/// another thread. Elsewhere a thread's priority is not to be had without unsafe code.
pub(in crate::gui) fn give_way() {
    #[cfg(target_os = "linux")]
    {
        /// On a busy processor the drawing thread then gets nine tenths of the time.
        const NICENESS: i32 = 10;
        let lower = || {
            // The calling thread's; what cannot be lowered stays as it is.
            let _ = rustix::process::setpriority_process(None, NICENESS);
        };
        lower();
        rayon::broadcast(|_| lower());
    }
}
