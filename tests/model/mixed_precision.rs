//! Products computed in 16 bits, moments held in 16 bits: what training makes of them, against f32.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use odyssey::adapt::data::MicroBatch;
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::step::{LossScale, StepGradient};
use odyssey::adapt::{AdaptSettings, Adaptation, Resumable, adapt, unhindered};
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::model::parameters::to_host;
use odyssey::model::{LanguageModel, LoadedModel, Precision};
use odyssey::progress::{Monitor, Silent};

use crate::common::{StopAfter, id_stream, model_folder};

/// One model of each layout of weights and kind of head.
const CASES: [&str; 4] = ["gpt2_tied", "llama_gqa", "olmo2", "neox_sequential"];

fn micro_batch() -> MicroBatch {
    let row = |seed: u32| (0..33_u32).map(|i| (i * i * 7 + i * seed + 3) % 250).collect::<Vec<u32>>();
    let rows = [row(1), row(5)];
    MicroBatch {
        inputs: rows.iter().map(|row| row[..32].to_vec()).collect(),
        targets: rows.iter().flat_map(|row| row[1..].to_vec()).collect(),
        weights: vec![1.0; 64],
        penalised: Vec::new(),
    }
}

fn model(case: &str, compute: Precision, device: &Device) -> LanguageModel {
    LoadedModel::open(&model_folder(case), device).unwrap().model.train().compute_in(compute)
}

/// The loss, its gradient as one vector, and the scale it was found with.
fn gradient(case: &str, compute: Precision, device: &Device) -> (f64, Vec<f32>, f64) {
    let mut model = model(case, compute, device);
    let mut scale = LossScale::for_compute(compute);
    let step =
        StepGradient::in_range(&Objective::default(), &mut model, 1, &[micro_batch()], false, &mut scale, &unhindered)
            .unwrap();
    let (loss, gradients) = (step.loss, step.into_gradients());
    (loss, gradients.into_values().flat_map(|g| to_host(g).unwrap()).collect(), scale.factor())
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn loss_and_gradient_with_products_in_16_bits_are_those_of_f32_up_to_its_grain() {
    for case in CASES {
        let (loss, exact, _) = gradient(case, Precision::F32, &Device::flex());
        // Numbers are rounded by 2⁻⁹ or 2⁻¹² of them at most, before some ten products one after another.
        let [bf16, f16] =
            [(Precision::Bf16, 2f64.powi(-9)), (Precision::F16, 2f64.powi(-12))].map(|(compute, grain)| {
                let (found_loss, found, _) = gradient(case, compute, &Device::flex());
                let off = distance(&found, &exact);
                assert!((found_loss - loss).abs() < 10.0 * grain, "{case} in {compute}: {found_loss} against {loss}");
                assert!((0.1 * grain..30.0 * grain).contains(&off), "{case} in {compute}: off by {off}");
                off
            });
        assert!((4.0..16.0).contains(&(bf16 / f16)), "{case}: {bf16} and {f16}, the grains are 8 apart");
    }
}

#[test]
fn a_software_card_computes_in_f16_too() {
    let software = DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device;
    for case in ["gpt2_tied", "llama_gqa"] {
        let (loss, exact, _) = gradient(case, Precision::F32, &Device::flex());
        let (found_loss, found, scale) = gradient(case, Precision::F16, &software);
        assert!((found_loss - loss).abs() < 2e-3 && distance(&found, &exact) < 1e-2, "{case}: {found_loss}, {loss}");
        assert!(scale > 1.0);
    }
}

#[test]
fn gradients_too_small_for_f16_survive_by_the_scale_of_the_loss() {
    // A billionth of a gradient is below what f16 knows.
    let norm = |scale: f64| {
        let mut model = model("gpt2_tied", Precision::F16, &Device::flex());
        let step =
            StepGradient::of(&Objective::default(), &mut model, 1, &[micro_batch()], false, scale * 1e-9, &unhindered)
                .unwrap();
        let gradient = step.into_gradients().remove("transformer.h.0.attn.c_attn.weight").unwrap();
        to_host(gradient).unwrap().iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()
    };
    let (plain, scaled) = (norm(1.0), norm(2f64.powi(30)));
    assert!(plain < 0.1 * scaled, "{plain} without scaling, {scaled} with it");
}

#[test]
fn a_scale_too_large_is_halved_until_the_gradient_fits_and_the_step_is_not_lost() {
    let (loss, exact, _) = gradient("gpt2_tied", Precision::F32, &Device::flex());
    let mut model = model("gpt2_tied", Precision::F16, &Device::flex());
    let mut scale: LossScale = serde_json::from_str(r#"{"log2": 30, "steps": 0}"#).unwrap();
    let step =
        StepGradient::in_range(&Objective::default(), &mut model, 1, &[micro_batch()], false, &mut scale, &unhindered)
            .unwrap();
    assert!((1.0..2f64.powi(30)).contains(&scale.factor()), "{}", scale.factor());
    assert!((step.loss - loss).abs() < 2e-3 && step.fault(None).is_none());
    let found: Vec<f32> = step.into_gradients().into_values().flat_map(|g| to_host(g).unwrap()).collect();
    assert!(distance(&found, &exact) < 5e-3);
}

fn settings(compute: Precision, moments: Precision) -> AdaptSettings {
    AdaptSettings {
        context: Some(32),
        batch: 4,
        micro_batch: 2,
        lr: 1e-3,
        max_steps: Some(12),
        compute,
        adamw: AdamWConfig { moments, ..AdamWConfig::default() },
        ..AdaptSettings::default()
    }
}

fn run(settings: &AdaptSettings, at: Option<Resumable<'_>>, monitor: &mut dyn Monitor) -> Result<Adaptation, Error> {
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap();
    adapt(&base, id_stream(&[400, 700, 600]), &id_stream(&[300]), settings, 1, at, monitor)
}

fn weights(adaptation: &Adaptation) -> BTreeMap<String, Vec<f32>> {
    adaptation.last.published().into_iter().map(|weight| (weight.name.clone(), weight.values().unwrap())).collect()
}

#[test]
fn training_in_16_bits_learns_what_f32_learns_and_goes_on_from_a_checkpoint_to_the_bit() {
    let (f32, f16, bf16) = (Precision::F32, Precision::F16, Precision::Bf16);
    let whole = run(&settings(f32, f32), None, &mut Silent).unwrap().result.curves.valid_loss;
    let [(_, before), .., (_, after)] = whole.as_slice() else { panic!("{whole:?}") };
    assert!(before - after > 0.05, "twelve steps teach something: {before} to {after}");
    for (compute, moments) in [(f16, f32), (bf16, f32), (f32, f16), (f32, bf16), (f16, f16)] {
        let settings = settings(compute, moments);
        let done = run(&settings, None, &mut Silent).unwrap();
        let (_, found) = *done.result.curves.valid_loss.last().unwrap();
        assert!((found - after).abs() < 1e-2, "{compute}, moments {moments}: {found} against {after}");
        assert_ne!(found, *after, "{compute}, moments {moments}: nothing was rounded");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let at = Resumable { path: &path, resume: true, every: None, longest: Resumable::LONGEST, how_to_resume: "" };
        assert!(matches!(run(&settings, Some(at), &mut StopAfter(5)), Err(Error::Interrupted(_))));
        let resumed = run(&settings, Some(at), &mut Silent).unwrap();
        assert_eq!(weights(&resumed), weights(&done), "{compute}, moments {moments}");
    }
}

#[test]
fn second_moments_in_16_bits_fall_as_they_do_in_f32_though_each_step_is_less_than_their_grain() {
    // After one gradient of 0.37 and then none, the second moment is known.
    let steps_without = 700;
    let second = |moments: Precision| {
        let model = LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap().model;
        let mut optimizer = AdamW::new(AdamWConfig { moments, ..AdamWConfig::default() });
        let name = "transformer.ln_f.weight";
        let mut model = model;
        let count = model.published().iter().find(|weight| weight.name == name).unwrap().shape[0];
        for step in 0..=steps_without {
            let gradient = Tensor::<1>::full([count], if step == 0 { 0.37 } else { 0.0 }, &Device::flex());
            model = optimizer.step(0.0, 1.0, model, BTreeMap::from([(name.to_owned(), gradient)]));
        }
        let [_, second] = optimizer.moments(name).unwrap();
        f64::from(to_host(second).unwrap()[0])
    };
    let exact = 0.001 * 0.37 * 0.37 * 0.999f64.powi(steps_without);
    assert!((second(Precision::F32) / exact - 1.0).abs() < 1e-3);
    for moments in [Precision::Bf16, Precision::F16] {
        let found = second(moments);
        assert!((found / exact - 1.0).abs() < 0.05, "{moments}: {found:e} against {exact:e}");
    }
}
