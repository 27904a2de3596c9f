//! How far two models' predictions are apart, over the whole vocabulary, not only for the tokens of the text.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::protocol::Window;
use super::score::{groups, read};
use crate::device::batch_size;
use crate::error::{Error, Result};
use crate::kernels::cross_entropy::{ChunkSoftmax, head_chunk};
use crate::kernels::head::Head;
use crate::model::LoadedModel;
use crate::model::parameters::to_host;
use crate::progress::Monitor;

/// The divergence of two models on the scored tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Mean of KL(before‖after) = Σ_v p_before(v) ln(p_before(v) / p_after(v)), nats per token.
    pub kl: f64,
    /// Share of positions where both models find the same token most likely, 0 to 1.
    pub top1_agreement: f64,
    /// Positions compared.
    pub positions: usize,
}

/// Reads `windows` of `ids` with both models and compares their predictions at every scored token.
///
/// # Errors
/// The models differ in vocabulary; a prediction that is not finite; the device fails; an interruption.
pub fn divergence(
    before: &LoadedModel,
    after: &LoadedModel,
    ids: &[u32],
    windows: &[Window],
    monitor: &mut dyn Monitor,
) -> Result<Divergence> {
    let heads = [before.model.head(), after.model.head()];
    if heads[0].rows() != heads[1].rows() {
        return Err(Error::input(
            format!("{} and {}", before.folder.display(), after.folder.display()),
            format!("predict {} and {} tokens", heads[0].rows(), heads[1].rows()),
            "compare models of one vocabulary",
        ));
    }
    let longest = windows.iter().map(Window::read).max().unwrap_or(1);
    monitor.begin("comparing predictions", windows.iter().map(|w| (w.end - w.scored) as u64).sum());
    let (mut kl, mut agreed, mut positions) = (0.0, 0, 0);
    for group in groups(windows, batch_size(longest)) {
        let read = read(ids, &group, &before.device);
        let hidden = [before, after].map(|loaded| {
            let hidden = loaded.model.hidden_states(read.clone());
            let [batch, time, channels] = hidden.dims();
            hidden.reshape([batch * time, channels])
        });
        let (divergences, agreements) = chunked(hidden, &heads)?;
        let time = group[0].read();
        let mut scored = 0;
        for (row, window) in group.iter().enumerate() {
            // Predictions of the scored tokens stand at the end of the window's row.
            let count = window.end - window.scored;
            let at = (row + 1) * time - count..(row + 1) * time;
            kl += divergences[at.clone()].iter().map(|&kl| f64::from(kl)).sum::<f64>();
            agreed += agreements[at].iter().filter(|&&agreed| agreed > 0.5).count();
            scored += count;
        }
        positions += scored;
        monitor.advance(scored as u64, "");
        if monitor.stopped() {
            return Err(Error::Interrupted("stopped while comparing predictions, which starts anew".into()));
        }
    }
    monitor.end();
    if positions == 0 {
        return Err(Error::input("the text", "no token is scored", "give more text"));
    }
    let count = positions as f64;
    if !kl.is_finite() {
        return Err(Error::numeric(format!(
            "the divergence of {} and {} is {kl}: a model that diverged?",
            before.folder.display(),
            after.folder.display()
        )));
    }
    Ok(Divergence { kl: kl / count, top1_agreement: agreed as f64 / count, positions })
}

/// KL and agreement (1 or 0) at every position, from the hidden states `[n, channels]` of both models: `[n]` each.
fn chunked(hidden: [Tensor<2>; 2], heads: &[Head; 2]) -> Result<(Vec<f32>, Vec<f32>)> {
    let [positions, _] = hidden[0].dims();
    let chunk = head_chunk(heads[0].rows());
    let (mut divergences, mut agreements) = (Vec::new(), Vec::new());
    for start in (0..positions).step_by(chunk) {
        let count = chunk.min(positions - start);
        let [(p, log_p), (_, log_q)] =
            [0, 1].map(|i| predictions(hidden[i].clone().narrow(0, start, count), &heads[i]));
        let agreed = log_p.clone().argmax(1).equal(log_q.clone().argmax(1)).float();
        let kl = (p * (log_p - log_q)).sum_dim(1);
        divergences.extend(to_host(kl.flatten(0, 1))?);
        agreements.extend(to_host(agreed.flatten(0, 1))?);
    }
    Ok((divergences, agreements))
}

/// p and ln p of the whole vocabulary at every position, `[n, vocab]` each, from hidden states `[n, channels]`.
fn predictions(hidden: Tensor<2>, head: &Head) -> (Tensor<2>, Tensor<2>) {
    let ChunkSoftmax { logits, pieces, normaliser } = ChunkSoftmax::new(hidden, head);
    (Tensor::cat(pieces, 1), Tensor::cat(logits, 1) - normaliser)
}
