//! What to say where the device has no memory for a step.

use burn::tensor::Device;

use super::training::Training;
use crate::memory::{MemoryPlan, Work};
use crate::model::Precision;
use crate::process::bytes;
use crate::recipe::{AdaptSettings, Trainable};

/// The memory that a run with one window at once needs, and the options that need less.
pub(super) fn cures(training: &Training<'_>) -> String {
    let Training { base, settings, .. } = training;
    let one = AdaptSettings { micro_batch: 1, ..(*settings).clone() };
    let on_gpu = base.device.clone().inner() != Device::flex();
    let needs = Work::training(&one, &base.config, base.precision)
        .and_then(|work| MemoryPlan::needs(&base.config, work, on_gpu));
    let needs = needs.map_or_else(|_| String::new(), |needs| format!("about {} are needed; ", bytes(needs)));
    let by_layers = if settings.gradient_checkpointing { "" } else { "--gradient-checkpointing, " };
    let lora = match settings.strategy {
        Trainable::Full => "--strategy lora, ",
        Trainable::Lora if base.precision == Precision::F32 => "--dtype bf16, ",
        Trainable::Lora => "",
    };
    format!("{needs}use {by_layers}{lora}a shorter --context or a smaller model")
}
