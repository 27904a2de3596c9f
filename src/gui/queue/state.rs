//! The state of the queue, shared by the window, the worker and the code that stores it.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use egui::Context;

use super::Job;
use crate::gui::library::is_study;
use crate::study::TaskKind;

/// Ended jobs that are remembered.
const PAST: usize = 50;

/// A job in the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number, of this start of the program.
    pub id: u64,
    /// The work.
    pub job: Job,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// To its end.
    Finished,
    /// It was stopped on request; the words say what is saved.
    Stopped(String),
    /// It failed; the reason.
    Failed(String),
}

/// A job that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The job.
    pub entry: Entry,
    /// How it ended.
    pub outcome: Outcome,
    /// Seconds that it ran, without pauses.
    pub seconds: f64,
}

/// Counts time without pauses.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    since: Instant,
    rested: Duration,
    resting: Option<Instant>,
}

impl Clock {
    /// Starts now.
    pub fn new() -> Self {
        Self { since: Instant::now(), rested: Duration::ZERO, resting: None }
    }

    /// Seconds since it was started.
    pub fn seconds(&self) -> f64 {
        let end = self.resting.unwrap_or_else(Instant::now);
        end.saturating_duration_since(self.since).saturating_sub(self.rested).as_secs_f64()
    }

    /// Whether it is paused.
    pub fn rests(&self) -> bool {
        self.resting.is_some()
    }

    pub(super) fn rest(&mut self, rests: bool) {
        match (self.resting, rests) {
            (None, true) => self.resting = Some(Instant::now()),
            (Some(since), false) => {
                self.rested += since.elapsed();
                self.resting = None;
            }
            _ => {}
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// One level of nested work.
#[derive(Debug, Clone)]
pub struct Level {
    /// The name of the work.
    pub what: String,
    /// Units of it; 0 if not known.
    pub total: u64,
    /// Units done.
    pub done: u64,
    /// The note beside them.
    pub note: String,
    /// When it began, by the job's clock, and how much an earlier process had done.
    pub(super) begun: f64,
    pub(super) before: u64,
}

impl Level {
    /// The share that is done, 0 to 1; `None` if not known.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0).then(|| (self.done as f64 / self.total as f64).min(1.0))
    }

    /// Seconds until it is done at the present speed; `None` while not known.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        let done = self.done.saturating_sub(self.before);
        let left = self.total.checked_sub(self.done)?;
        (done > 0).then(|| (now - self.begun) / done as f64 * left as f64)
    }
}

/// A task of the running study.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSeen {
    /// What people call it.
    pub label: String,
    /// The kind of the task.
    pub kind: TaskKind,
    /// Whether its result is there.
    pub done: bool,
    /// Seconds it took, where it was done just now.
    pub seconds: Option<f64>,
}

/// A curve with few points, so that drawing is fast: if there are more, neighbours are replaced by their mean.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// `[step, value]`.
    pub points: Vec<[f64; 2]>,
    /// Values that become a point; 0 stands for 1.
    each: u32,
    sum: [f64; 2],
    summed: u32,
}

impl Curve {
    const MOST: usize = 1000;

    /// Adds a value; values that are not finite are left out.
    pub fn push(&mut self, step: f64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.each = self.each.max(1);
        self.sum = [self.sum[0] + step, self.sum[1] + value];
        self.summed += 1;
        if self.summed < self.each {
            return;
        }
        let n = f64::from(self.summed);
        self.points.push(self.sum.map(|sum| sum / n));
        (self.sum, self.summed) = ([0.0; 2], 0);
        if self.points.len() >= Self::MOST {
            let mean = |pair: &[[f64; 2]]| [0, 1].map(|i| pair.iter().map(|p| p[i]).sum::<f64>() / pair.len() as f64);
            self.points = self.points.chunks(2).map(mean).collect();
            self.each *= 2;
        }
    }
}

/// The training that runs, or ran last.
#[derive(Debug, Clone, Default)]
pub struct TrainingSeen {
    /// What is trained.
    pub what: String,
    /// Loss of steps, nats per token.
    pub train: Curve,
    /// Loss on the validation text, nats per token.
    pub valid: Curve,
    /// Steps done.
    pub step: u64,
    /// Loss of the latest step.
    pub loss: Option<f64>,
    /// Loss of the latest validation.
    pub valid_loss: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Targets per second lately, pauses left out.
    pub tokens_per_second: Option<f64>,
}

/// The running job.
#[derive(Debug, Clone)]
pub struct Running {
    /// The job.
    pub entry: Entry,
    /// The study's name.
    pub name: String,
    /// Where it computes.
    pub device: String,
    /// The clock since its start, without pauses.
    pub clock: Clock,
    /// The nested work, the outermost first.
    pub levels: Vec<Level>,
    /// The study's tasks, once they are planned.
    pub tasks: Vec<TaskSeen>,
    /// Index of the task at hand, and when it began by the clock.
    pub task: Option<(usize, f64)>,
    /// The latest training.
    pub training: Option<TrainingSeen>,
    /// Memory of the process, bytes.
    pub memory: u64,
    /// Whether it was asked to stop.
    pub stops: bool,
}

impl Running {
    pub(super) fn new(entry: Entry) -> Self {
        Self {
            name: entry.job.name().to_owned(),
            entry,
            device: String::new(),
            clock: Clock::new(),
            levels: Vec::new(),
            tasks: Vec::new(),
            task: None,
            training: None,
            memory: 0,
            stops: false,
        }
    }

    /// Tasks done, and of how many; `None` before they are planned.
    pub fn tasks_done(&self) -> Option<(usize, usize)> {
        let done = self.tasks.iter().filter(|task| task.done).count();
        (!self.tasks.is_empty()).then_some((done, self.tasks.len()))
    }

    /// Seconds until the study is done: each kind of task is assumed to take as long as finished tasks of its kind, or
    /// as the present one seems to take. `None` while there is a kind of which none was done.
    pub fn seconds_left(&self) -> Option<f64> {
        let now = self.clock.seconds();
        let inner = self.levels.iter().rev().find_map(|level| level.seconds_left(now));
        let (at, begun) = self.task?;
        let of_kind = |kind| {
            let took: Vec<f64> =
                self.tasks.iter().filter(|task| task.kind == kind).filter_map(|task| task.seconds).collect();
            (!took.is_empty()).then(|| took.iter().sum::<f64>() / took.len() as f64)
        };
        // The running task, known from its events; training has the most detailed ones.
        let spent = now - begun;
        let kind = self.tasks.get(at)?.kind;
        let mean = of_kind(kind);
        let at_hand = match (mean, inner) {
            (Some(mean), _) => (mean - spent).max(0.0),
            (None, Some(inner)) => inner,
            (None, None) => return None,
        };
        let mut left = at_hand;
        for (index, task) in self.tasks.iter().enumerate().filter(|(_, task)| !task.done) {
            if index != at {
                left += of_kind(task.kind).or((task.kind == kind).then_some(spent + at_hand))?;
            }
        }
        Some(left)
    }

    /// In one line.
    pub(super) fn headline(&self, paused: bool) -> String {
        let mut line = match (paused, self.stops) {
            (_, true) => format!("stopping {}", self.name),
            (true, false) => format!("paused: {}", self.name),
            (false, false) => self.name.clone(),
        };
        if let Some((done, of)) = self.tasks_done() {
            line.push_str(&format!(" · {done} of {of} tasks"));
        }
        if let Some((at, _)) = self.task {
            line.push_str(&format!(" · {}", self.tasks[at].label));
        }
        if let Some(level) = self.levels.last().filter(|level| level.total > 0) {
            line.push_str(&format!(" · {} {:.0} %", level.what, 100.0 * level.share().unwrap_or(0.0)));
        }
        line
    }
}

/// The view of the queue.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What runs.
    pub running: Option<Running>,
    /// What waits, the next first.
    pub waiting: Vec<Entry>,
    /// What has ended, the latest first.
    pub past: Vec<Ended>,
    /// The jobs that an earlier start left unfinished.
    pub offered: Vec<Entry>,
    /// Whether the running work is paused.
    pub paused: bool,
    /// Whether nothing more is started.
    pub held: bool,
    /// Why the queue is not saved.
    pub trouble: Option<String>,
}

/// All there is.
#[derive(Default)]
pub(super) struct State {
    pub revision: u64,
    /// Counts what has to be written down.
    pub edition: u64,
    pub running: Option<Running>,
    pub waiting: Vec<Entry>,
    pub past: Vec<Ended>,
    pub offered: Vec<Entry>,
    pub paused: bool,
    pub held: bool,
    pub stop: bool,
    /// Whether stopped jobs wait for the next start.
    pub put_back: bool,
    pub changed: Vec<PathBuf>,
    pub trouble: Option<String>,
    entries: u64,
}

impl State {
    /// A job with a number of its own.
    pub fn entry(&mut self, job: Job) -> Entry {
        self.entries += 1;
        Entry { id: self.entries, job }
    }

    pub fn view(&self) -> View {
        View {
            running: self.running.clone(),
            waiting: self.waiting.clone(),
            past: self.past.iter().rev().cloned().collect(),
            offered: self.offered.clone(),
            paused: self.paused,
            held: self.held,
            trouble: self.trouble.clone(),
        }
    }

    /// The running job is over.
    pub fn end(&mut self, outcome: Outcome) {
        let Some(running) = self.running.take() else { return };
        let folder = running.entry.job.folder();
        if is_study(folder) {
            self.changed.push(folder.to_owned());
        }
        if self.put_back && matches!(outcome, Outcome::Stopped(_)) {
            self.waiting.insert(0, running.entry);
        } else {
            self.past.push(Ended { seconds: running.clock.seconds(), entry: running.entry, outcome });
            let surplus = self.past.len().saturating_sub(PAST);
            self.past.drain(..surplus);
        }
        (self.stop, self.paused) = (false, false);
    }
}

/// The state, and who waits for it to change.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The program ends.
    pub closing: AtomicBool,
    context: Context,
}

impl Shared {
    pub fn new(context: Context) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), closing: AtomicBool::new(false), context }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the stored and visible state, and wakes the waiting threads.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let stop = state.stop;
        if let Some(running) = &mut state.running {
            running.stops |= stop;
        }
        self.announce(state);
    }

    /// Notifies of the change and releases the lock.
    pub fn announce(&self, mut state: MutexGuard<'_, State>) {
        state.revision += 1;
        state.edition += 1;
        drop(state);
        self.changed.notify_all();
        self.context.request_repaint();
    }

    /// Reports the progress of the running job; the next frame shows it.
    pub fn tell(&self, tell: impl FnOnce(&mut Running)) {
        let mut state = self.lock();
        state.revision += 1;
        if let Some(running) = &mut state.running {
            tell(running);
        }
    }

    /// Requests a new frame.
    pub fn repaint(&self) {
        self.context.request_repaint();
    }

    /// Waits until something changes.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}
