//! TensorBoard's event files: one write for each whole record.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::progress::Event;

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// One of TensorBoard's event files: TFRecords of the protocol buffer `tensorflow.Event`
/// (tensorboard/compat/proto/event.proto), only a few fields are needed.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, which may hold others: TensorBoard joins their events.
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

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an event that happened at `time`, seconds since 1970.
    ///
    /// # Errors
    /// The system's.
    pub fn record(&mut self, event: &Event, time: f64) -> Result<()> {
        let (step, content) = match *event {
            // TensorBoard then ignores the events of other files in the folder for this step and later ones.
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

/// CRC-32C (Castagnoli), bit by bit, which is fast enough: an event has about a hundred bytes.
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

    /// `wall_time`, `step`, and more; fields with the value 0 are left out.
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

    /// Seven bits in each byte, the lowest first; all bytes but the last have their highest bit set.
    fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
}
