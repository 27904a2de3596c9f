//! The monitor of the worker: reports progress to the window, pauses and stops the work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{Level, Shared, TaskSeen, TrainingSeen};
use crate::device::DeviceName;
use crate::process::resident;
use crate::progress::Event;
use crate::progress::Monitor;
use crate::study::Plan;

/// The shortest time between two redraws of the window caused here.
const REPAINT: Duration = Duration::from_millis(100);

/// Over how long the rate of training is taken, seconds by the job's clock.
const LATELY: f64 = 10.0;

/// Watches the running job.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    repainted: Instant,
    /// The study to come: its name and its folder, whose plan is read when it begins.
    study: Option<(String, PathBuf)>,
    /// Depth at which the study's tasks begin.
    tasks_at: Option<usize>,
    /// Targets trained on, by the job's clock.
    trained: VecDeque<(f64, u64)>,
}

impl Watcher {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, repainted: Instant::now(), study: None, tasks_at: None, trained: VecDeque::new() }
    }

    /// Work begins again from the start.
    pub fn begin_anew(&mut self) {
        (self.study, self.tasks_at) = (None, None);
        self.shared.tell(|running| {
            running.levels.clear();
            running.task = None;
        });
    }

    /// What computes.
    pub fn computes_on(&mut self, devices: &[DeviceName]) {
        let names = devices.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.shared.tell(|running| running.device = names);
        self.show(true);
    }

    /// The study of this name in `folder` is about to run.
    pub fn expect(&mut self, name: &str, folder: PathBuf) {
        self.shared.tell(|running| running.name = name.to_owned());
        self.study = Some((name.to_owned(), folder));
    }

    /// Draws the window anew, unless it was drawn just now and the change is not urgent.
    fn show(&mut self, at_once: bool) {
        if at_once || self.repainted.elapsed() >= REPAINT {
            self.repainted = Instant::now();
            let memory = resident();
            self.shared.tell(|running| running.memory = memory);
            self.shared.repaint();
        }
    }

    /// The tasks of the study that begins.
    fn plan(&mut self, what: &str) {
        let Some((_, folder)) = self.study.take_if(|(name, _)| name == what) else { return };
        // The plan was written just before; what cannot be read is not shown.
        let Ok(plan) = Plan::read(&folder) else { return };
        let seen = |task: &crate::study::Task| TaskSeen {
            label: task.label(),
            kind: task.kind(),
            done: plan.state(task, &folder).is_ok_and(|state| state.is_done()),
            seconds: None,
        };
        let tasks: Vec<TaskSeen> = plan.tasks.iter().map(seen).collect();
        self.shared.tell(|running| {
            running.tasks = tasks;
            self.tasks_at = Some(running.levels.len());
        });
    }
}

impl Monitor for Watcher {
    fn begin(&mut self, what: &str, total: u64) {
        let tasks_at = self.tasks_at;
        self.shared.tell(|running| {
            let now = running.clock.seconds();
            if tasks_at == Some(running.levels.len()) {
                let at = running.tasks.iter().position(|task| !task.done && task.label == what);
                running.task = at.map(|at| (at, now));
            }
            let (what, note) = (what.to_owned(), String::new());
            running.levels.push(Level { what, total, done: 0, note, begun: now, before: 0 });
        });
        self.plan(what);
        self.show(false);
    }

    fn advance(&mut self, units: u64, note: &str) {
        self.shared.tell(|running| {
            if let Some(level) = running.levels.last_mut() {
                level.done += units;
                level.note.clear();
                level.note.push_str(note);
            }
        });
        self.show(false);
    }

    fn event(&mut self, event: &Event) {
        let trained = &mut self.trained;
        self.shared.tell(|running| {
            let now = running.clock.seconds();
            match *event {
                Event::Begun { step, .. } => {
                    trained.clear();
                    if let Some(level) = running.levels.last_mut() {
                        level.before = step;
                    }
                    let task = running.task.and_then(|(at, _)| running.tasks.get(at));
                    let what = task.map_or_else(|| running.name.clone(), |task| task.label.clone());
                    running.training = Some(TrainingSeen { what, step, ..TrainingSeen::default() });
                }
                Event::Step { step, loss, lr, tokens, .. } => {
                    let Some(training) = &mut running.training else { return };
                    trained.push_back((now, tokens));
                    while trained.len() > 2 && trained.front().is_some_and(|(then, _)| now - then > LATELY) {
                        trained.pop_front();
                    }
                    if let (Some((then, before)), true) = (trained.front(), trained.len() > 1) {
                        let rate = tokens.saturating_sub(*before) as f64 / (now - then);
                        training.tokens_per_second = Some(rate).filter(|rate| rate.is_finite());
                    }
                    training.train.push(step as f64, loss);
                    (training.step, training.loss, training.lr) = (step, Some(loss), lr);
                }
                Event::Validation { step, loss, .. } => {
                    let Some(training) = &mut running.training else { return };
                    training.valid.push(step as f64, loss);
                    training.valid_loss = Some(loss);
                }
            }
        });
    }

    fn end(&mut self) {
        let tasks_at = self.tasks_at;
        self.shared.tell(|running| {
            let now = running.clock.seconds();
            running.levels.pop();
            if tasks_at == Some(running.levels.len())
                && let Some((at, begun)) = running.task.take()
                && let Some(task) = running.tasks.get_mut(at)
            {
                (task.done, task.seconds) = (true, Some(now - begun));
            }
        });
        self.show(false);
    }

    fn stopped(&self) -> bool {
        let mut state = self.shared.lock();
        if state.paused && !state.stop {
            let rest = |state: &mut super::state::State, rests| {
                state.revision += 1;
                if let Some(running) = &mut state.running {
                    running.clock.rest(rests);
                }
            };
            rest(&mut state, true);
            self.shared.repaint();
            while state.paused && !state.stop {
                state = self.shared.wait(state);
            }
            rest(&mut state, false);
        }
        state.stop
    }
}
