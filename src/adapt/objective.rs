//! The one training objective, Σ w·nll / Σ w + β·KL(base‖adapted) + γ‖θ−θ₀‖²/2.
//!
//! Only its first term is used so far: every strategy that weighs, drops or mixes targets does so through the weights
//! of a [`MicroBatch`]. The other two terms belong here too, the second in [`Objective::backward`], where a chunk's
//! logits are at hand, the third on the gradients it returns.
//!
//! The head is differentiated by hand, chunk by chunk ([`crate::kernels::cross_entropy`]). With G = ∂L/∂logits, known in
//! closed form, autodiff is given the linear function ⟨hidden, G·head⟩ of a constant, whose gradient at this point is that
//! of L as far as it goes through the hidden states; the head's own, Gᵀ·hidden, is added to what autodiff found.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::data::MicroBatch;
use crate::error::Result;
use crate::kernels::cross_entropy::HeadGradient;
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
    /// `model` must be on an autodiff device. A base in 16 bits goes block by block: what autodiff keeps of a product is
    /// its matrix in f32, so that all at once would hold every matrix in f32 after all.
    pub fn backward(&self, model: &LanguageModel, batch: &MicroBatch, step_weight: f64) -> Result<Backward> {
        if model.is_narrow() {
            return self.backward_by_blocks(model, batch, step_weight);
        }
        let hidden = model.hidden_states(read(model, batch));
        let head = HeadBackward::new(model, hidden.clone().inner(), batch, step_weight);
        let linear = (hidden * head.hidden.clone()).sum();
        let mut gradients = model.gradients(linear.backward());
        let loss = head.loss.clone();
        head.add_to(&mut gradients, model);
        Ok(Backward { loss, gradients })
    }

    /// The same in another order, which holds less and computes more: of the first pass only what each block reads is
    /// kept, and a block is computed once more when the gradient comes to it.
    pub fn backward_by_blocks(&self, model: &LanguageModel, batch: &MicroBatch, step_weight: f64) -> Result<Backward> {
        let ids = read(model, batch);
        let [_, time] = ids.dims();
        let plain = model.valid();
        let mut x = plain.embed(ids.clone());
        let mut reads = Vec::new();
        for stage in plain.stages(time, &ids.device()) {
            reads.push(x.clone());
            x = stage(x);
        }

        let head = HeadBackward::new(model, x, batch, step_weight);
        let mut gradients = BTreeMap::new();
        let mut gradient = head.hidden.clone();
        for stage in model.stages(time, &ids.device()).iter().rev() {
            let Some(read) = reads.pop() else { break };
            let read = Tensor::from_inner(read).require_grad();
            let mut found = (stage(read.clone()) * gradient).sum().backward();
            gradient = read.grad_remove(&mut found).unwrap_or_else(|| read.inner().zeros_like());
            gradients.extend(model.gradients(found));
        }
        if model.head().is_trained() {
            let linear = (model.embed(ids) * gradient).sum();
            gradients.extend(model.gradients(linear.backward()));
        }
        let loss = head.loss.clone();
        head.add_to(&mut gradients, model);
        Ok(Backward { loss, gradients })
    }
}

/// What a batch's blocks read, `[B, T]`.
fn read(model: &LanguageModel, batch: &MicroBatch) -> Tensor<2, Int> {
    let inputs: Vec<&[u32]> = batch.inputs.iter().map(Vec::as_slice).collect();
    token_ids(&inputs, &model.head().device())
}

/// The head's part: the loss, and its gradient with respect to what the head is given. Without autodiff.
struct HeadBackward {
    loss: Tensor<1>,
    /// ∂loss/∂hidden, `[B, T, C]`.
    hidden: Tensor<3>,
    /// ∂loss/∂piece of each piece of the head; a head that is frozen below adapters has none.
    pieces: Vec<Tensor<2>>,
}

impl HeadBackward {
    /// From hidden states `[B, T, C]` without autodiff.
    fn new(model: &LanguageModel, hidden: Tensor<3>, batch: &MicroBatch, step_weight: f64) -> Self {
        let shape @ [batch_size, time, channels] = hidden.dims();
        let weights: Vec<f32> = batch.weights.iter().map(|&w| (f64::from(w) / step_weight) as f32).collect();
        let hidden = hidden.reshape([batch_size * time, channels]);
        let HeadGradient { loss, hidden, pieces } = model.head().backward(hidden, &batch.targets, &weights);
        Self { loss, hidden: hidden.reshape(shape), pieces }
    }

    /// Adds the head's gradient to what autodiff found of the weights below; of a tied table that is the rest of it.
    fn add_to(self, gradients: &mut BTreeMap<String, Tensor<1>>, model: &LanguageModel) {
        for (name, gradient) in model.head_names().into_iter().zip(self.pieces) {
            let count = gradient.shape().num_elements();
            let mut sum = gradients.remove(&name);
            accumulate(&mut sum, gradient.reshape([count]));
            gradients.extend(sum.map(|sum| (name, sum)));
        }
    }
}

fn accumulate<const D: usize>(sum: &mut Option<Tensor<D>>, part: Tensor<D>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + part,
        None => part,
    });
}
