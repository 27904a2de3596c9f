//! Strategies against forgetting: what each is known to do, on a small model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use odyssey::adapt::{AdaptSettings, Adaptation, Resumable, Training};
use odyssey::error::{Error, Result};
use odyssey::model::parameters::to_host;
use odyssey::model::{LanguageModel, LoadedModel};
use odyssey::progress::Silent;
use odyssey::recipe::strategies::flow::FlowUnit;
use odyssey::recipe::strategies::kd::Near;
use odyssey::recipe::strategies::lfr::{Phases, WindowClass, class_of};
use odyssey::recipe::strategies::tlt::{Truncated, percentile};
use odyssey::recipe::strategies::{Ema, Flow, Freeze, Kd, L2Sp, Lawa, Lfr, RecAdam, Replay, Slm, Stm, Tlt, WiseFt};
use odyssey::recipe::{
    Added, Found, Moment, Order, Packing, Start, Strategies, Trainable, TrainingWindows, Update, WindowLosses,
};
use odyssey::text::{TextOptions, TokenStream};
use tempfile::TempDir;

use crate::cli::{Place, id_documents};
use crate::common::{StopAfter, id_stream, model_folder};

fn base() -> LoadedModel {
    LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap()
}

/// Twelve steps of four windows.
fn settings(strategies: Strategies) -> AdaptSettings {
    AdaptSettings {
        context: Some(16),
        lr: 3e-3,
        batch: 4,
        micro_batch: 3,
        steps: Some(12),
        validations: 2,
        strategies,
        ..AdaptSettings::default()
    }
}

fn text() -> TokenStream {
    id_stream(&[300, 400])
}

fn try_run(settings: &AdaptSettings) -> Result<Adaptation> {
    run_kept(settings, None)
}

fn run_kept(settings: &AdaptSettings, keep: Option<&Path>) -> Result<Adaptation> {
    let base = base();
    let training = Training { base: &base, settings, seed: 3, resumable: None, texts: &TextOptions::PLAIN, keep };
    training.run(text(), &id_stream(&[90]), &mut Silent)
}

fn run(strategies: Strategies) -> Adaptation {
    try_run(&settings(strategies)).unwrap()
}

fn report(adapted: &Adaptation, pointer: &str) -> f64 {
    let all = serde_json::Value::Object(adapted.result.strategies.clone());
    all.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{pointer} is not in {all}"))
}

fn weights(model: &LanguageModel) -> BTreeMap<String, Vec<f32>> {
    model.parameters().into_iter().map(|weight| (weight.name, to_host(weight.values).unwrap())).collect()
}

fn distance(a: &LanguageModel, b: &LanguageModel) -> f64 {
    let (a, b) = (weights(a), weights(b));
    let squares = a.iter().flat_map(|(name, a)| a.iter().zip(&b[name]).map(|(a, b)| f64::from(a - b).powi(2)));
    squares.sum::<f64>().sqrt()
}

fn last_loss(adapted: &Adaptation) -> f64 {
    adapted.result.curves.valid_loss.last().unwrap().1
}

fn base_loss(adapted: &Adaptation) -> f64 {
    adapted.result.curves.valid_loss[0].1
}

/// A folder with a corpus of ids to replay.
fn corpus() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replayed.jsonl");
    std::fs::write(&path, id_documents(5, 20)).unwrap();
    (folder, path)
}

fn replay(corpus: PathBuf, share: f64) -> Replay {
    Replay { corpus, share, weight: 1.0, samples: 8, seed: 0 }
}

fn kd(weight: f64) -> Kd {
    Kd { weight, temperature: 1.0, hidden: 0.0, near: Near::All, teacher: None }
}

/// Every strategy with settings that change something.
fn all(corpus: &Path) -> Vec<(&'static str, Strategies)> {
    let none = Strategies::default;
    let lfr = Lfr { plan: "1:0,1:50".parse().unwrap(), reps: 1 };
    let tlt = Tlt { share: 0.2, mode: Truncated::High, from: 0.0, renormalise: false };
    vec![
        ("freeze", Strategies { freeze: Some(Freeze { layers: 1, ..Freeze::default() }), ..none() }),
        ("replay", Strategies { replay: Some(replay(corpus.into(), 0.4)), ..none() }),
        ("replay self", Strategies { replay: Some(replay("self".into(), 0.4)), ..none() }),
        ("lfr", Strategies { lfr: Some(lfr), ..none() }),
        ("stm", Strategies { stm: Some(Stm { most: 6.2, rising: false }), ..none() }),
        ("stm rising", Strategies { stm: Some(Stm { most: 6.2, rising: true }), ..none() }),
        ("flow", Strategies { flow: Some(Flow { tau: 0.0, unit: FlowUnit::Both }), ..none() }),
        ("slm", Strategies { slm: Some(Slm { keep: 0.5, reference: None }), ..none() }),
        ("tlt", Strategies { tlt: Some(tlt), ..none() }),
        ("kd", Strategies { kd: Some(Kd { hidden: 0.1, ..kd(1.0) }), ..none() }),
        ("l2_sp", Strategies { l2_sp: Some(L2Sp { l2_sp: 0.1 }), ..none() }),
        ("recadam", Strategies { recadam: Some(RecAdam { gamma: 50.0, k: 0.5, middle: 0.3 }), ..none() }),
        ("ema", Strategies { ema: Some(Ema { ema: 0.7 }), ..none() }),
        ("lawa", Strategies { lawa: Some(Lawa { states: 3, every: Some(2) }), ..none() }),
        ("wise_ft", Strategies { wise_ft: Some(WiseFt { wise_ft: 0.5 }), ..none() }),
    ]
}

#[test]
fn every_strategy_changes_what_a_run_leaves_and_a_run_that_was_stopped_goes_on_to_the_bit() {
    let (folder, corpus) = corpus();
    for trained in [Trainable::Full, Trainable::Lora] {
        let plain = try_run(&AdaptSettings { strategy: trained, ..settings(Strategies::default()) }).unwrap();
        for (name, strategies) in all(&corpus) {
            // Adapters have no weights in layers that are frozen whole; then fewer are left.
            let of = AdaptSettings { strategy: trained, ..settings(strategies) };
            let whole = try_run(&of).unwrap_or_else(|error| panic!("{name}, {trained:?}: {error}"));
            // 5000 losses are needed before the first is left out: more than this run has.
            assert!(
                name == "tlt" || weights(&whole.last) != weights(&plain.last),
                "{name}, {trained:?}: changes nothing"
            );
            let path = folder.path().join("checkpoint");
            let base = base();
            let resumable = |resume| Resumable {
                path: &path,
                resume,
                every: None,
                longest: Duration::from_secs(3600),
                how_to_resume: "",
            };
            let training = |resume| Training {
                base: &base,
                settings: &of,
                seed: 3,
                resumable: Some(resumable(resume)),
                texts: &TextOptions::PLAIN,
                keep: None,
            };
            for stop in [2, 5] {
                let stopped = training(true).run(text(), &id_stream(&[90]), &mut StopAfter(stop));
                assert!(matches!(stopped, Err(Error::Interrupted(_))), "{name}");
            }
            let resumed = training(true).run(text(), &id_stream(&[90]), &mut Silent).unwrap();
            assert_eq!(resumed.result.curves, whole.result.curves, "{name}, {trained:?}");
            assert_eq!(resumed.result.tokens, whole.result.tokens, "{name}, {trained:?}");
            assert_eq!(resumed.result.strategies, whole.result.strategies, "{name}, {trained:?}");
            assert!(weights(&resumed.last) == weights(&whole.last), "{name}, {trained:?}: other weights");
            assert!(weights(&resumed.best) == weights(&whole.best), "{name}, {trained:?}: other best weights");
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn strategies_stack_and_how_a_step_is_cut_into_micro_batches_changes_no_choice() {
    let (_folder, corpus) = corpus();
    let strategies = Strategies {
        replay: Some(replay(corpus, 0.3)),
        slm: Some(Slm { keep: 0.6, reference: None }),
        kd: Some(Kd { near: Near::Replay, ..kd(0.5) }),
        ema: Some(Ema { ema: 0.5 }),
        ..Strategies::default()
    };
    let cut = |micro_batch| try_run(&AdaptSettings { micro_batch, ..settings(strategies.clone()) }).unwrap();
    let (one, four) = (cut(1), cut(4));
    assert_eq!(one.result.strategies["slm"], four.result.strategies["slm"]);
    for ((_, a), (_, b)) in one.result.curves.train_loss.iter().zip(&four.result.curves.train_loss) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn replay_has_the_share_it_was_asked_for_and_the_run_as_many_tokens() {
    let (_folder, corpus) = corpus();
    let plain = run(Strategies::default());
    for share in [0.0, 0.05, 0.25, 0.5, 1.0] {
        let mixed = run(Strategies { replay: Some(replay(corpus.clone(), share)), ..Strategies::default() });
        if share == 0.0 {
            assert!(mixed.result.strategies.is_empty());
            assert_eq!(mixed.result.curves, plain.result.curves);
            continue;
        }
        // 48 windows are read, and each is of one corpus as a whole.
        let expected = (48.0 * share).floor() / 48.0;
        assert!((report(&mixed, "/replay/share") - expected).abs() < 0.01, "{share}: {expected}");
        let ratio = mixed.result.tokens as f64 / plain.result.tokens as f64;
        assert!((ratio - 1.0).abs() < 0.03, "{ratio}");
    }
}

#[test]
fn replayed_windows_come_each_once_before_one_comes_again() {
    let (_folder, corpus) = corpus();
    let settings = settings(Strategies { replay: Some(replay(corpus.clone(), 0.5)), ..Strategies::default() });
    let base = base();
    let strategy = settings.strategies.replay.as_ref().unwrap().start();
    let mut strategy = strategy;
    let mut windows = TrainingWindows::new(text(), 16, Packing::Stream, Order::Shuffle, 3).unwrap();
    let further = windows.add(id_stream(&[100]), 16, Packing::Stream, "more").unwrap();
    let start = Start { base: &base, model: &base.model, windows: &windows, batch: settings.batch, steps: 12, seed: 3 };
    let found = Found { windows: vec![further.clone()], ..Found::default() };
    strategy.begin(&start, found).unwrap();
    let mut drawn = Vec::new();
    for step in 1..=7 {
        let mut chosen = vec![0; 4];
        strategy.windows(Moment { seed: 3, step }, &mut chosen);
        drawn.extend(chosen.into_iter().filter(|window| further.contains(window)));
    }
    assert_eq!(drawn.len(), 14);
    let mut first: Vec<usize> = drawn[..further.len()].to_vec();
    first.sort_unstable();
    assert_eq!(first, further.collect::<Vec<_>>(), "{drawn:?}");
}

#[test]
fn what_the_base_writes_is_the_same_again_and_follows_its_predictions() {
    let own = |seed| {
        let replay = Replay { seed, samples: 40, ..replay("self".into(), 1.0) };
        run(Strategies { replay: Some(replay), ..Strategies::default() })
    };
    let (first, again, other) = (own(0), own(0), own(1));
    assert_eq!(first.result.curves, again.result.curves);
    assert_ne!(first.result.curves, other.result.curves);
    // The base's mean loss on its own text is its entropy: below ln 512 = 6.24, which random ids have at least.
    let (_folder, corpus) = corpus();
    let random = run(Strategies { replay: Some(replay(corpus, 1.0)), ..Strategies::default() });
    let first_loss = |adapted: &Adaptation| adapted.result.curves.train_loss[0].1;
    assert!(first_loss(&first) < first_loss(&random), "{} {}", first_loss(&first), first_loss(&random));
    assert_eq!(report(&first, "/replay/share"), 1.0);
}

#[test]
fn a_strong_divergence_keeps_the_base_and_a_weaker_one_lets_go() {
    let plain = run(Strategies::default());
    let kept = |weight| run(Strategies { kd: Some(kd(weight)), ..Strategies::default() });
    let (none, some, strong) = (kept(1e-9), kept(2.0), kept(1e6));
    // What is added is the weight times the divergence.
    let divergence = |adapted: &Adaptation, weight: f64| report(adapted, "/kd/mean_penalty") / weight;
    let (free, held, tied) = (divergence(&none, 1e-9), divergence(&some, 2.0), divergence(&strong, 1e6));
    assert!(tied >= 0.0 && tied < 0.8 * held && held < 0.5 * free, "{free} {held} {tied}");
    let moved = |adapted: &Adaptation| (last_loss(adapted) - base_loss(adapted)).abs();
    assert!((moved(&none) - moved(&plain)).abs() < 1e-3 * moved(&plain));
    assert!(moved(&strong) < 0.2 * moved(&plain), "{} {}", moved(&strong), moved(&plain));
}

#[test]
fn hidden_states_are_kept_near_by_their_distance() {
    let plain = run(Strategies::default());
    let hidden = run(Strategies { kd: Some(Kd { hidden: 1e4, ..kd(0.0) }), ..Strategies::default() });
    let moved = |adapted: &Adaptation| (last_loss(adapted) - base_loss(adapted)).abs();
    assert!(moved(&hidden) < 0.5 * moved(&plain), "{} {}", moved(&hidden), moved(&plain));
}

#[test]
fn divergence_over_what_is_replayed_needs_something_replayed() {
    let near = Strategies { kd: Some(Kd { near: Near::Replay, ..kd(1.0) }), ..Strategies::default() };
    let refused = try_run(&settings(near)).err().unwrap().to_string();
    assert!(refused.contains("kd.near") && refused.contains("nothing is replayed"), "{refused}");
}

#[test]
fn weights_are_drawn_back_to_where_they_began() {
    let base = base();
    let far = distance(&run(Strategies::default()).last, &base.model);
    let near =
        distance(&run(Strategies { l2_sp: Some(L2Sp { l2_sp: 1e4 }), ..Strategies::default() }).last, &base.model);
    assert!(near < 0.7 * far, "{near} {far}");
}

#[test]
fn recadam_contracts_the_distance_by_what_its_formula_says() {
    let base = base();
    let settings = settings(Strategies::default());
    let windows = TrainingWindows::new(text(), 16, Packing::Stream, Order::Shuffle, 3).unwrap();
    let start = Start { base: &base, model: &base.model, windows: &windows, batch: settings.batch, steps: 12, seed: 3 };
    let (gamma, k, middle) = (80.0, 0.3, 0.5);
    let mut strategy = RecAdam { gamma, k, middle }.start();
    strategy.begin(&start, Found::default()).unwrap();
    let mut model = base.model.clone().map_parameters(|_, _, weight| weight + 0.25);
    let mut expected = 0.25;
    for step in 1..=12 {
        let (now, lr) = (Moment { seed: 3, step }, 2e-3);
        let lambda = 1.0 / (1.0 + (-k * (step as f64 - middle * 12.0)).exp());
        assert!((strategy.rate(now) - lambda).abs() < 1e-15);
        expected *= 1.0 - lr * (1.0 - lambda) * gamma;
        model = strategy.update(Update { now, lr }, model).unwrap();
    }
    let apart =
        distance(&model, &base.model) / distance(&base.model.clone().map_parameters(|_, _, w| w + 1.0), &base.model);
    assert!((apart - expected).abs() < 1e-5 * expected, "{apart} {expected}");
}

#[test]
fn a_rate_times_gamma_of_one_or_more_is_refused() {
    let recadam = RecAdam { gamma: 400.0, k: 0.2, middle: 0.25 };
    let refused = try_run(&settings(Strategies { recadam: Some(recadam), ..Strategies::default() })).err().unwrap();
    assert!(refused.to_string().contains("has to be below 1"), "{refused}");
}

#[test]
fn what_is_frozen_keeps_its_bits_and_everything_else_moves() {
    let before = weights(&base().model);
    let freeze = |freeze| weights(&run(Strategies { freeze: Some(freeze), ..Strategies::default() }).last);
    let is_vector: BTreeMap<String, bool> =
        base().model.parameters().into_iter().map(|weight| (weight.name, weight.shape.len() == 1)).collect();
    let of_layers = |layers: &[&str], name: &str| layers.iter().any(|layer| name.contains(layer));
    type Is<'a> = Box<dyn Fn(&str) -> bool + 'a>;
    let cases: [(Freeze, Is<'_>); 3] = [
        (
            Freeze { embeddings: true, ..Freeze::default() },
            Box::new(|name| name.contains("wte") || name.contains("wpe")),
        ),
        (Freeze { layers: 2, ..Freeze::default() }, Box::new(|name| of_layers(&[".h.0.", ".h.1."], name))),
        (Freeze { matrices: true, ..Freeze::default() }, Box::new(|name| !is_vector[name])),
    ];
    for (settings, is_frozen) in cases {
        let after = freeze(settings);
        for (name, values) in &before {
            assert_eq!(after[name] == *values, is_frozen(name), "{settings:?}: {name}");
        }
    }
    let everything = Freeze { embeddings: true, layers: 3, matrices: true };
    let left = weights(&run(Strategies { freeze: Some(everything), ..Strategies::default() }).last);
    assert!(
        left.iter().all(|(name, values)| (before[name] == *values) != name.contains("ln_f")),
        "only the last norm is left"
    );
}

#[test]
fn adapters_in_frozen_layers_stay_and_freezing_all_of_them_is_refused() {
    let of = |layers| {
        let strategies = Strategies { freeze: Some(Freeze { layers, ..Freeze::default() }), ..Strategies::default() };
        try_run(&AdaptSettings { strategy: Trainable::Lora, ..settings(strategies) })
    };
    let two = of(2).unwrap();
    for weight in two.last.trained().into_iter().filter(|weight| weight.name.contains("lora_B")) {
        let moved = to_host(weight.values).unwrap().iter().any(|&value| value != 0.0);
        assert_eq!(moved, weight.name.contains(".h.2."), "{}", weight.name);
    }
    let refused = of(3).err().unwrap().to_string();
    assert!(refused.contains("no weight to train"), "{refused}");
}

#[test]
fn masking_by_the_bases_loss_keeps_the_share_that_is_below_and_refuses_to_keep_nothing() {
    let base = base();
    let windows = TrainingWindows::new(text(), 16, Packing::Stream, Order::Shuffle, 3).unwrap();
    let losses = WindowLosses::measure(&base.model, &base.device, &windows, &mut Silent).unwrap();
    let mut sorted = losses.all().to_vec();
    sorted.sort_by(f32::total_cmp);
    let most = f64::from(sorted[sorted.len() / 2]);
    let once = AdaptSettings { steps: None, epochs: 1, ..settings(Strategies::default()) };
    let strategies = Strategies { stm: Some(Stm { most, rising: false }), ..Strategies::default() };
    let masked = try_run(&AdaptSettings { strategies, ..once.clone() }).unwrap();
    let share = losses.all().iter().filter(|&&nll| f64::from(nll) <= most).count() as f64 / sorted.len() as f64;
    assert!((report(&masked, "/stm/kept_share") - share).abs() < 1e-9);
    let strategies = Strategies { stm: Some(Stm { most: 1e-6, rising: false }), ..Strategies::default() };
    let refused = try_run(&AdaptSettings { strategies, ..once }).err().unwrap().to_string();
    assert!(refused.contains("leaves no target"), "{refused}");
}

#[test]
fn the_losses_of_windows_are_those_of_scoring_them_one_by_one_and_are_kept() {
    let base = base();
    let windows = TrainingWindows::new(id_stream(&[100, 30]), 16, Packing::Document, Order::File, 3).unwrap();
    let together = WindowLosses::measure(&base.model, &base.device, &windows, &mut Silent).unwrap();
    for window in 0..windows.len() {
        let tokens = windows.tokens(window);
        let alone = odyssey::recipe::losses(&base.model, &[tokens[..tokens.len() - 1].to_vec()], &tokens[1..]).unwrap();
        for (a, b) in together.of(window).iter().zip(&alone) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let key = serde_json::json!({ "of": "a test" });
    let kept = |losses: Result<WindowLosses>| WindowLosses::kept(Some(folder.path()), &key, || losses);
    let fault = || Err(Error::Numeric("it is measured again".into()));
    assert_eq!(kept(Ok(together.clone())).unwrap(), together);
    assert_eq!(kept(fault()).unwrap(), together);
    // A file that was changed is not used.
    let file = std::fs::read_dir(folder.path().join("losses")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(kept(fault()).is_err());
}

#[test]
fn selecting_keeps_exactly_the_share_of_each_step() {
    let selected = run(Strategies { slm: Some(Slm { keep: 0.5, reference: None }), ..Strategies::default() });
    assert!((report(&selected, "/slm/kept_share") - 0.5).abs() < 0.01);
}

#[test]
fn the_same_losses_serve_two_strategies_and_a_second_run() {
    let folder = tempfile::tempdir().unwrap();
    let flow = Flow { tau: 2.0, unit: FlowUnit::Token };
    let both = Strategies { stm: Some(Stm { most: 6.2, rising: false }), flow: Some(flow), ..Strategies::default() };
    let first = run_kept(&settings(both.clone()), Some(folder.path())).unwrap();
    let files = || std::fs::read_dir(folder.path().join("losses")).unwrap().count();
    assert_eq!(files(), 1);
    let second = run_kept(&settings(both), Some(folder.path())).unwrap();
    assert_eq!((first.result.curves, files()), (second.result.curves, 1));
}

#[test]
fn percentiles_are_those_of_numpy() {
    let losses: Vec<f32> = (1..=100).map(|loss| loss as f32).collect();
    // numpy.percentile(range(1, 101), 50) and 80.
    assert_eq!(percentile(&losses, 0.5), 50.5);
    assert!((percentile(&losses, 0.8) - 80.2).abs() < 1e-5);
    assert_eq!(losses.iter().filter(|&&loss| loss < percentile(&losses, 0.5)).count(), 50);
    assert_eq!(losses.iter().filter(|&&loss| loss > percentile(&losses, 0.8)).count(), 20);
    assert_eq!([percentile(&losses, 0.0), percentile(&losses, 1.0)], [1.0, 100.0]);
    assert_eq!(percentile(&[7.0], 0.3), 7.0);
}

#[test]
fn truncation_leaves_out_the_noise_once_it_has_seen_enough_and_nothing_before() {
    // Every tenth token of a text that repeats itself is noise.
    let mut stream = id_stream(&[4000]);
    let mut state = 9_u64;
    let ids: Vec<u32> = (0..4000)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if at % 10 == 7 { (state >> 40) as u32 % 512 } else { at % 10 * 3 }
        })
        .collect();
    stream.ids = ids.into();
    let tlt = |from| {
        let tlt = Tlt { share: 0.1, mode: Truncated::High, from, renormalise: true };
        let strategies = Strategies { tlt: Some(tlt), ..Strategies::default() };
        let settings = AdaptSettings { steps: Some(150), batch: 8, lr: 3e-3, ..settings(strategies) };
        let base = base();
        let training = Training {
            base: &base,
            settings: &settings,
            seed: 3,
            resumable: None,
            texts: &TextOptions::PLAIN,
            keep: None,
        };
        training.run(stream.clone(), &id_stream(&[90]), &mut Silent).unwrap()
    };
    let late = tlt(1.0);
    assert_eq!(report(&late, "/tlt/kept_share"), 1.0);
    let early = tlt(0.0);
    let share = report(&early, "/tlt/kept_share");
    assert!((0.87..0.97).contains(&share), "{share}");
    // The threshold lies between what is learned and what cannot be.
    let threshold = report(&early, "/tlt/threshold");
    assert!((0.5..6.0).contains(&threshold), "{threshold}");
}

#[test]
fn learn_focus_review_reads_as_many_windows_as_its_plan_says() {
    let lfr = Lfr { plan: "1:0,1:50,1:0,1:70".parse().unwrap(), reps: 1 };
    let strategies = Strategies { lfr: Some(lfr), ..Strategies::default() };
    let run = try_run(&AdaptSettings { steps: None, batch: 1, micro_batch: 1, ..settings(strategies) }).unwrap();
    let n = TrainingWindows::new(text(), 16, Packing::Stream, Order::Shuffle, 3).unwrap().len();
    let expected = [n, n.div_ceil(2), n, (n * 3).div_ceil(10)];
    assert_eq!(run.result.strategies["lfr"]["windows_of_epochs"], serde_json::json!(expected));
    assert_eq!(run.result.steps as usize, expected.iter().sum::<usize>());
}

#[test]
fn the_hardest_windows_are_what_it_focuses_on() {
    let base = base();
    let settings = settings(Strategies::default());
    let windows = TrainingWindows::new(text(), 16, Packing::Stream, Order::File, 3).unwrap();
    let start = Start { base: &base, model: &base.model, windows: &windows, batch: settings.batch, steps: 12, seed: 3 };
    let mut strategy = Lfr { plan: "1:0,1:80".parse().unwrap(), reps: 1 }.start();
    strategy.begin(&start, Found::default()).unwrap();
    let noise = |window: usize| window % 5 == 2;
    let numbers: Vec<usize> = (0..windows.len()).collect();
    let losses: Vec<f64> =
        numbers.iter().map(|&window| if noise(window) { 6.2 } else { 3.0 + window as f64 * 0.01 }).collect();
    let done = odyssey::recipe::AfterStep {
        now: Moment { seed: 3, step: 1 },
        loss: 0.0,
        penalty: 0.0,
        windows: &numbers,
        window_losses: &losses,
        model: &base.model,
    };
    strategy.after_step(&done).unwrap();
    let mut order = numbers.clone();
    strategy.epoch(1, &mut order);
    let missed = numbers.iter().filter(|&&window| noise(window) && !order.contains(&window)).count();
    assert_eq!((order.len(), missed), ((windows.len() * 20).div_ceil(100), 0));
}

#[test]
fn windows_are_classed_by_how_their_losses_went() {
    for (losses, class) in [
        (&[3.0, 2.0, 1.0][..], Some(WindowClass::Learned)),
        (&[1.0, 2.0, 3.0], Some(WindowClass::Unlearned)),
        (&[3.0, 1.0, 2.0], Some(WindowClass::Forgotten)),
        (&[3.0, 1.0, 2.0, 0.5, 1.5], Some(WindowClass::Forgotten)),
        (&[1.0, 2.0, 0.5], Some(WindowClass::Relearned)),
        (&[1.0], None),
        (&[1.0, 1.0], None),
    ] {
        assert_eq!(class_of(losses), class, "{losses:?}");
    }
}

#[test]
fn a_moving_average_is_the_one_of_its_formula_and_the_latest_states_their_mean() {
    let base = base();
    let mut strategy = Ema { ema: 0.75 }.start();
    let mut lawa = Lawa { states: 2, every: Some(2) }.start();
    let windows = TrainingWindows::new(text(), 16, Packing::Stream, Order::File, 3).unwrap();
    let settings = settings(Strategies::default());
    let start = Start { base: &base, model: &base.model, windows: &windows, batch: settings.batch, steps: 12, seed: 3 };
    lawa.begin(&start, Found::default()).unwrap();
    let at = |value: f64| base.model.clone().map_parameters(|_, _, weight| weight.zeros_like() + value);
    let mut expected = None;
    for (step, value) in (1..).zip([1.0, 5.0, -2.0, 4.0, 9.0, 0.5]) {
        let model = at(value);
        let done = odyssey::recipe::AfterStep {
            now: Moment { seed: 3, step },
            loss: 0.0,
            penalty: 0.0,
            windows: &[],
            window_losses: &[],
            model: &model,
        };
        strategy.after_step(&done).unwrap();
        lawa.after_step(&done).unwrap();
        expected = Some(expected.map_or(value, |average: f64| 0.75 * average + 0.25 * value));
    }
    let first = |model: LanguageModel| -> f32 {
        let weight = model.parameters().remove(0);
        to_host(weight.values.narrow(0, 0, 1)).unwrap()[0]
    };
    let average = first(strategy.finish(&base, at(7.0)).unwrap());
    assert!((f64::from(average) - expected.unwrap()).abs() < 1e-6, "{average}");
    // Steps 4 and 6.
    assert_eq!(first(lawa.finish(&base, at(7.0)).unwrap()), 2.25);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let lfr: AdaptSettings = toml::from_str("lfr = { plan = '1:0,2:30' }").unwrap();
    assert_eq!(lfr.strategies.lfr.unwrap().plan.to_string(), "1:0,2:30");
    for (text, says) in [
        ("replay = { corpus = 'x', share = 1.5 }", "`replay.share`: is 1.5"),
        ("replay = { corpus = 'x', share = -0.1 }", "`replay.share`: is -0.1"),
        ("kd = { weight = -1 }", "`kd.weight`: is -1"),
        ("kd = { temperature = 0 }", "`kd.temperature`: is 0"),
        ("l2_sp = -1.0", "`l2_sp`: is -1"),
        ("recadam = { gamma = -2 }", "`recadam.gamma`: is -2"),
        ("stm = { most = 0 }", "`stm.most`: is 0"),
        ("flow = { tau = -1 }", "`flow.tau`: is -1"),
        ("slm = { keep = 0 }", "`slm.keep`: is 0"),
        ("tlt = { share = 1 }", "`tlt.share`: is 1"),
        ("ema = 1.0", "`ema`: is 1"),
        ("lawa = { states = 0 }", "`lawa.states`: is 0"),
        ("lfr = { plan = '1:50' }", "`lfr.plan`: begins with a phase that drops windows"),
    ] {
        let settings: AdaptSettings = toml::from_str(text).unwrap();
        let refused = settings.check(usize::MAX).unwrap_err().to_string();
        assert!(refused.contains(says), "{text}: {refused}");
    }
    let wrong = toml::from_str::<AdaptSettings>("lfr = { plan = '1-50' }").unwrap_err();
    assert!(wrong.message().contains("is no plan"), "{wrong}");
    assert!("1:100".parse::<Phases>().is_err());
}

#[test]
fn what_has_to_be_given_for_added_strategies_gives_them_back() {
    for (name, strategies) in all(Path::new("some/corpus")) {
        let settings = settings(strategies);
        let given = settings.given();
        assert_eq!(AdaptSettings::from_given(&given).unwrap(), settings, "{name}: {given:?}");
        let again: AdaptSettings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings, "{name}");
    }
}

#[test]
fn the_command_line_has_every_strategy_and_says_what_it_did() {
    let place = Place::with_model();
    place.write("old.jsonl", id_documents(8, 12));
    let line = "adapt --model model --train train.jsonl --valid valid.jsonl --context 16 --batch 4 --steps 6";
    let did = place.result(&format!(
        "{line} --out a --replay old.jsonl --replay-share 0.5 --kd 0.5 --kd-near replay --slm 0.5 --l2-sp 0.01 --ema 0.5"
    ));
    assert_eq!(did["strategies"]["replay"]["share"].as_f64().unwrap(), 0.5);
    assert!(did["strategies"]["slm"]["kept_share"].as_f64().is_some(), "{did}");
    let said = place.odyssey(&format!("{line} --out b --stm 6.24 --freeze-layers 1"));
    assert!(said.out.contains("stm: kept share "), "{}", said.out);
    place.refused(&format!("{line} --out c --replay nowhere"), &["nowhere"]);
    place.refused(&format!("{line} --out c --replay old.jsonl --replay-share 2"), &["--replay-share: is 2"]);
    // The same run again is the same; with another text to replay it is another.
    let again = format!(
        "{line} --out a --replay old.jsonl --replay-share 0.5 --kd 0.5 --kd-near replay --slm 0.5 --l2-sp 0.01 --ema 0.5"
    );
    assert_eq!(place.odyssey(&again).status, Some(0));
    place.write("old.jsonl", id_documents(9, 12));
    place.refused(&again, &["needs.windows"]);
}
