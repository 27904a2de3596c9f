//! What a piece of work takes at least, by closed form: floating-point operations and bytes to and from memory.
//!
//! A product of `[m, k]` and `[k, n]` is 2mkn operations. Element-wise work is not counted, and of bytes only what is too
//! large for any cache: both are lower bounds, so that the achieved share is one too.

use odyssey::model::{LanguageModel, LoraSettings, ModelConfig};

use super::cases::Task;
use crate::Fallible;

/// Operations and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Floating-point operations in products of matrices.
    pub flops: f64,
    /// Bytes read or written.
    pub bytes: f64,
}

/// Bytes of a number.
const F32: f64 = 4.0;

impl Work {
    /// Of `task`, on the model of this configuration; `None` for what computes nothing.
    pub fn of(task: &Task, config: Option<&ModelConfig>) -> Fallible<Option<Self>> {
        let work = |flops: f64, bytes: f64| Ok(Some(Self { flops, bytes }));
        match *task {
            Task::Product { size } => work(2.0 * (size as f64).powi(3), 3.0 * F32 * (size as f64).powi(2)),
            Task::Copy { numbers } => work(0.0, 2.0 * F32 * numbers as f64),
            Task::Evaluate { batch, windows, context } => {
                Pass::of(config, windows, context)?.map_or(Ok(None), |pass| {
                    // Every weight is read once for the windows that go together.
                    work(pass.flops, F32 * pass.weights * windows.div_ceil(batch) as f64)
                })
            }
            Task::Train { batch, context, rank } => {
                let (Some(pass), Some(config)) = (Pass::of(config, batch, context)?, config) else { return Ok(None) };
                // Kept for the gradient at least: what each layer reads, written and read once.
                let kept = 2.0 * F32 * pass.hidden;
                let Some(rank) = rank else {
                    // Backward is two products for each: by inputs and by weights. A weight is read forward, backward
                    // and by the optimiser, its gradient and two moments are read and written, and it is written.
                    return work(3.0 * pass.flops, F32 * 9.0 * pass.weights + kept);
                };
                let adapters = LoraSettings { rank, ..LoraSettings::default() }.size(config)?.weights as f64;
                // A frozen base has no gradient by weights.
                let flops = 2.0 * pass.flops + 3.0 * 2.0 * pass.tokens * adapters;
                work(flops, F32 * (2.0 * pass.weights + 9.0 * adapters) + kept)
            }
            Task::Mmd { samples, dimension, permutations, domains, .. } => {
                // Each pair's inner product once, and the kernel matrix times a column for each permutation.
                let [pooled, dimension, columns, domains] =
                    [2 * samples, dimension, permutations, domains].map(|n| n as f64);
                let (flops, numbers) = (pooled * pooled * (dimension + 2.0 * columns), pooled * (dimension + columns));
                work(domains * flops, domains * F32 * numbers)
            }
            Task::Frechet { samples, dimension } => {
                // Two covariances by their symmetric halves, one eigenproblem with vectors (Householder, 8/3 d³), two
                // products, one eigenproblem without (4/3 d³). In f64, which costs twice of what f32 does.
                let [samples, d] = [samples, dimension].map(|n| n as f64);
                work(2.0 * samples * d * d + 8.0 * d.powi(3), F32 * 2.0 * samples * d)
            }
            Task::Tokenise { .. } => Ok(None),
        }
    }
}

/// A forward pass through a model and its head.
struct Pass {
    flops: f64,
    weights: f64,
    tokens: f64,
    /// Numbers that all layers read.
    hidden: f64,
}

impl Pass {
    fn of(config: Option<&ModelConfig>, batch: usize, context: usize) -> Fallible<Option<Self>> {
        let Some(config) = config else { return Ok(None) };
        let weights = LanguageModel::weight_count(config)? as f64;
        let in_layers = |name: &str| name.contains(".h.") || name.contains(".layers.");
        let shapes = LanguageModel::shapes(config)?;
        let linear: usize =
            shapes.iter().filter(|(name, s)| s.len() == 2 && in_layers(name)).map(|(_, s)| s[0] * s[1]).sum();
        let [tokens, time, channels, vocabulary, layers, linear] =
            [batch * context, context, config.channels(), config.vocabulary(), config.layers(), linear]
                .map(|n| n as f64);
        // A query looks at itself and what is before it: (T + 1) / 2 keys in the mean, in two products.
        let attention = layers * 4.0 * channels * (time + 1.0) / 2.0;
        let flops = tokens * (2.0 * linear + attention + 2.0 * channels * vocabulary);
        Ok(Some(Self { flops, weights, tokens, hidden: layers * tokens * channels }))
    }
}
