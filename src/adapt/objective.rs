//! The one training objective, Σ w·nll / Σ w + β·KL(base‖adapted) + γ‖θ−θ₀‖²/2.
//!
//! Only its first term is used so far: every strategy that weighs, drops or mixes targets does so through the weights
//! of a [`MicroBatch`]. The other two terms belong here too, the second in [`Objective::backward`], where a chunk's
//! logits are at hand, the third on the gradients it returns.
//!
//! The head is differentiated by hand, chunk by chunk, so that logits of more than a bounded number of positions never
//! exist, forward or backward. With G = ∂L/∂logits, known in closed form, autodiff is given the linear function
//! ⟨hidden, G·head⟩ + ⟨head, Gᵀ·hidden⟩ of constants, whose gradient at this point is that of L.

use std::collections::BTreeMap;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::data::MicroBatch;
use crate::error::Result;
use crate::evaluate::score::{ChunkSoftmax, head_chunk};
use crate::model::layers::within;
use crate::model::{LanguageModel, token_ids};

/// What is minimised.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Objective;

/// A micro-batch's part of the loss and of its gradient.
pub struct Backward {
    /// Σ w·nll over its targets divided by the step's Σ w, nats; `[1]`, still on the device.
    pub loss: Tensor<1>,
    /// ∂loss/∂weight by name, `[n]` each.
    pub gradients: BTreeMap<String, Tensor<1>>,
}

impl Objective {
    /// Loss and gradient of one micro-batch of a step whose targets weigh `step_weight` in all.
    ///
    /// `model` must be on an autodiff device.
    pub fn backward(&self, model: &LanguageModel, batch: &MicroBatch, step_weight: f64) -> Result<Backward> {
        let head = model.head();
        let head_now = head.inner();
        let device = head_now.pieces[0].device(); // a model without tokens is refused when it is read
        let inputs: Vec<&[u32]> = batch.inputs.iter().map(Vec::as_slice).collect();
        let hidden = model.hidden_states(token_ids(&inputs, &device));
        let [batch_size, time, channels] = hidden.dims();
        let positions = batch_size * time;
        let hidden = hidden.reshape([positions, channels]);
        let hidden_now = hidden.clone().inner();

        let targets: Vec<i32> = batch.targets.iter().map(|&id| id as i32).collect();
        let targets: Tensor<2, Int> = Tensor::from_data(TensorData::new(targets, [positions, 1]), &device);
        let scale: Vec<f32> = batch.weights.iter().map(|&w| (f64::from(w) / step_weight) as f32).collect();
        let scale: Tensor<2> = Tensor::from_data(TensorData::new(scale, [positions, 1]), &device);

        let chunk = head_chunk(head_now.rows());
        let mut losses = Vec::new();
        let mut hidden_gradients = Vec::new();
        let mut head_gradients: Vec<Option<Tensor<2>>> = vec![None; head_now.pieces.len()];
        for start in (0..positions).step_by(chunk) {
            let count = chunk.min(positions - start);
            let hidden = hidden_now.clone().narrow(0, start, count); // [n, C]
            let targets = targets.clone().narrow(0, start, count); // [n, 1]
            let scale = scale.clone().narrow(0, start, count); // [n, 1]

            let softmax = ChunkSoftmax::new(hidden.clone(), &head_now);
            losses.push((softmax.nll(&head_now, targets.clone()) * scale.clone()).sum());
            let mut hidden_gradient: Option<Tensor<2>> = None;
            for (i, (softmax, start)) in softmax.pieces.into_iter().zip(head_now.starts()).enumerate() {
                let (local, inside) = within(targets.clone(), start, softmax.dims()[1]);
                // ∂L/∂logits = w/Σw · (softmax − onehot(target))
                let gradient =
                    (softmax * scale.clone()).scatter(1, local, inside * scale.clone().neg(), IndexingUpdateOp::Add);
                accumulate(&mut hidden_gradient, gradient.clone().matmul(head_now.pieces[i].clone()));
                accumulate(&mut head_gradients[i], gradient.transpose().matmul(hidden.clone()));
            }
            hidden_gradients.extend(hidden_gradient);
        }
        let linear = (hidden * Tensor::cat(hidden_gradients, 0)).sum();
        let linear =
            head.pieces.into_iter().zip(head_gradients).fold(linear, |sum, (piece, gradient)| match gradient {
                Some(gradient) => sum + (piece * gradient).sum(),
                None => sum,
            });
        let gradients = model.gradients(linear.backward());
        Ok(Backward { loss: Tensor::cat(losses, 0).sum(), gradients })
    }
}

fn accumulate<const D: usize>(sum: &mut Option<Tensor<D>>, part: Tensor<D>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + part,
        None => part,
    });
}
