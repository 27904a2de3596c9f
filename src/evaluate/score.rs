//! Negative log-likelihoods of tokens, computed so that logits exist only for a limited number of positions at a time.

use std::cmp::Reverse;

use burn::tensor::{Device, Int, Tensor};

use super::protocol::Window;
use crate::device::faults::halving;
use crate::error::{Error, Result};
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, token_ids};
use crate::progress::Monitor;

/// Scores the windows of a stream: −ln p of every token, nats, NaN where no window scores it. `[stream]`.
///
/// `model` must be free of autodiff; `batch` windows of equal length are computed together, fewer if `device` has too
/// little memory. `monitor` gets the number of scored tokens.
///
/// # Errors
/// The device's failure; an interruption; a loss that is not finite.
pub fn score(
    model: &LanguageModel,
    device: &Device,
    ids: &[u32],
    windows: &[Window],
    batch: usize,
    monitor: &mut dyn Monitor,
) -> Result<Vec<f32>> {
    let head = model.head();
    let mut nll = vec![f32::NAN; ids.len()];
    halving(device, groups(windows, batch), |group| {
        let hidden = model.hidden_states(read(ids, group, device));
        let [batch, time, channels] = hidden.dims();
        let targets: Vec<u32> = group.iter().flat_map(|w| ids[w.end - time..w.end].iter().copied()).collect();
        let values = to_host(head.nll(hidden.reshape([batch * time, channels]), &targets))?;

        let mut scored = 0u64;
        for (window, values) in group.iter().zip(values.chunks_exact(time)) {
            let skip = window.distance(window.scored) - 1;
            for (token, &value) in (window.scored..window.end).zip(&values[skip..]) {
                if !value.is_finite() {
                    return Err(Error::numeric(format!(
                        "token {token} of the stream has a negative log-likelihood of {value}: the model's numbers \
                         left the range of f32"
                    )));
                }
                nll[token] = value;
                scored += 1;
            }
        }
        monitor.advance(scored, "");
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while scoring, which starts anew".into()));
        }
        Ok(())
    })?;
    Ok(nll)
}

/// Windows of the same length are computed together, at most `batch`, also if they are not adjacent. So nothing is
/// padded.
pub(super) fn groups(windows: &[Window], batch: usize) -> Vec<Vec<&Window>> {
    let mut by_length: Vec<&Window> = windows.iter().collect();
    by_length.sort_by_key(|window| Reverse(window.read()));
    let same = by_length.chunk_by(|a, b| a.read() == b.read());
    same.flat_map(|same| same.chunks(batch.max(1))).map(<[&Window]>::to_vec).collect()
}

/// The tokens that the model reads of windows of the same length, `[windows, time]`. A window's last token is never
/// read, only predicted: T tokens are read and T predicted.
pub(super) fn read(ids: &[u32], group: &[&Window], device: &Device) -> Tensor<2, Int> {
    let read: Vec<Vec<u32>> =
        group.iter().map(|w| w.prefix.into_iter().chain(ids[w.start..w.end - 1].iter().copied()).collect()).collect();
    let read: Vec<&[u32]> = read.iter().map(Vec::as_slice).collect();
    token_ids(&read, device)
}
