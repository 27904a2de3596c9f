//! The adapter of one linear layer: `y = x W + s · B (A x)`.

// `lora_A` and `lora_B`, as PEFT names them.
#![allow(non_snake_case)]

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kernels::matmul::{self, Held};

/// How the names of an adapter's weights end, as PEFT has them.
pub(super) const ENDS: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// An adapter of one linear layer.
#[derive(Module, Debug)]
pub struct Lora {
    lora_A: Factor,
    lora_B: Factor,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    dropout: Option<Dropout>,
}

/// `A` or `B`, a linear layer without bias.
#[derive(Module, Debug)]
struct Factor {
    weight: Param<Tensor<2>>,
}

impl Factor {
    fn new(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let data = TensorData::new(values, shape);
        Self { weight: Param::from_tensor(Tensor::from_data(data, (device, DType::F32))) }
    }
}

impl Lora {
    /// One whose `A` `[r, in]` and `B` `[out, r]` are known; it leaves out no inputs.
    pub(super) fn new([a, b]: [(Vec<f32>, [usize; 2]); 2], scale: f64, device: &Device) -> Self {
        let [lora_A, lora_B] = [a, b].map(|(values, shape)| Factor::new(values, shape, device));
        Self { lora_A, lora_B, scale, dropout: None }
    }

    /// `x` is `[B·T, in]`, rows of a batch one after the other; the result is `[B·T, out]`.
    pub(super) fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let x = match self.dropout {
            Some(dropout) if dropout.step > 0 => x.clone() * dropout.mask(x.dims(), batch, &x.device()),
            _ => x,
        };
        let [a, b] = [&self.lora_A, &self.lora_B].map(|factor| factor.weight.val());
        matmul::linear(matmul::linear(x, a, Held::Transposed, None) * self.scale, b, Held::Transposed, None)
    }

    /// One with new values: `A` `[r, in]` from `a`, `B` zero; so it does not change the output yet.
    pub(super) fn fresh(
        a: Vec<f32>,
        [rank, input, output]: [usize; 3],
        scale: f64,
        dropout: Option<Dropout>,
        device: &Device,
    ) -> Self {
        let b = vec![0.0; output * rank];
        let new = Self::new([(a, [rank, input]), (b, [output, rank])], scale, device);
        Self { dropout, ..new }
    }

    /// What is left out of its inputs.
    pub(super) fn dropout_mut(&mut self) -> Option<&mut Dropout> {
        self.dropout.as_mut()
    }

    /// Its contribution to the layer's weight, held as that is; without autodiff.
    pub(super) fn update(&self, held: Held) -> Tensor<2> {
        let [a, b] = [&self.lora_A, &self.lora_B].map(|factor| factor.weight.val().inner());
        let update = b.matmul(a) * self.scale; // [out, in]
        match held {
            Held::Plain => update.transpose(),
            Held::Transposed => update,
        }
    }
}

/// The dropout mask of an adapter's inputs. Every window of a step has its own mask, drawn from the seed of the run. So
/// it is the same on every device, for every micro-batch size, and after a resume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    pub(super) rate: f64,
    pub(super) seed: u64,
    pub(super) layer: u64,
    /// Counted from 1; 0 outside training, where nothing is left out.
    pub(super) step: u64,
    /// The micro-batch's first window, counted over the step.
    pub(super) window: u64,
}

impl Dropout {
    /// 1 / (1 − rate) where an input is kept, else 0: `[B·T, in]`.
    fn mask(self, [rows, channels]: [usize; 2], batch: usize, device: &Device) -> Tensor<2> {
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * 2f64.powi(32)) as u32;
        let of_window = rows / batch.max(1) * channels;
        let mut mask = Vec::with_capacity(rows * channels);
        for window in self.window..self.window + batch as u64 {
            let parts = [self.seed, self.layer, self.step, window].map(u64::to_le_bytes);
            let mut rng = ChaCha8Rng::from_seed(bytemuck::cast(parts));
            mask.extend((0..of_window).map(|_| if rng.next_u32() < threshold { 0.0 } else { kept }));
        }
        Tensor::from_data(TensorData::new(mask, [rows, channels]), &device.clone().inner())
    }
}

/// Whether this is the published name of an adapter's weight.
pub fn is_adapter_weight(name: &str) -> bool {
    ENDS.iter().any(|end| name.ends_with(end))
}
