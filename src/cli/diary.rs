//! Options of commands that train: where a run keeps what it tells.

use std::path::PathBuf;

use odyssey::adapt::diary::{Recorded, is_metrics};
use odyssey::disk::outputs::Outputs;
use odyssey::error::Result;
use odyssey::files;
use odyssey::progress::Monitor;

/// Files beside the result.
#[derive(Debug, clap::Args)]
pub struct DiaryArgs {
    /// Also write every step and validation into this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Also write event files for TensorBoard into this folder.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

/// The same once it is known that they may be written.
pub struct Diary {
    metrics: Option<PathBuf>,
    tensorboard: Option<PathBuf>,
    /// Whether the metrics may be there, of an earlier part of this run.
    again: bool,
}

impl DiaryArgs {
    /// Refuses files that must not be written, before any work. A run that is resumed goes on in its own metrics; with
    /// `force` those of others give way.
    pub fn check(&self, mut outputs: Outputs, resume: bool, force: bool) -> Result<Diary> {
        let again = resume || force;
        if let (Some(metrics), false) = (&self.metrics, again) {
            files::refuse_existing(metrics)?;
        }
        let metrics = self.metrics.as_deref().map(|path| outputs.file(path, is_metrics)).transpose()?;
        let tensorboard = self.tensorboard.as_deref().map(|path| outputs.folder(path)).transpose()?;
        Ok(Diary { metrics, tensorboard, again })
    }
}

impl Diary {
    /// What `monitor` hears is kept from here on.
    pub fn open<'m>(&self, monitor: &'m mut dyn Monitor) -> Result<Recorded<'m>> {
        Recorded::by(monitor, self.metrics.as_deref(), self.tensorboard.as_deref(), self.again)
    }
}
