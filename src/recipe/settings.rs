//! Everything that determines an adaptation, with its defaults.

use serde::{Deserialize, Serialize};

use super::adamw::AdamWConfig;
use super::packing::{Order, Packing};
use super::schedule::{Decay, DecayShape, Schedule, WarmupShape, share_of};
use super::strategies::{Strategies, Trainable};
use crate::error::{Error, Result};
use crate::message::{Message, Setting};
use crate::model::{LoraSettings, Precision};
use crate::shown::plain;

/// A preset: a named set of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The defaults.
    Default,
    /// The recipe of "Adaptation Odyssey in LLMs" (EMNLP 2024) as far as it is known: one epoch of 16 windows of 1024
    /// tokens a step, AdamW at a constant 5e-5 without warm-up.
    Odyssey2024,
}

impl Preset {
    /// All settings of the preset, with its name.
    pub fn settings(self) -> AdaptSettings {
        let recipe = match self {
            Self::Default => AdaptSettings::default(),
            // Values that the paper does not give come from code and papers of the same project and from the defaults
            // of its tools (examples/odyssey2024.toml says which is which). Values that equal the defaults are written
            // out too.
            Self::Odyssey2024 => AdaptSettings {
                epochs: 1,
                batch: 16,
                max_context: Some(1024),
                packing: Packing::Blocks,
                lr: 5e-5,
                decay: Decay::Constant,
                warmup_ratio: 0.0,
                min_lr_ratio: 1.0, // no effect on a constant rate
                clip: 1.0,
                ..AdaptSettings::default()
            },
        };
        AdaptSettings { preset: Some(self), ..recipe }
    }
}

/// An adaptation's settings. Unknown keys are refused; every default is written into the result.
///
/// One step reads `batch` windows of `context` tokens; an epoch of N windows has ⌈N / batch⌉ steps. The same fields are
/// the keys of a study's strategies and, with their descriptions, the options of `odyssey adapt`.
///
/// [`super::preset`] has the public functions that read and write settings; they apply presets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct AdaptSettings {
    /// The preset to start from; other settings that you give win over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long = "recipe", value_enum)]
    pub preset: Option<Preset>,
    /// What is trained.
    #[arg(long, value_enum, default_value_t)]
    pub strategy: Trainable,
    /// Optimiser steps; the text is read as often as needed. Without it `epochs` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Passes over the training text.
    #[arg(long, value_name = "N", default_value_t = Self::default().epochs)]
    pub epochs: u64,
    /// Largest number of steps, for epochs of any length.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Windows per optimiser step.
    #[arg(long, value_name = "N", default_value_t = Self::default().batch)]
    pub batch: usize,
    /// Windows computed at once; gradients of a step are accumulated over them. A larger number takes more memory.
    /// Results depend on it only by rounding.
    #[arg(long, value_name = "N", default_value_t = Self::default().micro_batch)]
    pub micro_batch: usize,
    /// Tokens of a window; the model's longest window where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Longest window, for models that read more. `context` wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "TOKENS")]
    pub max_context: Option<usize>,
    /// How documents fill windows.
    #[arg(long, value_enum, default_value_t)]
    pub packing: Packing,
    /// The order of windows.
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
    /// Whether an epoch's incomplete last batch is left out.
    #[arg(long)]
    pub drop_last: bool,
    /// Peak learning rate.
    #[arg(long, value_name = "RATE", default_value_t = Self::default().lr)]
    pub lr: f64,
    /// How the rate falls after the warm-up.
    #[arg(long, value_enum, default_value_t)]
    pub decay: Decay,
    /// Share of all steps that warm up, rounded up; `warmup_steps` wins over it.
    #[arg(long, value_name = "SHARE", default_value_t = Self::default().warmup_ratio)]
    pub warmup_ratio: f64,
    /// Steps of warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<u64>,
    /// How the rate rises.
    #[arg(long, value_enum, default_value_t)]
    pub warmup_shape: WarmupShape,
    /// The last step's rate over the peak, for decays that end.
    #[arg(long, value_name = "SHARE", default_value_t = Self::default().min_lr_ratio)]
    pub min_lr_ratio: f64,
    /// For the decay `wsd`: the share of all steps, rounded up, over which the rate falls at the end.
    #[arg(long, value_name = "SHARE", default_value_t = Self::default().decay_share)]
    pub decay_share: f64,
    /// For the decay `wsd`: how it falls there.
    #[arg(long, value_enum, default_value_t)]
    pub decay_shape: DecayShape,
    /// Keep only the input of each layer for the gradient and compute each layer a second time: a third more time, and
    /// a fraction of the memory.
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// The precision in which the products of the layers are computed; weights, gradients and everything else stay in
    /// f32.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    pub compute: Precision,
    /// Stop before a step whose loss is more than so many times the median of the last 64, and stands out from their noise,
    /// a nat above them and above where the run began; 0: never.
    #[arg(long, value_name = "FACTOR", default_value_t = Self::default().outlier)]
    pub outlier: f64,
    /// Largest global gradient norm; 0 for no clipping.
    #[arg(long, value_name = "NORM", default_value_t = Self::default().clip)]
    pub clip: f64,
    /// The optimiser's constants.
    #[command(flatten)]
    pub adamw: AdamWConfig,
    /// The settings of the strategies, one key each.
    #[serde(flatten, skip_deserializing)] // `preset` reads them
    #[command(flatten)]
    pub strategies: Strategies,
    /// Validations, evenly spread over the run, besides the one before the first step.
    #[arg(long, value_name = "N", default_value_t = Self::default().validations)]
    pub validations: u64,
    /// Tokens of the validation text that are used.
    #[arg(long, value_name = "TOKENS", default_value_t = Self::default().valid_tokens)]
    pub valid_tokens: usize,
    /// Stop after this many validations in a row without a better one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,
    /// `patience` ignores validations before this share of all steps, because the loss first rises when the rate is
    /// warmed up again. Default: the warm-up and a quarter of the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, value_name = "SHARE")]
    pub patience_after: Option<f64>,
}

impl Default for AdaptSettings {
    fn default() -> Self {
        Self {
            preset: None,
            strategy: Trainable::Full,
            steps: None,
            epochs: 1,
            max_steps: None,
            batch: 16,
            micro_batch: 4,
            context: None,
            max_context: None,
            packing: Packing::Stream,
            order: Order::Shuffle,
            drop_last: false,
            lr: 3e-4,
            decay: Decay::Wsd,
            warmup_ratio: 0.01,
            warmup_steps: None,
            warmup_shape: WarmupShape::Linear,
            min_lr_ratio: 0.1,
            decay_share: 0.2,
            decay_shape: DecayShape::Sqrt,
            gradient_checkpointing: false,
            compute: Precision::F32,
            outlier: 3.0,
            clip: 1.0,
            adamw: AdamWConfig::default(),
            strategies: Strategies::default(),
            validations: 5,
            valid_tokens: 50_000,
            patience: None,
            patience_after: None,
        }
    }
}

impl AdaptSettings {
    /// Checks that the settings make sense for a model that reads `longest` tokens (`usize::MAX` where that is not known
    /// yet), naming the one that does not and what it may be.
    pub fn check(&self, longest: usize) -> Result<()> {
        let refuse = |key, value: String, cure: &str| Err(Error::key(key, format!("is {value}"), cure));
        if self.context.is_some_and(|context| context > longest) {
            return refuse(
                "context",
                format!("{:?}, the model reads {longest} tokens", self.context.unwrap_or(0)),
                "choose a shorter one",
            );
        }
        // Beyond these, products of sizes would leave the range of numbers.
        const MOST_WINDOWS: u64 = 1 << 24;
        const MOST_AT_ONCE: u64 = 1 << 16;
        const MOST_STEPS: u64 = 1 << 40;
        let counts = [
            ("batch", Some(self.batch as u64), 1, MOST_WINDOWS),
            ("micro_batch", Some(self.micro_batch as u64), 1, MOST_AT_ONCE),
            ("context", self.context.map(|context| context as u64), 2, u64::MAX),
            ("max_context", self.max_context.map(|context| context as u64), 2, u64::MAX),
            ("steps", self.steps, 1, MOST_STEPS),
            ("epochs", Some(self.epochs), 1, MOST_STEPS),
            ("max_steps", self.max_steps, 1, MOST_STEPS),
            ("warmup_steps", self.warmup_steps, 0, MOST_STEPS),
            ("validations", Some(self.validations), 0, MOST_WINDOWS),
            ("patience", self.patience, 1, u64::MAX),
        ];
        for (key, value, least, most) in counts {
            let cure =
                if most == u64::MAX { format!("use at least {least}") } else { format!("use {least} to {most}") };
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                return refuse(key, value.to_string(), &cure);
            }
        }
        self.strategies.check(self.strategy, self.lr)?;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, moments: _ } = self.adamw;
        // What computes is in f32.
        const LARGEST: f64 = f32::MAX as f64;
        let ranges = [
            ("lr", self.lr, 0.0, LARGEST),
            ("warmup_ratio", self.warmup_ratio, 0.0, 1.0),
            ("min_lr_ratio", self.min_lr_ratio, 0.0, 1.0),
            ("decay_share", self.decay_share, 0.0, 1.0),
            ("patience_after", self.patience_after.unwrap_or(0.0), 0.0, 1.0),
            ("outlier", self.outlier, 0.0, LARGEST),
            ("clip", self.clip, 0.0, LARGEST),
            ("adamw.beta1", beta1, 0.0, 1.0 - f64::EPSILON),
            ("adamw.beta2", beta2, 0.0, 1.0 - f64::EPSILON),
            ("adamw.epsilon", epsilon, 0.0, LARGEST),
            ("adamw.weight_decay", weight_decay, 0.0, LARGEST),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                let cure = match most {
                    LARGEST => format!("use a number from {least} to {LARGEST:.1e}"),
                    1.0 => format!("use a number from {least} to 1"),
                    _ => format!("use a number from {least} to below 1"),
                };
                return refuse(key, plain(value), &cure);
            }
        }
        Ok(())
    }

    /// The adapters to train, if adapters are trained.
    pub fn adapters(&self) -> Option<LoraSettings> {
        (self.strategy == Trainable::Lora).then(|| self.strategies.lora.clone().unwrap_or_default())
    }

    /// Tokens of a window, for a model that reads `longest`.
    pub fn window_length(&self, longest: usize) -> usize {
        self.context.unwrap_or(longest.min(self.max_context.unwrap_or(longest)))
    }

    /// A warning about the learning rate for a model with so many channels, if one is needed. The default was found on
    /// a model of 128 channels; the best rate of Adam falls as their number grows (arXiv 2203.03466).
    pub fn doubt_rate(&self, channels: usize) -> Option<Message> {
        const FACTOR: f64 = 8.0;
        let usual = Self::default().lr * 128.0 / channels as f64;
        (self.lr > FACTOR * usual).then(|| {
            Message::new(format!(
                "a rate of {:e} is high for a model of {channels} channels (about {usual:.0e} is usual), and too high a rate \
                 alone makes perplexity worse: ",
                self.lr
            ))
            .command("adapt", [Setting::new("find_lr", true)])
            .then(" tries some")
        })
    }

    /// Optimiser steps over a training set of `windows` windows, and how many of them make an epoch.
    pub fn steps(&self, windows: usize) -> Result<(u64, u64)> {
        let per_epoch = if self.drop_last { windows / self.batch } else { windows.div_ceil(self.batch) } as u64;
        if per_epoch == 0 {
            return Err(Error::input(
                "the training text",
                format!("its {windows} windows do not fill one batch of {}", self.batch),
                "use a smaller batch, or keep the incomplete last batch",
            ));
        }
        let steps = self.steps.unwrap_or(per_epoch.saturating_mul(self.epochs));
        Ok((steps.min(self.max_steps.unwrap_or(u64::MAX)), per_epoch))
    }

    /// The learning-rate schedule of a run of `steps` steps.
    pub fn schedule(&self, steps: u64) -> Schedule {
        let warmup = self.warmup_steps.unwrap_or(share_of(self.warmup_ratio, steps));
        Schedule {
            lr: self.lr,
            decay: self.decay,
            warmup,
            warmup_shape: self.warmup_shape,
            min_ratio: self.min_lr_ratio,
            decay_steps: share_of(self.decay_share, steps),
            decay_shape: self.decay_shape,
        }
    }
}
