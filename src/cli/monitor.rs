//! Progress, as bars on a terminal and as plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use odyssey::adapt::diary::sparkline;
use odyssey::progress::Event;
use odyssey::progress::Monitor;
use odyssey::shown::visible;
use serde_json::Value;

use super::lines::Lines;
use super::say;
use super::signals::is_interrupted;
/// What was read of texts so far.
static READ: Mutex<Vec<Value>> = Mutex::new(Vec::new());

/// What was read of texts so far, each once.
pub fn read() -> Vec<Value> {
    READ.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Shows work within work: as bars where standard error is a terminal, as plain lines from time to time where it is a file or
/// nothing but text is wanted, and not at all when quiet.
pub enum Terminal {
    Bars(Bars),
    Lines(Lines),
    Quiet,
}

impl Terminal {
    /// `plain`: no bars, which move the cursor.
    pub fn new(quiet: bool, plain: bool) -> Self {
        match quiet {
            true => Self::Quiet,
            false if plain || !std::io::stderr().is_terminal() => Self::Lines(Lines::default()),
            false => Self::Bars(Bars::default()),
        }
    }

    fn shown(&mut self) -> Option<&mut dyn Monitor> {
        match self {
            Self::Bars(bars) => Some(bars),
            Self::Lines(lines) => Some(lines),
            Self::Quiet => None,
        }
    }
}

impl Monitor for Terminal {
    fn begin(&mut self, what: &str, total: u64) {
        if let Some(shown) = self.shown() {
            // Names of files and domains may hold commands to a terminal.
            shown.begin(&visible(what), total);
        }
    }

    fn advance(&mut self, units: u64, note: &str) {
        if let Some(shown) = self.shown() {
            shown.advance(units, note);
        }
    }

    fn event(&mut self, event: &Event) {
        if let Some(shown) = self.shown() {
            shown.event(event);
        }
    }

    /// Says it once, however often it is so: several parts of a command read the same text.
    fn note(&mut self, line: &str, facts: &Value) {
        {
            let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
            if read.contains(facts) {
                return;
            }
            read.push(facts.clone());
        }
        match self {
            Self::Bars(bars) => bars.bars.suspend(|| say::note(line)),
            Self::Lines(_) => say::note(line),
            Self::Quiet => {}
        }
    }

    fn end(&mut self) {
        if let Some(shown) = self.shown() {
            shown.end();
        }
    }

    fn stopped(&self) -> bool {
        is_interrupted()
    }
}

/// Work within work as bars below one another.
pub struct Bars {
    bars: MultiProgress,
    stack: Vec<ProgressBar>,
    /// Validation losses of the training that is shown.
    valid_loss: Vec<f64>,
}

impl Default for Bars {
    fn default() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { bars, stack: Vec::new(), valid_loss: Vec::new() }
    }
}

impl Monitor for Bars {
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
        bar.set_prefix(what.to_owned());
        let bar = self.bars.add(bar);
        // It panics where the system gives no thread.
        if std::thread::Builder::new().spawn(|| ()).is_ok() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
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
        self.valid_loss.clear(); // the outer work is not training
        if let Some(bar) = self.stack.pop() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        while !self.stack.is_empty() {
            self.end();
        }
    }
}
