//! Adapters of the small models: trained for a few steps, put on, and what they compute.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::path::Path;

use burn::tensor::Device;
use odyssey::adapt::{AdaptSettings, Adaptation, Strategies, Trainable, adapt};
use odyssey::model::parameters::to_host;
use odyssey::model::{Adapter, LanguageModel, LoadedModel, LoraSettings, token_ids};
use odyssey::progress::Silent;

use crate::common::{id_stream as stream, model_folder};

pub fn cpu() -> Device {
    Device::flex()
}

pub fn base(case: &str, device: &Device) -> LoadedModel {
    LoadedModel::open(&model_folder(case), device).unwrap()
}

pub fn attached(folder: &Path, base: &LoadedModel) -> LoadedModel {
    Adapter::read(folder).unwrap().attach(base).unwrap()
}

pub fn logits(model: &LanguageModel, ids: &[u32], device: &Device) -> Vec<f32> {
    to_host(model.logits(token_ids(&[ids], device)).flatten(0, 2)).unwrap()
}

/// Ids as no tokenizer would order them.
pub fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * i * 31 + i * 7) % 293).collect()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn lora(settings: LoraSettings) -> AdaptSettings {
    AdaptSettings {
        strategy: Trainable::Lora,
        strategies: Strategies { lora: Some(settings), ..Strategies::default() },
        lr: 1e-2,
        batch: 4,
        micro_batch: 2,
        steps: Some(4),
        context: Some(32),
        validations: 1,
        ..AdaptSettings::default()
    }
}

pub fn adapted(base: &LoadedModel, settings: &AdaptSettings) -> Adaptation {
    let stream = |documents: &[usize]| {
        let mut stream = stream(documents);
        let vocabulary = base.config.vocabulary() as u32;
        stream.ids = stream.ids.iter().map(|id| id % vocabulary).collect::<Vec<_>>().into();
        stream
    };
    adapt(base, stream(&[700, 900]), &stream(&[300]), settings, 7, None, &mut Silent).unwrap()
}
