//! A monitor that writes what it hears into files.

use std::path::Path;

use super::jsonl::JsonLines;
use super::tensorboard::{EventFile, now};
use crate::error::Result;
use crate::progress::{Event, Monitor};

/// A monitor that also writes the events into files.
///
/// If a file can no longer be written, logging to it stops with a warning: a full disk stops the log, not the run.
pub struct Recorded<'m> {
    monitor: &'m mut dyn Monitor,
    metrics: Option<JsonLines>,
    tensorboard: Option<EventFile>,
}

impl<'m> Recorded<'m> {
    /// Writes the events of `monitor` into the file `metrics` and into a new file in the folder `tensorboard`.
    ///
    /// # Errors
    /// One of the files cannot be written; or a metrics file exists and `resume` is false.
    pub fn by(
        monitor: &'m mut dyn Monitor,
        metrics: Option<&Path>,
        tensorboard: Option<&Path>,
        resume: bool,
    ) -> Result<Self> {
        let metrics = metrics.map(|path| JsonLines::open(path, resume)).transpose()?;
        let tensorboard = tensorboard.map(EventFile::create).transpose()?;
        Ok(Self { monitor, metrics, tensorboard })
    }
}

impl Monitor for Recorded<'_> {
    fn begin(&mut self, what: &str, total: u64) {
        self.monitor.begin(what, total);
    }

    fn advance(&mut self, units: u64, note: &str) {
        self.monitor.advance(units, note);
    }

    fn event(&mut self, event: &Event) {
        self.monitor.event(event);
        keep(&mut self.metrics, |metrics| metrics.record(event));
        keep(&mut self.tensorboard, |tensorboard| tensorboard.record(event, now()));
    }

    fn end(&mut self) {
        self.monitor.end();
    }

    fn stopped(&self) -> bool {
        self.monitor.stopped()
    }
}

fn keep<T>(sink: &mut Option<T>, record: impl FnOnce(&mut T) -> Result<()>) {
    if let Some(Err(error)) = sink.as_mut().map(record) {
        tracing::warn!("{error}; it ends here, the training goes on");
        *sink = None;
    }
}
