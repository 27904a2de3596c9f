//! Negative log-likelihoods of tokens, without ever holding the logits of more than a bounded chunk of positions.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::protocol::Window;
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
    /// p of the tokens of each piece of the head, `[n, rows of the piece]`.
    pub pieces: Vec<Tensor<2>>,
    /// −ln p of each position's target, nats: `[n, 1]`.
    pub nll: Tensor<2>,
}

impl ChunkSoftmax {
    /// From hidden states `[n, channels]`, the head `[vocab, channels]` and targets `[n, 1]`.
    ///
    /// ln Z comes from the likeliest token of a piece, whose probability within it is at least 1/rows: ln Z = max − ln
    /// p_max. The target's own probability may round to 0, where its logarithm would be lost.
    pub fn new(hidden: Tensor<2>, head: &Table, targets: Tensor<2, Int>) -> Self {
        let mut pieces = Vec::new();
        let mut normalisers = Vec::new(); // ln Z of each piece, [n, 1]
        let mut target_logits = Vec::new(); // the target's logit where it lies in the piece, else 0: [n, 1]
        for (piece, start) in head.pieces.iter().zip(head.starts()) {
            let logits = hidden.clone().matmul(piece.clone().transpose());
            let probabilities = softmax(logits.clone(), 1);
            normalisers.push(logits.clone().max_dim(1) - probabilities.clone().max_dim(1).log());
            let (local, inside) = within(targets.clone(), start, piece.dims()[0]);
            target_logits.push(logits.gather(1, local) * inside);
            pieces.push(probabilities);
        }
        if let ([normaliser], [target]) = (normalisers.as_slice(), target_logits.as_slice()) {
            return Self { pieces, nll: normaliser.clone() - target.clone() };
        }
        let normalisers = Tensor::cat(normalisers, 1); // [n, pieces]
        let largest = normalisers.clone().max_dim(1);
        let whole = (normalisers.clone() - largest.clone()).exp().sum_dim(1).log() + largest; // ln Z, [n, 1]
        let shares = (normalisers - whole.clone()).exp(); // Z of the piece over Z
        let pieces = pieces.into_iter().enumerate().map(|(i, p)| p * shares.clone().narrow(1, i, 1)).collect();
        Self { pieces, nll: whole - Tensor::cat(target_logits, 1).sum_dim(1) }
    }
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
            ChunkSoftmax::new(hidden.clone().narrow(0, start, count), head, targets).nll.flatten(0, 1)
        })
        .collect();
    Tensor::cat(parts, 0)
}

/// Scores the windows of a stream: −ln p of every token, nats, NaN where no window scores it. `[stream]`.
///
/// `model` must be free of autodiff; `batch` windows of equal length are computed together, and `monitor` hears of
/// the tokens scored.
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
    let mut rest = windows;
    while let Some(first) = rest.first() {
        let length = first.end - first.start;
        // Only the last window is shorter; it goes alone rather than padded.
        let same = rest.iter().take(batch.max(1)).take_while(|w| w.end - w.start == length).count();
        let (group, later) = rest.split_at(same);
        rest = later;

        // A stream's last token is never read as input, only predicted; read T−1 tokens, predict T−1.
        let inputs: Vec<&[u32]> = group.iter().map(|w| &ids[w.start..w.end - 1]).collect();
        let hidden = model.hidden_states(token_ids(&inputs, device));
        let [batch, time, channels] = hidden.dims();
        let targets: Vec<i32> =
            group.iter().flat_map(|w| ids[w.start + 1..w.end].iter().map(|&id| id as i32)).collect();
        let targets = Tensor::from_data(TensorData::new(targets, [batch * time]), device);
        let values = to_host(chunked_nll(hidden.reshape([batch * time, channels]), &head, targets))?;

        let mut scored = 0u64;
        for (window, values) in group.iter().zip(values.chunks_exact(time)) {
            let skip = window.scored - window.start - 1;
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
    }
    Ok(nll)
}
