//! The training objective, Σ w·nll / Σ w, and the penalties of strategies.
//!
//! A strategy that weighs, drops or mixes targets does so through the weights of a [`MicroBatch`].
//!
//! The head is differentiated by hand, chunk by chunk ([`crate::kernels::cross_entropy`]). With G = ∂L/∂logits, known
//! in closed form, autodiff gets the linear function ⟨hidden, G·head⟩ with G·head as a constant. At this point its
//! gradient equals the part of ∂L that flows through the hidden states. The head's own gradient, Gᵀ·hidden, is added to
//! the one that autodiff found.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::data::MicroBatch;
use crate::error::Result;
use crate::kernels::cross_entropy::{HeadGradient, Toward};
use crate::model::{LanguageModel, token_ids};
use crate::recipe::Penalty;

/// The objective of a step.
#[derive(Clone)]
pub struct Objective {
    /// What is added to Σ w·nll / Σ w.
    pub penalties: Vec<Penalty>,
    /// What Σ w·nll is divided by, if not by Σ w over the step.
    pub divisor: Option<f64>,
    /// What sums of penalties over targets are divided by.
    pub penalised_divisor: f64,
    /// What gradients and losses are multiplied by during the backward pass; the divisor of Σ w·nll that is handed over
    /// contains it already.
    pub scale: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self { penalties: Vec::new(), divisor: None, penalised_divisor: 1.0, scale: 1.0 }
    }
}

/// A micro-batch's part of the loss and of its gradient.
pub struct Backward {
    /// Σ w·nll over its targets divided by the step's Σ w, nats; `[1]`, still on the device.
    pub loss: Tensor<1>,
    /// −ln p of its targets, nats: `[batch · time]`, padding included.
    pub nll: Tensor<1>,
    /// What penalties over its targets come to, which `loss` does not contain: `[1]`; `None` without any.
    pub penalty: Option<Tensor<1>>,
    /// ∂loss/∂weight by the name of the weight, `[n]` each.
    pub gradients: BTreeMap<String, Tensor<1>>,
}

impl Objective {
    /// Loss and gradient of one micro-batch, layer by layer ([`Self::backward_by_layers`]) or all at once.
    ///
    /// # Errors
    /// A failure of the device. It may also appear later, when the result is read.
    pub fn differentiate(
        &self,
        model: &LanguageModel,
        batch: &MicroBatch,
        step_weight: f64,
        by_layers: bool,
    ) -> Result<Backward> {
        match by_layers {
            true => self.backward_by_layers(model, batch, step_weight),
            false => self.backward(model, batch, step_weight),
        }
    }

    /// Loss and gradient of one micro-batch. `step_weight` is the sum of the weights of all targets of the step.
    ///
    /// `model` must be on an autodiff device. A base in 16 bits is computed layer by layer. Autodiff keeps the matrix
    /// of each product in f32; without this, every matrix would be held in f32 at the same time.
    pub fn backward(&self, model: &LanguageModel, batch: &MicroBatch, step_weight: f64) -> Result<Backward> {
        if model.is_narrow() {
            return self.backward_by_layers(model, batch, step_weight);
        }
        let hidden = model.hidden_states(read(model, batch));
        let head = HeadBackward::new(self, model, hidden.clone().inner(), batch, step_weight);
        let linear = (hidden * head.hidden.clone()).sum();
        let mut gradients = model.gradients(linear.backward());
        let (loss, nll, penalty) = (head.loss.clone(), head.nll.clone(), head.penalty.clone());
        head.add_to(&mut gradients, model);
        Ok(Backward { loss, nll, penalty, gradients })
    }

    /// The same in another order, which takes less memory and more time: the first pass keeps only the input of each
    /// layer, and each layer is computed again when the gradient reaches it.
    pub fn backward_by_layers(&self, model: &LanguageModel, batch: &MicroBatch, step_weight: f64) -> Result<Backward> {
        let ids = read(model, batch);
        let [_, time] = ids.dims();
        let plain = model.valid();
        let mut x = plain.embed(ids.clone());
        let mut reads = Vec::new();
        for stage in plain.stages(time, &ids.device()) {
            reads.push(x.clone());
            x = stage(x);
        }

        let head = HeadBackward::new(self, model, x, batch, step_weight);
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
        let (loss, nll, penalty) = (head.loss.clone(), head.nll.clone(), head.penalty.clone());
        head.add_to(&mut gradients, model);
        Ok(Backward { loss, nll, penalty, gradients })
    }
}

/// The token ids that the windows of a batch read, `[B, T]`.
fn read(model: &LanguageModel, batch: &MicroBatch) -> Tensor<2, Int> {
    let inputs: Vec<&[u32]> = batch.inputs.iter().map(Vec::as_slice).collect();
    token_ids(&inputs, &model.head().device())
}

/// The part of the head: the loss, and its gradient with respect to the hidden states. Without autodiff.
struct HeadBackward {
    loss: Tensor<1>,
    nll: Tensor<1>,
    penalty: Option<Tensor<1>>,
    /// ∂loss/∂hidden, `[B, T, C]`.
    hidden: Tensor<3>,
    /// ∂loss/∂piece of each piece of the head; a head that is frozen below adapters has none.
    pieces: Vec<Tensor<2>>,
}

impl HeadBackward {
    /// From hidden states `[B, T, C]` without autodiff.
    fn new(
        objective: &Objective,
        model: &LanguageModel,
        hidden: Tensor<3>,
        batch: &MicroBatch,
        step_weight: f64,
    ) -> Self {
        let shape @ [batch_size, time, channels] = hidden.dims();
        let weights: Vec<f32> = batch.weights.iter().map(|&w| (f64::from(w) / step_weight) as f32).collect();
        let hidden = hidden.reshape([batch_size * time, channels]);
        let near = objective.penalties.iter().find_map(|penalty| match penalty {
            Penalty::Near { divergence, temperature, hidden, teacher } => {
                Some((*divergence, *temperature, *hidden, teacher))
            }
            Penalty::Distance { .. } => None,
        });
        let Some((divergence, temperature, of_states, teacher)) = near.filter(|_| !batch.penalised.is_empty()) else {
            let found = model.head().backward(hidden, &batch.targets, &weights);
            let HeadGradient { loss, nll, divergence: penalty, hidden, pieces } = found;
            return Self { loss, nll, penalty, hidden: hidden.reshape(shape), pieces };
        };
        let of_teacher = teacher.hidden_states(read(teacher, batch));
        let [_, _, channels_of_teacher] = of_teacher.dims();
        let of_teacher = of_teacher.reshape([batch_size * time, channels_of_teacher]);
        // The gradient is scaled as that of the loss is.
        let per_target = objective.scale / objective.penalised_divisor.max(1.0);
        let penalised = |by: f64| -> Vec<f32> { batch.penalised.iter().map(|&v| (f64::from(v) * by) as f32).collect() };
        let (head, v) = (teacher.head().inner(), penalised(divergence * per_target));
        let toward = Toward { head: &head, hidden: of_teacher.clone(), weights: &v, temperature };
        let toward = (divergence > 0.0).then_some(toward);
        let found = model.head().backward_toward(hidden.clone(), &batch.targets, &weights, toward);
        let HeadGradient { loss, nll, divergence: mut penalty, hidden: mut of_hidden, pieces } = found;
        if of_states > 0.0 {
            let v = penalised(of_states * per_target / channels as f64);
            let v = Tensor::<1>::from_floats(v.as_slice(), &hidden.device()).reshape([batch_size * time, 1]);
            let apart = hidden - of_teacher;
            accumulate(&mut penalty, (apart.clone() * apart.clone() * v.clone()).sum());
            of_hidden = of_hidden + apart * v * 2.0;
        }
        Self { loss, nll, penalty, hidden: of_hidden.reshape(shape), pieces }
    }

    /// Adds the gradient of the head to the gradients that autodiff found for the weights below. For a tied table this
    /// completes the gradient of the table.
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
