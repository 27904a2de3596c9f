//! The learning rate of every step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays at its peak.
    Constant,
    /// It falls along half a cosine to `min_ratio` of the peak at the last step.
    #[default]
    Cosine,
    /// It falls in a straight line to `min_ratio` of the peak at the last step.
    Linear,
}

/// How the rate comes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WarmupShape {
    /// In equal parts: step s of w runs at peak · s / w.
    #[default]
    Linear,
    /// DeepSpeed's WarmupLR: step s of w runs at peak · ln s / ln w, so the first step at 0.
    Log,
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
}

impl Schedule {
    /// The rate of step `step`, counted from 1 to `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        let Self { lr, decay, warmup, warmup_shape, min_ratio } = *self;
        if step <= warmup {
            let (step, warmup) = (step as f64, warmup as f64);
            return match warmup_shape {
                WarmupShape::Linear => lr * step / warmup,
                WarmupShape::Log if warmup < 2.0 => lr,
                WarmupShape::Log => lr * step.ln() / warmup.ln(),
            };
        }
        let done = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match decay {
            Decay::Constant => lr,
            Decay::Cosine => lr * (min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + (PI * done).cos())),
            Decay::Linear => lr * (1.0 - (1.0 - min_ratio) * done),
        }
    }
}
