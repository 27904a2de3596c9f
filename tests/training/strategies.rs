//! The table of strategies: what it makes of settings, and that it changes nothing by itself.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use odyssey::adapt::{AdaptSettings, Adaptation, adapt};
use odyssey::model::parameters::to_host;
use odyssey::model::{LoadedModel, LoraSettings};
use odyssey::progress::Silent;
use odyssey::recipe::{Given, Preset, Strategies, Trainable, options, reference};
use serde_json::json;

use crate::common::{id_stream, model_folder};

/// Four steps of four windows.
fn settings() -> AdaptSettings {
    let few = AdaptSettings { context: Some(16), lr: 1e-3, batch: 4, steps: Some(4), ..AdaptSettings::default() };
    AdaptSettings { validations: 2, ..few }
}

fn run(settings: &AdaptSettings) -> Adaptation {
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap();
    adapt(&base, id_stream(&[300, 400]), &id_stream(&[90]), settings, 3, None, &mut Silent).unwrap()
}

fn weights(adapted: &Adaptation) -> Vec<Vec<f32>> {
    let models = [&adapted.last, &adapted.best];
    models.iter().flat_map(|model| model.trained()).map(|weight| to_host(weight.values).unwrap()).collect()
}

#[test]
fn with_its_neutral_settings_every_strategy_gives_what_plain_training_gives_to_the_bit() {
    for trained in [Trainable::Full, Trainable::Lora] {
        let plain = run(&AdaptSettings { strategy: trained, ..settings() });
        for (name, strategies) in Strategies::neutral() {
            let neutral = run(&AdaptSettings { strategy: trained, strategies, ..settings() });
            assert_eq!(neutral.result.curves, plain.result.curves, "{name}");
            assert!(weights(&neutral) == weights(&plain), "{name}: other weights");
        }
    }
}

/// As results and checkpoints had them before there was a table, the order of the keys included: hashes depend on it.
const WRITTEN_BEFORE: &str = concat!(
    r#"{"strategy":"lora","epochs":1,"batch":16,"micro_batch":4,"packing":"stream","order":"shuffle","drop_last":false,"#,
    r#""lr":0.0003,"decay":"wsd","warmup_ratio":0.01,"warmup_shape":"linear","min_lr_ratio":0.1,"decay_share":0.2,"#,
    r#""decay_shape":"sqrt","gradient_checkpointing":false,"outlier":3.0,"clip":1.0,"adamw":{"beta1":0.9,"beta2":0.999,"#,
    r#""epsilon":1e-8,"weight_decay":0.0},"lora":{"rank":8,"alpha":16.0,"dropout":0.0,"targets":["auto"],"rslora":false},"#,
    r#""validations":5,"valid_tokens":50000}"#
);

#[test]
fn settings_are_written_as_they_were_before_and_what_was_written_is_read() {
    let strategies = Strategies { lora: Some(LoraSettings::default()), ..Strategies::default() };
    let lora = AdaptSettings { strategy: Trainable::Lora, strategies, ..AdaptSettings::default() };
    assert_eq!(serde_json::to_string(&lora).unwrap(), WRITTEN_BEFORE);
    assert_eq!(serde_json::from_str::<AdaptSettings>(WRITTEN_BEFORE).unwrap(), lora);
    let full = WRITTEN_BEFORE.replace("\"lora\",\"epochs\"", "\"full\",\"epochs\"");
    let without = full.find(",\"lora\":{").unwrap()..full.find(",\"validations\"").unwrap();
    let full = [&full[..without.start], &full[without.end..]].concat();
    assert_eq!(serde_json::to_string(&AdaptSettings::default()).unwrap(), full);
    assert_eq!(serde_json::from_str::<AdaptSettings>(&full).unwrap(), AdaptSettings::default());
    // `null` stood for settings that were not given.
    let null: AdaptSettings = serde_json::from_value(json!({ "lora": null })).unwrap();
    assert_eq!(null, AdaptSettings::default());
}

#[test]
fn faults_in_a_strategys_settings_are_found_on_their_line() {
    for (line, says) in [
        ("lora = { rnk = 3 }", "unknown field `rnk`, expected one of `rank`"),
        ("lora = 3", "invalid type"),
        ("lara = { rank = 3 }", "unknown field `lara`, expected one of `preset`"),
    ] {
        let text = format!("epochs = 2\nclip = 0.5\n{line}\norder = 'file'\n");
        let error = toml::from_str::<AdaptSettings>(&text).unwrap_err();
        assert!(error.message().contains(says), "{}", error.message());
        assert_eq!(text[..error.span().unwrap().start].matches('\n').count(), 2, "{error}");
    }
    let unknown = toml::from_str::<AdaptSettings>("lara = 1").unwrap_err();
    assert!(unknown.message().contains("`lora`"), "{}", unknown.message());
    let twice = serde_json::from_str::<AdaptSettings>(r#"{"lora":{"rank":2},"lora":{"rank":3}}"#).unwrap_err();
    assert!(twice.to_string().contains("duplicate field `lora`"), "{twice}");
}

#[test]
fn the_settings_of_what_is_not_trained_are_refused() {
    let strategies = Strategies { lora: Some(LoraSettings::default()), ..Strategies::default() };
    let refused = AdaptSettings { strategies, ..AdaptSettings::default() }.check(usize::MAX).unwrap_err().to_string();
    assert!(refused.contains("`strategy`: is full, but lora settings are given"), "{refused}");
}

#[test]
fn a_preset_and_a_strategys_settings_go_together() {
    let read: AdaptSettings = toml::from_str("preset = 'odyssey2024'\nstrategy = 'lora'\nlora = { rank = 3 }").unwrap();
    assert_eq!((read.lr, read.strategies.lora.unwrap().rank), (Preset::Odyssey2024.settings().lr, 3));
}

#[test]
fn what_has_to_be_given_for_settings_gives_them_back() {
    let lora = LoraSettings { rank: 3, targets: vec!["c_attn".into(), "c_fc".into()], ..LoraSettings::default() };
    let strategies = Strategies { lora: Some(lora), ..Strategies::default() };
    for settings in [
        AdaptSettings::default(),
        settings(),
        Preset::Odyssey2024.settings(),
        AdaptSettings { lr: AdaptSettings::default().lr, drop_last: true, ..Preset::Odyssey2024.settings() },
        AdaptSettings { strategy: Trainable::Lora, strategies, ..settings() },
    ] {
        let given = settings.given();
        assert_eq!(AdaptSettings::from_given(&given).unwrap(), settings, "{given:?}");
    }
    assert!(AdaptSettings::default().given().is_empty());
    let wrong = Given::from([("lr".to_owned(), "fast".to_owned()), ("batch".to_owned(), "2".to_owned())]);
    let words = AdaptSettings::from_given(&wrong).unwrap_err().to_string();
    assert!(words.starts_with("lr: ") && words.contains("fast"), "{words}");
}

/// `ODYSSEY_WRITE_REFERENCE=1` writes it instead.
#[test]
fn the_reference_says_of_every_setting_what_the_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/recipe.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- options -->\n").unwrap();
    let (is, after) = rest.split_once("<!-- /options -->").unwrap();
    let should_be = reference();
    for option in options() {
        assert!(should_be.contains(&format!("| `{}` | `--{}` |", option.key, option.option)), "{option:?}");
        assert!(!option.help.is_empty(), "{option:?}");
    }
    if std::env::var_os("ODYSSEY_WRITE_REFERENCE").is_some() {
        let page = format!("{before}<!-- options -->\n{should_be}<!-- /options -->{after}");
        return fs::write(&path, page).unwrap();
    }
    assert!(is == should_be, "docs/reference/recipe.md is out of date: ODYSSEY_WRITE_REFERENCE=1 writes it anew");
}
