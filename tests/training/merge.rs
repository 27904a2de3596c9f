//! Merging: weights between a base and what was adapted from it, and the losses along the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use odyssey::evaluate::{ProtocolName, ProtocolResult};
use odyssey::merge::{
    CurveText, Loss, Measure, Merge, Method, Part, Point, Request, Select, Shares, choose, curve as measured,
};
use odyssey::model::{LoadedModel, ModelConfig, Precision, save};
use odyssey::perplexity::Evaluation;
use odyssey::progress::{Monitor, Silent};
use odyssey::text::{DocumentRule, Split, StreamOptions, open_corpus};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

use crate::cli::{Place, assert_has, copy_model};
use crate::common::model_folder;

const CASES: [&str; 12] = [
    "gpt2_tied",
    "gpt2_odd",
    "llama_mha",
    "llama_gqa",
    "mistral",
    "qwen2",
    "qwen3",
    "smollm3",
    "olmo",
    "olmo2",
    "neox_parallel",
    "neox_sequential",
];
const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --batch 4 --lr 3e-3 --validations 1";

/// The weights of a folder by name: shape and numbers.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn weights(folder: &Path) -> Weights {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let of = |(name, view): (String, TensorView<'_>)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        (name, (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
    };
    tensors.tensors().into_iter().map(of).collect()
}

fn write_weights(folder: &Path, weights: &Weights) {
    let views = weights.iter().map(|(name, (shape, numbers))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(numbers)).unwrap())
    });
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

/// As bits, so that −0 is not 0.
fn bits(weights: &Weights) -> BTreeMap<&String, (&Vec<usize>, Vec<u32>)> {
    let of = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect();
    weights.iter().map(|(name, (shape, numbers))| (name, (shape, of(numbers)))).collect()
}

fn part(folder: &Path) -> Part {
    Part { name: folder.display().to_string(), folder: folder.to_owned() }
}

/// Merges in a fresh folder, and gives its weights.
fn merged(base: &Path, adapted: &[&Path], method: Method, density: Option<f64>, alpha: f64) -> Weights {
    let adapted: Vec<Part> = adapted.iter().map(|folder| part(folder)).collect();
    let request = Request { base: &part(base), adapted: &adapted, general: None, method, density, ignored: &[] };
    written(&request, alpha)
}

fn written(request: &Request<'_>, alpha: f64) -> Weights {
    let out = tempfile::tempdir().unwrap();
    Merge::open(request).unwrap().write(alpha, out.path(), &mut Silent).unwrap();
    LoadedModel::open(out.path(), &Device::flex()).unwrap();
    weights(out.path())
}

/// A model of a case's shape with random weights, saved in `folder`.
fn random(case: &str, folder: &Path, seed: u64) {
    fs::create_dir(folder).unwrap();
    let from = model_folder(case);
    let config = ModelConfig::read(&from).unwrap();
    let model = LoadedModel::random(config, &from, seed, &Device::flex()).unwrap();
    save(&model.model, &model, folder).unwrap();
}

/// A base and three others of its shape.
fn four(case: &str) -> (tempfile::TempDir, [std::path::PathBuf; 4]) {
    let scratch = tempfile::tempdir().unwrap();
    let folders = ["base", "a", "b", "c"].map(|name| scratch.path().join(name));
    for (seed, folder) in folders.iter().enumerate() {
        random(case, folder, seed as u64);
    }
    (scratch, folders)
}

#[test]
fn both_ends_are_exact_and_a_model_merged_with_itself_is_itself_in_every_family() {
    for case in CASES {
        let (_scratch, [base, other, _, _]) = four(case);
        // Numbers that a careless sum would change: −0, and the smallest there is.
        let mut odd = weights(&base);
        let (_, numbers) = odd.values_mut().next().unwrap();
        (numbers[0], numbers[1], numbers[2]) = (-0.0, f32::from_bits(1), f32::MAX);
        write_weights(&base, &odd);
        let of = |adapted: &Path, method, alpha| merged(&base, &[adapted], method, None, alpha);
        for method in [Method::Linear, Method::Soup] {
            assert!(bits(&of(&other, method, 0.0)) == bits(&odd), "{case} {method:?}: not the base");
            assert!(bits(&of(&other, method, 1.0)) == bits(&weights(&other)), "{case} {method:?}: not the adapted");
        }
        assert!(bits(&of(&other, Method::Ties, 0.0)) == bits(&odd), "{case}: ties, not the base");
        for alpha in [0.0, 0.1, 0.3, 0.5, 0.9, 1.0] {
            for method in [Method::Linear, Method::Ties] {
                assert!(
                    bits(&of(&base, method, alpha)) == bits(&odd),
                    "{case} {method:?} {alpha}: itself is not itself"
                );
            }
            let soup = merged(&base, &[&base, &base, &base], Method::Soup, None, alpha);
            assert!(bits(&soup) == bits(&odd), "{case}: a soup of itself at {alpha}");
        }
    }
}

#[test]
fn what_is_written_has_the_weights_of_the_base_and_what_is_tied_stays_tied() {
    for case in CASES {
        let (scratch, [base, other, _, _]) = four(case);
        let out = scratch.path().join("out");
        fs::create_dir(&out).unwrap();
        let adapted = [part(&other)];
        let request = Request {
            base: &part(&base),
            adapted: &adapted,
            general: None,
            method: Method::Linear,
            density: None,
            ignored: &[],
        };
        Merge::open(&request).unwrap().write(0.5, &out, &mut Silent).unwrap();
        let shape = |folder: &Path| -> Vec<(String, Vec<usize>)> {
            weights(folder).into_iter().map(|(name, (shape, _))| (name, shape)).collect()
        };
        assert_eq!(shape(&out), shape(&base), "{case}");
        let config = |folder: &Path| ModelConfig::read(folder).unwrap();
        assert_eq!(config(&out).tied_head(), config(&base).tied_head());
        assert_eq!(config(&out).json, config(&base).json, "{case}");
    }
    let tied = model_folder("gpt2_tied");
    assert!(ModelConfig::read(&tied).unwrap().tied_head(), "or this says nothing");
}

#[test]
fn every_weight_lies_at_its_share_and_a_soup_is_the_mean_of_its_seeds() {
    let (_scratch, [base, a, b, c]) = four("llama_gqa");
    let [before, one, two, three] = [&base, &a, &b, &c].map(|folder| weights(folder));
    for alpha in [0.25, 0.7, 1.0] {
        let linear = merged(&base, &[&a], Method::Linear, None, alpha);
        let soup = merged(&base, &[&a, &b, &c], Method::Soup, None, alpha);
        for (name, (_, before)) in &before {
            for (index, &start) in before.iter().enumerate() {
                let [a, b, c] = [&one, &two, &three].map(|of| f64::from(of[name].1[index]));
                let start = f64::from(start);
                let should_be = (1.0 - alpha) * start + alpha * a;
                assert_eq!(linear[name].1[index], should_be as f32, "{name} {index} at {alpha}");
                let should_be = (1.0 - alpha) * start + alpha * ((a + b + c) / 3.0);
                let is = f64::from(soup[name].1[index]);
                assert!((is - should_be).abs() < 1e-7, "{name} {index} at {alpha}: {is}, {should_be}");
            }
        }
    }
}

/// TIES as the paper has it, with everything in memory: sorts all changes of a model.
fn ties_in_memory(before: &Weights, adapted: &[Weights], density: f64, alpha: f64) -> Weights {
    let trimmed: Vec<Weights> = adapted
        .iter()
        .map(|after| {
            let change = |name: &String, i: usize, old: f32| after[name].1[i] - old;
            let all = before
                .iter()
                .flat_map(|(name, (_, old))| old.iter().enumerate().map(move |(i, &old)| change(name, i, old).abs()));
            let mut sizes: Vec<f32> = all.collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            let least = sizes[(sizes.len() as f64 * density) as usize - 1];
            let kept = |name: &String, (shape, old): &(Vec<usize>, Vec<f32>)| {
                let change = |(i, &old)| Some(change(name, i, old)).filter(|c: &f32| c.abs() >= least).unwrap_or(0.0);
                (shape.clone(), old.iter().enumerate().map(change).collect())
            };
            before.iter().map(|(name, tensor)| (name.clone(), kept(name, tensor))).collect()
        })
        .collect();
    let value = |name: &String, i: usize, old: f32| {
        let changes: Vec<f64> = trimmed.iter().map(|of| f64::from(of[name].1[i])).collect();
        let elected = changes.iter().sum::<f64>().signum();
        let agree: Vec<f64> = changes.into_iter().filter(|c| *c != 0.0 && c.signum() == elected).collect();
        let mean = if agree.is_empty() { 0.0 } else { agree.iter().sum::<f64>() / agree.len() as f64 };
        (f64::from(old) + alpha * mean) as f32
    };
    let of = |(name, (shape, old)): (&String, &(Vec<usize>, Vec<f32>))| {
        let values = old.iter().enumerate().map(|(i, &old)| value(name, i, old)).collect();
        (name.clone(), (shape.clone(), values))
    };
    before.iter().map(of).collect()
}

#[test]
fn ties_is_what_the_paper_says_computed_in_another_way() {
    for case in ["gpt2_tied", "llama_mha"] {
        let (_scratch, [base, a, b, c]) = four(case);
        let [before, one, two, three] = [&base, &a, &b, &c].map(|folder| weights(folder));
        let others = [one, two, three];
        for (density, alpha) in [(0.2, 1.0), (0.5, 0.4), (1.0, 1.0), (0.001, 1.0)] {
            let is = merged(&base, &[&a, &b, &c], Method::Ties, Some(density), alpha);
            let should_be = ties_in_memory(&before, &others, density, alpha);
            let moved = is.iter().flat_map(|(name, (_, is))| is.iter().zip(&before[name].1)).filter(|(a, b)| a != b);
            assert!(moved.count() > 10, "{case}: nothing moved at {density}");
            for (name, (_, is)) in &is {
                assert!(is == &should_be[name].1, "{case} {name}, density {density}, α {alpha}");
            }
        }
    }
}

#[test]
fn ties_keeps_what_is_large_and_lets_the_heavier_direction_win() {
    let scratch = tempfile::tempdir().unwrap();
    let [base, a, b] = ["base", "a", "b"].map(|name| scratch.path().join(name));
    for folder in [&base, &a, &b] {
        copy_model("gpt2_tied", folder);
    }
    let before = weights(&base);
    let name = before.keys().next().unwrap();
    // Beside what each model changes; the rest is as in the base.
    let changed = |folder: &Path, changes: [f32; 6]| {
        let mut weights = before.clone();
        let (_, numbers) = weights.get_mut(name).unwrap();
        (0..6).for_each(|i| numbers[i] = changes[i]);
        write_weights(folder, &weights);
    };
    changed(&base, [0.0; 6]);
    changed(&a, [3.0, 1.0, 4.0, 0.0, 1.0, -0.25]);
    changed(&b, [-1.0, 2.0, 0.0, -2.0, -1.0, -0.25]);
    let first = |density, alpha| {
        let is = merged(&base, &[&a, &b], Method::Ties, Some(density), alpha);
        is[name].1[..6].to_vec()
    };
    // +3 outweighs −1; 1 and 2 agree; one alone; +1 against −1 is a draw, which changes nothing; both the same.
    assert_eq!(first(1.0, 1.0), [3.0, 1.5, 4.0, -2.0, 0.0, -0.25]);
    assert_eq!(first(1.0, 0.5), [1.5, 0.75, 2.0, -1.0, 0.0, -0.125]);
    // The two largest of each: 4 and 3; of the other −2 and 2.
    let count: usize = before.values().map(|(_, numbers)| numbers.len()).sum();
    assert_eq!(first(2.5 / count as f64, 1.0), [3.0, 2.0, 4.0, -2.0, 0.0, 0.0]);
}

/// A place with adapters of the model, trained on different texts, and the same merged into whole models.
fn with_adapters() -> Place {
    let place = Place::with_model();
    place.write("general.jsonl", crate::cli::id_documents(9, 40));
    for (out, train) in [("domain", "train.jsonl"), ("wiki", "general.jsonl")] {
        let line = ADAPT.replace("train.jsonl", train);
        let lora = "--steps 4 --lr 1e-2 --strategy lora --lora-targets all";
        let line = line.replace("--lr 3e-3", lora);
        place.result(&format!("{line} --out {out}"));
        place.result(&format!("{line} --merge --out {out}-whole"));
    }
    place
}

#[test]
fn an_adapter_at_1_is_what_merges_it_and_between_the_base_and_it_lies_its_share() {
    let place = with_adapters();
    let [model, domain] = ["model", "domain"].map(|name| place.path(name));
    let whole = weights(&place.path("domain-whole"));
    let before = weights(&model);
    assert!(bits(&whole) != bits(&before), "the adapter changes nothing");
    assert!(bits(&merged(&model, &[&domain], Method::Linear, None, 1.0)) == bits(&whole));
    assert!(bits(&merged(&model, &[&domain], Method::Linear, None, 0.0)) == bits(&before));
    let from_whole = merged(&model, &[&place.path("domain-whole")], Method::Linear, None, 0.3);
    assert!(bits(&merged(&model, &[&domain], Method::Linear, None, 0.3)) == bits(&from_whole));
    // Adapters and whole models go together.
    let mixed = merged(&model, &[&domain, &place.path("wiki-whole")], Method::Soup, None, 1.0);
    let wholes = merged(&model, &[&place.path("domain-whole"), &place.path("wiki-whole")], Method::Soup, None, 1.0);
    assert!(bits(&mixed) == bits(&wholes));
    let said = place.odyssey("merge --base model --adapted domain --alpha 1 --out merged");
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.out.contains("written to merged, a whole model:"), "{}", said.out);
    assert!(place.read("merged/model.safetensors") == place.read("domain-whole/model.safetensors"), "other bytes");
}

#[test]
fn the_replay_curve_goes_from_the_general_adapter_to_the_domains() {
    let place = with_adapters();
    let [model, domain, wiki] = ["model", "domain", "wiki"].map(|name| part(&place.path(name)));
    let adapted = [domain];
    let request = Request {
        base: &model,
        adapted: &adapted,
        general: Some(&wiki),
        method: Method::Linear,
        density: None,
        ignored: &[],
    };
    let [before, of_domain, of_wiki] = ["model", "domain-whole", "wiki-whole"].map(|name| weights(&place.path(name)));
    assert!(bits(&written(&request, 1.0)) == bits(&of_domain), "λ = 1 is not the domain's");
    assert!(bits(&written(&request, 0.0)) == bits(&of_wiki), "λ = 0 is not the general one's");
    for share in [0.25, 0.5, 0.75] {
        for (name, (_, is)) in &written(&request, share) {
            for (index, &is) in is.iter().enumerate() {
                let [base, domain, wiki] =
                    [&before, &of_domain, &of_wiki].map(|weights| f64::from(weights[name].1[index]));
                let should_be = base + share * (domain - base) + (1.0 - share) * (wiki - base);
                assert!((f64::from(is) - should_be).abs() < 1e-7, "{name} at {share}: {is}, {should_be}");
            }
        }
    }
    let line = "merge --base model --adapted domain --general wiki --target test.jsonl --reference general.jsonl";
    let curve = place.result(line);
    let shares: Vec<f64> = curve["curve"].as_array().unwrap().iter().map(|p| p["alpha"].as_f64().unwrap()).collect();
    assert_eq!(shares, [0.0, 0.25, 0.5, 0.75, 1.0]);
    // Against the base, which is no point of this curve.
    for (at, folder) in [(0, "wiki-whole"), (4, "domain-whole")] {
        for (side, text) in [("target", "test.jsonl"), ("reference", "general.jsonl")] {
            let compared = place.result(&format!("compare --before model --after {folder} --text {text}"));
            let point = &curve["curve"][at][side];
            assert_eq!(point["delta_ci95"], compared["delta_ci95"], "{folder} {text}");
            let [is, should_be] = [&point["delta"], &compared["delta"]].map(|n| n.as_f64().unwrap());
            assert!((is - should_be).abs() < 1e-12, "{folder} {text}: {is}, {should_be}");
        }
    }
    assert!(curve["curve"][0]["target"]["delta"] != json!(0.0));
}

#[test]
fn the_curve_is_what_eval_and_compare_say_of_the_models_on_it() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --steps 6 --out adapted"));
    let line = "merge --base model --adapted adapted --target train.jsonl --reference test.jsonl";
    let curve = place.result(&format!("{line} --alpha 0:1:0.25 --select sum --out merged"));
    assert_has(&curve, &["/out", "/method", "/alpha", "/select", "/words", "/curve/4/reference/delta_ci95/1"]);
    assert_eq!((&curve["schema"], &curve["select"]), (&json!("odyssey.merge/1"), &json!("sum")));
    let points = curve["curve"].as_array().unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    for (side, text) in [("target", "train.jsonl"), ("reference", "test.jsonl")] {
        let before = &curve[side];
        let base = place.result(&format!("eval --model model --text {text}"));
        assert_eq!(number(&before["base_loss"]), number(&base["texts"][0]["nll"]));
        let first = &points[0][side];
        assert_eq!((number(&first["loss"]), number(&first["delta"])), (number(&before["base_loss"]), 0.0));
        let compared = place.result(&format!("compare --before model --after adapted --text {text}"));
        assert_eq!(points[4][side]["delta_ci95"], compared["delta_ci95"]);
        let merged = place.result(&format!("eval --model merged --text {text}"));
        let chosen = points.iter().find(|point| point["alpha"] == curve["alpha"]).unwrap();
        assert_eq!(number(&chosen[side]["loss"]), number(&merged["texts"][0]["nll"]), "{text}");
    }
    let sums: Vec<f64> =
        points.iter().map(|p| number(&p["target"]["loss"]) + number(&p["reference"]["loss"])).collect();
    let least = sums.iter().copied().fold(f64::INFINITY, f64::min);
    let chosen = points.iter().position(|point| point["alpha"] == curve["alpha"]).unwrap();
    assert_eq!(sums[chosen], least);
    assert!(sums.iter().any(|sum| *sum > least), "all shares are the same");
    let kept = place.json("merged/merge.json");
    assert_eq!((&kept["curve"], &kept["alpha"]), (&curve["curve"], &curve["alpha"]));

    // Without --out nothing is written, and the answer comes first, in lines of a terminal.
    let before = place.listing();
    let said = place.odyssey(&format!("{line} --quiet"));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(place.listing(), before);
    assert!(said.out.starts_with("α = "), "{}", said.out);
    assert!(said.out.contains("nothing is written"), "{}", said.out);
    let widest = said.out.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "{widest} columns:\n{}", said.out);
}

/// A point whose base has the loss 4 on both texts.
fn at(alpha: f64, target: f64, reference: f64) -> Point {
    let loss = |loss: f64| Loss { loss, delta: loss - 4.0, delta_ci95: [loss - 4.1, loss - 3.9] };
    Point { alpha, target: loss(target), reference: Some(loss(reference)) }
}

#[test]
fn each_way_to_choose_takes_another_share_of_a_made_up_curve() {
    // The best gain is 1; 95 % of it are at losses of 3.05 and below.
    let points = [
        at(0.0, 4.0, 4.0),
        at(0.2, 3.3, 3.9),
        at(0.4, 3.06, 4.0),
        at(0.6, 3.05, 4.3),
        at(0.8, 3.0, 4.5),
        at(1.0, 3.04, 5.0),
    ];
    let chosen = |select| choose(&points, select).unwrap().alpha;
    assert_eq!([Select::Target, Select::Sum, Select::Pareto].map(chosen), [0.8, 0.4, 0.6]);
    // Of equal ones the lowest.
    let equal = [at(0.0, 4.0, 4.0), at(0.5, 3.0, 4.0), at(1.0, 3.0, 4.0)];
    for select in [Select::Target, Select::Sum, Select::Pareto] {
        assert_eq!(choose(&equal, select).unwrap().alpha, 0.5, "{select:?}");
    }
    // Where nothing helps, nothing is changed.
    let worse = [at(0.0, 4.0, 4.0), at(0.5, 4.1, 3.0), at(1.0, 4.2, 2.0)];
    let choice = choose(&worse, Select::Pareto).unwrap();
    assert_eq!(choice.alpha, 0.0);
    assert!(choice.words.starts_with("no share lowers the loss on the target"), "{}", choice.words);
    let alone: Vec<Point> = points.iter().map(|point| Point { reference: None, ..point.clone() }).collect();
    assert_eq!(choose(&alone, Select::Target).unwrap().alpha, 0.8);
    assert!(choose(&alone, Select::Sum).is_err() && choose(&alone, Select::Pareto).is_err());
    assert!(choose(&[], Select::Target).is_err());
}

#[test]
fn shares_are_one_a_list_or_a_range() {
    let all = |text: &str| text.parse::<Shares>().unwrap().all().to_vec();
    assert_eq!(all("0.5"), [0.5]);
    assert_eq!(all("1, 0,0.5,0"), [0.0, 0.5, 1.0]);
    assert_eq!(all("0:1:0.1"), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
    assert_eq!(all("0:1:0.3"), [0.0, 0.3, 0.6, 0.9]);
    assert_eq!(all("0.25:0.25:1"), [0.25]);
    for wrong in [
        "", ",", "half", "1.5", "-0.1", "nan", "inf", "0:1", "0:1:0", "0:1:-1", "1:0:0.1", "0:2:0.5", "0:1:nan",
        "0:1:1e-9",
    ] {
        let error = wrong.parse::<Shares>().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("alpha: "), "{wrong:?}: {error}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_in_one_sentence_before_anything_is_written() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --steps 1 --out adapted"));
    place.result(&format!("{ADAPT} --steps 1 --strategy lora --out adapter"));
    let line = "merge --base model --adapted adapted --alpha 0.5 --out merged";
    for (request, says) in [
        (line.replace("0.5", "1.5"), &["alpha: holds 1.5, which is not from 0 to 1"][..]),
        (line.replace("0.5", "-0.5"), &["alpha: holds -0.5"]),
        (line.replace("0.5", "0:1:0.5"), &["alpha: names several shares", "--target"]),
        (line.replace(" --alpha 0.5 --out merged", ""), &["has nothing to do"]),
        (line.replace("adapted adapted", "adapted adapted adapted"), &["adapted: names 2 models", "soup or ties"]),
        (format!("{line} --density 0.5"), &["density: is given, and the method is not ties"]),
        (format!("{line} --method ties --density 0"), &["density: is 0"]),
        (format!("{line} --method ties --density 1.5"), &["density: is 1.5"]),
        (format!("{line} --method soup --general adapter"), &["general: is given, and the method is not linear"]),
        (format!("{line} --target test.jsonl --select pareto"), &["--select: asks for the loss on a reference"]),
        (line.replace("merged", "adapted"), &["adapted: exists already"]),
        (line.replace("adapted adapted", "adapted gone"), &["gone: no such model folder"]),
        (line.replace("base model", "base adapter"), &["adapter: holds an adapter, no whole model"]),
    ] {
        // A value that begins with a minus is no option.
        let request = request.replace("--alpha -", "--alpha=-");
        place.refused(&request, says);
    }
    let none = place.odyssey("merge --base model --adapted --out merged");
    assert_eq!(none.status, Some(2), "{}", none.err);

    for (case, says) in
        [("llama_mha", "is of the family \"llama\", and model of \"gpt2\""), ("gpt2_odd", "other: has ")]
    {
        let _ = fs::remove_dir_all(place.path("other"));
        copy_model(case, &place.path("other"));
        place.refused(&line.replace("adapted adapted", "adapted other"), &["other: ", says, "from one base"]);
    }
    // The same sizes, another computation.
    fs::remove_dir_all(place.path("other")).unwrap();
    copy_model("gpt2_tied", &place.path("other"));
    let mut config = place.json("other/config.json");
    config["layer_norm_epsilon"] = json!(1e-3);
    place.write("other/config.json", config.to_string());
    let other = line.replace("adapted adapted", "adapted other");
    place.refused(&other, &["other: computes in another way", "layer_norm_epsilon"]);
    // An adapter of another base, of the same shape.
    place.result(
        "adapt --model other --train train.jsonl --valid valid.jsonl --batch 4 --steps 1 --strategy lora --out far",
    );
    let far = line.replace("adapted adapted", "adapted far");
    place.refused(&far, &["far: is an adapter of ", "/other, whose configuration or weights are not those of model"]);
    // Where it cannot be told, it is said.
    fs::remove_dir_all(place.path("other")).unwrap();
    let said = place.odyssey(&far);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("which is not here: model is taken for it"), "{}", said.err);
}

#[test]
fn another_vocabulary_and_another_tokenizer_are_refused_by_what_differs() {
    let place = Place::with_languages();
    copy_model("gpt2_tied", &place.path("other"));
    place.write("other/tokenizer.json", place.read("model/tokenizer.json"));
    let line = "merge --base model --adapted other --alpha 0.5 --out merged";
    let mut tokenizer = place.json("other/tokenizer.json");
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let [first, second] = [1, 2].map(|i| vocabulary.keys().nth(i).unwrap().clone());
    let [a, b] = [&first, &second].map(|name| vocabulary[name].clone());
    (vocabulary[&first], vocabulary[&second]) = (b, a);
    place.write("other/tokenizer.json", tokenizer.to_string());
    place.refused(line, &["other: has another tokenizer than model: token ", "from one base"]);

    let mut config = place.json("other/config.json");
    config["vocab_size"] = json!(500);
    place.write("other/config.json", config.to_string());
    let mut cut = weights(&place.path("model"));
    let (shape, numbers) = cut.get_mut("transformer.wte.weight").unwrap();
    numbers.truncate(500 * shape[1]);
    shape[0] = 500;
    write_weights(&place.path("other"), &cut);
    place.refused(line, &["other: has a vocabulary of 500 tokens, and model one of 512"]);
}

/// Wants to stop from the beginning.
struct Stopped;

impl Monitor for Stopped {
    fn stopped(&self) -> bool {
        true
    }
}

#[test]
fn a_merge_that_is_stopped_leaves_nothing() {
    let (scratch, [base, a, b, _]) = four("gpt2_tied");
    let adapted = [part(&a), part(&b)];
    for method in [Method::Soup, Method::Ties] {
        let request =
            Request { base: &part(&base), adapted: &adapted, general: None, method, density: None, ignored: &[] };
        let out = scratch.path().join("out");
        fs::create_dir(&out).unwrap();
        let error = Merge::open(&request).unwrap().write(0.5, &out, &mut Stopped).unwrap_err();
        assert_eq!(error.exit_code(), 130, "{error}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        fs::remove_dir(&out).unwrap();
    }
}

#[test]
fn a_curve_in_16_bits_is_near_that_in_32() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --steps 6 --out adapted"));
    let adapted = [part(&place.path("adapted"))];
    let model = part(&place.path("model"));
    let request =
        Request { base: &model, adapted: &adapted, general: None, method: Method::Linear, density: None, ignored: &[] };
    let corpus = open_corpus(&place.path("test.jsonl"), Split::Test, DocumentRule::default()).unwrap();
    let device = Device::flex();
    let protocol = ProtocolResult::for_model(
        ProtocolName::Disjoint,
        [None, None],
        &ModelConfig::read(&model.folder).unwrap(),
        None,
        DocumentRule::default(),
        &StreamOptions::default(),
    )
    .unwrap();
    let curve = |precision| {
        let target = CurveText { name: "test".into(), corpus: &corpus };
        let measure =
            Measure { target, reference: None, protocol: &protocol, tokenizer: None, precision, device: &device };
        let mut merge = Merge::open(&request).unwrap();
        measured(&mut merge, &"0:1:0.5".parse().unwrap(), &measure, &mut Silent).unwrap()
    };
    let [wide, narrow] = [Precision::F32, Precision::Bf16].map(curve);
    for (wide, narrow) in wide.points.iter().zip(&narrow.points) {
        assert!((wide.target.loss - narrow.target.loss).abs() < 0.02, "{wide:?} {narrow:?}");
    }
    assert_ne!(wide.points[1].target.loss, narrow.points[1].target.loss, "it was not held in 16 bits");
    // The middle is between: a model scored by itself gives the number of the curve.
    let half = Merge::open(&request).unwrap().model(0.5, Precision::F32, &device, &mut Silent).unwrap();
    let evaluation = Evaluation::new(&half, None, protocol.clone());
    let (scores, _) = evaluation.of("test", &corpus, &mut Silent).unwrap();
    assert_eq!(scores.mean_nll(), wide.points[1].target.loss);
}

#[test]
fn a_dry_run_says_what_a_merge_takes_and_does_nothing() {
    let place = Place::with_model();
    place.result(&format!("{ADAPT} --steps 1 --out adapted"));
    let before = place.listing();
    let line = "merge --base model --adapted adapted --alpha 0.5 --out merged --dry-run";
    let plan = place.result(line);
    let scored = place.result(&format!("{line} --target test.jsonl"));
    assert_eq!(place.listing(), before);
    let needs = |plan: &serde_json::Value| plan["needs_bytes"].as_u64().unwrap();
    assert!(needs(&plan) < needs(&scored), "scoring takes a model");
    assert_eq!(scored["fits"], json!(true));
}
