//! What a run tells as it goes, and the files that keep it: JSON lines, and TensorBoard's events.
//!
//! Both are read while the run still writes them, and outlive it when it is killed: every record is one write of a whole
//! line or a whole record.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::files;
use crate::progress::Monitor;

/// What a run tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// Training begins after `step` steps, which a checkpoint remembers where `resumed`.
    Begun {
        /// Steps done.
        step: u64,
        /// Whether by an earlier process.
        resumed: bool,
    },
    /// An optimiser step.
    Step {
        /// Its number, from 1.
        step: u64,
        /// Loss before its update, nats per target.
        loss: f64,
        /// Learning rate.
        lr: f64,
        /// Global norm of the gradient before clipping.
        gradient_norm: f64,
        /// Targets trained on so far.
        tokens: u64,
        /// Seconds of training so far.
        seconds: f64,
        /// Targets per second of this process.
        tokens_per_second: f64,
        /// Memory of the process now, bytes.
        memory_bytes: u64,
    },
    /// A validation.
    Validation {
        /// Steps done.
        step: u64,
        /// Loss on the validation text, nats per target.
        loss: f64,
        /// Seconds of training so far.
        seconds: f64,
    },
}

/// A monitor that also keeps what it hears in files.
///
/// A file that can no longer be written is given up with a warning: no run ends because its diary is full.
pub struct Recorded<'m> {
    monitor: &'m mut dyn Monitor,
    metrics: Option<JsonLines>,
    tensorboard: Option<EventFile>,
}

impl<'m> Recorded<'m> {
    /// What `monitor` hears is kept in the file `metrics` and in a new file of the folder `tensorboard`.
    ///
    /// # Errors
    /// Either cannot be written; there are metrics already and `resume` does not say that they are of this run.
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

/// Metrics as JSON lines: an object a step and an object a validation.
struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    fn open(path: &Path, resume: bool) -> Result<Self> {
        if !resume {
            files::refuse_existing(path)?;
        }
        let file = Self::appending(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn appending(path: &Path) -> Result<File> {
        OpenOptions::new().create(true).append(true).open(path).map_err(|e| Error::writing(path, e))
    }

    fn record(&mut self, event: &Event) -> Result<()> {
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
        // In one write, so that whoever reads meanwhile sees whole lines.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::writing(&self.path, e))
    }

    /// Drops what a killed process wrote after the checkpoint's step, which is done again, and a line it left unfinished.
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

/// Whether a file holds metrics as [`Recorded`] keeps them; its last line may be cut short.
pub fn is_metrics(path: &Path) -> bool {
    let Ok(text) = fs::read_to_string(path) else { return false };
    let is_record = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|line| line["step"].is_u64() && (line.get("loss").is_some() || line.get("valid_loss").is_some()))
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    text.is_empty() || (text.starts_with('{') && whole.lines().all(is_record))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// One of TensorBoard's event files: TFRecords of the protocol buffer `tensorflow.Event`
/// (tensorboard/compat/proto/event.proto), of which few fields are needed.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, which may have others: TensorBoard joins what they say.
    ///
    /// # Errors
    /// The system's.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::writing(folder, e))?;
        let time = now();
        // TensorBoard looks for "tfevents", and reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{time:017.6}.{}.odyssey", std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(|e| Error::writing(&path, e))?;
        let mut events = Self { path, file };
        events.write(&proto::event(time, 0, &proto::FILE_VERSION))?;
        Ok(events)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an event that happened at `time`, seconds since 1970.
    ///
    /// # Errors
    /// The system's.
    pub fn record(&mut self, event: &Event, time: f64) -> Result<()> {
        let (step, content) = match *event {
            // TensorBoard then forgets what other files of the folder say of this step and later ones.
            Event::Begun { step, .. } => (step + 1, proto::SESSION_START.to_vec()),
            Event::Step { step, loss, lr, gradient_norm, tokens_per_second, memory_bytes, .. } => {
                let scalars = [
                    ("train/loss", loss),
                    ("lr", lr),
                    ("gradient_norm", gradient_norm),
                    ("tokens_per_second", tokens_per_second),
                    ("memory", memory_bytes as f64),
                ];
                (step, proto::summary(&scalars))
            }
            Event::Validation { step, loss, .. } => (step, proto::summary(&[("valid/loss", loss)])),
        };
        self.write(&proto::event(time, step, &content))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&tf_record(event)).map_err(|e| Error::writing(&self.path, e))
    }
}

/// A TFRecord: length, its checksum, content, its checksum (tensorflow/core/lib/io/record_writer.h).
pub fn tf_record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let masked = |bytes: &[u8]| crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [length.as_slice(), &masked(&length), content, &masked(content)].concat()
}

/// CRC-32C (Castagnoli), bit by bit: an event has some hundred bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// The fields of `Event`, `Summary` and `SessionLog` that are written: a key is number · 8 + wire type (0 for a varint,
/// 1 for 64 bits, 2 for bytes, 5 for 32 bits).
mod proto {
    /// `file_version`.
    pub const FILE_VERSION: [u8; 15] = *b"\x1a\x0dbrain.Event:2";
    /// `session_log { status: START }`.
    pub const SESSION_START: [u8; 4] = *b"\x3a\x02\x08\x01";

    /// `wall_time`, `step`, and more; what is 0 is left out.
    pub fn event(time: f64, step: u64, content: &[u8]) -> Vec<u8> {
        let mut event = vec![1 << 3 | 1];
        event.extend(time.to_le_bytes());
        if step > 0 {
            event.push(2 << 3);
            varint(&mut event, step);
        }
        event.extend(content);
        event
    }

    /// `summary { value { tag, simple_value } … }`.
    pub fn summary(scalars: &[(&str, f64)]) -> Vec<u8> {
        let mut values = Vec::new();
        for (tag, number) in scalars {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | 5);
            value.extend((*number as f32).to_le_bytes());
            bytes(&mut values, 1, &value);
        }
        let mut summary = Vec::new();
        bytes(&mut summary, 5, &values);
        summary
    }

    fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
        out.push(field << 3 | 2);
        varint(out, content.len() as u64);
        out.extend(content);
    }

    /// Seven bits a byte, the lowest first; all but the last have their highest bit set.
    fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
}

/// The latest of these numbers as a row of blocks, the lowest of them low, at most `width`; `×` for what is no number.
pub fn sparkline(numbers: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &numbers[numbers.len().saturating_sub(width)..];
    let finite = || shown.iter().copied().filter(|number| number.is_finite());
    let (least, most) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let block = |&number: &f64| match number.is_finite() {
        true if most > least => BLOCKS[((number - least) / (most - least) * 7.0).round() as usize],
        true => BLOCKS[0],
        false => '×',
    };
    shown.iter().map(block).collect()
}
