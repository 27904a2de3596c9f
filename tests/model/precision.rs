//! Weights held in 16 bits compute what the same numbers compute in 32.

use std::fs;

use burn::tensor::Device;
use half::{bf16, f16};
use odyssey::adapt::{AdaptSettings, adapt};
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::files::{Array, write_safetensors};
use odyssey::model::parameters::to_host;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{LanguageModel, LoadedModel, ModelConfig, Precision, token_ids};
use odyssey::progress::Silent;
use safetensors::Dtype;
use tempfile::TempDir;

use crate::common;
use crate::common::{id_stream, model_folder};

/// One model of each layout of weights and kind of head.
const CASES: [&str; 4] = ["gpt2_tied", "mistral", "olmo2", "neox_sequential"];

fn logits(model: &LoadedModel) -> Vec<f32> {
    let ids: Vec<u32> = (0..300).step_by(7).collect(); // the smallest vocabulary has 300
    to_host(model.model.logits(token_ids(&[&ids], &model.device)).flatten(0, 2)).unwrap()
}

/// The model of a case with `change` made to every number of its matrices, written out in f32.
fn changed(case: &str, change: impl Fn(f32) -> f32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(model_folder(case).join("config.json"), folder.path().join("config.json")).unwrap();
    let model = LoadedModel::open(&model_folder(case), &Device::flex()).unwrap().model;
    let weights: Vec<(String, Vec<usize>, Vec<f32>)> = model
        .published()
        .into_iter()
        .map(|weight| {
            let values = weight.values().unwrap().into_iter();
            let is_matrix = weight.shape.len() > 1;
            let values = values.map(|value| if is_matrix { change(value) } else { value }).collect();
            (weight.name.clone(), weight.shape.clone(), values)
        })
        .collect();
    let arrays = weights
        .iter()
        .map(|(name, shape, values)| Array::of(name, Dtype::F32, shape.clone(), bytemuck::cast_slice(values)));
    write_safetensors(&folder.path().join("model.safetensors"), arrays, ("format", "pt".into())).unwrap();
    folder
}

/// A precision, and what it makes of a number.
type Rounding = (Precision, fn(f32) -> f32);

#[test]
fn weights_held_in_16_bits_give_the_very_logits_of_weights_rounded_to_16_bits() {
    let roundings: [Rounding; 2] = [
        (Precision::Bf16, |value| bf16::from_f32(value).to_f32()),
        (Precision::F16, |value| f16::from_f32(value).to_f32()),
    ];
    for case in CASES {
        let whole = logits(&LoadedModel::open(&model_folder(case), &Device::flex()).unwrap());
        for (precision, round) in roundings {
            let held = LoadedModel::open_in(&model_folder(case), precision, &Device::flex()).unwrap();
            let rounded = LoadedModel::open(changed(case, round).path(), &Device::flex()).unwrap();
            assert_eq!(logits(&held), logits(&rounded), "{case} in {precision}");
            assert_ne!(logits(&held), whole, "{case} in {precision}: nothing was rounded");
        }
    }
}

#[test]
fn token_tables_in_pieces_are_held_in_16_bits_too() {
    for case in ["gpt2_odd", "llama_gqa"] {
        let folder = model_folder(case);
        let open = |largest| {
            let files = WeightFiles::open(&folder).unwrap().with_largest_piece(largest).held_in(Precision::Bf16);
            LoadedModel::from_files(ModelConfig::read(&folder).unwrap(), &folder, files, &Device::flex()).unwrap()
        };
        let (whole, pieces) = (open(usize::MAX), open(100 * 4 * 48));
        assert!(pieces.model.head().table().pieces().len() > 2, "{case}");
        let worst = logits(&whole).into_iter().zip(logits(&pieces)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{case}: {worst}");
    }
}

#[test]
fn a_software_card_holds_f16_and_says_that_it_has_no_bf16() {
    let software = DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device;
    for case in ["gpt2_odd", "llama_gqa"] {
        let [cpu, gpu] = [Device::flex(), software.clone()]
            .map(|device| logits(&LoadedModel::open_in(&model_folder(case), Precision::F16, &device).unwrap()));
        let worst = cpu.into_iter().zip(gpu).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{case}: {worst}");
    }
    let error = LoadedModel::open_in(&model_folder("gpt2_odd"), Precision::Bf16, &software).unwrap_err().to_string();
    assert!(error.contains("dtype = \"bf16\"") && error.contains("\"f32\" or f16"), "{error}");
}

#[test]
fn a_weight_beyond_the_range_of_f16_is_refused_by_name_and_bf16_is_advised() {
    let folder = changed("gpt2_odd", |value| if value > 0.02 { 1e6 } else { value });
    let open = |precision| LoadedModel::open_in(folder.path(), precision, &Device::flex());
    let error = open(Precision::F16).unwrap_err().to_string();
    assert!(error.contains("1e6") && error.contains("weight") && error.contains("dtype = \"bf16\""), "{error}");
    open(Precision::Bf16).unwrap();
}

#[test]
fn training_refuses_weights_held_in_16_bits() {
    let base = LoadedModel::open_in(&model_folder("gpt2_tied"), Precision::Bf16, &Device::flex()).unwrap();
    let stream = id_stream(&[400]);
    let settings = AdaptSettings { context: Some(32), ..AdaptSettings::default() };
    let done = adapt(&base, stream.clone(), &stream, &settings, 1, None, &mut Silent);
    assert!(matches!(done, Err(Error::Input { .. })));
}

#[test]
fn the_shapes_that_a_configuration_calls_for_are_those_of_the_model() {
    for case in fs::read_dir(common::fixture("models")).unwrap() {
        let folder = case.unwrap().path();
        let config = ModelConfig::read(&folder).unwrap();
        let mut called_for = LanguageModel::shapes(&config).unwrap();
        let model = LoadedModel::open(&folder, &Device::flex()).unwrap().model;
        let mut shapes: Vec<_> = model.published().into_iter().map(|weight| (weight.name, weight.shape)).collect();
        shapes.sort();
        called_for.sort();
        assert_eq!(shapes, called_for, "{}", folder.display());
    }
}
