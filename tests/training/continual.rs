//! Streams of domains: one adaptation after another, the retention matrix, and what survives a stop.

use std::fs;

use burn::tensor::Device;
use odyssey::adapt::AdaptSettings;
use odyssey::continual::{DomainStream, Retention, StreamPlace, StreamResult, Transfer};
use odyssey::error::Result;
use odyssey::evaluate::{ProtocolName, ProtocolResult};
use odyssey::model::LoadedModel;
use odyssey::progress::{Monitor, Silent};
use odyssey::text::{DocumentRule, Domain, ReadOptions, StreamOptions};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::cli::{Place, assert_has, id_documents};
use crate::common::StopAfter;

/// Two domains of ids beside the golden model.
fn place() -> Place {
    let place = Place::with_model();
    for (domain, seed) in [("a", 10), ("b", 20)] {
        fs::create_dir(place.path(domain)).unwrap();
        for (index, (split, documents)) in [("train", 24), ("valid", 6), ("test", 14)].into_iter().enumerate() {
            place.write(&format!("{domain}/{split}.jsonl"), id_documents(seed + index as u64, documents));
        }
    }
    place
}

const RECIPE: &str = "--batch 4 --steps 4 --lr 3e-3 --validations 1";

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value["retention"].as_array().unwrap().iter().map(numbers).collect()
}

#[test]
fn a_made_up_matrix_has_the_forgetting_and_transfers_of_the_formulas() {
    // Domain 1 is learned and half lost, domain 2 is helped by both, domain 3 gets worse and is then learned.
    let mut retention = Retention::new(vec![5.0, 4.0, 3.0]);
    assert_eq!((retention.zero_shot(), retention.last(), retention.current()), (4.0, 4.0, None));
    assert!(retention.backward().is_empty() && retention.forward().is_empty());
    retention.push(vec![3.0, 3.5, 3.25]);
    retention.push(vec![3.5, 2.0, 3.5]);
    retention.push(vec![4.0, 1.5, 2.0]);
    assert_eq!((retention.zero_shot(), retention.last()), (4.0, 2.5));
    assert_eq!(retention.current(), Some((3.0 + 2.0 + 2.0) / 3.0));
    assert_eq!(retention.forgetting(), [1.0, 0.0, 0.0]); // of 4, 1.5, 2 less the least: 3, 1.5, 2
    assert_eq!(retention.since_learned(), [1.0, -0.5, 0.0]);
    let of = |stage, transfer| Transfer { stage, transfer };
    assert_eq!(retention.backward(), [of(2, 1.5), of(3, (1.0 + 2.5) / 2.0)]);
    assert_eq!(retention.forward(), [of(1, (0.5 - 0.25) / 2.0), of(2, -0.5)]);
    assert!(retention.fits(3) && !retention.fits(2) && !retention.fits(4));
    assert!(!Retention::new(vec![f64::NAN]).fits(1));
}

#[test]
fn a_rate_of_0_gives_a_constant_matrix_and_transfers_of_0() {
    let place = place();
    let line = "adapt --model model --stream a,b --out out --batch 4 --steps 2 --lr 0";
    let result = place.result(line);
    let rows = matrix(&result);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| *row == rows[0]) && rows[0][0] != rows[0][1], "{rows:?}");
    assert_eq!(result["backward"], json!([{ "stage": 2, "transfer": 0.0 }]));
    assert_eq!(result["forward"], json!([{ "stage": 1, "transfer": 0.0 }]));
    assert_eq!((numbers(&result["forgetting"]), numbers(&result["since_learned"])), (vec![0.0; 2], vec![0.0; 2]));
    assert_has(&result, &["/zero_shot", "/current", "/last", "/mean_forgetting", "/domains/1/steps", "/protocol"]);
}

#[test]
fn two_domains_give_what_two_adaptations_by_hand_give() {
    let place = place();
    let stream = place.result(&format!("adapt --model model --stream a,b --out out {RECIPE}"));
    for (base, domain, out) in [("model", "a", "one"), ("one", "b", "two")] {
        place.result(&format!("adapt --model {base} --train {domain} --valid {domain} --out {out} {RECIPE}"));
    }
    let folders = ["model", "one", "two"];
    for (folder, stage) in [("one", "out/1-a"), ("two", "out/2-b")] {
        let [by_hand, in_stream] = [folder, stage].map(|at| place.read(&format!("{at}/model.safetensors")));
        assert!(by_hand == in_stream, "{stage}: other weights");
        let [by_hand, in_stream] = [folder, stage].map(|at| place.json(&format!("{at}/adapt.json")));
        assert_eq!(by_hand["valid_loss"], in_stream["valid_loss"]);
    }
    let rows = matrix(&stream);
    for (folder, row) in folders.iter().zip(&rows) {
        let eval = place.result(&format!("eval --model {folder} --text a b"));
        let losses: Vec<f64> = eval["texts"].as_array().unwrap().iter().map(|t| t["nll"].as_f64().unwrap()).collect();
        assert_eq!(*row, losses, "{folder}");
    }
    assert_eq!(numbers(&stream["forgetting"])[0], rows[2][0] - rows.iter().map(|r| r[0]).fold(f64::INFINITY, f64::min));
    assert_eq!(stream["backward"][0]["transfer"], json!(rows[0][0] - rows[2][0]));
    assert_eq!(stream["forward"][0]["transfer"], json!(rows[0][1] - rows[1][1]));
    assert_eq!(place.json("out/stream.json")["retention"], stream["retention"]);
    assert_eq!((&stream["schema"], &stream["done"], &stream["of"]), (&json!("odyssey.stream/1"), &json!(2), &json!(2)));
}

/// Runs the stream of the two domains in `out` as the library does.
fn run(
    place: &Place,
    out: &str,
    resume: bool,
    settings: &AdaptSettings,
    monitor: &mut dyn Monitor,
) -> Result<StreamResult> {
    let model = LoadedModel::open(&place.path("model"), &Device::flex()).unwrap();
    let domains = ["a", "b"].map(|name| Domain::open(place.path(name), ReadOptions::default()).unwrap());
    let (rule, reading) = (DocumentRule::default(), StreamOptions::default());
    let protocol =
        ProtocolResult::for_model(ProtocolName::Disjoint, [None; 2], &model.config, None, rule, &reading).unwrap();
    let stream = DomainStream {
        model: &model,
        name: "model".into(),
        tokenizer: None,
        domains: &domains,
        settings,
        seed: 42,
        files: rule.into(),
        reading,
        protocol,
        checkpoint_every: None,
        how_to_resume: "go on",
    };
    stream.run(&StreamPlace::take(&place.path(out), resume)?, monitor)
}

/// Asks to stop when a text is about to be scored for the n-th time; validations are not counted.
struct StopAtScoring(u64);

impl Monitor for StopAtScoring {
    fn begin(&mut self, what: &str, _total: u64) {
        if what == "scoring" {
            self.0 -= 1;
        }
    }

    fn stopped(&self) -> bool {
        self.0 == 0
    }
}

fn few() -> AdaptSettings {
    AdaptSettings { batch: 4, steps: Some(4), lr: 3e-3, validations: 1, ..AdaptSettings::default() }
}

#[test]
fn a_stream_that_is_stopped_goes_on_to_the_same_bits_and_trains_no_stage_twice() {
    let place = place();
    let whole = run(&place, "whole", false, &few(), &mut Silent).unwrap();
    // Within the first stage, at its last step, after it (before its losses are known), and within the second.
    let stops: [(&str, bool, &mut dyn Monitor); 4] = [
        ("2", false, &mut StopAfter(2)),
        ("4", false, &mut StopAfter(4)),
        ("scoring", true, &mut StopAtScoring(3)),
        ("6", true, &mut StopAfter(6)),
    ];
    for (name, has_first, monitor) in stops {
        let out = format!("stopped-{name}");
        let error = run(&place, &out, false, &few(), monitor).unwrap_err();
        assert_eq!(error.exit_code(), 130, "{error}");
        assert!(error.to_string().ends_with("go on"), "{error}");
        let refused = run(&place, &out, false, &few(), &mut Silent).unwrap_err();
        assert!(refused.to_string().contains("holds an unfinished stream"), "{refused}");
        let first = || fs::metadata(place.path(&format!("{out}/1-a/adapt.json"))).ok().map(|m| m.modified().unwrap());
        let before = first();
        assert_eq!(before.is_some(), has_first, "{name}");
        let resumed = run(&place, &out, true, &few(), &mut Silent).unwrap();
        assert!(before.is_none() || first() == before, "the first stage was done again");
        assert_eq!(resumed.retention, whole.retention, "stopped at {name}");
        for stage in ["1-a", "2-b"] {
            let of = |out: &str| place.read(&format!("{out}/{stage}/model.safetensors"));
            assert!(of(&out) == of("whole"), "stopped at {name}: other bits in {stage}");
        }
        let left: Vec<_> =
            place.listing().into_iter().filter(|path| path.to_str().unwrap().contains(".checkpoint")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[cfg(unix)]
#[test]
fn the_command_too_is_interrupted_and_goes_on() {
    let place = place();
    let line = "adapt --model model --stream a,b --batch 4 --steps 30 --lr 3e-3 --validations 1 --checkpoint-every 1";
    let whole = place.result(&format!("{line} --out whole"));
    let checkpoint = place.path("out/2-b.checkpoint");
    let said = place.interrupted(&format!("{line} --out out"), |_| checkpoint.exists()).expect("it takes sixty steps");
    assert_eq!(said.status, Some(130), "{}", said.err);
    assert!(said.err.contains("give the same command with --resume to go on"), "{}", said.err);
    let stopped = place.json("out/stream.json");
    assert_eq!((&stopped["done"], &stopped["of"]), (&json!(1), &json!(2)));
    place.refused(&format!("{line} --out out"), &["out: holds an unfinished stream: 1 of 2 stages", "--resume"]);
    let resumed = place.result(&format!("{line} --out out --resume"));
    assert_eq!(resumed["retention"], whole["retention"]);
    assert!(place.read("out/2-b/model.safetensors") == place.read("whole/2-b/model.safetensors"));
    // What is finished is shown again.
    for again in [line.to_owned(), format!("{line} --resume")] {
        assert_eq!(place.result(&format!("{again} --out out"))["retention"], whole["retention"]);
    }
}

fn weights(place: &Place, folder: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = place.read(&format!("{folder}/model.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<(String, Vec<f32>)> =
        tensors.tensors().into_iter().map(|(name, view)| (name, bytemuck::pod_collect_to_vec(view.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn wise_ft_in_a_stream_goes_towards_the_model_before_the_stream() {
    let place = place();
    let line = format!("adapt --model model --stream a,b --out out {RECIPE} --wise-ft 0.5");
    let stream = place.result(&line);
    // The second stage by hand: from the weights that the first one left, without a share.
    place.result(&format!("adapt --model out/1-a --train b --valid b --out by-hand {RECIPE}"));
    let [origin, first, trained, left] = ["model", "out/1-a", "by-hand", "out/2-b"].map(|at| weights(&place, at));
    let mut differs_from_first = false;
    for (index, (name, numbers)) in origin.iter().enumerate() {
        for (at, &before) in numbers.iter().enumerate() {
            let should_be = 0.5 * f64::from(before) + 0.5 * f64::from(trained[index].1[at]);
            let is = f64::from(left[index].1[at]);
            assert!((is - should_be).abs() < 1e-6, "{name}: {is}, {should_be}");
            let from_first = 0.5 * f64::from(first[index].1[at]) + 0.5 * f64::from(trained[index].1[at]);
            differs_from_first |= (from_first - should_be).abs() > 1e-4;
        }
    }
    assert!(differs_from_first, "or this says nothing");
    // What it depends on is known: another model before the stream is another run.
    let determined = place.json("out/2-b/adapt.json")["determined_by"].clone();
    assert!(determined["before_stream"].is_string() && determined["before_stream"] != determined["base"]);
    assert_eq!(place.result(&format!("{line} --resume"))["retention"], stream["retention"]);
}

#[test]
fn adapters_are_merged_at_the_end_of_their_stage() {
    let place = place();
    let recipe = RECIPE.replace("3e-3", "1e-2 --strategy lora");
    let stream = place.result(&format!("adapt --model model --stream a,b --out out {recipe}"));
    for stage in ["1-a", "2-b"] {
        for file in ["model.safetensors", "config.json", "adapter/adapter_model.safetensors", "adapt.json"] {
            assert!(place.path(&format!("out/{stage}/{file}")).is_file(), "{stage}/{file}");
        }
    }
    let rows = matrix(&stream);
    let eval = place.result("eval --model out/1-a --adapter out/2-b/adapter --text a b");
    let with: Vec<f64> = eval["texts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|text| !text["adapter"].is_null())
        .map(|text| text["nll"].as_f64().unwrap())
        .collect();
    assert_eq!(with.len(), 2);
    for (with, merged) in with.iter().zip(&rows[2]) {
        assert!((with - merged).abs() < 1e-5, "{with}, {merged}");
    }
    assert!(rows[2] != rows[1] && rows[1] != rows[0]);
}

#[test]
fn the_answer_comes_first_and_fits_a_terminal() {
    let place = place();
    fs::rename(place.path("b"), place.path("a-domain-with-a-name-that-is-much-too-long-for-a-table")).unwrap();
    let line = format!(
        "adapt --model model --stream a,a-domain-with-a-name-that-is-much-too-long-for-a-table --out out {RECIPE} --quiet"
    );
    let said = place.odyssey(&line);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert!(said.out.starts_with("after 2 domains: mean loss "), "{}", said.out);
    for words in ["transfer backward ", ", forward ", "forgotten", "written to out"] {
        assert!(said.out.contains(words), "no {words:?} in:\n{}", said.out);
    }
    let widest = said.out.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "{widest} columns:\n{}", said.out);
}

#[test]
fn what_cannot_be_a_stream_is_refused_before_anything_is_trained() {
    let place = place();
    let line = format!("adapt --model model --stream a,b --out out {RECIPE}");
    for wrong in [
        format!("{line} --train a"),
        format!("{line} --valid a"),
        format!("{line} --find-lr"),
        format!("{line} --metrics m.jsonl"),
        "adapt --model model --out out".to_owned(),
    ] {
        let said = place.odyssey(&wrong);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{wrong}");
    }
    place.refused(&line.replace("a,b", "a,gone"), &["gone: no such file or folder"]);
    place.refused(&line.replace("out out", "out a"), &["a: exists already"]);
    fs::remove_file(place.path("b/test.jsonl")).unwrap();
    place.refused(&line, &["b: ", "test"]);
    place.write("b/test.jsonl", id_documents(22, 14));
    place.result(&line);
    place.refused(&line.replace("3e-3", "1e-3"), &["out: exists already, with another stream: settings.lr"]);
    place.refused(&line.replace("a,b", "b,a"), &["out: exists already, with another stream: "]);
    // Numbers that somebody changed do not end the program.
    let mut damaged = place.json("out/stream.json");
    damaged["retention"] = json!([[1.0], [2.0, 3.0]]);
    place.write("out/stream.json", damaged.to_string());
    place.refused(&line, &["its numbers do not fit together"]);
}
