//! The loss of every target of every window by some model: what strategies that choose targets compare with.

use std::path::Path;

use burn::tensor::Device;
use safetensors::Dtype;
use serde_json::Value;

use super::kept::{Keep, kept};
use super::windows::TrainingWindows;
use crate::device::batch_size;
use crate::device::faults::guarded;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, token_ids};
use crate::progress::Monitor;

/// −ln p of every target of every window, nats.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowLosses {
    /// Where each window's targets begin, and one past the last.
    starts: Vec<usize>,
    nll: Vec<f32>,
}

impl WindowLosses {
    /// Of the windows in order.
    pub fn new(windows: impl IntoIterator<Item = Vec<f32>>) -> Self {
        let (mut starts, mut nll) = (vec![0], Vec::new());
        for window in windows {
            nll.extend(window);
            starts.push(nll.len());
        }
        Self { starts, nll }
    }

    /// The losses of a window's targets.
    pub fn of(&self, window: usize) -> &[f32] {
        &self.nll[self.starts[window]..self.starts[window + 1]]
    }

    /// All of them, window by window.
    pub fn all(&self) -> &[f32] {
        &self.nll
    }

    /// The windows that `choose` names from this one, all others from `other`.
    pub fn or(&self, other: &Self, choose: impl Fn(usize) -> bool) -> Self {
        let windows = 0..self.starts.len() - 1;
        Self::new(windows.map(|window| if choose(window) { self.of(window) } else { other.of(window) }.to_vec()))
    }

    /// The losses by `model`, which is free of autodiff.
    ///
    /// # Errors
    /// A loss that is not finite; the device's failure; an interruption.
    pub fn measure(
        model: &LanguageModel,
        device: &Device,
        windows: &TrainingWindows,
        monitor: &mut dyn Monitor,
    ) -> Result<Self> {
        let at_once = batch_size(windows.longest());
        let numbers: Vec<usize> = (0..windows.all()).collect();
        let targets = numbers.iter().map(|&window| windows.targets(window) as u64).sum();
        monitor.begin("scoring the training text", targets);
        let mut all = Vec::with_capacity(numbers.len());
        for chosen in numbers.chunks(at_once) {
            let batch = windows.micro_batch(chosen);
            let nll = guarded(device, || losses(model, &batch.inputs, &batch.targets))?;
            let of_targets = batch.without_padding(&nll, chosen.iter().map(|&window| windows.targets(window)));
            if of_targets.iter().any(|nll| !nll.is_finite()) {
                return Err(Error::numeric(format!(
                    "a loss of the training text is no number ({})",
                    windows.documents(chosen)
                )));
            }
            let mut rest = of_targets.as_slice();
            for &window in chosen {
                let (of_window, further) = rest.split_at(windows.targets(window));
                all.push(of_window.to_vec());
                rest = further;
            }
            monitor.advance(of_targets.len() as u64, "");
            if monitor.stopped() {
                return Err(Error::Interrupted("stopped while scoring the training text, which starts anew".into()));
            }
        }
        monitor.end();
        Ok(Self::new(all))
    }

    /// The losses with the key `determined_by` where they are kept in `folder`, or those that `measure` gives, which are kept
    /// then. One file serves every strategy and every later run that asks for the same.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn kept(folder: Option<&Path>, determined_by: &Value, measure: impl FnOnce() -> Result<Self>) -> Result<Self> {
        kept(folder, "losses", determined_by, measure)
    }
}

impl Keep for WindowLosses {
    fn arrays(&self) -> Vec<(&'static str, Dtype, Vec<u8>)> {
        let starts: Vec<u64> = self.starts.iter().map(|&start| start as u64).collect();
        vec![
            ("nll", Dtype::F32, bytemuck::cast_slice(&self.nll).to_vec()),
            ("starts", Dtype::U64, bytemuck::cast_slice(&starts).to_vec()),
        ]
    }

    fn of(mut array: impl FnMut(&str) -> Result<Vec<u8>, String>) -> Result<Self, String> {
        let nll: Vec<f32> = bytemuck::pod_collect_to_vec(&array("nll")?);
        let starts: Vec<u64> = bytemuck::pod_collect_to_vec(&array("starts")?);
        let starts: Vec<usize> = starts.into_iter().map(|start| start as usize).collect();
        match starts.is_sorted() && starts.last() == Some(&nll.len()) {
            true => Ok(Self { starts, nll }),
            false => Err("its arrays do not fit together".into()),
        }
    }
}

/// −ln p of the targets `[batch · time]` of windows of one length, without autodiff.
///
/// # Errors
/// The device's failure.
pub fn losses(model: &LanguageModel, inputs: &[Vec<u32>], targets: &[u32]) -> Result<Vec<f32>> {
    let read: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    let hidden = model.hidden_states(token_ids(&read, &model.head().device()));
    let [batch, time, channels] = hidden.dims();
    to_host(model.head().nll(hidden.reshape([batch * time, channels]), targets))
}
