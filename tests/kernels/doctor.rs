//! A device's diagnosis: right devices are found fine, wrong results are noticed, and what was found is kept and heeded.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use burn::tensor::Device;
use odyssey::device::{Card, ChosenDevice, DeviceChoice, automatic, cards, diagnosis};
use odyssey::doctor::exact::ExactModel;
use odyssey::doctor::{Aspect, Check, Diagnosis, Expected, Plan, Verdict, examine, judge, run, worst_error};
use odyssey::evaluate::Window;
use odyssey::evaluate::score::score;
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Place, assert_has};
use crate::common::model_folder;

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a command line that keeps its diagnoses in `cache`: status, standard output, standard error.
fn odyssey(place: &Place, cache: &Path, line: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_odyssey"))
        .args(line.split_whitespace())
        .current_dir(place.path("."))
        .env("ODYSSEY_CACHE", cache)
        .env("XDG_RUNTIME_DIR", place.path("."))
        .env("HF_HUB_OFFLINE", "1")
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn cpu() -> ChosenDevice {
    DeviceChoice::Cpu.find().unwrap()
}

fn software() -> ChosenDevice {
    DeviceChoice::Software.find().expect("this test needs a software Vulkan card (mesa-vulkan-drivers)")
}

/// A plan that finds `found` where 1, 2 and 3 are expected, to one part in a thousand.
fn finding(name: &str, aspect: Aspect, found: [f32; 3]) -> Plan {
    Plan::new(name, aspect, "of the value", move |_, cases| {
        cases.judge("three numbers", &found, &Expected::relative(1e-3, vec![1.0, 2.0, 3.0]));
        Ok(())
    })
}

fn checks(plans: Vec<Plan>) -> Vec<Check> {
    run(plans, &Device::flex(), Duration::from_secs(5), &mut Silent).unwrap()
}

fn diagnosis(aspect: Aspect, found: [f32; 3]) -> Diagnosis {
    let checks = checks(vec![finding("a check", aspect, found)]);
    let chosen = cpu();
    let (verdict, words) = judge(&chosen, &checks);
    Diagnosis {
        schema: "odyssey.doctor/1".into(),
        device: chosen.name,
        driver: "driver 1".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        verdict,
        words,
        checks,
        timings: Vec::new(),
        seconds: 0.0,
    }
}

#[test]
fn an_error_is_the_largest_in_the_units_of_its_value() {
    let expected = Expected::within(0.1, vec![1.0, -2.0, 100.0], vec![1.0, 2.0, 1000.0]);
    assert_eq!(worst_error(&[1.0, -2.0, 100.0], &expected), Ok(0.0));
    assert_eq!(worst_error(&[1.25, -2.0, 100.0], &expected), Ok(0.25));
    assert_eq!(worst_error(&[1.0, -3.0, 100.0], &expected), Ok(0.5));
    assert_eq!(worst_error(&[1.0, -2.0, 350.0], &expected), Ok(0.25));
}

#[test]
fn what_is_no_number_or_missing_is_an_error_without_a_size() {
    let expected = Expected::relative(1.0, vec![1.0, 2.0]);
    for found in [[1.0, f32::NAN].as_slice(), &[f32::INFINITY, 2.0], &[1.0], &[1.0, 2.0, 3.0]] {
        assert!(worst_error(found, &expected).is_err(), "{found:?}");
    }
    let overflow = Expected::relative(1.0, vec![1e60]);
    assert_eq!(worst_error(&[f32::INFINITY], &overflow), Ok(0.0));
    assert_eq!(worst_error(&[f32::MAX], &overflow), Ok(0.0));
    assert!(worst_error(&[f32::NEG_INFINITY], &overflow).is_err());
    assert!(worst_error(&[f32::NAN], &overflow).is_err());
    assert!(worst_error(&[1.0], &overflow).is_err());
}

#[test]
fn a_wrong_result_a_panic_and_a_hang_fail_their_checks_and_no_other() {
    let panics = Plan::new("panics", Aspect::F32, "", |_, _| panic!("the kernel was refused"));
    let measures_nothing = Plan::new("measures nothing", Aspect::F32, "", |_, _| Ok(()));
    let hangs = Plan::new("hangs", Aspect::F32, "", |_, _| {
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    let right = |name| finding(name, Aspect::F32, [1.0, 2.0, 3.0]);
    let wrong = finding("wrong", Aspect::F32, [1.0, 2.0, 3.3]);
    let plans = vec![right("right"), wrong, panics, measures_nothing, right("right too"), hangs, right("too late")];
    let checks = run(plans, &Device::flex(), Duration::from_secs(1), &mut Silent).unwrap();
    let ok: Vec<bool> = checks.iter().map(|check| check.ok).collect();
    assert_eq!(ok, [true, false, false, false, true, false, false]);
    assert!((checks[1].tightest.worst.unwrap() - 0.1).abs() < 1e-6);
    let reason = |i: usize| checks[i].tightest.reason.clone().unwrap();
    assert_eq!(reason(2), "failed: the kernel was refused");
    assert_eq!(reason(5), "failed: no answer within 1 s");
    assert!(reason(6).contains("not tried"));
    let (verdict, words) = judge(&cpu(), &checks);
    assert_eq!(verdict, Verdict::Wrong);
    assert!(words.starts_with("do not use: wrong: off by 1.0e-1 (allowed 1.0e-3) at three numbers; "), "{words}");
    assert!(words.contains("; and 2 more"), "{words}");
}

#[test]
fn the_verdict_depends_on_what_is_wrong() {
    let verdict = |aspect, found| {
        let found = diagnosis(aspect, found);
        (found.verdict, found.words.clone(), found.f16_fault(false).is_some(), found.f16_fault(true).is_some())
    };
    let (right, wrong) = ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]);
    for aspect in [Aspect::F32, Aspect::F16Held, Aspect::F16Computed, Aspect::Large, Aspect::LongRows] {
        assert_eq!(
            verdict(aspect, right),
            (Verdict::Fine, "fine: every check is within its bound".into(), false, false)
        );
    }
    assert_eq!(verdict(Aspect::F32, wrong).0, Verdict::Wrong);
    for (aspect, says) in [
        (Aspect::F16Held, "f16 is wrong (a check: off by 3.3e-1 (allowed 1.0e-3) at three numbers): using f32"),
        (Aspect::F16Computed, "weights may be held in f16, and computing in f16 is refused"),
        (Aspect::Large, "large tables are wrong"),
        (Aspect::LongRows, "long rows are summed wrongly"),
    ] {
        let (verdict, words, held, computed) = verdict(aspect, wrong);
        assert_eq!(verdict, Verdict::Limited, "{aspect:?}");
        assert!(words.starts_with("usable with limits: ") && words.contains(says), "{words}");
        assert_eq!(held, aspect == Aspect::F16Held);
        assert_eq!(computed, matches!(aspect, Aspect::F16Held | Aspect::F16Computed));
    }
}

/// A golden array.
fn golden<T: bytemuck::Pod>(case: &str, name: &str) -> (Vec<usize>, Vec<T>) {
    let bytes = fs::read(model_folder(case).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data()))
}

#[test]
fn the_truth_that_devices_are_compared_with_is_that_of_transformers_in_f64() {
    // The cases whose norms and rotations have the constants of the tiny models.
    for case in ["gpt2_tied", "gpt2_odd", "mistral", "neox_parallel"] {
        let loaded = LoadedModel::open(&model_folder(case), &Device::flex()).unwrap();
        let exact = ExactModel::of(&loaded.model, &loaded.config).unwrap();
        let (shape, ids) = golden::<i64>(case, "input_ids");
        let (_, expected) = golden::<f64>(case, "nll_f64");
        let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
        let found: Vec<f64> = ids.chunks(shape[1]).flat_map(|w| exact.nll(&w[..w.len() - 1], &w[1..])).collect();
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // OLMo, LLaMA and Qwen are tied to these by the devices, which agree with both.
        assert!(worst < 1e-6, "{case}: {worst:.1e}");
    }
}

#[test]
fn a_diagnosis_is_known_for_its_device_driver_and_version_only() {
    let folder = tempfile::tempdir().unwrap();
    let kept = diagnosis(Aspect::F32, [1.0, 2.0, 4.0]);
    assert_eq!(diagnosis::known(folder.path(), &kept.device, "driver 1"), None);
    diagnosis::keep(folder.path(), &kept).unwrap();
    assert_eq!(diagnosis::known(folder.path(), &kept.device, "driver 1").as_ref(), Some(&kept));
    assert_eq!(diagnosis::known(folder.path(), &kept.device, "driver 2"), None);
    assert_eq!(diagnosis::known(folder.path(), &software().name, "driver 1"), None);

    diagnosis::keep(folder.path(), &Diagnosis { version: "0.0.0".into(), ..kept.clone() }).unwrap();
    assert_eq!(diagnosis::known(folder.path(), &kept.device, "driver 1"), None);
    // The newer one takes the place of the older.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    for damage in ["", "{\"schema\": 1", "[]"] {
        fs::write(diagnosis::path(folder.path(), &kept.device), damage).unwrap();
        assert_eq!(diagnosis::known(folder.path(), &kept.device, "driver 1"), None, "{damage:?}");
    }
}

#[test]
fn auto_passes_over_cards_that_were_found_wrong_and_never_takes_software() {
    let card = |choice: &str, kind| {
        let mut card = cards().first().expect("this test needs any card").clone();
        (card.choice, card.kind) = (choice.into(), kind);
        card
    };
    let all = [card("gpu:0", "discrete GPU"), card("gpu:1", "integrated GPU"), card("software", "software")];
    let taken = |wrong: &[&str]| {
        let found_wrong = |card: &Card| wrong.contains(&card.choice.as_str()).then(|| "off".to_owned());
        automatic(&all, found_wrong).map(|card| card.choice.clone())
    };
    assert_eq!(taken(&[]).as_deref(), Some("gpu:0"));
    assert_eq!(taken(&["gpu:0"]).as_deref(), Some("gpu:1"));
    assert_eq!(taken(&["gpu:0", "gpu:1"]), None);
}

#[test]
fn the_cpu_is_fine_and_a_kept_fault_is_warned_of() {
    let (place, cache) = (Place::with_model(), tempfile::tempdir().unwrap());
    let (status, out, err) = odyssey(&place, cache.path(), "doctor --device cpu --json --quiet");
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["schema"], "odyssey.doctor/1");
    assert_eq!(said["verdict"], "fine", "{}", said["words"]);
    assert_has(&said, &["/device/adapter", "/checks/0/name", "/checks/0/worst", "/checks/0/allowed", "/words"]);
    for check in said["checks"].as_array().unwrap() {
        assert_eq!(check["ok"], true, "{check:#}");
        assert!(!check["bound"].as_str().unwrap().is_empty() && check.get("cpu").is_none());
    }
    for timing in said["timings"].as_array().unwrap() {
        assert!(timing["value"].as_f64().unwrap() > 0.0, "{timing:#}");
    }

    let file = diagnosis::path(&cache.path().join("doctor"), &cpu().name);
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(kept.as_object_mut().unwrap().remove("sha256").is_some(), "what is kept has a checksum");
    assert_eq!(kept, said, "what is kept is what was said");

    const EVAL: &str = "eval --model model --text test.jsonl --device cpu --json";
    let (_, plain, err) = odyssey(&place, cache.path(), EVAL);
    assert!(!err.contains("doctor"), "{err}");
    let mut wrong = kept.clone();
    wrong["verdict"] = json!("wrong");
    wrong["words"] = json!("do not use: softmax: off");
    fs::write(&file, wrong.to_string()).unwrap();
    let (status, out, err) = odyssey(&place, cache.path(), EVAL);
    assert!(err.contains("odyssey doctor found cpu") && err.contains("do not use: softmax: off"), "{err}");
    let ppl = |out: &str| serde_json::from_str::<Value>(out).unwrap()["macro_ppl"].clone();
    assert_eq!((status, ppl(&out)), (Some(0), ppl(&plain)), "a device that is asked for is taken");

    fs::write(&file, "{").unwrap();
    let (status, _, err) = odyssey(&place, cache.path(), EVAL);
    assert_eq!(status, Some(0));
    assert!(err.contains("a kept diagnosis is ignored") && err.contains("odyssey doctor renews it"), "{err}");
}

#[test]
fn a_software_card_can_be_used_and_its_f16_is_refused_once_found_wrong() {
    let chosen = software();
    let mut found = examine(&chosen, PATIENCE, &mut Silent).unwrap();
    assert_ne!(found.verdict, Verdict::Wrong, "{}", found.words);
    for check in &found.checks {
        // llvmpipe ends loops after 65,532 rounds.
        let may_fail = check.about.aspect == Aspect::LongRows && chosen.name.card.contains("llvmpipe");
        assert!(check.ok || may_fail, "{check:?}");
        assert!(check.cases.iter().all(|case| case.cpu.is_some()), "{check:?}");
    }
    assert_eq!(found.f16_fault(true), None);

    let (place, cache): (Place, TempDir) = (Place::with_model(), tempfile::tempdir().unwrap());
    let folder = cache.path().join("doctor");
    diagnosis::keep(&folder, &found).unwrap();
    const EVAL: &str = "eval --model model --text test.jsonl --device software --dtype f16 --json --quiet";
    let (status, _, err) = odyssey(&place, cache.path(), EVAL);
    assert_eq!(status, Some(0), "{err}");

    let held = found.checks.iter_mut().find(|check| check.about.aspect == Aspect::F16Held).unwrap();
    held.ok = false;
    diagnosis::keep(&folder, &found).unwrap();
    let (status, out, err) = odyssey(&place, cache.path(), EVAL);
    assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("--dtype f16: ") && err.contains("f16 held") && err.contains("use --dtype f32"), "{err}");

    // Another driver may be right.
    found.driver += " of another day";
    diagnosis::keep(&folder, &found).unwrap();
    assert_eq!(odyssey(&place, cache.path(), EVAL).0, Some(0));
}

#[test]
fn a_vocabulary_longer_than_a_software_cards_loops_loses_no_token() {
    let json = json!({
        "model_type": "gpt2", "vocab_size": 70_001, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2,
    });
    let config = ModelConfig::from_json("a model with many tokens", json.as_object().unwrap().clone()).unwrap();
    let device = software().device;
    let loaded = LoadedModel::random(config, Path::new(""), 1, &device).unwrap();
    let exact = ExactModel::of(&loaded.model, &loaded.config).unwrap();
    let ids: Vec<u32> = (0..12).map(|i| i * 6000 + 17).collect();
    let window = Window { prefix: None, start: 0, end: ids.len(), scored: 1 };
    let found = score(&loaded.model, &device, &ids, &[window], 1, &mut Silent).unwrap();
    let expected = exact.nll(&ids[..11], &ids[1..]);
    let worst = found[1..].iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-3, "off by {worst:.1e} nats");
}
