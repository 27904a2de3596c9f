//! Low-rank adapters: PEFT's golden values, its files, what is frozen, and what goes wrong. peft itself is asked by hand:
//! `tests/by_hand/peft.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::{self, AdaptSettings, Adaptation, Resumable, adapt, training_step};
use odyssey::device::DeviceChoice;
use odyssey::error::Error;
use odyssey::model::parameters::{NamedTensor, to_host};
use odyssey::model::{Adapter, LoadedModel, LoraSettings, ModelConfig, Precision};
use odyssey::progress::{Monitor, Silent};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::adapters::{adapted, attached, base, cpu, ids, largest_difference, logits, lora};
use crate::cli::{Place, assert_has};
use crate::common::{StopAfter, fixture, id_stream as stream, model_folder};
use crate::golden;

const GOLDEN: [&str; 2] = ["gpt2_tied", "llama_mha"];

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What PEFT had before, during and after the golden training of a case.
fn golden(case: &str) -> Value {
    json_file(&fixture("lora/lora.json"))["cases"][case].clone()
}

fn adapter_folder(case: &str) -> PathBuf {
    fixture("lora").join(case).join("adapter")
}

/// A copy of a case's trained PEFT folder, to be changed.
fn copied(case: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::write(folder.path().join(name), fs::read(adapter_folder(case).join(name)).unwrap()).unwrap();
    }
    folder
}

/// Changes keys of a folder's adapter_config.json.
fn configure(folder: &Path, changes: Value) {
    let path = folder.join("adapter_config.json");
    let mut config = json_file(&path);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(path, config.to_string()).unwrap();
}

/// Multiplies the weights of a folder whose names hold `part`.
fn multiply(folder: &Path, part: &str, factor: f32) {
    let path = folder.join("adapter_model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (name, about) in header.as_object().unwrap() {
        if !name.contains(part) {
            continue;
        }
        let [from, to] = [0, 1].map(|i| start + about["data_offsets"][i].as_u64().unwrap() as usize);
        for number in bytes[from..to].as_chunks_mut::<4>().0 {
            *number = (f32::from_le_bytes(*number) * factor).to_le_bytes();
        }
    }
    fs::write(path, bytes).unwrap();
}

fn values(weights: Vec<NamedTensor>) -> BTreeMap<String, Vec<f32>> {
    weights.into_iter().map(|weight| (weight.name, to_host(weight.values).unwrap())).collect()
}

#[test]
fn a_trained_peft_adapter_gives_pefts_logits() {
    for case in GOLDEN {
        let model = attached(&adapter_folder(case), &base(case, &cpu()));
        let (_, read) = golden::array::<i64>(&fixture(format!("lora/{case}/logits_after.safetensors")), "input_ids");
        let read: Vec<u32> = read.into_iter().map(|id| id as u32).collect();
        let (_, expected) =
            golden::array::<f64>(&fixture(format!("lora/{case}/logits_after.safetensors")), "logits_f64");
        let ours = logits(&model.model, &read, &cpu());
        let worst = golden::largest_difference(&ours[ours.len() - expected.len()..], &expected);
        println!("{case}: largest difference {worst:.1e}");
        assert!(worst < 2e-4, "{case}: logits differ by {worst:.1e}");
        let without = logits(&base(case, &cpu()).model, &read, &cpu());
        let off = golden::largest_difference(&without[ours.len() - expected.len()..], &expected);
        assert!(off > 0.1, "{case}: the adapter matters, or this test could not fail");
    }
}

/// Ten steps from PEFT's first weights: loss, norm of the gradient, and the weights at the end.
fn check_training(case: &str, device: &Device) {
    let golden = golden(case);
    let start = tempfile::tempdir().unwrap();
    for (from, to) in
        [("adapter/adapter_config.json", "adapter_config.json"), ("init.safetensors", "adapter_model.safetensors")]
    {
        fs::copy(fixture(format!("lora/{case}/{from}")), start.path().join(to)).unwrap();
    }
    let mut model = attached(start.path(), &base(case, device)).model.train();
    let count: usize = model.trained().iter().map(|weight| weight.shape.iter().product::<usize>()).sum();
    assert_eq!(count as u64, golden["trainable_parameters"].as_u64().unwrap());

    let (shape, batches) = golden::array::<i64>(&fixture(format!("lora/{case}/batches.safetensors")), "input_ids");
    let mut optimizer = AdamW::new(AdamWConfig::default());
    for (step, rows) in batches.chunks(shape[2] * shape[3]).enumerate() {
        let rows = golden::rows(&shape, rows);
        let batch = [golden::micro_batch(&rows)];
        let done = training_step(&Objective::default(), model, &mut optimizer, &batch, 1e-2, Some(1.0)).unwrap();
        model = done.model;
        let [loss, norm] = ["loss", "grad_norm"].map(|key| golden[key][step].as_f64().unwrap());
        assert!((done.loss - loss).abs() < 1e-4, "{case} step {step}: loss {} against {loss}", done.loss);
        assert!((done.gradient_norm / norm - 1.0).abs() < 1e-4, "{case} step {step}: norm {}", done.gradient_norm);
    }
    let expected = golden["final"].as_object().unwrap();
    let trained = values(model.trained());
    assert_eq!(trained.len(), expected.len());
    for (name, golden) in expected {
        let values = &trained[&format!("{name}.weight")];
        let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let golden = golden["sumsq"].as_f64().unwrap();
        assert!((squares / golden - 1.0).abs() < 1e-4, "{case} {name}: Σw² {squares} against {golden}");
    }
}

#[test]
fn ten_steps_of_training_go_as_in_peft() {
    for case in GOLDEN {
        check_training(case, &cpu());
    }
}

#[test]
fn ten_steps_of_training_go_as_in_peft_on_a_software_card() {
    let device = DeviceChoice::Software.open().expect("this test needs a software Vulkan card").device;
    check_training("gpt2_tied", &device);
}

#[test]
fn merged_weights_are_pefts_and_compute_what_base_and_adapter_compute() {
    for case in GOLDEN {
        let base = base(case, &cpu());
        let model = attached(&adapter_folder(case), &base);
        let scratch = tempfile::tempdir().unwrap();
        odyssey::model::save(&model.model, &base, scratch.path()).unwrap();
        let merged = LoadedModel::open(scratch.path(), &cpu()).unwrap();
        assert!(!merged.model.has_adapters());

        let weights = values(merged.model.parameters());
        for (name, golden) in golden(case)["merged"].as_object().unwrap() {
            let squares: f64 = weights[name].iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((squares / golden["sumsq"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{case} {name}: Σw² {squares}");
            let sum: f64 = weights[name].iter().map(|&v| f64::from(v)).sum();
            assert!((sum - golden["sum"].as_f64().unwrap()).abs() < 1e-4, "{case} {name}: Σw {sum}");
        }
        let [ours, theirs] = [&merged, &model].map(|model| logits(&model.model, &ids(40), &cpu()));
        let worst = largest_difference(&ours, &theirs);
        println!("{case}: merged logits differ by {worst:.1e}");
        // Rounding of W + s·BA to f32; peft's own merged logits are off by as much from f64.
        let largest = ours.iter().map(|logit| logit.abs()).fold(1.0, f32::max);
        assert!(worst < 1e-5 * largest, "{case}: {worst:.1e} with logits up to {largest:.1}");
    }
}

#[test]
fn new_adapters_are_drawn_as_peft_draws_them_and_change_nothing_yet() {
    let base = base("llama_mha", &cpu());
    let settings = LoraSettings { rank: 6, targets: vec!["all".into()], ..LoraSettings::default() };
    let fresh = settings.attach(&base, 3).unwrap();
    assert_eq!(logits(&fresh, &ids(40), &cpu()), logits(&base.model, &ids(40), &cpu()));
    let weights = values(fresh.trained());
    for (name, values) in &weights {
        if name.ends_with("lora_B.weight") {
            assert!(values.iter().all(|&b| b == 0.0), "{name}");
            continue;
        }
        // torch.nn.init.kaiming_uniform_(a=√5) of [r, in] is uniform within ±1/√in, whose variance is 1/(3 in).
        let input = (values.len() / 6) as f64;
        let largest = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
        assert!(f64::from(largest) <= input.powf(-0.5), "{name}: {largest}");
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((variance * 3.0 * input - 1.0).abs() < 0.25, "{name}: variance {variance}");
    }
    let again = |seed| values(settings.attach(&base, seed).unwrap().trained());
    assert_eq!(weights, again(3));
    assert_ne!(weights, again(4));
}

#[test]
fn automatic_targets_are_those_of_peft_for_every_family() {
    // peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING; OLMo, which it lacks, as LLaMA.
    for (case, expected, all) in [
        ("gpt2_tied", &["c_attn"][..], 4),
        ("llama_gqa", &["q_proj", "v_proj"], 7),
        ("mistral", &["q_proj", "v_proj"], 7),
        ("qwen2", &["q_proj", "v_proj"], 7),
        ("qwen3", &["q_proj", "v_proj"], 7),
        ("olmo", &["q_proj", "v_proj"], 7),
        ("olmo2", &["q_proj", "v_proj"], 7),
        ("neox_parallel", &["query_key_value"], 4),
    ] {
        let config = ModelConfig::read(&model_folder(case)).unwrap();
        let layers = |targets: &[&str]| {
            let targets = targets.iter().map(|&target| target.to_owned()).collect();
            LoraSettings { rank: 2, targets, ..LoraSettings::default() }.layers(&config).unwrap()
        };
        assert_eq!(layers(&["auto"]), layers(expected), "{case}");
        assert_eq!(layers(&["auto"]).len(), expected.len() * config.layers(), "{case}");
        assert_eq!(layers(&["all"]).len(), all * config.layers(), "{case}");
    }
}

#[test]
fn a_target_may_name_one_of_two_layers_that_end_alike() {
    let config = ModelConfig::read(&model_folder("gpt2_tied")).unwrap();
    let count = |target: &str| {
        LoraSettings { rank: 2, targets: vec![target.into()], ..LoraSettings::default() }.layers(&config).unwrap().len()
    };
    assert_eq!((count("c_proj"), count("attn.c_proj")), (2 * config.layers(), config.layers()));
    assert_eq!(count("transformer.h.1.mlp.c_proj"), 1);
}

#[test]
fn only_adapters_have_gradients_and_moments_and_the_base_keeps_its_bits() {
    for case in ["gpt2_tied", "olmo2"] {
        let base = base(case, &cpu());
        let adapted = adapted(&base, &lora(LoraSettings::default()));
        let (mut after, before) = (values(adapted.last.parameters()), values(base.model.parameters()));
        let moved = values(adapted.last.trained());
        assert!(moved.values().all(|values| values.iter().any(|&v| v != 0.0)), "{case}: every adapter has moved");
        after.retain(|name, _| !moved.contains_key(name));
        assert_eq!(after, before, "{case}");

        let model = LoraSettings::default().attach(&base, 1).unwrap().train();
        let rows = [ids(33)];
        let backward = Objective::default().backward(&model, &golden::micro_batch(&rows), 32.0).unwrap();
        let names: Vec<String> = model.trained().into_iter().map(|weight| weight.name).collect();
        assert!(backward.gradients.keys().all(|name| names.contains(name)), "{case}");
        assert_eq!(backward.gradients.len(), names.len(), "{case}");
    }
}

#[test]
fn going_layer_by_layer_gives_the_same_loss_and_gradient_for_every_family() {
    for case in golden::CASES {
        let model = base(case, &cpu()).model.train();
        let batch = golden::micro_batch(&[ids(33), ids(66)[33..].to_vec()]);
        let whole = Objective::default().backward(&model, &batch, batch.weight()).unwrap();
        let by_layers = Objective::default().backward_by_layers(&model, &batch, batch.weight()).unwrap();
        let [loss, again] = [whole.loss, by_layers.loss].map(|loss| to_host(loss).unwrap()[0]);
        assert!((loss - again).abs() < 2e-6, "{case}: loss {loss} and {again}");
        assert_eq!(whole.gradients.len(), by_layers.gradients.len(), "{case}");
        for (name, gradient) in whole.gradients {
            let [a, b] = [gradient, by_layers.gradients[&name].clone()].map(|g| to_host(g).unwrap());
            let scale = a.iter().map(|v| v.abs()).fold(1e-3, f32::max);
            assert!(largest_difference(&a, &b) < 1e-5 * scale, "{case} {name}: {}", largest_difference(&a, &b));
        }
    }
}

#[test]
fn adapters_train_upon_a_base_held_in_16_bits_as_upon_the_same_base_in_f32() {
    // This model is stored in bf16, so that both hold the same numbers.
    let settings = lora(LoraSettings { dropout: 0.25, ..LoraSettings::default() });
    let [wide, narrow] = [Precision::F32, Precision::Bf16].map(|precision| {
        let base = LoadedModel::open_in(&model_folder("llama_gqa"), precision, &cpu()).unwrap();
        adapted(&base, &settings)
    });
    let loss = |adaptation: &Adaptation| adaptation.result.curves.valid_loss.clone();
    assert!(loss(&wide)[1].1 < loss(&wide)[0].1 - 0.01, "something is learnt: {:?}", loss(&wide));
    let [wide, narrow] = [wide, narrow].map(|adaptation| values(adaptation.last.trained()));
    for (name, values) in &wide {
        let worst = largest_difference(values, &narrow[name]);
        assert!(worst < 1e-4, "{name}: {worst:.1e}");
    }
}

#[test]
fn dropout_is_drawn_from_the_seed_whatever_the_micro_batch_and_only_in_training() {
    let base = base("gpt2_tied", &cpu());
    let with = |dropout, micro_batch| {
        let settings = AdaptSettings { micro_batch, ..lora(LoraSettings { dropout, ..LoraSettings::default() }) };
        values(adapted(&base, &settings).last.trained())
    };
    let (half, same, by_one, none) = (with(0.5, 2), with(0.5, 2), with(0.5, 1), with(0.0, 2));
    assert_eq!(half, same);
    assert_ne!(half, none);
    for (name, values) in &half {
        let worst = largest_difference(values, &by_one[name]);
        assert!(worst < 1e-4, "{name}: {worst:.1e}");
    }
    let trained = adapted(&base, &lora(LoraSettings { dropout: 0.5, ..LoraSettings::default() })).last;
    let scratch = tempfile::tempdir().unwrap();
    LoraSettings::default().save(&trained, &base, scratch.path()).unwrap();
    let read = attached(scratch.path(), &base);
    assert_eq!(logits(&trained, &ids(40), &cpu()), logits(&read.model, &ids(40), &cpu()));
}

#[test]
fn dropout_leaves_the_expected_gradient_as_it_is() {
    // While B is 0 the loss does not depend on what is left out, and ∂L/∂B is linear in it: its mean over many draws is
    // the gradient without dropout.
    let base = base("gpt2_tied", &cpu());
    let batch = golden::micro_batch(&[ids(33)]);
    let gradient = |dropout, step| {
        let settings = LoraSettings { dropout, ..LoraSettings::default() };
        let mut model = settings.attach(&base, 5).unwrap().train();
        model.begin_windows(step, 0);
        let gradients = Objective::default().backward(&model, &batch, batch.weight()).unwrap().gradients;
        to_host(gradients["transformer.h.1.attn.c_attn.lora_B.weight"].clone()).unwrap()
    };
    let expected = gradient(0.0, 1);
    const DRAWS: u64 = 200;
    let mut mean = vec![0.0; expected.len()];
    for step in 1..=DRAWS {
        mean.iter_mut().zip(gradient(0.5, step)).for_each(|(sum, g)| *sum += g / DRAWS as f32);
    }
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let off = norm(&mut mean.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
    println!("the mean over {DRAWS} draws is off by {off:.3}");
    assert!(off < 0.2, "{off}");
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits_and_its_checkpoint_does_not_repeat_the_base() {
    let base = base("llama_mha", &cpu());
    let settings = lora(LoraSettings { dropout: 0.3, ..LoraSettings::default() });
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("checkpoint");
    let run = |monitor: &mut dyn Monitor| {
        let resumable =
            Resumable { path: &path, resume: true, every: None, longest: Resumable::LONGEST, how_to_resume: "" };
        adapt(&base, stream(&[700, 900]), &stream(&[300]), &settings, 7, Some(resumable), monitor)
    };
    assert!(matches!(run(&mut StopAfter(2)), Err(Error::Interrupted(_))));
    let bytes = fs::metadata(&path).unwrap().len();
    let of_base: usize = base.model.parameters().iter().map(|w| 4 * w.shape.iter().product::<usize>()).sum();
    assert!(bytes < of_base as u64, "{bytes} bytes beside a base of {of_base}");
    let resumed = run(&mut Silent).unwrap();
    let whole = adapted(&base, &settings);
    assert_eq!(values(resumed.last.trained()), values(whole.last.trained()));
    assert_eq!(resumed.result.curves, whole.result.curves);
}

#[test]
fn rslora_and_patterns_of_alpha_scale_what_adapters_add() {
    let base = base("gpt2_tied", &cpu());
    let computed = |folder: &Path| logits(&attached(folder, &base).model, &ids(40), &cpu());
    let same = |changed: &Path, expected: &Path| {
        let worst = largest_difference(&computed(changed), &computed(expected));
        assert!(worst < 2e-5, "{worst:.1e}");
    };
    // r 4 and alpha 8: α/√r is twice α/r.
    let (rslora, doubled) = (copied("gpt2_tied"), copied("gpt2_tied"));
    configure(rslora.path(), json!({ "use_rslora": true }));
    multiply(doubled.path(), "lora_B", 2.0);
    same(rslora.path(), doubled.path());

    let (pattern, tripled) = (copied("gpt2_tied"), copied("gpt2_tied"));
    configure(pattern.path(), json!({ "alpha_pattern": { "attn.c_proj": 24, "h.1.mlp.c_fc": 24 } }));
    multiply(tripled.path(), "attn.c_proj.lora_B", 3.0);
    multiply(tripled.path(), "h.1.mlp.c_fc.lora_B", 3.0);
    same(pattern.path(), tripled.path());

    let plain = copied("gpt2_tied");
    assert!(largest_difference(&computed(plain.path()), &computed(rslora.path())) > 0.01, "scales matter");
}

#[test]
fn what_is_written_is_read_again_to_the_bit_and_names_its_base() {
    for case in ["gpt2_tied", "neox_parallel", "olmo2"] {
        let base = base(case, &cpu());
        let settings = LoraSettings { rank: 3, alpha: 6.0, targets: vec!["all".into()], ..LoraSettings::default() };
        let mut adaptation = adapted(&base, &lora(settings));
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("adapter");
        adapt::write(&mut adaptation, &base, &out).unwrap();
        let adapter = Adapter::read(&out).unwrap();
        assert_eq!(Path::new(adapter.base.as_ref().unwrap()), model_folder(case));
        let read = adapter.attach(&base).unwrap();
        assert_eq!(values(read.model.trained()), values(adaptation.last.trained()), "{case}");
        assert_eq!(logits(&read.model, &ids(40), &cpu()), logits(&adaptation.last, &ids(40), &cpu()), "{case}");

        let bytes = fs::read(out.join("adapter_model.safetensors")).unwrap();
        let names = SafeTensors::deserialize(&bytes).unwrap();
        let first = match case {
            "gpt2_tied" => "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
            "neox_parallel" => "base_model.model.gpt_neox.layers.0.attention.query_key_value.lora_A.weight",
            _ => "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        };
        assert!(names.names().contains(&first), "{case}: {:?}", names.names());
    }
}

/// The refusal of reading `folder` and putting it upon `case`.
fn refusal(folder: &Path, case: &str) -> String {
    let read = Adapter::read(folder).and_then(|adapter| adapter.attach(&base(case, &cpu())));
    let error = read.map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn an_adapter_that_computes_otherwise_is_refused_by_the_key_that_says_so() {
    for (key, value) in [
        ("use_dora", json!(true)),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["lm_head"])),
        ("peft_type", json!("IA3")),
        ("init_lora_weights", json!("pissa")),
        ("lora_bias", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("trainable_token_indices", json!([3])),
        ("a_key_of_tomorrow", json!(0.5)),
        ("rank_pattern", json!({ "h\\.[01].*": 2 })),
        ("r", json!(0)),
        ("lora_alpha", json!(null)),
    ] {
        let folder = copied("gpt2_tied");
        configure(folder.path(), json!({ key: value }));
        let said = refusal(folder.path(), "gpt2_tied");
        assert!(said.contains(&format!("`{key}` is")), "{key}: {said}");
    }
}

#[test]
fn an_adapter_of_another_base_is_refused_by_the_layer_that_does_not_fit() {
    let said = refusal(&adapter_folder("gpt2_tied"), "gpt2_odd");
    assert!(said.contains("adapts \"transformer.h.") && said.contains("channels, but in this base"), "{said}");
    let said = refusal(&adapter_folder("llama_mha"), "gpt2_tied");
    assert!(said.contains("not a linear layer of this base; it has c_attn, c_fc, c_proj"), "{said}");
}

#[test]
fn an_adapter_with_less_than_its_configuration_says_is_refused() {
    let folder = copied("gpt2_tied");
    configure(folder.path(), json!({ "r": 5 }));
    assert!(refusal(folder.path(), "gpt2_tied").contains("has rank 4 and 4, but adapter_config.json says 5"));

    let path = folder.path().join("adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for left in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..left]).unwrap();
        assert!(refusal(folder.path(), "gpt2_tied").contains("not a whole safetensors file"), "{left} bytes");
    }
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let kept = |without: &str| {
        let kept = tensors.iter().filter(|(name, _)| !name.contains(without)).map(|(name, view)| (name, view));
        fs::write(&path, safetensors::serialize(kept, None).unwrap()).unwrap();
        refusal(folder.path(), "gpt2_tied")
    };
    configure(folder.path(), json!({ "r": 4 }));
    assert!(
        kept("h.1.attn.c_attn.lora_B").contains("only one of lora_A and lora_B for \"transformer.h.1.attn.c_attn\"")
    );
    assert!(kept("h.1.attn.c_attn").contains("has nothing for \"transformer.h.1.attn.c_attn\""));
    assert!(kept("lora").contains("holds no adapter"));
    fs::remove_file(&path).unwrap();
    assert!(refusal(folder.path(), "gpt2_tied").contains("no such file"));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_those_that_would() {
    let place = Place::with_model();
    let line = "adapt --model model --train train.jsonl --valid valid.jsonl --out out --strategy lora";
    for (options, says) in [
        ("--lora-targets q_proj", &["--lora-targets: ", "\"q_proj\"", "which has c_attn, c_fc, c_proj"][..]),
        ("--lora-targets all,c_attn", &["--lora-targets: ", "\"all\""]),
        ("--lora-rank 0", &["--lora-rank: is 0"]),
        ("--lora-rank 100000", &["--lora-rank: is 100000", "above 48"]),
        ("--lora-alpha 0", &["--lora-alpha: is 0"]),
        ("--lora-dropout 1", &["--lora-dropout: is 1"]),
    ] {
        place.refused(&format!("{line} {options}"), says);
    }
    assert_eq!(place.odyssey(&format!("{line} --lora-rank -1")).status, Some(2));
    let full = line.replace(" --strategy lora", "");
    place.refused(&format!("{full} --lora-rank 4"), &["--strategy: is full, but lora settings are given"]);
    place.refused(&format!("{full} --merge"), &["--merge: is for adapters"]);
    place.refused(&format!("{full} --dtype bf16"), &["use --dtype f32, or --strategy lora"]);
}

#[test]
fn the_keys_of_a_study_are_the_options_of_the_command_line() {
    let recipe: AdaptSettings =
        toml::from_str("strategy = \"lora\"\n[lora]\nrank = 4\ntargets = [\"q_proj\", \"o_proj\"]\nrslora = true")
            .unwrap();
    let lora = recipe.adapters().unwrap();
    assert_eq!((lora.rank, lora.rslora, lora.alpha), (4, true, LoraSettings::default().alpha));
    assert_eq!(lora.targets, ["q_proj", "o_proj"]);
    assert!(toml::from_str::<AdaptSettings>("[lora]\nranks = 4").unwrap_err().to_string().contains("ranks"));
}

const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --context 32 --steps 6 --lr 1e-2 \
                     --strategy lora --lora-rank 4";

#[test]
fn an_adapter_is_evaluated_off_and_on_in_one_run_and_the_difference_is_compares_delta() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --out adapter"));
    assert!(!place.path("adapter/model.safetensors").exists());

    let result = place.result("eval --model model --adapter adapter --text test.jsonl valid.jsonl");
    let rows = result["texts"].as_array().unwrap();
    let said: Vec<_> = rows.iter().map(|row| (row["text"].as_str().unwrap(), row["adapter"].as_str())).collect();
    let expected = [
        ("test.jsonl", None),
        ("test.jsonl", Some("adapter")),
        ("valid.jsonl", None),
        ("valid.jsonl", Some("adapter")),
    ];
    assert_eq!(said, expected);

    let base = place.result("eval --model model --text test.jsonl");
    assert_eq!(base["texts"][0]["nll"], rows[0]["nll"]);
    assert_eq!(base["texts"][0]["adapter"], Value::Null);
    let on = place.result("eval --model adapter --text test.jsonl");
    assert_eq!(on["texts"][0]["nll"], rows[1]["nll"]);
    assert_eq!(on["texts"][0]["adapter"], "adapter");
    let both = [1, 3].map(|row| rows[row]["nll"].as_f64().unwrap());
    let average = ((both[0] + both[1]) / 2.0).exp();
    assert!((result["macro_ppl"].as_f64().unwrap() / average - 1.0).abs() < 1e-9, "the average is with the adapter");

    let compared = place.result("compare --before model --after adapter --text test.jsonl");
    let change = &result["adapter_changes"][0];
    assert_has(change, &["/text", "/delta", "/delta_ci95/0"]);
    assert_eq!((&compared["delta"], &compared["delta_ci95"]), (&change["delta"], &change["delta_ci95"]));
    assert!(compared["delta"].as_f64().unwrap() < -0.01, "six steps teach something");

    let table = place.odyssey("eval --model model --adapter adapter --text test.jsonl --quiet").out;
    assert!(table.contains("test.jsonl + adapter") && table.contains("the adapter changes test.jsonl by -"), "{table}");
}

#[test]
fn a_pattern_that_means_no_layer_of_the_adapter_has_no_effect_and_is_named() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --out adapter"));
    let line = "eval --model adapter --text test.jsonl --json";
    let plain = place.odyssey(line);
    assert!(!plain.err.contains("_pattern"), "{}", plain.err);
    let patterns = json!({ "alpha_pattern": { "c_attn": 16, "c_atn": 99 }, "rank_pattern": { "h.7.attn.c_attn": 9 } });
    configure(&place.path("adapter"), patterns);
    let said = place.odyssey(line);
    for part in ["`alpha_pattern` names \"c_atn\"", "`rank_pattern` names \"h.7.attn.c_attn\""] {
        assert!(said.err.contains(part), "no {part}: {}", said.err);
    }
    assert!(!said.err.contains("names \"c_attn\""), "{}", said.err);
    let nll = |out: &str| serde_json::from_str::<Value>(out).unwrap()["texts"][0]["nll"].clone();
    assert_eq!(nll(&said.out), nll(&plain.out));
}

#[test]
fn a_merged_folder_is_a_whole_model_with_the_adapter_beside() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --out merged --merge"));
    let merged = place.result("eval --model merged --text test.jsonl");
    let adapter = place.result("eval --model merged/adapter --text test.jsonl");
    let nll = |result: &Value| result["texts"][0]["nll"].as_f64().unwrap();
    assert!((nll(&merged) - nll(&adapter)).abs() < 1e-5);
    let base = place.result("eval --model model --text test.jsonl");
    assert!(nll(&merged) < nll(&base) - 0.01, "the adapter does something");
}

#[test]
fn an_adapters_base_is_found_beside_it_and_missed_by_name() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --out adapters/one"));
    let config = place.path("adapters/one");
    configure(&config, json!({ "base_model_name_or_path": "../../model" }));
    place.result("eval --model adapters/one --text test.jsonl");
    configure(&config, json!({ "base_model_name_or_path": "./elsewhere" }));
    place.refused("eval --model adapters/one --text test.jsonl", &["names the base \"./elsewhere\"", "--adapter DIR"]);
    configure(&config, json!({ "base_model_name_or_path": null }));
    place.refused("eval --model adapters/one --text test.jsonl", &["does not say which base it is for"]);

    let train = "--train train.jsonl --valid valid.jsonl --out more";
    place.refused(&format!("adapt --model adapters/one {train}"), &["holds an adapter, no whole model"]);
    place.refused("eval --model model --adapter model --text test.jsonl", &["is no adapter's folder"]);
}

#[test]
fn the_memory_plan_of_adapters_counts_the_base_once_and_is_offered_to_who_plans_full_training() {
    let place = Place::with_model();
    let line = "adapt --model model --train train.jsonl --valid valid.jsonl --out out --dry-run";
    let (full, lora) = (place.result(line), place.result(&format!("{line} --strategy lora")));
    let part = |plan: &Value, what: &str| {
        let parts = plan["parts"].as_array().unwrap();
        parts.iter().find(|part| part["what"].as_str().unwrap().starts_with(what)).unwrap()["bytes"].as_u64().unwrap()
    };
    let weights = 4 * full["parameters"].as_u64().unwrap();
    assert_eq!(part(&lora, "weights of the base"), weights);
    // Rank 8 on c_attn, 48 channels to 144, of three layers: the weights, the best ones, gradients, moments.
    assert_eq!(part(&lora, "adapters"), 6 * 4 * 3 * 8 * (48 + 144));
    let offered = full["options"].as_array().unwrap();
    let offered = offered.iter().find(|option| option["option"] == "--strategy lora").unwrap();
    assert_eq!(offered["needs_bytes"], lora["needs_bytes"]);
}
