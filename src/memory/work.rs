//! What is to be done with a model, as far as memory depends on it.

use crate::error::Result;
use crate::model::lora::AdapterSize;
use crate::model::weights::LARGEST_PIECE;
use crate::model::{LanguageModel, ModelConfig, Precision};
use crate::recipe::{AdaptSettings, Stack};

/// Bytes of a number in f32.
pub(super) const F32: u64 = size_of::<f32>() as u64;

/// The work to plan for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Scoring windows of `context` tokens.
    Evaluate {
        /// Tokens of a window.
        context: usize,
        /// What matrices are held in.
        precision: Precision,
    },
    /// Training steps.
    Train(Training),
    /// Embedding texts with a sentence encoder, while a model is loaded.
    Embed(EncoderSize),
    /// Merging weights tensor by tensor.
    Merge {
        /// Models that are read, the base among them.
        models: usize,
        /// If merged models are scored, one at a time: tokens of a window, and what matrices are held in.
        scored: Option<(usize, Precision)>,
    },
}

/// Sizes of a sentence encoder that memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderSize {
    /// Its weights.
    pub weights: u64,
    /// Tokens of its longest passage.
    pub passage: usize,
    /// Tokens of the passages that it encodes together.
    pub together: usize,
    /// Its channels.
    pub channels: usize,
    /// Channels inside its MLP.
    pub inner: usize,
    /// Its attention heads.
    pub heads: usize,
}

impl EncoderSize {
    /// The largest memory in use inside a layer: in attention two and a half score matrices (long ones are computed in
    /// parts), inside the MLP three tensors of its width, each with some tensors of the width of the hidden states.
    pub(super) fn pass(self) -> u64 {
        let Self { passage, together, channels, inner, heads, .. } = self;
        let [passage, together, channels, inner, heads] = [passage, together, channels, inner, heads].map(|n| n as u64);
        let scores = (together * passage * heads).min(LARGEST_PIECE as u64 / F32);
        let attention = 5 * scores / 2 + 6 * together * channels;
        let mlp = 3 * together * inner + 4 * together * channels;
        F32 * attention.max(mlp)
    }
}

/// Training steps, of all weights or of adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    /// Tokens of a window.
    pub context: usize,
    /// Windows of a step.
    pub batch: usize,
    /// Windows of a micro-batch.
    pub micro_batch: usize,
    /// Whether layers are computed twice and not kept.
    pub by_layers: bool,
    /// The precision of products.
    pub compute: Precision,
    /// How the moments of the optimiser are held.
    pub moments: Precision,
    /// Bytes that the strategies of the recipe hold beside all this.
    pub strategies: u64,
    /// If only adapters are trained: their size, and how the matrices of the frozen base are held.
    pub adapters: Option<(AdapterSize, Precision)>,
}

impl Work {
    /// Tokens of its windows; `None` where it has none.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::Evaluate { context, .. } | Self::Train(Training { context, .. }) => Some(context),
            Self::Merge { scored, .. } => scored.map(|(context, _)| context),
            Self::Embed(_) => None,
        }
    }

    /// The same with windows of at most so many tokens.
    pub fn within(self, longest: usize) -> Self {
        let within = |context: usize| context.min(longest.max(1));
        match self {
            Self::Evaluate { context, precision } => Self::Evaluate { context: within(context), precision },
            Self::Train(training) => Self::Train(Training { context: within(training.context), ..training }),
            Self::Merge { models, scored } => {
                Self::Merge { models, scored: scored.map(|(context, precision)| (within(context), precision)) }
            }
            Self::Embed(_) => self,
        }
    }

    /// Training a model of this configuration by `settings`, its matrices held in `precision` where it is frozen.
    ///
    /// # Errors
    /// Adapters that the model has no layers for.
    pub fn training(settings: &AdaptSettings, config: &ModelConfig, precision: Precision) -> Result<Self> {
        let adapters = match settings.adapters() {
            Some(lora) => Some((lora.size(config)?, precision)),
            None => None,
        };
        let trained = match adapters {
            Some((size, _)) => size.weights,
            None => LanguageModel::weight_count(config)?,
        };
        let AdaptSettings { batch, micro_batch, compute, .. } = *settings;
        Ok(Self::Train(Training {
            context: settings.window_length(config.context()),
            batch,
            micro_batch: micro_batch.min(batch),
            // A base that is held in fewer bits than it computes in is always computed layer by layer.
            by_layers: settings.gradient_checkpointing || adapters.is_some() && precision.bytes() < compute.bytes(),
            compute,
            moments: settings.adamw.moments,
            strategies: Stack::new(settings).memory(trained),
            adapters,
        }))
    }
}
