//! Progress bars on a terminal, and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use odyssey::adapt::events::{Event, sparkline};
use odyssey::progress::Monitor;
use odyssey::shown::visible;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on the first Ctrl-C asks work to stop and save; a second one ends the program at once.
pub fn listen_for_interrupt() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping as soon as the work at hand can be saved; press Ctrl-C again to end at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!(%error, "Ctrl-C will end the program without saving");
    }
}

/// Whether Ctrl-C was pressed.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Shows work within work as bars below one another.
pub struct Terminal {
    bars: MultiProgress,
    stack: Vec<ProgressBar>,
    /// Losses of the training that is shown.
    valid_loss: Vec<f64>,
}

impl Terminal {
    /// Draws on standard error where that is a terminal, and nothing when quiet.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { bars: MultiProgress::with_draw_target(target), stack: Vec::new(), valid_loss: Vec::new() }
    }
}

impl Monitor for Terminal {
    fn begin(&mut self, what: &str, total: u64) {
        let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
        let template = if total == 0 {
            "{spinner} {prefix}"
        } else {
            "{prefix} {wide_bar} {human_pos}/{human_len} {eta} left  {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(visible(what));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        self.stack.push(bar);
    }

    fn advance(&mut self, units: u64, note: &str) {
        if let Some(bar) = self.stack.last() {
            bar.inc(units);
            let curve = match self.valid_loss.last() {
                Some(last) if !note.is_empty() => format!(", valid {} {last:.3}", sparkline(&self.valid_loss, 12)),
                _ => String::new(),
            };
            bar.set_message(visible(&format!("{note}{curve}")));
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Begun { .. } => self.valid_loss.clear(),
            Event::Validation { loss, .. } => self.valid_loss.push(*loss),
            Event::Step { .. } => {}
        }
    }

    fn end(&mut self) {
        self.valid_loss.clear(); // what goes on outside is no training
        if let Some(bar) = self.stack.pop() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn stopped(&self) -> bool {
        is_interrupted()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        while !self.stack.is_empty() {
            self.end();
        }
    }
}
