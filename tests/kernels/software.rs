//! The same golden checks on a software card, through wgpu, and the pipeline there against the CPU backend.

use burn::tensor::{Device, Tensor};
use odyssey::adapt::{Adaptation, Resumable, adapt};
use odyssey::compare::{Comparison, compare};
use odyssey::device::faults::{failure, guarded, halving, renew};
use odyssey::device::{DeviceChoice, cards};
use odyssey::error::{Error, Result};
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::LoadedModel;
use odyssey::model::parameters::to_host;
use odyssey::progress::{Monitor, Silent};
use odyssey::recipe::AdaptSettings;
use odyssey::similarity::embed::Embedder;
use odyssey::similarity::extract::Hidden;
use odyssey::similarity::{Distances, Measure, Reference, TestSettings};
use odyssey::text::Vocabulary;

use crate::common::{StopAfter, id_stream, model_folder};
use crate::{encoder, golden};

fn software() -> Device {
    DeviceChoice::Software.open().expect("these tests need a software Vulkan card (mesa-vulkan-drivers)").device
}

#[test]
fn golden_forward_gradients_and_training_hold_on_a_software_card() {
    let device = software();
    for case in golden::CASES {
        let (logits, nll) = golden::check_forward(case, &device);
        println!("{case}: largest logit error {logits:.1e}, largest NLL error {nll:.1e}");
        golden::check_gradients(case, &device);
    }
    for case in golden::TRAINED {
        golden::check_training(case, &device);
    }
}

#[test]
fn golden_vectors_of_a_sentence_encoder_hold_on_a_software_card() {
    encoder::check(&software());
}

/// Evaluates, adapts, evaluates again, compares, and measures the distance between two texts.
fn pipeline(device: &Device) -> (Comparison, Distances) {
    let base = LoadedModel::open(&model_folder("llama_gqa"), device).unwrap();
    let test = id_stream(&[150; 12]);
    let protocol = Protocol::new(ProtocolName::Disjoint, Some(32), None, 512).unwrap();
    let score = |model| evaluate(model, device, &test, &protocol, &mut Silent).unwrap();
    let before = score(&base.model);
    let settings = AdaptSettings {
        context: Some(32),
        lr: 1e-3,
        batch: 4,
        micro_batch: 4,
        max_steps: Some(6),
        ..Default::default()
    };
    let train = id_stream(&[400, 500]);
    let adapted = adapt(&base, train.clone(), &id_stream(&[200]), &settings, 1, None, &mut Silent).unwrap();
    let vocabulary = Vocabulary::new(None, 512);
    let comparison = compare(&before, &score(&adapted.last), ["before", "after"], &vocabulary).unwrap();

    let embedder =
        Embedder { model: &base.model, device, vocabulary: &vocabulary, chunk: 16, hidden: Hidden::default() };
    let sample = |ids: &[u32]| embedder.sample(ids, 40, &mut Silent).unwrap();
    let other: Vec<u32> = train.ids.iter().map(|id| id / 2).collect();
    let tests = TestSettings { permutations: 99, resamples: 99, ..TestSettings::default() };
    let reference = Reference::new(sample(&train.ids), 512, 1);
    (comparison, reference.test(&sample(&other), &tests, device, &mut Silent).unwrap())
}

#[test]
fn the_whole_pipeline_on_a_software_card_agrees_with_the_cpu_backend() {
    let (software, cpu) = (pipeline(&software()), pipeline(&Device::flex()));
    println!("delta {:+.6} on software, {:+.6} on the CPU", software.0.delta, cpu.0.delta);
    assert!(cpu.0.delta < -0.01, "six steps teach something, so the comparison means something");
    assert!((software.0.delta - cpu.0.delta).abs() < 1e-4);
    for (a, b) in software.0.classes.iter().zip(&cpu.0.classes) {
        assert!((a.contribution - b.contribution).abs() < 1e-4, "{:?}", a.class);
    }
    for measure in Measure::shown() {
        let [a, b] = [&software.1, &cpu.1].map(|distances| distances.get(measure).unwrap());
        assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{}: {a} against {b}", measure.key());
        let ends = [&software.1, &cpu.1].map(|distances| distances[measure].ci95);
        if let [Some(a), Some(b)] = ends {
            a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{}", measure.key()));
        }
    }
    let p = |distances: &Distances| [Measure::Mmd2, Measure::Energy].map(|measure| distances[measure].p.unwrap());
    assert_eq!(p(&software.1), p(&cpu.1));
}

#[test]
fn a_run_on_a_software_card_repeats_and_goes_on_from_a_checkpoint_up_to_rounding() {
    let device = software();
    let base = LoadedModel::open(&model_folder("llama_gqa"), &device).unwrap();
    let settings = AdaptSettings {
        context: Some(32),
        lr: 1e-3,
        batch: 4,
        micro_batch: 2,
        max_steps: Some(6),
        ..Default::default()
    };
    let run = |at: Option<Resumable<'_>>, monitor: &mut dyn Monitor| {
        adapt(&base, id_stream(&[400, 500]), &id_stream(&[200]), &settings, 1, at, monitor)
    };
    let loss = |done: &Adaptation| done.result.curves.valid_loss.last().unwrap().1;
    let weights = |done: &Adaptation| -> Vec<f32> {
        done.last.published().into_iter().flat_map(|weight| weight.values().unwrap()).collect()
    };
    let whole = run(None, &mut Silent).unwrap();
    // Most runs give the same bits; now and then kernels add in another order, and AdamW makes a step of every rounding.
    let check = |again: Adaptation, what: &str| {
        let apart = weights(&again).iter().zip(weights(&whole)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{what}: weights {apart:.1e} apart, losses {:.1e}", (loss(&again) - loss(&whole)).abs());
        assert!((loss(&again) - loss(&whole)).abs() < 1e-5, "{what}");
        assert!(apart < 1e-4, "{what}: weights {apart} apart");
    };
    check(run(None, &mut Silent).unwrap(), "the same run");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let at = Resumable { path: &path, resume: true, every: None, longest: Resumable::LONGEST, how_to_resume: "" };
    assert!(matches!(run(Some(at), &mut StopAfter(3)), Err(Error::Interrupted(_))));
    check(run(Some(at), &mut Silent).unwrap(), "a resumed run");
}

/// The sum of four of `count` numbers, all of them twice one.
fn four_of(count: usize, device: &Device) -> Result<f32> {
    guarded(device, || Ok(to_host((Tensor::<1>::ones([count], device) * 2.0).narrow(0, 0, 4).sum())?[0]))
}

#[test]
fn what_is_larger_than_the_device_has_any_buffer_is_out_of_memory_and_what_fits_goes_on() {
    let device = software();
    let too_large = cards()[0].max_binding_bytes as usize / 2;
    let error = four_of(too_large, &device).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(error.to_string().contains(&(4 * too_large).to_string()), "does not say how much was needed: {error}");
    assert_eq!(four_of(1 << 20, &device).unwrap(), 8.0);

    // The same in the middle of groups, which are computed in halves then.
    let mut sums = Vec::new();
    halving(&device, [vec![too_large / 4 + 4096; 4]], |group| {
        sums.push(four_of(group.iter().sum(), &device)?);
        Ok(())
    })
    .unwrap();
    assert_eq!(sums, [8.0; 4]);
}

#[test]
fn a_device_is_opened_anew_once_and_computes_as_before() {
    let first = software();
    let Error::Device { device: name, .. } = failure(&first, "the card was pulled out") else { unreachable!() };
    renew(&name).unwrap();
    let fresh = software();
    assert!(fresh != first, "nothing is fresh");
    golden::check_forward("gpt2_tied", &fresh);
    let Error::Device { device: same, .. } = failure(&fresh, "once more") else { unreachable!() };
    assert_eq!(same, name);
    let refused = renew(&name).unwrap_err().to_string();
    assert!(refused.contains("opened anew before"), "{refused}");
    assert!(renew("cpu").is_err());
}
