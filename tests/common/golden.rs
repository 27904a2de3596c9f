//! Checks of models and training against the golden values of `tests/fixtures` (f64 truth), for any device.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::path::Path;

use burn::tensor::Device;
use odyssey::adapt::data::MicroBatch;
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig, gradient_norm};
use odyssey::adapt::training_step;
use odyssey::evaluate::Window;
use odyssey::evaluate::score::score;
use odyssey::model::parameters::to_host;
use odyssey::model::{LanguageModel, LoadedModel, token_ids};
use odyssey::progress::Silent;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{fixture, model_folder};

pub const CASES: [&str; 13] = [
    "gpt2_tied",
    "gpt2_odd",
    "llama_mha",
    "llama_gqa",
    "mistral",
    "qwen2",
    "qwen3",
    "smollm3",
    "olmo",
    "olmo_clip",
    "olmo2",
    "neox_parallel",
    "neox_sequential",
];
pub const TRAINED: [&str; 5] = ["gpt2_tied", "llama_mha", "llama_gqa", "olmo", "olmo2"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A golden array of i64 or f64 and its shape.
pub fn array<T: bytemuck::Pod>(path: &Path, name: &str) -> (Vec<usize>, Vec<T>) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data()))
}

pub fn rows(shape: &[usize], ids: &[i64]) -> Vec<Vec<u32>> {
    ids.chunks(shape[shape.len() - 1]).map(|row| row.iter().map(|&id| id as u32).collect()).collect()
}

pub fn micro_batch(rows: &[Vec<u32>]) -> MicroBatch {
    let time = rows[0].len() - 1;
    MicroBatch {
        inputs: rows.iter().map(|row| row[..time].to_vec()).collect(),
        targets: rows.iter().flat_map(|row| row[1..].to_vec()).collect(),
        weights: vec![1.0; rows.len() * time],
        penalised: Vec::new(),
    }
}

/// How far the logits of `model` on a case's ids are from the golden ones, at most.
pub fn logit_error(model: &LanguageModel, case: &str, device: &Device) -> f64 {
    let golden = model_folder(case).join("golden.safetensors");
    let (shape, ids) = array::<i64>(&golden, "input_ids");
    let ids = rows(&shape, &ids);
    let (_, expected) = array::<f64>(&golden, "logits_f64");
    let windows: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let logits = to_host(model.logits(token_ids(&windows, device)).flatten(0, 2)).unwrap();
    assert_eq!(logits.len(), expected.len());
    largest_difference(&logits, &expected)
}

/// Logits to 2e-4, per-token NLL to 1e-4, mean loss to 1e-5. Returns the largest errors.
pub fn check_forward(case: &str, device: &Device) -> (f64, f64) {
    let folder = model_folder(case);
    let golden = folder.join("golden.safetensors");
    let model = LoadedModel::open(&folder, device).unwrap().model;
    let (shape, ids) = array::<i64>(&golden, "input_ids");
    let ids = rows(&shape, &ids);
    let logit_error = logit_error(&model, case, device);
    assert!(logit_error < 2e-4, "{case}: logits differ by {logit_error:.2e}");

    // The scorer takes another path: chunks of positions, windows of a stream.
    let (_, expected) = array::<f64>(&golden, "nll_f64");
    let stream = ids.concat();
    let time = ids[0].len();
    let windows: Vec<Window> = (0..ids.len())
        .map(|i| Window { prefix: None, start: i * time, end: (i + 1) * time, scored: i * time + 1 })
        .collect();
    let nll = score(&model, device, &stream, &windows, 8, &mut Silent).unwrap();
    let scored: Vec<f32> = nll.into_iter().filter(|nll| !nll.is_nan()).collect();
    assert_eq!(scored.len(), expected.len());
    let nll_error = largest_difference(&scored, &expected);
    assert!(nll_error < 1e-4, "{case}: negative log-likelihoods differ by {nll_error:.2e}");
    let mean = scored.iter().map(|&nll| f64::from(nll)).sum::<f64>() / scored.len() as f64;
    let expected = json(&folder.join("golden.json"))["float64"]["mean_loss"].as_f64().unwrap();
    assert!((mean - expected).abs() < 1e-5, "{case}: mean loss {mean} against {expected}");
    (logit_error, nll_error)
}

/// Gradient of the mean loss: global norm to 1e-5 relative, every weight's norm to 1e-4 relative and its first values.
pub fn check_gradients(case: &str, device: &Device) {
    use burn::module::Module;
    let folder = model_folder(case);
    let golden = json(&folder.join("golden.json"));
    let model = LoadedModel::open(&folder, device).unwrap().model.train();
    let (shape, ids) = array::<i64>(&folder.join("golden.safetensors"), "input_ids");
    let batch = micro_batch(&rows(&shape, &ids));
    let backward = Objective::default().backward(&model, &batch, batch.weight()).unwrap();

    let loss = f64::from(to_host(backward.loss).unwrap()[0]);
    let expected = golden["float64"]["mean_loss"].as_f64().unwrap();
    assert!((loss - expected).abs() < 1e-5, "{case}: loss {loss} against {expected}");
    let norm = gradient_norm(&backward.gradients).unwrap();
    let expected = golden["float64"]["grad_norm"].as_f64().unwrap();
    assert!((norm / expected - 1.0).abs() < 1e-5, "{case}: gradient norm {norm} against {expected}");

    let expected = golden["float64"]["grads"].as_object().unwrap();
    let prefix = |name: &str| {
        if name.starts_with("transformer.") || !case.starts_with("gpt2") || name.starts_with("lm_head") {
            name.to_owned()
        } else {
            format!("transformer.{name}")
        }
    };
    assert_eq!(expected.len(), backward.gradients.len(), "{case}: as many gradients as weights");
    for (name, expected) in expected {
        let gradient = backward.gradients.get(&prefix(name)).unwrap_or_else(|| panic!("{case}: no gradient of {name}"));
        let values = to_host(gradient.clone()).unwrap();
        let norm = values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let golden_norm = expected["norm"].as_f64().unwrap();
        assert!(
            (norm - golden_norm).abs() < 1e-4 * golden_norm + 1e-8,
            "{case} {name}: norm {norm} against {golden_norm}"
        );
        for (value, expected) in values.iter().zip(expected["first4"].as_array().unwrap()) {
            let (value, expected) = (f64::from(*value), expected.as_f64().unwrap());
            assert!((value - expected).abs() < 1e-4 * golden_norm, "{case} {name}: {value} against {expected}");
        }
    }
}

/// Twenty steps of AdamW over two micro-batches each, clipping included: loss, norm and the weights at the end.
pub fn check_training(case: &str, device: &Device) {
    use burn::module::Module;
    let golden = &json(&fixture("training/adamw.json"))[case];
    let (shape, ids) = array::<i64>(&fixture(format!("training/{case}.batches.safetensors")), "input_ids");
    let [_, micro, batch, time] = shape[..] else { panic!("batches are [steps, micro, B, T]") };
    let mut model = LoadedModel::open(&model_folder(case), device).unwrap().model.train();
    let mut optimizer = AdamW::new(AdamWConfig { beta2: 0.95, weight_decay: 0.1, ..AdamWConfig::default() });

    let steps = ids.chunks(micro * batch * time);
    for (step, ids) in steps.enumerate() {
        let batches: Vec<MicroBatch> =
            ids.chunks(batch * time).map(|ids| micro_batch(&rows(&[batch, time], ids))).collect();
        let lr = golden["lr"][step].as_f64().unwrap();
        let done = training_step(&Objective::default(), model, &mut optimizer, &batches, lr, Some(1.0)).unwrap();
        model = done.model;
        let expected = golden["loss"][step].as_f64().unwrap();
        assert!((done.loss - expected).abs() < 1e-4, "{case} step {step}: loss {} against {expected}", done.loss);
        let expected = golden["grad_norm"][step].as_f64().unwrap();
        let norm = done.gradient_norm;
        assert!((norm / expected - 1.0).abs() < 1e-4, "{case} step {step}: norm {norm} against {expected}");
    }

    let expected = golden["final_params"].as_object().unwrap();
    for parameter in model.parameters() {
        let mut name = parameter.name.clone();
        let mut values = to_host(parameter.values).unwrap();
        if name.ends_with("c_attn.bias") {
            // The keys' bias has no gradient but rounding noise, which Adam turns into steps: leave it out.
            let third = values.len() / 3;
            values.drain(third..2 * third);
            name.push_str("#q_and_v_only");
        }
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let (golden_sum, golden_squares) =
            (expected[&name]["sum"].as_f64().unwrap(), expected[&name]["sumsq"].as_f64().unwrap());
        assert!((squares / golden_squares - 1.0).abs() < 1e-4, "{case} {name}: Σw² {squares} against {golden_squares}");
        let tolerance = 1e-4 * (values.len() as f64 * golden_squares).sqrt() + 1e-3;
        assert!((sum - golden_sum).abs() < tolerance, "{case} {name}: Σw {sum} against {golden_sum}");
    }
}

pub fn largest_difference(ours: &[f32], golden: &[f64]) -> f64 {
    ours.iter().zip(golden).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}
