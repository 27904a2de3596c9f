//! Diagnoses that are kept, one for each adapter: they hold for its driver and this version of the program.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{Diagnosis, Verdict};
use crate::device::{self, DeviceName};
use crate::error::Result;
use crate::files;
use crate::spool::cache_folder;

/// The folder they are kept in.
pub fn folder() -> PathBuf {
    cache_folder().join("doctor")
}

/// The file for a device, below `folder`.
pub fn path(folder: &Path, name: &DeviceName) -> PathBuf {
    folder.join(format!("{}.json", &files::hash_bytes(name.to_string().as_bytes())[..16]))
}

/// Keeps a diagnosis in `folder` in the place of an older one of the same adapter.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(folder: &Path, diagnosis: &Diagnosis) -> Result<()> {
    files::write_json(&path(folder, &diagnosis.device), diagnosis)
}

/// The diagnosis in `folder` of the device `name` with this `driver`, made by this version of the program. A file that
/// is no diagnosis is passed over with a warning.
pub fn known(folder: &Path, name: &DeviceName, driver: &str) -> Option<Diagnosis> {
    let path = path(folder, name);
    if !path.exists() {
        return None;
    }
    let read = files::read_json::<Diagnosis>(&path);
    let diagnosis =
        read.inspect_err(|e| tracing::warn!("a kept diagnosis is ignored: {e}; odyssey doctor renews it")).ok()?;
    let holds = diagnosis.device == *name
        && diagnosis.driver == driver
        && diagnosis.version == env!("CARGO_PKG_VERSION")
        && diagnosis.schema == super::SCHEMA;
    holds.then_some(diagnosis)
}

/// Why results of this device cannot be trusted, if a diagnosis says so.
pub fn found_wrong(name: &DeviceName, driver: &str) -> Option<String> {
    known(&folder(), name, driver).filter(|kept| kept.verdict == Verdict::Wrong).map(|kept| kept.words)
}

/// Why numbers cannot be held in f16 on `device`, or computed in it, if a diagnosis says so.
pub fn f16_fault(device: &Device, computed: bool) -> Option<String> {
    let adapter = device::adapter_of(device)?;
    known(&folder(), &adapter.device_name(), &adapter.driver)?.f16_fault(computed)
}
