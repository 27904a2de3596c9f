//! What a model of given sizes takes of memory.
//!
//! Weights, gradients and moments are counted from the shapes in `config.json`. The memory of a pass through the model
//! is estimated from how many tensors of each size exist at once; these counts come from measured runs (`tests/size.rs`
//! compares plan and measurement).

use serde::Serialize;

use super::work::{F32, Training, Work};
use crate::device::batch_size;
use crate::error::Result;
use crate::kernels::cross_entropy::head_chunk;
use crate::model::lora::AdapterSize;
use crate::model::weights::LARGEST_PIECE;
use crate::model::{LanguageModel, ModelConfig, Precision, family};

/// Memory of the program beside all this.
const PROGRAM: u64 = 34 << 20;
/// The same with a graphics driver.
const GPU_PROGRAM: u64 = 200 << 20;

/// One thing that takes memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// Sizes of a model that memory depends on.
pub(super) struct Sizes {
    /// Weights in matrices, and in vectors.
    pub(super) matrices: u64,
    pub(super) vectors: u64,
    /// Weights of the largest matrix that is never cut into pieces, of the largest that is, and of all that are.
    pub(super) largest_whole: u64,
    largest_table: u64,
    tables: u64,
    vocabulary: u64,
    channels: u64,
    inner: u64,
    heads: u64,
    layers: u64,
    /// Channels of a head that are rotated by its position.
    rotated: u64,
    gated: bool,
}

impl Sizes {
    pub(super) fn of(config: &ModelConfig) -> Result<Self> {
        let shapes = LanguageModel::shapes(config)?;
        let count = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
        let sum = |matrices: bool| {
            shapes.iter().filter(|(_, shape)| (shape.len() > 1) == matrices).map(|(_, s)| count(s)).sum::<u64>()
        };
        let vocabulary = config.vocabulary();
        // A weight with a number in its name belongs to a layer, even if it has as many rows as the vocabulary.
        let in_layer = |name: &str| name.split('.').any(|part| part.parse::<u64>().is_ok());
        let is_table = move |name: &str, shape: &[usize]| shape.first() == Some(&vocabulary) && !in_layer(name);
        let counts = |tables: bool| {
            let counted = shapes.iter().filter(move |(name, shape)| tables == is_table(name, shape));
            counted.map(|(_, shape)| count(shape))
        };
        let family::Sizes { width, inner, heads, layers, rotated, gated, .. } = config.sizes;
        Ok(Self {
            matrices: sum(true),
            vectors: sum(false),
            largest_whole: counts(false).max().unwrap_or(0),
            largest_table: counts(true).max().unwrap_or(0),
            tables: counts(true).sum(),
            vocabulary: vocabulary as u64,
            channels: width as u64,
            inner: inner as u64,
            heads: heads as u64,
            layers: layers as u64,
            rotated: rotated as u64,
            gated,
        })
    }

    fn weights(&self, precision: Precision) -> u64 {
        self.matrices * precision.bytes() as u64 + self.vectors * F32
    }

    /// What the device needs for `work`, in parts.
    pub(super) fn parts(&self, work: Work, on_gpu: bool) -> Vec<Part> {
        let mut parts = self.parts_of(work, on_gpu);
        if let Work::Train(Training { strategies: bytes @ 1.., .. }) = work {
            parts.push(Part { what: "what the strategies hold", bytes });
        }
        parts
    }

    fn parts_of(&self, work: Work, on_gpu: bool) -> Vec<Part> {
        let part = |what, bytes| Part { what, bytes };
        let program = part("the program itself", if on_gpu { GPU_PROGRAM } else { PROGRAM });
        match work {
            Work::Evaluate { context, precision } => {
                let mut parts = vec![
                    part("weights", self.weights(precision)),
                    part("one pass through a layer or the head", self.pass(context, batch_size(context))),
                    program,
                ];
                if precision != Precision::F32 {
                    parts.push(part("a matrix in f32, while it is used", self.largest_piece() * F32));
                }
                parts
            }
            Work::Merge { models, scored } => {
                // One tensor of every model, their sum in f64, and the result as numbers and as bytes of a file.
                let tensors = (models as u64 + 4) * F32 * self.largest_whole.max(self.largest_table);
                let mut parts = match scored {
                    Some((context, precision)) => self.parts_of(Work::Evaluate { context, precision }, on_gpu),
                    None => vec![program],
                };
                parts.push(part("a tensor of each model", tensors));
                parts
            }
            Work::Embed(encoder) => vec![
                part("weights", self.weights(Precision::F32)),
                part("weights of the sentence encoder", F32 * encoder.weights),
                part("one pass through a layer of it", encoder.pass()),
                program,
            ],
            Work::Train(training @ Training { moments, adapters: None, .. }) => {
                let all = self.weights(Precision::F32);
                vec![
                    part("weights: base, trained and best", 3 * all),
                    part("moments of the optimiser", 2 * all / F32 * moments.bytes() as u64),
                    part("activations, then gradients and the new weights", (2 * all).max(self.backward(training))),
                    program,
                ]
            }
            Work::Train(training @ Training { moments, adapters: Some((adapters, precision)), .. }) => {
                let of_each = 4 * F32 + 2 * moments.bytes() as u64;
                vec![
                    part("weights of the base", self.weights(precision)),
                    part("adapters: trained, best, gradients and moments", of_each * adapters.weights),
                    part("activations", self.backward_of_adapters(training, adapters, precision)),
                    program,
                ]
            }
        }
    }

    /// The largest memory in use without a gradient: in a layer tensors of the width of the MLP and of the hidden
    /// states; in the head a chunk of logits, briefly twice, and the packed piece of the token table.
    fn pass(&self, context: usize, windows: usize) -> u64 {
        let tokens = (context * windows) as u64;
        let (of_inner, of_channels) = if self.gated { (3, 4) } else { (2, 5) };
        let layer = tokens * (of_inner * self.inner + of_channels * self.channels);
        let head = 2 * self.logits(tokens) + tokens * self.channels + self.table_piece();
        F32 * (layer.max(head) + self.rotations(context))
    }

    /// Cosines and sines of so many positions.
    fn rotations(&self, context: usize) -> u64 {
        context as u64 * self.rotated
    }

    /// Logits of the largest chunk of so many tokens.
    fn logits(&self, tokens: u64) -> u64 {
        tokens.min(head_chunk(self.vocabulary as usize) as u64) * self.vocabulary
    }

    /// Bytes that a layer keeps for the gradient: for every token the inputs of norms and linear layers, queries, keys,
    /// values, and input and output of the nonlinearity. Products in 16 bits keep less of that, and all scores of
    /// attention.
    fn kept(&self, tokens: u64, context: usize, compute: Precision) -> f64 {
        let of_inner = if self.gated { 3 } else { 2 };
        let of_layers = (8 * self.channels + of_inner * self.inner) as f64;
        let of_token = match compute {
            Precision::F32 => of_layers,
            Precision::Bf16 | Precision::F16 => 0.65 * of_layers + 2.8 * (self.heads * context as u64) as f64,
        };
        (F32 * tokens) as f64 * of_token
    }

    /// The peak memory of a backward pass through a frozen base to its adapters.
    ///
    /// The kept memory follows from the model; the temporary memory was fitted, here and in [`Self::backward`], to the
    /// peaks of 280 training runs on the CPU backend: two families, 7 models of 4 to 26 million weights, windows of 128
    /// to 1,024 tokens. The whole need is off by 10 % at most (where the best weights are not yet apart from the
    /// base's, these come on top), by 14 % of adapters in 16 bits or by layers, and by 19 % of both.
    fn backward_of_adapters(&self, training: Training, adapters: AdapterSize, precision: Precision) -> u64 {
        let Training { context, micro_batch, by_layers, compute, .. } = training;
        let tokens = (context * micro_batch) as u64;
        let [layers, inner, logits] =
            [self.layers, F32 * tokens * self.inner, F32 * self.logits(tokens)].map(|n| n as f64);
        // Dropout keeps its mask and what that leaves.
        let masked = (2 * F32 * tokens * adapters.masked) as f64;
        let kept = self.kept(tokens, context, compute) + masked / layers.max(1.0);
        if !by_layers {
            let inner = if compute.is_f32() { 1.8 * inner } else { 0.0 };
            return (layers * kept + inner + 1.4 * logits) as u64 + F32 * self.rotations(context);
        }
        // The input of each layer, and the memory of one layer or the head. A matrix in 16 bits is converted for use,
        // kept for the gradient and converted again for it.
        let converted = |weights: u64| if precision == compute { 0 } else { compute.bytes() as u64 * weights } as f64;
        let layer = match precision == compute {
            true => kept + 3.0 * inner,
            false => kept + 1.2 * inner + 3.3 * converted((self.matrices - self.tables) / self.layers.max(1)),
        };
        let head = 2.0 * logits + converted(self.table_piece());
        self.layers * F32 * tokens * self.channels + layer.max(head) as u64 + F32 * self.rotations(context)
    }

    /// The peak memory of a backward pass besides weights and moments: the values kept by the layers, the temporary
    /// values, and the gradients that are finished.
    fn backward(&self, training: Training) -> u64 {
        let Training { context, batch, micro_batch, by_layers, compute, .. } = training;
        let tokens = (context * micro_batch) as u64;
        let weights = self.weights(Precision::F32);
        let [layers, inner, logits, tables, all] =
            [self.layers, F32 * tokens * self.inner, F32 * self.logits(tokens), F32 * self.tables, weights]
                .map(|n| n as f64);
        let kept = self.kept(tokens, context, compute);
        // Gradients of the micro-batches before.
        let sum = if batch > micro_batch { weights } else { 0 };
        let peak = match (by_layers, compute.is_f32()) {
            (false, true) => layers * kept + 6.5 * inner + 3.1 * tables,
            (false, false) => layers * kept + 6.0 * inner + 2.3 * tables + 0.75 * all,
            // The input of each layer; then the last layer or the head, and the gradients of all others.
            (true, _) => {
                let reads = (self.layers * F32 * tokens * self.channels) as f64;
                1.4 * all + reads + (kept + 0.4 * inner).max(1.45 * logits)
            }
        };
        sum + peak as u64 + F32 * self.rotations(context)
    }

    /// Weights of the largest matrix as it is converted: tables only a piece at a time.
    fn largest_piece(&self) -> u64 {
        self.largest_whole.max(self.table_piece())
    }

    /// Weights of the largest table's largest piece.
    fn table_piece(&self) -> u64 {
        self.largest_table.min(LARGEST_PIECE as u64 / F32)
    }
}
