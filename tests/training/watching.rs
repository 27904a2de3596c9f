//! What a run tells as it goes, where it stops early, and which learning rate it would rather have.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use odyssey::adapt::diary::tensorboard::{crc32c, tf_record};
use odyssey::adapt::diary::{EventFile, Recorded, sparkline};
use odyssey::adapt::find_lr::{Sweep, find_lr};
use odyssey::adapt::stopping::Patience;
use odyssey::adapt::{AdaptResult, AdaptSettings, Adaptation, Resumable, adapt};
use odyssey::error::{Error, Result};
use odyssey::model::LoadedModel;
use odyssey::model::parameters::to_host;
use odyssey::progress::Event;
use odyssey::progress::{Monitor, Silent};
use odyssey::recipe::Decay;
use serde_json::{Value, json};

use crate::cli::{Place, assert_has};
use crate::common::{StopAfter, id_stream, model_folder};

const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --batch 4 --lr 1e-3";

fn tiny() -> LoadedModel {
    LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap()
}

fn run(settings: &AdaptSettings, resumable: Option<Resumable<'_>>, monitor: &mut dyn Monitor) -> Result<Adaptation> {
    adapt(&tiny(), id_stream(&[700, 900]), &id_stream(&[300]), settings, 7, resumable, monitor)
}

fn weights(adapted: Adaptation) -> Vec<Vec<f32>> {
    adapted.last.parameters().into_iter().map(|p| to_host(p.values).unwrap()).collect()
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Event files.

#[test]
fn crc32c_has_the_values_of_rfc_3720() {
    let rising: Vec<u8> = (0..32).collect();
    let falling: Vec<u8> = (0..32).rev().collect();
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(&rising), 0x46dd_794e);
    assert_eq!(crc32c(&falling), 0x113f_db5c);
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn event_files_have_the_bytes_that_tensorboard_itself_writes() {
    // By tensorboard 2.21's RecordWriter: file version, session start, scalars, a validation.
    let golden = [
        "1800000000000000 a37f4b22 0900001040fc54d941 1a0d627261696e2e4576656e743a32 338d2fe9",
        "0f00000000000000 6d532b09 0900002040fc54d941 1001 3a020801 e50ad869",
        "6b00000000000000 87efa6e1 0900004040fc54d941 10ac02 2a5d \
         0a110a0a747261696e2f6c6f7373 1500002040 0a090a026c72 1517b7d138 0a140a0d6772616469656e745f6e6f726d 150000403f \
         0a180a11746f6b656e735f7065725f7365636f6e64 1500509a44 0a0d0a066d656d6f7279 150000804e 0fb45d14",
        "2100000000000000 017becf6 0900008040fc54d941 10ac02 2a13 0a110a0a76616c69642f6c6f7373 1500001040 520ed0f9",
    ]
    .map(|record| record.replace(' ', ""));

    let folder = tempfile::tempdir().unwrap();
    let mut file = EventFile::create(&folder.path().join("runs/one")).unwrap();
    file.record(&Event::Begun { step: 0, resumed: false }, 1_700_000_000.5).unwrap();
    let step = Event::Step {
        step: 300,
        loss: 2.5,
        lr: 1e-4,
        gradient_norm: 0.75,
        tokens: 5,
        seconds: 6.0,
        tokens_per_second: 1234.5,
        memory_bytes: 1 << 30,
    };
    file.record(&step, 1_700_000_001.0).unwrap();
    file.record(&Event::Validation { step: 300, loss: 2.25, seconds: 7.0 }, 1_700_000_002.0).unwrap();
    assert!(file.path().file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));

    // The first record holds the time at which it was written: with another time in it, it is the golden one.
    let bytes = fs::read(file.path()).unwrap();
    let (version, rest) = bytes.split_at(16 + 24);
    assert_eq!(hexadecimal(rest), golden[1..].concat());
    let mut content = version[12..36].to_vec();
    content[1..9].copy_from_slice(&1_700_000_000.25f64.to_le_bytes());
    assert_eq!(hexadecimal(&tf_record(&content)), golden[0]);
    assert_eq!(tf_record(&version[12..36]), version);
}

/// The contents of a file of TFRecords, checksums checked.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let record = &rest[..length + 16];
        assert_eq!(tf_record(&record[12..12 + length]), record);
        found.push(&record[12..12 + length]);
        rest = &rest[length + 16..];
    }
    found
}

#[test]
fn a_run_writes_each_of_its_numbers_where_tensorboard_looks_for_them() {
    let place = Place::with_model();
    let result = place.result(&format!("{ADAPT} --out adapted --steps 6 --validations 3 --tensorboard runs/a"));
    let files: Vec<PathBuf> = fs::read_dir(place.path("runs/a")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let bytes = fs::read(&files[0]).unwrap();
    let found = records(&bytes);
    let with = |tag: &str| found.iter().filter(|r| r.windows(tag.len()).any(|part| part == tag.as_bytes())).count();
    for tag in ["train/loss", "lr", "gradient_norm", "tokens_per_second", "memory"] {
        assert_eq!(with(tag), 6, "{tag}");
    }
    assert_eq!((with("valid/loss"), with("brain.Event:2")), (4, 1));
    // Each training loss as f32 behind its tag: field 2 of the value, 32 bits.
    for loss in result["train_loss"].as_array().unwrap() {
        let number = (loss[1].as_f64().unwrap() as f32).to_le_bytes();
        let scalar = [b"train/loss\x15".as_slice(), &number].concat();
        assert!(bytes.windows(scalar.len()).any(|part| part == scalar), "{loss}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Metrics.

#[test]
fn metrics_are_a_line_a_step_and_a_line_a_validation_with_the_numbers_of_the_result() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --out adapted --steps 6 --validations 3 --metrics metrics.jsonl");
    let result = place.result(&line);
    let metrics = lines(&place.read("metrics.jsonl"));
    let curve = |key: &str| -> Vec<Value> {
        metrics.iter().filter(|line| line[key].is_number()).map(|line| json!([line["step"], line[key]])).collect()
    };
    assert_eq!(json!(curve("loss")), result["train_loss"]);
    assert_eq!(json!(curve("valid_loss")), result["valid_loss"]);
    assert_eq!(metrics.len(), 6 + 4);
    let last = metrics.iter().rfind(|line| line["loss"].is_number()).unwrap();
    assert_has(last, &["/lr", "/gradient_norm", "/seconds"]);
    assert_eq!(last["tokens"], result["tokens"]);
    assert_eq!(last["lr"].as_f64().unwrap(), 1e-4, "a tenth of the peak, at the last step");

    // Another run does not write over it.
    place.refused(&line.replace("adapted", "again"), &["metrics.jsonl: exists already"]);
}

#[test]
fn pretraining_keeps_its_numbers_as_adaptation_does() {
    let place = Place::with_languages();
    let config = json!({
        "corpus": "languages/base", "tokenizer": "languages/tokenizer.json",
        "model": {
            "model_type": "gpt2", "vocab_size": 512, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2,
            "eos_token_id": 0, "tie_word_embeddings": true,
        },
        "recipe": { "steps": 4, "batch": 2, "micro_batch": 2, "validations": 2 },
    });
    place.write("pretrain.toml", toml::to_string(&config).unwrap());
    let line = "pretrain pretrain.toml --metrics metrics.jsonl --tensorboard runs";
    let result = place.result(&format!("{line} --out base"));
    let metrics = lines(&place.read("metrics.jsonl"));
    let losses: Vec<Value> =
        metrics.iter().filter(|l| l["loss"].is_number()).map(|l| json!([l["step"], l["loss"]])).collect();
    assert_eq!(json!(losses), result["train_loss"]);
    assert_eq!((losses.len(), metrics.len()), (4, 4 + 3));
    let events = fs::read_dir(place.path("runs")).unwrap().next().unwrap().unwrap().path();
    // The file's version, the session's start, and each of the lines.
    assert_eq!(records(&fs::read(events).unwrap()).len(), 2 + 7);
    place.refused(&format!("{line} --out again"), &["metrics.jsonl: exists already"]);
}

#[cfg(unix)]
#[test]
fn a_resumed_run_goes_on_in_its_metrics_without_a_step_twice_or_half_a_line() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --steps 40 --validations 8 --checkpoint-every 1");
    place.result(&format!("{line} --out whole --metrics whole.jsonl"));

    let line = format!("{line} --out adapted --metrics metrics.jsonl --tensorboard runs");
    let said = place.interrupted(&line, |_| place.path("adapted.checkpoint").exists()).expect("it takes forty steps");
    assert_eq!(said.status, Some(130), "{}", said.err);
    let kept = place.read("metrics.jsonl");
    let step = lines(&kept).last().unwrap()["step"].as_u64().unwrap();
    assert!((1..40).contains(&step));

    // What a killed process leaves: steps that the checkpoint does not know, and a line cut short.
    let later = format!("{{\"step\":{},\"loss\":77.0}}\n{{\"step\":{},\"lo", step + 1, step + 2);
    place.write("metrics.jsonl", [&kept, later.as_bytes()].concat());
    place.result(&format!("{line} --resume"));
    let untimed = |mut metrics: Vec<Value>| {
        metrics.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().shift_remove("seconds").unwrap()));
        metrics
    };
    let [resumed, whole] = ["metrics.jsonl", "whole.jsonl"].map(|name| untimed(lines(&place.read(name))));
    assert_eq!(resumed, whole);

    // A second event file, which says where it begins: session start, at the step after the checkpoint's.
    let mut files: Vec<PathBuf> = fs::read_dir(place.path("runs")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    let bytes = fs::read(&files[1]).unwrap();
    assert_eq!(records(&bytes)[1][9..], [0x10, step as u8 + 1, 0x3a, 2, 8, 1]);
}

#[test]
fn a_diary_that_cannot_be_written_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    let settings = AdaptSettings { steps: Some(2), batch: 2, ..AdaptSettings::default() };
    let (mut silent, expected) = (Silent, run(&settings, None, &mut Silent).unwrap());
    let mut recorded = Recorded::by(&mut silent, Some(&metrics), None, false).unwrap();
    fs::remove_file(&metrics).unwrap(); // so that looking for old lines fails
    assert_eq!(weights(run(&settings, None, &mut recorded).unwrap()), weights(expected));
}

#[test]
fn sparklines_go_from_the_lowest_block_to_the_highest_and_mark_what_is_no_number() {
    assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8), "▁▂▃▄▅▆▇█");
    assert_eq!(sparkline(&[9.0, 3.0, 4.0, f64::NAN, 2.0], 4), "▅█×▁", "the latest four");
    assert_eq!((sparkline(&[2.0, 2.0], 8).as_str(), sparkline(&[], 8).as_str()), ("▁▁", ""));
    assert_eq!(sparkline(&[f64::INFINITY], 8), "×");
}

// ---------------------------------------------------------------------------------------------------------------------
// Stopping early.

/// Validations every ten steps.
fn curve(losses: &[f64]) -> Vec<(u64, f64)> {
    (0..).step_by(10).zip(losses.iter().copied()).collect()
}

#[test]
fn patience_does_not_stop_on_the_early_dip() {
    let dip = [3.0, 3.3, 3.5, 3.45, 3.3, 3.1, 2.9, 2.8];
    let patience = Patience { patience: 2, after: 30 };
    for seen in 1..=dip.len() {
        assert_eq!(patience.enough(&curve(&dip[..seen])), None, "after {seen} validations");
    }
    // Without the wait it would have stopped where the loss is worst.
    let hasty = Patience { patience: 2, after: 0 };
    assert!(hasty.enough(&curve(&dip[..3])).is_some());
}

#[test]
fn patience_ends_after_so_many_validations_without_a_better_one_since_the_wait() {
    let patience = Patience { patience: 2, after: 30 };
    // The base's 3.0 and all before step 30 do not count: 3.2 is the one to better, then 3.1.
    let losses = [3.0, 3.3, 2.5, 3.2, 3.25, 3.1, 3.1, 3.15];
    for seen in 1..=7 {
        assert_eq!(patience.enough(&curve(&losses[..seen])), None, "after {seen} validations");
    }
    let words = patience.enough(&curve(&losses)).expect("equal is not better");
    assert!(words.contains("2 validations") && words.contains("3.1000") && words.contains("step 50"), "{words}");
    assert!(patience.enough(&curve(&[3.0, 3.0, 3.0, f64::NAN, f64::NAN])).is_some(), "no number is no improvement");
}

#[test]
fn patience_waits_for_the_warm_up_and_a_quarter_of_the_steps_or_as_long_as_it_is_told() {
    let settings = AdaptSettings { patience: Some(4), warmup_ratio: 0.1, ..AdaptSettings::default() };
    assert_eq!(Patience::new(&settings, 200), Some(Patience { patience: 4, after: 20 + 50 }));
    let settings = AdaptSettings { patience_after: Some(0.5), ..settings };
    assert_eq!(Patience::new(&settings, 200), Some(Patience { patience: 4, after: 100 }));
    assert_eq!(Patience::new(&AdaptSettings::default(), 200), None);
}

/// A run that overfits at once: rate far too high, validated after every step.
fn impatient() -> AdaptSettings {
    AdaptSettings {
        lr: 0.3,
        decay: Decay::Constant,
        steps: Some(30),
        batch: 2,
        validations: 30,
        patience: Some(3),
        ..AdaptSettings::default()
    }
}

#[test]
fn a_run_that_stops_early_says_why_and_stops_there_too_when_it_was_interrupted() {
    let settings = impatient();
    let whole = run(&settings, None, &mut Silent).unwrap();
    let AdaptResult { steps, stopped, curves, .. } = whole.result.clone();
    let stopped = stopped.expect("a rate of 0.3 is not good for long");
    assert_eq!((stopped.step, stopped.of), (steps, 30));
    // Not before the warm-up of one step, the eight of a quarter, and four validations from then on.
    assert!((12..30).contains(&steps), "{steps} steps");
    assert_eq!((curves.train_loss.len() as u64, curves.valid_loss.len() as u64), (steps, steps + 1));
    let since: Vec<f64> = curves.valid_loss.iter().filter(|(step, _)| *step >= 9).map(|(_, loss)| *loss).collect();
    let (before, last) = since.split_at(since.len() - 3);
    let best = before.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(last.iter().all(|&loss| loss >= best), "{since:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let resumable =
        Resumable { path: &path, resume: true, every: None, longest: Resumable::LONGEST, how_to_resume: "" };
    let before_the_end = steps - 1;
    let interrupted = run(&settings, Some(resumable), &mut StopAfter(before_the_end));
    assert!(matches!(interrupted, Err(Error::Interrupted(_))));
    // On to the end, and once more from the checkpoint of the end, where nothing is left to do.
    let whole_weights = weights(whole);
    for _ in 0..2 {
        let resumed = run(&settings, Some(resumable), &mut Silent).unwrap();
        assert_eq!((resumed.result.steps, resumed.result.stopped.as_ref()), (steps, Some(&stopped)));
        assert_eq!(resumed.result.curves.valid_loss, curves.valid_loss); // read back from JSON to the last bit
        assert_eq!(weights(resumed), whole_weights);
    }
}

#[test]
fn a_run_that_has_patience_but_no_cause_to_stop_is_the_same_to_the_bit() {
    let steady = AdaptSettings { lr: 1e-4, steps: Some(6), batch: 2, ..AdaptSettings::default() };
    let patient = AdaptSettings { patience: Some(5), ..steady.clone() };
    let [steady, patient] = [steady, patient].map(|settings| run(&settings, None, &mut Silent).unwrap());
    assert_eq!(patient.result.stopped, None);
    assert_eq!(weights(steady), weights(patient));
}

#[test]
fn the_result_of_a_run_that_stopped_early_stands_in_its_folder() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --out adapted --steps 30 --validations 30 --patience 3 --decay constant");
    let line = line.replace("1e-3", "0.3");
    let mut result = place.result(&line);
    result.as_object_mut().unwrap().remove("read"); // what was read of the texts is said beside it
    assert_eq!(place.json("adapted/adapt.json"), result);
    assert_eq!(result["steps"], result["stopped"]["step"]);
    assert_eq!(result["stopped"]["of"], 30);
    let said = place.odyssey(&format!("{} --quiet", line.replace("--out adapted", "--out again")));
    assert!(said.out.contains("stopped after step") && said.out.contains("validations in a row"), "{}", said.out);
    place.refused(
        &line.replace("--out adapted --steps 30", "--out b").replace("patience 3", "patience 0"),
        &["patience"],
    );
}

// ---------------------------------------------------------------------------------------------------------------------
// Which rate?

#[test]
fn rates_are_tried_in_equal_ratios_from_the_lowest_to_the_highest() {
    let Sweep { rates, .. } = Sweep::new(1e-6, 3e-3, 7, 20);
    assert_eq!((rates.len(), rates[0], rates[6]), (7, 1e-6, 3e-3));
    for pair in rates.windows(2) {
        assert!((pair[1] / pair[0] / 3000f64.powf(1.0 / 6.0) - 1.0).abs() < 0.01, "{rates:?}, to three digits");
    }
    assert_eq!(Sweep::new(1e-4, 1e-2, 1, 20).rates, [1e-4]);
}

#[test]
fn a_tried_rate_does_what_the_recipe_does_with_it_and_the_best_is_suggested() {
    let place = Place::with_languages();
    let text = "--model model --train languages/lambda-1 --valid languages/lambda-1 --batch 4 --valid-tokens 500";
    let before = place.listing();
    let found = place.result(&format!(
        "adapt {text} --out adapted --find-lr --find-lr-steps 6 --find-lr-rates 4 --find-lr-from 1e-5 --find-lr-to 10"
    ));
    assert_eq!(place.listing(), before, "nothing is written");
    assert_eq!((&found["schema"], &found["steps"], &found["of"]), (&json!("odyssey.find-lr/1"), &json!(6), &json!(4)));
    let rates = found["rates"].as_array().unwrap();
    assert_eq!(rates.iter().map(|rate| rate["lr"].clone()).collect::<Vec<_>>(), [1e-5, 1e-3, 1e-1, 10.0]);
    let best =
        rates.iter().min_by(|a, b| a["delta"].as_f64().unwrap().total_cmp(&b["delta"].as_f64().unwrap())).unwrap();
    assert!(best["delta"].as_f64().unwrap() < 0.0, "{found}");
    assert_eq!(found["suggested"], best["lr"]);
    assert!(rates[3]["delta"].as_f64().unwrap() > 0.0, "a rate of 10 is too high");

    let alone = place.result(&format!("adapt {text} --out adapted --steps 6 --lr {} --validations 1", best["lr"]));
    assert_eq!(alone["train_loss"][5][1], best["train_loss"]);
    assert_eq!(alone["valid_loss"][1][1], best["valid_loss"]);
    assert_eq!(alone["valid_loss"][0][1], found["base_valid_loss"]);

    // The same in words, for people.
    let said = place.odyssey(&format!("adapt {text} --find-lr --find-lr-steps 6 --find-lr-rates 2 --find-lr-to 1e-3"));
    assert!(
        said.out.contains("validation loss") && said.out.contains("; 1.00e-3 is the highest tried"),
        "{}",
        said.out
    );
}

fn swept(rates: &[f64], settings: &AdaptSettings, monitor: &mut dyn Monitor) -> odyssey::adapt::find_lr::RateSweep {
    let sweep = Sweep { rates: rates.to_vec(), steps: 4 };
    find_lr(&tiny(), &id_stream(&[700]), &id_stream(&[300]), settings, &sweep, 7, monitor).unwrap()
}

#[test]
fn rates_that_all_worsen_the_loss_or_leave_the_range_of_numbers_are_said_to() {
    let settings = AdaptSettings { batch: 2, ..AdaptSettings::default() };
    let worse = swept(&[3.0, 30.0], &settings, &mut Silent);
    assert!(worse.rates.iter().all(|rate| rate.delta.unwrap() > 0.0));
    assert_eq!(worse.suggested, None);
    assert!(worse.words.starts_with("every rate from 3.00e0 to 3.00e1 worsens the validation loss"), "{}", worse.words);
    assert!(worse.reason.is_some());

    let broken = swept(&[1e-4, 1e38], &settings, &mut Silent);
    assert_eq!(broken.suggested, Some(1e-4));
    let last = &broken.rates[1];
    assert_eq!((last.valid_loss, last.delta), (None, None));
    assert!(last.reason.is_some() && broken.is_whole());
    assert!(swept(&[1e38], &settings, &mut Silent).words.contains("left their range"));
}

#[test]
fn an_interrupted_search_keeps_the_rates_it_tried() {
    let settings = AdaptSettings { batch: 2, ..AdaptSettings::default() };
    let whole = swept(&[1e-5, 1e-4, 1e-3], &settings, &mut Silent);
    let part = swept(&[1e-5, 1e-4, 1e-3], &settings, &mut StopAfter(4 + 4 + 1));
    assert!(whole.is_whole() && !part.is_whole());
    assert_eq!(part.rates, whole.rates[..2]);
    assert_eq!(part.suggested, Some(1e-4));
    assert!(part.words.contains("only 2 of 3 rates were tried"), "{}", part.words);
}

#[test]
fn a_search_that_makes_no_sense_is_refused() {
    let place = Place::with_model();
    let search = ADAPT.replace("--lr 1e-3", "--find-lr");
    place.refused(&format!("{search} --find-lr-from 1 --find-lr-to 0.1"), &["--find-lr", "no range"]);
    place.refused(&format!("{search} --find-lr-from 0"), &["--find-lr", "no range"]);
    let said = place.odyssey(&format!("{search} --resume"));
    assert_eq!(said.status, Some(2), "{}", said.err);
    assert_eq!(place.odyssey(ADAPT).status, Some(2), "otherwise there is no doing without --out");
    assert!(!Path::new(&place.path("adapted")).exists());
}
