//! What to say where the device has no memory for a step.

use burn::tensor::Device;

use super::training::Training;
use crate::memory::{MemoryPlan, Work};
use crate::message::{Message, Setting};
use crate::model::Precision;
use crate::process::bytes;
use crate::recipe::{AdaptSettings, Trainable};

/// The memory that a run with one window at once needs, and the settings that need less.
pub(super) fn cure(training: &Training<'_>) -> Message {
    let Training { base, settings, .. } = training;
    let one = AdaptSettings { micro_batch: 1, ..(*settings).clone() };
    let on_gpu = base.device.clone().inner() != Device::flex();
    let needs = Work::training(&one, &base.config, base.precision)
        .and_then(|work| MemoryPlan::needs(&base.config, work, on_gpu));
    let needs = needs.map_or_else(|_| String::new(), |needs| format!("about {} are needed; ", bytes(needs)));
    let by_layers = (!settings.gradient_checkpointing).then(|| Setting::new("gradient_checkpointing", true));
    let held = match settings.strategy {
        Trainable::Full => Some(Setting::new("strategy", "lora")),
        Trainable::Lora => (base.precision == Precision::F32).then(|| Setting::new("dtype", "bf16")),
    };
    let less = [by_layers, held].into_iter().flatten();
    less.fold(Message::new(format!("{needs}use ")), |cure, setting| cure.then(setting).then(", "))
        .then("a shorter ")
        .key("context")
        .then(" or a smaller model")
}
