//! A language model of any family: from token ids to hidden states and logits.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::ModelConfig;
use super::families::LanguageModel;
use super::layers::{Linear, Stage};
use super::weights::{Shapes, WeightSource};
use crate::device::precision::Precision;
use crate::device::read_back::to_host;
use crate::error::Result;
use crate::kernels::head::Head;

impl LanguageModel {
    /// The model of `config` with the weights of `source`.
    pub(super) fn build(config: &ModelConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self> {
        config.architecture.build(&config.sizes, source, device)
    }

    /// Name and shape of every weight that `config` describes, without the weights themselves.
    pub fn shapes(config: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>> {
        let mut shapes = Shapes::default();
        Self::build(config, &mut shapes, &Device::flex())?;
        Ok(shapes.found)
    }

    /// How many weights `config` calls for.
    ///
    /// # Errors
    /// As [`Self::shapes`].
    pub fn weight_count(config: &ModelConfig) -> Result<u64> {
        let shapes = Self::shapes(config)?;
        Ok(shapes.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum())
    }

    /// Final hidden states of `ids` `[batch, time]`, after the last norm: `[batch, time, channels]`.
    pub fn hidden_states(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let stages = self.stages(ids.dims()[1], &ids.device());
        stages.iter().fold(self.embed(ids), |x, stage| stage(x))
    }

    /// The input of the first layer: `ids` `[batch, time]` to `[batch, time, channels]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.decoder().embed(ids)
    }

    /// The layers for windows of `time` tokens, and the last norm: hidden states go through them in order.
    pub fn stages(&self, time: usize, device: &Device) -> Vec<Stage<'_>> {
        self.decoder().stages(time, device)
    }

    /// The output head.
    pub fn head(&self) -> Head {
        self.decoder().head()
    }

    /// The linear layers inside the transformer layers, by their paths in the checkpoint.
    pub(super) fn linears(&self) -> Vec<(String, &Linear)> {
        self.decoder().linears()
    }

    /// The same, to be changed.
    pub(super) fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        self.decoder_mut().linears_mut()
    }

    /// Whether some layer has an adapter.
    pub fn has_adapters(&self) -> bool {
        self.linears().iter().any(|(_, linear)| linear.adapter().is_some())
    }

    /// Whether matrices are held in fewer bits than they are computed with, and so converted whenever they are used.
    pub fn is_narrow(&self) -> bool {
        self.linears().iter().any(|(_, linear)| linear.is_narrow())
    }

    /// Computes the products of its layers in `precision`: their inputs are rounded to it, their outputs are f32 again,
    /// as are norms, activations, softmaxes and the head. Weights stay as they are held (mixed precision, arXiv
    /// 1710.03740).
    pub fn compute_in(mut self, precision: Precision) -> Self {
        for (_, linear) in self.linears_mut() {
            linear.set_compute(precision);
        }
        self
    }

    /// Logits of every position, `[batch, time, vocab]`. They are large: for scoring and training use
    /// [`crate::evaluate`] and [`crate::adapt`], which compute them in parts.
    pub fn logits(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden_states(ids);
        let [batch, time, channels] = hidden.dims();
        self.head().logits(&hidden.reshape([batch * time, channels])).reshape([batch as i64, time as i64, -1])
    }

    /// Continues `prompt` greedily by `count` tokens, reading at most `context` of the latest tokens at a time.
    ///
    /// # Errors
    /// The device's failure.
    pub fn greedy(&self, prompt: &[u32], count: usize, context: usize, device: &Device) -> Result<Vec<u32>> {
        let mut ids = prompt.to_vec();
        for _ in 0..count {
            let window = &ids[ids.len().saturating_sub(context)..];
            let hidden = self.hidden_states(token_ids(&[window], device));
            let [_, time, channels] = hidden.dims();
            let last = hidden.narrow(1, time - 1, 1).reshape([1, channels]);
            let logits = to_host(self.head().logits(&last).flatten(0, 1))?;
            let best = logits
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (id, &logit)| if logit > best.1 { (id, logit) } else { best });
            ids.push(best.0 as u32);
        }
        Ok(ids)
    }
}

/// Token ids of equally long windows as a tensor, `[batch, time]`, without autodiff.
pub fn token_ids(windows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let time = windows.first().map_or(0, |window| window.len());
    let ids: Vec<i32> = windows.iter().flat_map(|window| window.iter().map(|&id| id as i32)).collect();
    Tensor::from_data(TensorData::new(ids, [windows.len(), time]), &device.clone().inner())
}
