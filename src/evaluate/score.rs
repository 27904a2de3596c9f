//! Negative log-likelihoods of tokens, without ever holding the logits of more than a bounded chunk of positions.

use std::cmp::Reverse;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::protocol::Window;
use crate::device::faults::halving;
use crate::error::{Error, Result};
use crate::model::layers::within;
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, Table, token_ids};
use crate::progress::Monitor;

/// Logits held at once, at most: 32 MiB of f32. Memory does not grow with vocabulary × tokens.
pub const LOGITS_AT_ONCE: usize = 1 << 23;

/// Positions whose logits are computed together, for a vocabulary of this size.
pub fn head_chunk(vocabulary: usize) -> usize {
    (LOGITS_AT_ONCE / vocabulary.max(1)).max(1)
}

/// The softmax over the vocabulary of one chunk of positions, the start of both the loss and its gradient. Computed
/// piece by piece of the head.
pub struct ChunkSoftmax {
    /// Logits of the tokens of each piece of the head, `[n, rows of the piece]`.
    pub logits: Vec<Tensor<2>>,
    /// p of the same tokens.
    pub pieces: Vec<Tensor<2>>,
    /// ln Z of each position, `[n, 1]`: ln p = logit − ln Z.
    pub normaliser: Tensor<2>,
}

impl ChunkSoftmax {
    /// From hidden states `[n, channels]` and the head `[vocab, channels]`.
    ///
    /// ln Z comes from the likeliest token of a piece, whose probability within it is at least 1/rows: ln Z = max − ln
    /// p_max. A token's own probability may round to 0, where its logarithm would be lost.
    pub fn new(hidden: Tensor<2>, head: &Table) -> Self {
        let logits: Vec<Tensor<2>> = head.pieces().map(|piece| hidden.clone().matmul(piece.transpose())).collect();
        let pieces: Vec<Tensor<2>> = logits.iter().map(|logits| normalised(softmax(logits.clone(), 1))).collect();
        let normalisers: Vec<Tensor<2>> = logits
            .iter()
            .zip(&pieces)
            .map(|(logits, p)| logits.clone().max_dim(1) - p.clone().max_dim(1).log())
            .collect();
        if let [normaliser] = normalisers.as_slice() {
            return Self { logits, pieces, normaliser: normaliser.clone() };
        }
        let normalisers = Tensor::cat(normalisers, 1); // ln Z of each piece, [n, pieces]
        let largest = normalisers.clone().max_dim(1);
        let normaliser = (normalisers.clone() - largest.clone()).exp().sum_dim(1).log() + largest;
        let shares = (normalisers - normaliser.clone()).exp(); // Z of the piece over Z
        let pieces = pieces.into_iter().enumerate().map(|(i, p)| p * shares.clone().narrow(1, i, 1)).collect();
        Self { logits, pieces, normaliser }
    }

    /// −ln p of each position's target, nats: `[n, 1]`; targets are `[n, 1]`.
    pub fn nll(&self, head: &Table, targets: Tensor<2, Int>) -> Tensor<2> {
        let pieces = self.logits.iter().zip(head.starts());
        pieces.fold(self.normaliser.clone(), |nll, (logits, start)| {
            // A target's logit counts in the piece it lies in, and is 0 in the others.
            let (local, inside) = within(targets.clone(), start, logits.dims()[1]);
            nll - logits.clone().gather(1, local) * inside
        })
    }
}

/// Probabilities `[n, vocab]`, scaled to add up to 1. The softmax adds its terms one by one in f32, which over tens of
/// thousands of tokens loses up to 5e-5 of their sum; this sum is taken in parts.
fn normalised(p: Tensor<2>) -> Tensor<2> {
    let total = p.clone().sum_dim(1);
    p / total
}

/// −ln p of `targets` `[n]` given `hidden` `[n, channels]` and `head` `[vocab, channels]`: `[n]`, nats.
fn chunked_nll(hidden: Tensor<2>, head: &Table, targets: Tensor<1, Int>) -> Tensor<1> {
    let [positions, _] = hidden.dims();
    let chunk = head_chunk(head.rows());
    let parts = (0..positions)
        .step_by(chunk)
        .map(|start| {
            let count = chunk.min(positions - start);
            let targets = targets.clone().narrow(0, start, count).unsqueeze_dim(1);
            ChunkSoftmax::new(hidden.clone().narrow(0, start, count), head).nll(head, targets).flatten(0, 1)
        })
        .collect();
    Tensor::cat(parts, 0)
}

/// Scores the windows of a stream: −ln p of every token, nats, NaN where no window scores it. `[stream]`.
///
/// `model` must be free of autodiff; `batch` windows of equal length are computed together, fewer where `device` has no
/// memory for them, and `monitor` hears of the tokens scored.
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
        let targets: Vec<i32> =
            group.iter().flat_map(|w| ids[w.end - time..w.end].iter().map(|&id| id as i32)).collect();
        let targets = Tensor::from_data(TensorData::new(targets, [batch * time]), device);
        let values = to_host(chunked_nll(hidden.reshape([batch * time, channels]), &head, targets))?;

        let mut scored = 0u64;
        for (window, values) in group.iter().zip(values.chunks_exact(time)) {
            let skip = window.distance(window.scored) - 1;
            for (token, &value) in (window.scored..window.end).zip(&values[skip..]) {
                if !value.is_finite() {
                    return Err(Error::Numeric(format!(
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

/// Windows of one length go together, at most `batch` of them, whatever lies between them: nothing is padded.
pub(super) fn groups(windows: &[Window], batch: usize) -> Vec<Vec<&Window>> {
    let mut by_length: Vec<&Window> = windows.iter().collect();
    by_length.sort_by_key(|window| Reverse(window.read()));
    let same = by_length.chunk_by(|a, b| a.read() == b.read());
    same.flat_map(|same| same.chunks(batch.max(1))).map(<[&Window]>::to_vec).collect()
}

/// What the model reads of equally long windows, `[windows, time]`. A window's last token is never read, only predicted:
/// T tokens are read and T predicted.
pub(super) fn read(ids: &[u32], group: &[&Window], device: &Device) -> Tensor<2, Int> {
    let read: Vec<Vec<u32>> =
        group.iter().map(|w| w.prefix.into_iter().chain(ids[w.start..w.end - 1].iter().copied()).collect()).collect();
    let read: Vec<&[u32]> = read.iter().map(Vec::as_slice).collect();
    token_ids(&read, device)
}
