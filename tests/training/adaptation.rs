//! Adaptation as a whole: PyTorch's table, reproducibility, memory, and the objective's shape.

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::adapt;
use odyssey::adapt::data::{MicroBatch, Order, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::evaluate::{Protocol, ProtocolName, evaluate};
use odyssey::model::LoadedModel;
use odyssey::model::parameters::to_host;
use odyssey::progress::Silent;
use odyssey::recipe::AdaptSettings;
use odyssey::recipe::{Decay, DecayShape, Schedule, WarmupShape};
use odyssey::text::{DocumentRule, Domain, Split, StreamOptions};

use crate::common::{id_stream as stream, model_folder, test_data};

fn tiny() -> LoadedModel {
    LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap()
}

/// The recipe of the shared table: file order, side-by-side windows, log warm-up over two steps, one pass of 48 steps.
fn table_recipe() -> AdaptSettings {
    AdaptSettings {
        lr: 1e-3,
        decay: Decay::Constant,
        warmup_steps: Some(2),
        warmup_shape: WarmupShape::Log,
        packing: Packing::Blocks,
        order: Order::File,
        drop_last: true,
        clip: 0.0,
        max_steps: Some(48),
        validations: 1,
        valid_tokens: 512,
        ..AdaptSettings::default()
    }
}

#[machine::needs(test_data)]
#[test]
fn adapting_wiki_gpt2_by_the_tables_recipe_changes_perplexity_as_in_pytorch() {
    let base = LoadedModel::open(&test_data().join("models/wiki-gpt2"), &Device::flex()).unwrap();
    let tokenizer = base.tokenizer().unwrap();
    let table = std::fs::read(test_data().join("models/wiki-gpt2/reference_adaptation.json")).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    // One domain close to the pretraining corpus, where adaptation hurts, and one far from it, where it helps.
    for name in ["wiki_politics", "arxiv_econ.EM"] {
        let domain = Domain::open(test_data().join("data/domains").join(name), DocumentRule::BlankLine).unwrap();
        let stream =
            |split| base.stream(&domain.split(split).unwrap(), tokenizer.as_ref(), &StreamOptions::default()).unwrap();
        let golden = table["domains"].as_array().unwrap().iter().find(|d| d["domain"] == name).unwrap();
        let adapted =
            adapt(&base, stream(Split::Train), &stream(Split::Valid), &table_recipe(), 0, None, &mut Silent).unwrap();
        assert_eq!(adapted.result.steps, golden["steps"].as_u64().unwrap());
        let first = adapted.result.curves.train_loss[0].1;
        assert!((first - golden["train_loss_first_step"].as_f64().unwrap()).abs() < 1e-4, "{name}: first loss {first}");

        let protocol = Protocol::new(ProtocolName::Disjoint, None, None, 256).unwrap();
        let after = evaluate(&adapted.last, &base.device, &stream(Split::Test), &protocol, &mut Silent).unwrap();
        let delta = after.mean_nll() - golden["zero_shot"]["nll_per_token"].as_f64().unwrap();
        let expected = golden["delta"].as_f64().unwrap();
        println!("{name}: delta {delta:+.4}, PyTorch {expected:+.4}");
        assert!((delta - expected).abs() < 0.01, "{name}: delta {delta} against {expected}");
    }
}

#[test]
fn the_same_run_twice_gives_the_same_bits() {
    let base = tiny();
    let settings = AdaptSettings { lr: 1e-3, batch: 4, micro_batch: 2, epochs: 2, ..AdaptSettings::default() };
    let run = || {
        let adapted = adapt(&base, stream(&[700, 900]), &stream(&[300]), &settings, 7, None, &mut Silent).unwrap();
        let weights: Vec<Vec<f32>> =
            adapted.last.parameters().into_iter().map(|p| to_host(p.values).unwrap()).collect();
        (weights, adapted.result.curves)
    };
    assert_eq!(run(), run());
}

#[test]
fn another_seed_orders_windows_differently() {
    let windows = |seed| TrainingWindows::new(stream(&[5000]), 64, Packing::Stream, Order::Shuffle, seed).unwrap();
    assert_ne!(windows(1).epoch(0), windows(2).epoch(0));
    assert_ne!(windows(1).epoch(0), windows(1).epoch(1));
    assert_eq!(windows(1).epoch(3), windows(1).epoch(3));
}

#[test]
fn stream_packing_makes_every_token_but_the_first_a_target_exactly_once() {
    let text = stream(&[700, 33, 1, 900]);
    let windows = TrainingWindows::new(text.clone(), 64, Packing::Stream, Order::File, 0).unwrap();
    let all: Vec<usize> = (0..windows.len()).collect();
    let targets: Vec<u32> = all
        .iter()
        .flat_map(|&window| {
            let MicroBatch { targets, weights, inputs, .. } = windows.micro_batch(&[window]);
            assert_eq!(inputs[0].len(), targets.len());
            targets.into_iter().zip(weights).filter(|(_, w)| *w > 0.0).map(|(t, _)| t).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(targets, text.ids[1..]);
}

#[test]
fn document_packing_never_reads_across_documents_and_loses_nothing_but_first_tokens() {
    let lengths = [700, 33, 1, 65];
    let text = stream(&lengths);
    let windows = TrainingWindows::new(text, 64, Packing::Document, Order::File, 0).unwrap();
    let targets: usize = (0..windows.len()).map(|window| windows.targets(window)).sum();
    assert_eq!(targets, lengths.iter().map(|length| length - 1).sum::<usize>());
    // A window starts over at each document: 700 tokens are eleven windows, 33 one, 65 tokens (64 targets) one.
    assert_eq!(windows.len(), 11 + 1 + 1);
}

#[test]
fn padding_changes_neither_loss_nor_gradient() {
    let model = tiny().model.train();
    let windows = TrainingWindows::new(stream(&[64, 20]), 63, Packing::Document, Order::File, 0).unwrap();
    let together = windows.micro_batch(&[0, 1]);
    let apart = [windows.micro_batch(&[0]), windows.micro_batch(&[1])];
    assert!(together.weights.contains(&0.0), "the shorter window is padded");
    let weight = together.weight();
    let one = Objective::default().backward(&model, &together, weight).unwrap();
    let [a, b] = apart.map(|batch| Objective::default().backward(&model, &batch, weight).unwrap());
    let loss = |l: burn::tensor::Tensor<1>| f64::from(to_host(l).unwrap()[0]);
    assert!((loss(one.loss) - loss(a.loss) - loss(b.loss)).abs() < 1e-5);
    for (name, gradient) in one.gradients {
        let sum = a.gradients[&name].clone() + b.gradients[&name].clone();
        let difference = to_host((gradient - sum).abs().max()).unwrap()[0];
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    // In the direction of the gradient itself: (L(θ+εg) − L(θ−εg)) / 2ε = |g|².
    let base = tiny();
    let model = base.model.clone().train();
    let windows = TrainingWindows::new(stream(&[200]), 63, Packing::Stream, Order::File, 0).unwrap();
    let mut batch = windows.micro_batch(&[0, 1, 2]);
    // Unequal weights, as token-selecting strategies give.
    batch.weights.iter_mut().enumerate().for_each(|(i, w)| *w *= (i % 3) as f32);
    let weight = batch.weight();
    let backward = Objective::default().backward(&model, &batch, weight).unwrap();
    let squared_norm: f64 = odyssey::adapt::optimizer::gradient_norm(&backward.gradients).unwrap().powi(2);
    let epsilon = 1e-3 / squared_norm.sqrt();
    let at = |step: f64| {
        let moved =
            base.model.clone().map_parameters(|name, _, values| values + backward.gradients[name].clone() * step);
        f64::from(to_host(Objective::default().backward(&moved.train(), &batch, weight).unwrap().loss).unwrap()[0])
    };
    let slope = (at(epsilon) - at(-epsilon)) / (2.0 * epsilon);
    assert!((slope / squared_norm - 1.0).abs() < 5e-3, "slope {slope}, squared norm {squared_norm}");
}

#[test]
fn schedules_pass_through_their_closed_form_values() {
    let cosine = Schedule {
        lr: 1.0,
        decay: Decay::Cosine,
        warmup: 10,
        warmup_shape: WarmupShape::Linear,
        min_ratio: 0.1,
        decay_steps: 0,
        decay_shape: DecayShape::Sqrt,
    };
    assert_eq!(cosine.at(1, 110), 0.1);
    assert_eq!(cosine.at(10, 110), 1.0);
    assert!((cosine.at(60, 110) - 0.55).abs() < 1e-12, "the middle is the mean of both ends");
    assert!((cosine.at(110, 110) - 0.1).abs() < 1e-12);
    let linear = Schedule { decay: Decay::Linear, ..cosine };
    assert!((linear.at(60, 110) - 0.55).abs() < 1e-12);
    assert!((linear.at(110, 110) - 0.1).abs() < 1e-12);
    let log = Schedule { decay: Decay::Constant, warmup: 8, warmup_shape: WarmupShape::Log, ..cosine };
    assert_eq!(log.at(1, 100), 0.0);
    assert!((log.at(4, 100) - 4f64.ln() / 8f64.ln()).abs() < 1e-12);
    assert_eq!(log.at(8, 100), 1.0);
    assert_eq!(log.at(100, 100), 1.0);
    let none = Schedule { warmup: 0, decay: Decay::Constant, ..cosine };
    assert_eq!(none.at(1, 5), 1.0);
}
