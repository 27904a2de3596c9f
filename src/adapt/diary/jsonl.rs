//! Metrics as JSON lines: one write for each whole line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::files;
use crate::progress::Event;

/// Metrics as JSON lines: one object for each step and one for each validation.
pub(super) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    pub(super) fn open(path: &Path, resume: bool) -> Result<Self> {
        if !resume {
            files::refuse_existing(path)?;
        }
        let file = Self::appending(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn appending(path: &Path) -> Result<File> {
        OpenOptions::new().create(true).append(true).open(path).map_err(|e| Error::writing(path, e))
    }

    pub(super) fn record(&mut self, event: &Event) -> Result<()> {
        let line = match *event {
            Event::Begun { step, resumed } => return self.keep_until(resumed.then_some(step)),
            Event::Step { step, loss, lr, gradient_norm, tokens, seconds, .. } => json!({
                "step": step, "loss": loss, "lr": lr, "gradient_norm": gradient_norm, "tokens": tokens,
                "seconds": seconds,
            }),
            Event::Validation { step, loss, seconds } if loss.is_finite() => {
                json!({ "step": step, "valid_loss": loss, "seconds": seconds })
            }
            Event::Validation { step, loss, seconds } => {
                json!({ "step": step, "valid_loss": null, "reason": format!("it is {loss}"), "seconds": seconds })
            }
        };
        // In one write, so that a program that reads the file meanwhile sees whole lines.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::writing(&self.path, e))
    }

    /// Removes the lines that a killed process wrote after the step of the checkpoint, since these steps are done
    /// again, and an unfinished last line.
    fn keep_until(&mut self, checkpoint: Option<u64>) -> Result<()> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
        }
        let text = fs::read_to_string(&self.path).map_err(|e| Error::reading(&self.path, e))?;
        let of_this_run = |line: &&str| {
            line.ends_with('\n')
                && serde_json::from_str::<Line>(line).is_ok_and(|line| checkpoint.is_some_and(|at| line.step <= at))
        };
        let kept: String = text.split_inclusive('\n').filter(of_this_run).collect();
        if kept != text {
            files::write_whole(&self.path, |out| out.write_all(kept.as_bytes()))?;
            self.file = Self::appending(&self.path)?;
        }
        Ok(())
    }
}

/// Whether a file holds metrics as [`super::Recorded`] keeps them; its last line may be cut short.
pub fn is_metrics(path: &Path) -> bool {
    let Ok(text) = fs::read_to_string(path) else { return false };
    let is_record = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|line| line["step"].is_u64() && (line.get("loss").is_some() || line.get("valid_loss").is_some()))
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    text.is_empty() || (text.starts_with('{') && whole.lines().all(is_record))
}
