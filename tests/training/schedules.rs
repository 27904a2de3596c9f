//! Learning rates of every step, and the presets that settings begin from.

use std::path::Path;

use clap::Parser;
use odyssey::adapt::AdaptSettings;
use odyssey::adapt::data::{Order, Packing};
use odyssey::adapt::optimizer::AdamWConfig;
use odyssey::recipe::{Decay, DecayShape};
use odyssey::recipe::{Preset, RecipeArgs};
use odyssey::study::StudyConfig;
use serde_json::{Value, json};

use crate::common::fixture;

fn settings(json: Value) -> AdaptSettings {
    serde_json::from_value(json).unwrap()
}

fn rates(settings: &AdaptSettings, steps: u64) -> Vec<f64> {
    let schedule = settings.schedule(steps);
    (1..=steps).map(|step| schedule.at(step, steps)).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (step, (found, expected)) in (1..).zip(found.iter().zip(expected)) {
        assert!((found - expected).abs() < 1e-12 * expected.max(1e-6), "{what}, step {step}: {found}, not {expected}");
    }
}

#[test]
fn schedules_that_transformers_has_are_its_own_at_every_step() {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(fixture("schedules/transformers.json")).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let expected: Vec<f64> = case["rates"].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect();
        let found = rates(&settings(case["settings"].clone()), golden["steps"].as_u64().unwrap());
        assert_close(&found, &expected, case["name"].as_str().unwrap());
    }
}

#[test]
fn warm_up_stable_decay_is_its_closed_form_at_every_step() {
    // arXiv 2405.18392, section 3: η · n/W, then η, then η · f(n, N, N_d), here between η and a tenth of it.
    let (steps, warmup, decay) = (200u64, 10u64, 30u64);
    for (shape, f) in [
        (DecayShape::Linear, (|n: f64, total: f64, d: f64| (total - n) / d) as fn(f64, f64, f64) -> f64),
        (DecayShape::Sqrt, |n, total, d| 1.0 - ((n - (total - d)) / d).sqrt()),
    ] {
        let settings = AdaptSettings {
            lr: 2e-4,
            decay: Decay::Wsd,
            decay_share: 0.15,
            decay_shape: shape,
            warmup_ratio: 0.05,
            min_lr_ratio: 0.1,
            ..AdaptSettings::default()
        };
        let expected: Vec<f64> = (1..=steps)
            .map(|n| match n {
                n if n <= warmup => 2e-4 * n as f64 / warmup as f64,
                n if n <= steps - decay => 2e-4,
                n => 2e-5 + 1.8e-4 * f(n as f64, steps as f64, decay as f64),
            })
            .collect();
        assert_close(&rates(&settings, steps), &expected, &format!("{shape:?}"));
        assert!((expected[199] - 2e-5).abs() < 1e-18, "the last step runs at the least rate");
    }
}

#[test]
fn a_decay_without_steps_is_constant_and_one_longer_than_the_run_begins_after_the_warm_up() {
    let wsd = |share| AdaptSettings {
        decay: Decay::Wsd,
        decay_shape: DecayShape::Linear,
        decay_share: share,
        warmup_steps: Some(4),
        ..AdaptSettings::default()
    };
    let other = |decay| AdaptSettings { decay, warmup_steps: Some(4), ..AdaptSettings::default() };
    assert_eq!(rates(&wsd(0.0), 20), rates(&other(Decay::Constant), 20));
    assert_eq!(rates(&wsd(1.0), 20), rates(&other(Decay::Linear), 20));
}

#[test]
fn a_share_of_the_steps_is_rounded_up_but_not_by_the_rounding_of_numbers() {
    let steps = |share| AdaptSettings { warmup_ratio: share, ..AdaptSettings::default() }.schedule(100).warmup;
    assert_eq!([steps(0.07), steps(0.071), steps(0.0), steps(1.0)], [7, 8, 0, 100]);
}

#[test]
fn the_preset_odyssey2024_is_the_arm_of_the_paper() {
    let AdaptSettings { preset, epochs, batch, packing, order, lr, decay, warmup_ratio, clip, adamw, .. } =
        Preset::Odyssey2024.settings();
    assert_eq!(preset, Some(Preset::Odyssey2024));
    assert_eq!((epochs, batch, lr, clip), (1, 16, 5e-5, 1.0));
    assert_eq!((decay, warmup_ratio), (Decay::Constant, 0.0));
    assert_eq!((packing, order), (Packing::Blocks, Order::Shuffle));
    assert_eq!((adamw.beta1, adamw.beta2, adamw.epsilon, adamw.weight_decay), (0.9, 0.999, 1e-8, 0.0));
    assert!(rates(&Preset::Odyssey2024.settings(), 50).iter().all(|&rate| rate == 5e-5));
}

#[test]
fn the_preset_odyssey2024_is_that_of_the_shipped_study() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/odyssey2024.toml");
    let study: StudyConfig = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let paper = &study.strategies.iter().find(|strategy| strategy.name == "paper-like").unwrap().recipe;
    let preset = Preset::Odyssey2024.settings();
    // How often it is looked at and what is computed at once have no effect on the weights.
    let AdaptSettings { micro_batch, validations, valid_tokens, .. } = *paper;
    let shown = AdaptSettings { preset: None, micro_batch, validations, valid_tokens, ..preset };
    assert_eq!(shown.window_length(1024), 1024);
    assert_eq!(AdaptSettings { context: Some(1024), max_context: None, ..shown }, *paper);
}

#[test]
fn the_preset_odyssey2024_takes_windows_of_1024_tokens_or_the_longest_that_the_model_reads() {
    let preset = Preset::Odyssey2024.settings();
    assert_eq!([256, 1024, 8192].map(|longest| preset.window_length(longest)), [256, 1024, 1024]);
    assert_eq!([256, 8192].map(|longest| AdaptSettings::default().window_length(longest)), [256, 8192]);
    let longer = AdaptSettings { context: Some(2048), ..preset };
    assert_eq!(longer.window_length(8192), 2048, "a context that is given stands");
    longer.check(8192).unwrap();
}

#[test]
fn a_rate_far_above_what_suits_a_models_width_is_doubted() {
    let doubt = |lr: f64, channels| AdaptSettings { lr, ..AdaptSettings::default() }.doubt_rate(channels);
    assert_eq!(AdaptSettings::default().doubt_rate(128), None);
    assert_eq!(AdaptSettings::default().doubt_rate(768), None);
    assert_eq!(Preset::Odyssey2024.settings().doubt_rate(4096), None);
    let said = doubt(3e-4, 4096).unwrap().to_string(); // LLaMA-7B
    assert!(said.contains("4096 channels") && said.contains("9e-6") && said.contains("find_lr"), "{said}");
    assert!(doubt(0.03, 128).is_some());
}

#[test]
fn a_key_given_in_a_file_stands_before_the_presets_and_that_before_the_default() {
    let default = AdaptSettings::default();
    let preset = Preset::Odyssey2024.settings();
    assert!(default.lr != preset.lr && default.decay != preset.decay && default.packing != preset.packing);

    // Given values that are the defaults are given all the same, and the order of keys does not matter.
    for text in ["preset = 'odyssey2024'\nlr = LR\nbatch = 3", "batch = 3\nlr = LR\npreset = 'odyssey2024'"] {
        let read: AdaptSettings = toml::from_str(&text.replace("LR", &format!("{:e}", default.lr))).unwrap();
        assert_eq!(read, AdaptSettings { lr: default.lr, batch: 3, ..preset.clone() });
    }
    let read: AdaptSettings = toml::from_str("preset = 'odyssey2024'\nadamw = { beta2 = 0.95 }").unwrap();
    assert_eq!(read, AdaptSettings { adamw: AdamWConfig { beta2: 0.95, ..preset.adamw }, ..preset.clone() });
    assert_eq!(settings(json!({ "preset": "odyssey2024" })), preset);
    assert_eq!(settings(json!({})), default);
    assert_eq!(settings(json!({ "preset": "default" })), AdaptSettings { preset: Some(Preset::Default), ..default });
}

#[test]
fn an_option_given_on_the_command_line_stands_before_the_presets_also_where_it_is_the_default() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        recipe: RecipeArgs,
    }
    let read = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.recipe.0);
    let (default, preset) = (AdaptSettings::default(), Preset::Odyssey2024.settings());
    assert_eq!(read("adapt").unwrap(), default);
    assert_eq!(read("adapt --recipe odyssey2024").unwrap(), preset);
    assert_eq!(
        read(&format!("adapt --lr {} --recipe odyssey2024 --beta2 0.95 --steps 7", default.lr)).unwrap(),
        AdaptSettings {
            lr: default.lr,
            steps: Some(7),
            adamw: AdamWConfig { beta2: 0.95, ..preset.adamw },
            ..preset.clone()
        }
    );
    let lora = read("adapt --recipe odyssey2024 --strategy lora --lora-rank 3").unwrap();
    assert_eq!((lora.lr, lora.strategies.lora.unwrap().rank), (preset.lr, 3));
    let unknown = read("adapt --recipe odyssey2025").unwrap_err().to_string();
    assert!(unknown.contains("odyssey2024"), "{unknown}");
}

#[test]
fn settings_written_out_are_whole_and_read_back_as_they_were() {
    for settings in [
        AdaptSettings::default(),
        Preset::Default.settings(),
        Preset::Odyssey2024.settings(),
        AdaptSettings { lr: 1e-5, batch: 2, steps: Some(9), patience: Some(3), ..Preset::Odyssey2024.settings() },
    ] {
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(json["lr"], settings.lr, "{json}");
        assert_eq!(serde_json::from_value::<AdaptSettings>(json).unwrap(), settings);
        assert_eq!(toml::from_str::<AdaptSettings>(&toml::to_string(&settings).unwrap()).unwrap(), settings);
    }
}

#[test]
fn what_is_no_key_or_no_value_of_a_recipe_is_found_on_its_line() {
    for (line, says) in [
        ("bach = 3", "unknown field `bach`, expected one of `preset`"),
        ("lr = 'fast'", "expected f64"),
        ("preset = 'odyssey2025'", "unknown variant `odyssey2025`"),
        ("adamw = { beta3 = 1 }", "unknown field `beta3`"),
    ] {
        let text = format!("epochs = 2\nclip = 0.5\n{line}\norder = 'file'\n");
        let error = toml::from_str::<AdaptSettings>(&text).unwrap_err();
        assert!(error.message().contains(says), "{}", error.message());
        let line = text[..error.span().unwrap().start].matches('\n').count();
        assert_eq!(line, 2, "{error}");
    }
}
