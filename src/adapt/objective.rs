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
use crate::evaluate::score::{ChunkLogits, head_chunk};
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
        let head = model.head(); // [V, C]
        let device = head.device().inner();
        let inputs: Vec<&[u32]> = batch.inputs.iter().map(Vec::as_slice).collect();
        let hidden = model.hidden_states(token_ids(&inputs, &device));
        let [batch_size, time, channels] = hidden.dims();
        let positions = batch_size * time;
        let hidden = hidden.reshape([positions, channels]);

        let targets: Vec<i32> = batch.targets.iter().map(|&id| id as i32).collect();
        let targets: Tensor<2, Int> = Tensor::from_data(TensorData::new(targets, [positions, 1]), &device);
        let scale: Vec<f32> = batch.weights.iter().map(|&w| (f64::from(w) / step_weight) as f32).collect();
        let scale: Tensor<2> = Tensor::from_data(TensorData::new(scale, [positions, 1]), &device);

        let (hidden_now, head_now) = (hidden.clone().inner(), head.clone().inner());
        let chunk = head_chunk(head_now.dims()[0]);
        let mut losses = Vec::new();
        let mut hidden_gradients = Vec::new();
        let mut head_gradient: Option<Tensor<2>> = None;
        for start in (0..positions).step_by(chunk) {
            let count = chunk.min(positions - start);
            let hidden = hidden_now.clone().narrow(0, start, count); // [n, C]
            let targets = targets.clone().narrow(0, start, count); // [n, 1]
            let scale = scale.clone().narrow(0, start, count); // [n, 1]

            let logits = ChunkLogits::new(hidden.clone(), head_now.clone());
            losses.push((logits.nll(targets.clone()) * scale.clone()).sum());
            // ∂L/∂logits = w/Σw · (softmax − onehot(target))
            let gradient = (logits.softmax * scale.clone()).scatter(1, targets, scale.neg(), IndexingUpdateOp::Add); // [n, V]

            hidden_gradients.push(gradient.clone().matmul(head_now.clone()));
            let part = gradient.transpose().matmul(hidden);
            head_gradient = Some(match head_gradient {
                Some(sum) => sum + part,
                None => part,
            });
        }
        let mut linear = (hidden * Tensor::cat(hidden_gradients, 0)).sum();
        if let Some(head_gradient) = head_gradient {
            linear = linear + (head * head_gradient).sum();
        }
        let gradients = model.gradients(linear.backward());
        Ok(Backward { loss: Tensor::cat(losses, 0).sum(), gradients })
    }
}
