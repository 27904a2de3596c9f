//! The diagnoses of `odyssey doctor`, one file for each card. A diagnosis is valid for one driver and one version of
//! the program.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{DeviceName, card_of};
use crate::error::Result;
use crate::files;
use crate::seal;
use crate::spool::cache_folder;

/// The schema of a diagnosis.
pub const SCHEMA: &str = "odyssey.doctor/1";

/// The result of `doctor --json`; it is also stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// "odyssey.doctor/1".
    pub schema: String,
    /// The device.
    pub device: DeviceName,
    /// Its driver and the driver's version; empty for the CPU backend.
    pub driver: String,
    /// The version of this program.
    pub version: String,
    /// The health of the device.
    pub verdict: Verdict,
    /// The same in words: what is wrong, by how much, and what this program does instead.
    pub words: String,
    /// What was checked.
    pub checks: Vec<Check>,
    /// How fast it is.
    pub timings: Vec<Timing>,
    /// Seconds that all this took.
    pub seconds: f64,
}

/// The health of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check is within its bound.
    Fine,
    /// Everything that a run in f32 needs is within its bound; something else is not.
    Limited,
    /// Its results cannot be trusted.
    Wrong,
}

/// What a check is about. It decides what a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Computing in f32: everything.
    F32,
    /// Kernels with the largest binding that this program uses.
    Large,
    /// Sums over rows longer than any model here has: llvmpipe ends loops after 65,532 rounds.
    LongRows,
    /// Holding weights in f16.
    F16Held,
    /// Computing in f16, as with `--compute f16`.
    F16Computed,
}

/// One check of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    #[serde(flatten)]
    pub about: About,
    /// The case with the largest error relative to its bound.
    #[serde(flatten)]
    pub tightest: Case,
    /// Whether every case is within its bound.
    pub ok: bool,
    /// All cases.
    pub cases: Vec<Case>,
}

/// One case of a check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Its sizes, or what was checked.
    pub at: String,
    /// The largest error; absent if it is not a number.
    pub worst: Option<f64>,
    /// The largest error allowed.
    pub allowed: Option<f64>,
    /// The largest error of the CPU backend; absent if the CPU backend itself was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Why there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The name and the subject of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// The aspect that a failure concerns.
    pub aspect: Aspect,
    /// The unit of its errors, and the reason for the allowed error.
    pub bound: String,
}

/// How fast one thing is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The name of the work.
    pub name: String,
    /// The size of the work.
    pub size: String,
    /// Units per second.
    pub value: Option<f64>,
    /// "GFLOP/s", "GB/s" or "tokens/s".
    pub unit: String,
    /// The median of the runs, seconds.
    pub seconds: Option<f64>,
    /// Why there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Case {
    /// The error over its bound: more than 1 is too much.
    pub(crate) fn share(&self) -> f64 {
        match (self.worst, self.allowed) {
            (Some(0.0), _) => 0.0,
            (Some(worst), Some(allowed)) => worst / allowed, // infinite where nothing is allowed
            _ => f64::INFINITY,
        }
    }
}

impl Check {
    /// The fault in words: `softmax: off by 3e-2 (allowed 1e-6) at 7×257`.
    pub(crate) fn fault(&self) -> String {
        let (name, at) = (&self.about.name, &self.tightest.at);
        match &self.tightest {
            Case { worst: Some(worst), allowed: Some(allowed), .. } => {
                format!("{name}: off by {worst:.1e} (allowed {allowed:.1e}) at {at}")
            }
            Case { reason: Some(reason), .. } if at.is_empty() => format!("{name}: {reason}"),
            Case { reason, .. } => format!("{name}: {} at {at}", reason.as_deref().unwrap_or("no number")),
        }
    }
}

impl Diagnosis {
    /// The fault of numbers held in f16 (or computed in f16), if there is one.
    pub fn f16_fault(&self, computed: bool) -> Option<String> {
        let wrong = |aspect| aspect == Aspect::F16Held || computed && aspect == Aspect::F16Computed;
        self.checks.iter().find(|check| !check.ok && wrong(check.about.aspect)).map(Check::fault)
    }
}

/// The folder they are kept in.
pub fn folder() -> PathBuf {
    cache_folder().join("doctor")
}

/// The file for a device, below `folder`.
pub fn path(folder: &Path, name: &DeviceName) -> PathBuf {
    folder.join(format!("{}.json", &files::hash_bytes(name.to_string().as_bytes())[..16]))
}

/// Stores a diagnosis in `folder`. It replaces an older one of the same card.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(folder: &Path, diagnosis: &Diagnosis) -> Result<()> {
    seal::write_json(&path(folder, &diagnosis.device), diagnosis)
}

/// The diagnosis in `folder` of the device `name` with this `driver`, made by this version of the program. A file that
/// is not a diagnosis is ignored with a warning.
pub fn known(folder: &Path, name: &DeviceName, driver: &str) -> Option<Diagnosis> {
    let path = path(folder, name);
    if !path.exists() {
        return None;
    }
    let read = seal::read_json::<Diagnosis>(&path).map(|(diagnosis, _)| diagnosis);
    let diagnosis =
        read.inspect_err(|e| tracing::warn!("a kept diagnosis is ignored: {e}; odyssey doctor renews it")).ok()?;
    let holds = diagnosis.device == *name
        && diagnosis.driver == driver
        && diagnosis.version == env!("CARGO_PKG_VERSION")
        && diagnosis.schema == SCHEMA;
    holds.then_some(diagnosis)
}

/// Why results of this device cannot be trusted, if a diagnosis says so.
pub fn found_wrong(name: &DeviceName, driver: &str) -> Option<String> {
    known(&folder(), name, driver).filter(|kept| kept.verdict == Verdict::Wrong).map(|kept| kept.words)
}

/// Why numbers cannot be held in f16 on `device`, or computed in it, if a diagnosis says so.
pub fn f16_fault(device: &Device, computed: bool) -> Option<String> {
    let card = card_of(device)?;
    known(&folder(), &card.device_name(), &card.driver)?.f16_fault(computed)
}
