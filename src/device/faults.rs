//! What goes wrong with a device while it computes, and what is done about it.
//!
//! Work for a GPU runs in a thread of burn's own. A failure there comes back as text at the next read. If a device has
//! no memory for a buffer, only a callback of wgpu is told (`open` installs it). [`failure`] is the one place that
//! makes an [`Error::Device`] of all this, [`guarded`] the one that makes one of a panic.

use std::collections::VecDeque;
use std::fmt::Display;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burn::tensor::wgpu::{WgpuBackend, WgpuInitError};
use burn::tensor::{Device, DeviceKind, Tensor};

use super::hush::hushed;
use super::{Card, card_of, cards};
use crate::error::{DeviceFault, Error, Result};
use crate::{guard, threads};

/// The last out-of-memory message from the thread of a device.
static OUT_OF_MEMORY: Mutex<Option<String>> = Mutex::new(None);

fn out_of_memory_said() -> Option<String> {
    OUT_OF_MEMORY.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A new connection to the card of this kind, through `api`. Each API, including `Auto`, allows one connection.
pub(super) fn open(kind: DeviceKind, api: WgpuBackend) -> Result<Device, WgpuInitError> {
    let options = Device::wgpu_options().device_kind(kind).graphics_api(api);
    let (device, setup) = hushed(|| options.init_with_setup())?;
    setup.device.on_uncaptured_error(Arc::new(|error: wgpu::Error| {
        if let wgpu::Error::OutOfMemory { .. } = &error {
            *OUT_OF_MEMORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        // As burn's own callback, which this one replaces, but without a panic's message: the current work is given up,
        // the thread catches the panic, and the next read reports it.
        resume_unwind(Box::new(format!("wgpu error: {error}")));
    }));
    Ok(device)
}

/// The error for work on `device` that failed with these words.
pub fn failure(device: &Device, words: impl Display) -> Error {
    let words = words.to_string();
    if let Some(error) = threads::refused(&words) {
        return error;
    }
    let memory = out_of_memory_said();
    let kind = match &memory {
        _ if says_lost(&words) => DeviceFault::Lost,
        Some(_) => DeviceFault::OutOfMemory,
        None if says_out_of_memory(&words) => DeviceFault::OutOfMemory,
        None if is_lost(&device.clone().inner()) => DeviceFault::Lost,
        None => DeviceFault::Other,
    };
    let fault = one_line(memory.as_ref().filter(|_| kind == DeviceFault::OutOfMemory).unwrap_or(&words));
    Error::Device { device: name_of(device), kind, fault: fault.into() }
}

/// Whether nothing at all can be computed on `device`, because it is gone. Work that was running at that moment may
/// have failed with another message.
fn is_lost(device: &Device) -> bool {
    const TRIES: usize = 3; // the report of the loss may arrive a moment late
    let number = || {
        Tensor::<1>::zeros([1], device)
            .try_into_data()
            .map_err(|e| e.to_string())?
            .try_to_vec::<f32>()
            .map_err(|e| e.to_string())
    };
    for _ in 0..TRIES {
        match guard::caught_quietly(number) {
            Ok(Ok(_)) => return false,
            Ok(Err(words)) if says_lost(&words) => return true,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    false
}

/// The words of cubecl for a device that is lost (`DevicePoison`).
fn says_lost(words: &str) -> bool {
    words.to_lowercase().contains("poisoned")
}

/// The words of cubecl, Vulkan and wgpu for missing memory, or for a buffer that is larger than the device allows.
fn says_out_of_memory(words: &str) -> bool {
    let words = words.to_lowercase();
    let phrases = [
        "out of device memory",
        "out of memory",
        "out-of-memory",
        "not enough memory",
        "can't allocate",
        "outofmemory",
        "buffertoobig",
    ];
    phrases.iter().any(|phrase| words.contains(phrase))
}

/// The first cause, without the trace of calls, in one line.
fn one_line(words: &str) -> String {
    const MOST: usize = 300;
    let cause = words.rsplit("Caused by:").next().unwrap_or(words);
    let traces = ["Backtrace", "backtrace", "No backtrace", "<disabled>", "Asked at:", "\n   0:"];
    let end = traces.iter().filter_map(|mark| cause.find(mark)).min().unwrap_or(cause.len());
    let line = cause[..end].replace("\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

/// The name of a device in errors.
fn name_of(device: &Device) -> String {
    card_of(device).map_or_else(|| "cpu".to_owned(), Card::label)
}

/// Does `work` on `device`; a panic below becomes an error.
///
/// # Errors
/// Errors of `work`; [`Error::Device`].
pub fn guarded<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    out_of_memory_said(); // what is there is of earlier work
    guard::caught_quietly(work).unwrap_or_else(|panic| Err(failure(device, panic.words().unwrap_or("it panicked"))))
}

/// Runs `work` on each group in order. A group that does not fit into the memory of `device` is halved, and later
/// groups are not larger than the one that fitted.
///
/// # Errors
/// Those of `work`, where halving does not help.
pub fn halving<T: Clone>(
    device: &Device,
    groups: impl IntoIterator<Item = Vec<T>>,
    mut work: impl FnMut(&[T]) -> Result<()>,
) -> Result<()> {
    let mut most = usize::MAX;
    let mut waiting: VecDeque<Vec<T>> = groups.into_iter().collect();
    while let Some(mut group) = waiting.pop_front() {
        if group.len() > most {
            let rest = group.split_off(most);
            waiting.push_front(rest);
        }
        match guarded(device, || work(&group)) {
            Err(error) if error.is_out_of_memory() && group.len() > 1 => {
                most = group.len() / 2;
                tracing::warn!("{error}; computing {most} at once instead of {}", group.len());
                device.memory_cleanup();
                waiting.push_front(group);
            }
            done => done?,
        }
    }
    Ok(())
}

/// Opens a new connection to the device with the name `device`; everything opened from now on uses it. Data on the old
/// connection stays lost.
///
/// # Errors
/// No new connection is possible, or it was renewed before.
pub fn renew(device: &str) -> Result<()> {
    let refused =
        |fault: String| Error::Device { device: device.to_owned(), kind: DeviceFault::Lost, fault: fault.into() };
    let card = cards().iter().find(|card| card.label() == device);
    let card = card.ok_or_else(|| refused("it is no card, which could be opened anew".into()))?;
    if card.fresh.get().is_some() {
        return Err(refused("it was opened anew before".into()));
    }
    let api = match card.api.as_str() {
        "metal" => WgpuBackend::Metal,
        "dx12" => WgpuBackend::Dx12,
        _ => WgpuBackend::Vulkan,
    };
    // burn keeps one connection for each kind of card and API. The first went without the API's name, so that with
    // it there is another.
    let fresh = open(card.device_kind.clone(), api).map_err(|e| refused(format!("it cannot be opened anew: {e}")))?;
    let _ = card.fresh.set(fresh);
    Ok(())
}

/// Runs `work`. If it loses its device, renews the device and runs it once more. `work` gets whether this is the second
/// try.
///
/// # Errors
/// Errors of `work`; the first loss if there is no new connection.
pub fn once_more<T>(mut work: impl FnMut(bool) -> Result<T>, renew: impl FnOnce(&str) -> Result<()>) -> Result<T> {
    let error = match work(false) {
        Err(error) if error.is_device_lost() => error,
        done => return done,
    };
    let Error::Device { device, .. } = &error else { return Err(error) };
    match renew(device) {
        Ok(()) => {
            tracing::warn!("{error}; going on with a fresh connection to it");
            work(true)
        }
        Err(refused) => {
            tracing::warn!("{refused}");
            Err(error)
        }
    }
}
