//! The learning rate of every step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the rate changes after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays at its peak.
    Constant,
    /// It falls along half a cosine to `min_lr_ratio` of the peak at the last step.
    Cosine,
    /// It falls in a straight line to `min_lr_ratio` of the peak at the last step.
    Linear,
    /// Warm-up, stable, decay: it stays at its peak and falls to `min_lr_ratio` of it over the last `decay_share` of all
    /// steps. The step at which it begins to fall need not be known in advance (arXiv 2405.18392).
    #[default]
    #[value(alias = "infinite")]
    #[serde(alias = "infinite")]
    Wsd,
}

/// How the rate of `wsd` falls at the end. Both are shapes of arXiv 2405.18392, which found 1 − √x the better one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DecayShape {
    /// As 1 − √x, where x goes from 0 to 1.
    #[default]
    Sqrt,
    /// In a straight line.
    Linear,
}

/// How the rate rises during the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WarmupShape {
    /// In equal parts: step s of w runs at peak · s / w.
    #[default]
    Linear,
    /// DeepSpeed's WarmupLR: step s of w runs at peak · ln s / ln w, so the first step at 0.
    Log,
}

/// A share of some steps, rounded up; 7 % of 100 is 7 although 0.07 · 100 is a little more.
pub(crate) fn share_of(share: f64, steps: u64) -> u64 {
    (share * steps as f64 - 1e-9).ceil() as u64
}

/// Learning rate by step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f64,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Steps of warm-up.
    pub warmup: u64,
    /// How the warm-up rises.
    pub warmup_shape: WarmupShape,
    /// The last step's rate over the peak, for decays that end.
    pub min_ratio: f64,
    /// Steps at the end over which `wsd` falls.
    pub decay_steps: u64,
    /// How it falls there.
    pub decay_shape: DecayShape,
}

impl Schedule {
    /// The rate of step `step`, counted from 1 to `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        let Self { lr, decay, warmup, warmup_shape, min_ratio, decay_steps, decay_shape } = *self;
        if step <= warmup {
            let (step, warmup) = (step as f64, warmup as f64);
            return match warmup_shape {
                WarmupShape::Linear => lr * step / warmup,
                WarmupShape::Log if warmup < 2.0 => lr,
                WarmupShape::Log => lr * step.ln() / warmup.ln(),
            };
        }
        let after_warmup = steps.saturating_sub(warmup);
        let falling = match decay {
            Decay::Wsd => decay_steps.min(after_warmup),
            _ => after_warmup,
        };
        // From 0 before the first falling step to 1 at the last step.
        let done = step.saturating_sub(steps - falling) as f64 / falling.max(1) as f64;
        let height = match (decay, decay_shape) {
            (Decay::Constant, _) => return lr,
            (Decay::Cosine, _) => 0.5 * (1.0 + (PI * done).cos()),
            (Decay::Linear, _) | (Decay::Wsd, DecayShape::Linear) => 1.0 - done,
            (Decay::Wsd, DecayShape::Sqrt) => 1.0 - done.sqrt(),
        };
        lr * (min_ratio + (1.0 - min_ratio) * height)
    }
}
