//! A device that has too little memory, is lost, or fails in some other way, at a step that the test chooses: what the run
//! does about it, and that it ends where an undisturbed one ends.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use odyssey::adapt::checkpoint::Checkpoint;
use odyssey::adapt::data::MicroBatch;
use odyssey::adapt::micro_batch::{AtOnce, Smaller};
use odyssey::adapt::optimizer::AdamW;
use odyssey::adapt::stopping::Patience;
use odyssey::adapt::{AdaptSettings, Adaptation, Resumable, Training};
use odyssey::device::faults::{failure, guarded, halving, once_more};
use odyssey::error::{DeviceFault, Error, Result};
use odyssey::model::LoadedModel;
use odyssey::model::parameters::to_host;
use odyssey::progress::{Monitor, Silent};
use odyssey::text::TextOptions;
use tempfile::TempDir;

use crate::common::{StopAfter, id_stream, model_folder};

fn cpu() -> Device {
    Device::flex()
}

fn fault(kind: DeviceFault) -> Error {
    Error::Device { device: "gpu:0 (a card)".into(), kind, fault: "said the device".into() }
}

/// What a micro-batch meets: its number, counted from 1 over the run, and its windows.
type Ordeal<'a> = &'a dyn Fn(usize, usize) -> Result<()>;

/// A device that has faults. Keeps the windows and the step's weight of every micro-batch it is given.
struct Faulty<'a> {
    ordeal: Ordeal<'a>,
    seen: RefCell<Vec<(usize, f64)>>,
}

impl<'a> Faulty<'a> {
    fn new(ordeal: Ordeal<'a>) -> Self {
        Self { ordeal, seen: RefCell::default() }
    }

    /// What happens before a micro-batch.
    fn before(&self, batch: &MicroBatch, step_weight: f64) -> Result<()> {
        let windows = batch.inputs.len();
        self.seen.borrow_mut().push((windows, step_weight));
        let number = self.seen.borrow().len();
        (self.ordeal)(number, windows)
    }

    fn windows(&self) -> Vec<usize> {
        self.seen.borrow().iter().map(|(windows, _)| *windows).collect()
    }
}

/// A device without faults.
fn faultless() -> Faulty<'static> {
    Faulty::new(&|_, _| Ok(()))
}

/// Five steps of eight windows, four at once.
fn settings() -> AdaptSettings {
    AdaptSettings {
        context: Some(16),
        lr: 1e-3,
        batch: 8,
        micro_batch: 4,
        steps: Some(5),
        validations: 5,
        ..AdaptSettings::default()
    }
}

fn run_with(
    settings: &AdaptSettings,
    faults: &Faulty<'_>,
    resumable: Option<Resumable<'_>>,
    monitor: &mut dyn Monitor,
) -> Result<Adaptation> {
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &cpu()).unwrap();
    let training = Training { base: &base, settings, seed: 3, resumable, texts: &TextOptions::PLAIN, keep: None };
    let before = |batch: &MicroBatch, weight: f64| faults.before(batch, weight);
    training.run_with(id_stream(&[300, 400]), &id_stream(&[90]), monitor, &before)
}

fn run(settings: &AdaptSettings, faults: &Faulty<'_>, resumable: Option<Resumable<'_>>) -> Result<Adaptation> {
    run_with(settings, faults, resumable, &mut Silent)
}

fn undisturbed() -> Adaptation {
    run(&settings(), &faultless(), None).unwrap()
}

fn weights(adapted: &Adaptation) -> Vec<Vec<f32>> {
    adapted.last.trained().into_iter().map(|weight| to_host(weight.values).unwrap()).collect()
}

/// The same weights, losses and best weights, to the bit.
fn assert_same(a: &Adaptation, b: &Adaptation) {
    assert_eq!(a.result.curves, b.result.curves);
    assert_eq!(a.result.best, b.result.best);
    assert_eq!(a.result.tokens, b.result.tokens);
    assert!(weights(a) == weights(b), "other weights");
    let best = |adapted: &Adaptation| -> Vec<Vec<f32>> {
        adapted.best.trained().into_iter().map(|weight| to_host(weight.values).unwrap()).collect()
    };
    assert!(best(a) == best(b), "other best weights");
}

/// A place for a checkpoint.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("adapted.checkpoint")
    }
}

fn resumable(path: &Path) -> Resumable<'_> {
    let how_to_resume = "say it again with --resume";
    Resumable { path, resume: true, every: None, longest: Resumable::LONGEST, how_to_resume }
}

#[test]
fn a_step_without_memory_is_done_with_fewer_windows_at_once_and_the_same_batch() {
    let objective = Faulty::new(&|_, windows| if windows > 2 { Err(fault(DeviceFault::OutOfMemory)) } else { Ok(()) });
    let adapted = run(&settings(), &objective, None).unwrap();
    // One try of four windows; from then on two at once, in all five steps of eight windows.
    assert_eq!(objective.windows(), [vec![4], vec![2; 20]].concat());
    let seen = Faulty::new(&|_, _| Ok(()));
    let whole = run(&settings(), &seen, None).unwrap();
    let (by_two, by_four) = (objective.seen.borrow(), seen.seen.borrow());
    for (by_two, by_four) in by_two[1..].chunks(4).zip(by_four.chunks(2)) {
        let mut weights = by_two.iter().chain(by_four).map(|(_, weight)| *weight);
        assert!(weights.all(|weight| weight == by_four[0].1), "another batch: {by_two:?}, {by_four:?}");
    }
    let Smaller { step, micro_batch, reason } = &adapted.result.smaller_micro_batches[0];
    assert_eq!((*step, *micro_batch, adapted.result.smaller_micro_batches.len()), (1, 2, 1));
    assert!(reason.contains("no memory for more") && reason.contains("said the device"), "{reason}");

    let of_two = run(&AdaptSettings { micro_batch: 2, ..settings() }, &faultless(), None).unwrap();
    assert_same(&adapted, &of_two);
    for ((step, a), (_, b)) in adapted.result.curves.train_loss.iter().zip(&whole.result.curves.train_loss) {
        assert!((a - b).abs() < 1e-6 * b, "step {step}: {a} against {b}");
    }
    assert_eq!(adapted.result.determined_by, whole.result.determined_by);
    assert!(whole.result.smaller_micro_batches.is_empty());
}

#[test]
fn memory_that_runs_out_later_makes_micro_batches_smaller_from_there_on_and_after_a_resume() {
    // The fifth micro-batch is the first of step 3, the third of its repetition is as large as fits.
    let ordeal = |number: usize, windows: usize| match number >= 5 && windows > 1 {
        true => Err(fault(DeviceFault::OutOfMemory)),
        false => Ok(()),
    };
    let objective = Faulty::new(&ordeal);
    let adapted = run(&settings(), &objective, None).unwrap();
    assert_eq!(objective.windows(), [vec![4; 4], vec![4, 2], vec![1; 24]].concat());
    let smaller = &adapted.result.smaller_micro_batches;
    assert_eq!(smaller.iter().map(|s| (s.step, s.micro_batch)).collect::<Vec<_>>(), [(3, 1)]);

    let place = Place::new();
    let path = place.path();
    let stopped = run_with(&settings(), &Faulty::new(&ordeal), Some(resumable(&path)), &mut StopAfter(4));
    assert!(matches!(stopped, Err(Error::Interrupted(_))));
    let objective = Faulty::new(&|_, _| Ok(()));
    let resumed = run(&settings(), &objective, Some(resumable(&path))).unwrap();
    assert_eq!(objective.windows(), [1; 8]);
    assert_same(&resumed, &adapted);
    assert_eq!(&resumed.result.smaller_micro_batches, smaller);
}

#[test]
fn a_window_that_finds_no_memory_alone_ends_the_run_at_the_last_good_state_with_what_helps() {
    let place = Place::new();
    let path = place.path();
    // The fifth micro-batch is the first of step 3.
    let failing = Faulty::new(&|number, _| if number >= 5 { Err(fault(DeviceFault::OutOfMemory)) } else { Ok(()) });
    let error = run(&settings(), &failing, Some(resumable(&path))).err().unwrap();
    assert!(error.is_out_of_memory() && error.exit_code() == 1);
    let words = error.to_string();
    for part in [
        "device gpu:0 (a card): out of memory: said the device, for one window at once",
        " are needed",
        "gradient_checkpointing = true",
        "strategy = \"lora\"",
        "`context`",
        "step 3",
        "adapted.checkpoint has the state after step 2; say it again with --resume",
    ] {
        assert!(words.contains(part), "no {part:?}: {words}");
    }
    let resumed = run(&settings(), &faultless(), Some(resumable(&path))).unwrap();
    assert_same(&resumed, &undisturbed());
}

#[test]
fn what_changes_a_run_by_rounding_alone_may_change_when_it_goes_on_and_nothing_else() {
    let place = Place::new();
    let path = place.path();
    let failing = Faulty::new(&|number, _| if number >= 5 { Err(fault(DeviceFault::OutOfMemory)) } else { Ok(()) });
    assert!(run(&settings(), &failing, Some(resumable(&path))).is_err());
    let kept = fs::read(&path).unwrap();
    let other = AdaptSettings { lr: 2e-3, ..settings() };
    let refused = run(&other, &faultless(), Some(resumable(&path))).err().unwrap().to_string();
    assert!(refused.contains("settings.lr was 0.001, is 0.002"), "{refused}");

    let whole = undisturbed().result.curves.train_loss;
    for other in
        [AdaptSettings { micro_batch: 1, ..settings() }, AdaptSettings { gradient_checkpointing: true, ..settings() }]
    {
        fs::write(&path, &kept).unwrap();
        let resumed = run(&other, &faultless(), Some(resumable(&path))).unwrap();
        for ((step, a), (_, b)) in resumed.result.curves.train_loss.iter().zip(&whole) {
            assert!((a - b).abs() < 1e-5 * b, "step {step}: {a} against {b}");
        }
    }
}

#[test]
fn a_lost_device_is_opened_once_more_and_the_run_goes_on_to_the_same_bits() {
    let place = Place::new();
    let path = place.path();
    let lost = |number: usize, _: usize| if number == 7 { Err(fault(DeviceFault::Lost)) } else { Ok(()) };
    let mut renewed = Vec::new();
    let mut times = Vec::new();
    let adapted = once_more(
        |again| {
            times.push(again);
            run(&settings(), &Faulty::new(if again { &|_, _| Ok(()) } else { &lost }), Some(resumable(&path)))
        },
        |device| {
            renewed.push(device.to_owned());
            Ok(())
        },
    );
    assert_same(&adapted.unwrap(), &undisturbed());
    assert_eq!((times, renewed), (vec![false, true], vec!["gpu:0 (a card)".to_owned()]));
}

#[test]
fn a_device_that_is_lost_again_or_for_good_ends_the_run_with_where_it_is_saved_and_how_to_go_on() {
    for refuses in [false, true] {
        let place = Place::new();
        let path = place.path();
        let lost = |number: usize, _: usize| if number == 5 { Err(fault(DeviceFault::Lost)) } else { Ok(()) };
        let mut times = 0;
        let ended = once_more(
            |_| {
                times += 1;
                run(&settings(), &Faulty::new(&lost), Some(resumable(&path)))
            },
            |_| if refuses { Err(fault(DeviceFault::Other)) } else { Ok(()) },
        );
        let words = ended.err().unwrap().to_string();
        // Two steps each time.
        let (expected, done) = if refuses { (1, 2) } else { (2, 4) };
        assert_eq!(times, expected);
        let saved = format!("adapted.checkpoint has the state after step {done}; say it again with --resume");
        for part in ["device gpu:0 (a card): lost: said the device", "step", &saved] {
            assert!(words.contains(part), "no {part:?}: {words}");
        }
        assert_same(&run(&settings(), &faultless(), Some(resumable(&path))).unwrap(), &undisturbed());
    }
}

#[test]
fn errors_of_any_other_kind_are_no_reason_to_try_again() {
    let mut times = 0;
    let ended = once_more(
        |_| {
            times += 1;
            Err::<(), _>(fault(DeviceFault::OutOfMemory))
        },
        |_| panic!("nothing is to be renewed"),
    );
    assert!(ended.is_err() && times == 1);
}

#[test]
fn a_panic_of_the_stack_in_a_step_is_an_error_and_the_run_goes_on_from_the_state_before() {
    let place = Place::new();
    let path = place.path();
    let panicking = Faulty::new(&|number, _| match number {
        8 => panic!("a kernel was refused"),
        _ => Ok(()),
    });
    let error = run(&settings(), &panicking, Some(resumable(&path))).err().unwrap();
    assert!(!error.is_out_of_memory() && !error.is_device_lost());
    let words = error.to_string();
    for part in ["device cpu: a kernel was refused", "in step 4", "has the state after step 3"] {
        assert!(words.contains(part), "no {part:?}: {words}");
    }
    assert_same(&run(&settings(), &faultless(), Some(resumable(&path))).unwrap(), &undisturbed());
}

#[test]
fn a_run_saves_where_it_is_from_time_to_time_unasked() {
    let place = Place::new();
    let path = place.path();
    let there = |longest: Duration| {
        let there = RefCell::new(Vec::new());
        let ordeal = |number: usize, _: usize| {
            if number % 2 == 1 {
                there.borrow_mut().push(path.exists()); // before each step
            }
            Ok(())
        };
        run(&settings(), &Faulty::new(&ordeal), Some(Resumable { longest, ..resumable(&path) })).unwrap();
        fs::remove_file(&path).unwrap();
        there.into_inner()
    };
    assert_eq!(there(Duration::ZERO), [false, true, true, true, true]);
    assert_eq!(there(Resumable::LONGEST), [false; 5]);
}

#[test]
fn a_state_that_was_saved_before_its_validation_is_validated_first() {
    let place = Place::new();
    let path = place.path();
    let failing = Faulty::new(&|number, _| if number >= 5 { Err(fault(DeviceFault::Other)) } else { Ok(()) });
    assert!(run(&settings(), &failing, Some(resumable(&path))).is_err());
    // As a device leaves it that fails in the validation after step 2.
    let whole = undisturbed();
    let base = LoadedModel::open(&model_folder("gpt2_tied"), &cpu()).unwrap();
    let optimizer = AdamW::new(settings().adamw);
    let mut checkpoint = Checkpoint::read(&path, &base.model, optimizer, &cpu(), &whole.result.determined_by).unwrap();
    assert_eq!(checkpoint.position.curves.valid_loss.pop().map(|(step, _)| step), Some(2));
    checkpoint.write(&path).unwrap();
    assert_same(&run(&settings(), &faultless(), Some(resumable(&path))).unwrap(), &whole);
}

#[test]
fn sums_over_tokens_stay_within_what_a_devices_loops_can_do() {
    let at_once = |micro_batch: usize, batch: usize, context: usize, most: Option<usize>| {
        let settings = AdaptSettings { micro_batch, batch, ..AdaptSettings::default() };
        AtOnce::new(&settings, context, most, Vec::new(), 1)
    };
    // llvmpipe's: 65,531 tokens are 63 windows of 1,024, or 1,023 of 64.
    let llvmpipe = Some(65_531);
    for (micro_batch, batch, context, most, expected) in [
        (4, 16, 1024, llvmpipe, 4),
        (63, 64, 1024, llvmpipe, 63),
        (64, 64, 1024, llvmpipe, 63),
        (64, 64, 1024, None, 64),
        (4096, 4096, 64, llvmpipe, 1023),
        (4096, 16, 64, llvmpipe, 16),
        (2, 2, 40_000, llvmpipe, 1),
        (1, 1, 65_531, llvmpipe, 1),
    ] {
        let at_once = at_once(micro_batch, batch, context, most).unwrap();
        assert_eq!(at_once.windows(), expected, "{micro_batch} of {batch} windows of {context}");
        assert!(at_once.windows() * context <= 65_531 || most.is_none());
        assert_eq!(at_once.smaller().len(), usize::from(expected < micro_batch.min(batch)));
    }
    let refused = at_once(1, 1, 65_532, llvmpipe).unwrap_err();
    assert!(refused.exit_code() == 2 && refused.to_string().contains("65531"), "{refused}");
}

#[test]
fn what_is_computed_in_groups_goes_on_in_halves_where_memory_is_short() {
    let groups = || vec![(0..8).collect::<Vec<i32>>(), (8..11).collect()];
    let (tried, done) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let scarce = |most: usize| {
        let (tried, done) = (&tried, &done);
        move |group: &[i32]| {
            tried.borrow_mut().push(group.len());
            if group.len() > most {
                return Err(fault(DeviceFault::OutOfMemory));
            }
            done.borrow_mut().extend_from_slice(group);
            Ok(())
        }
    };
    halving(&cpu(), groups(), scarce(2)).unwrap();
    assert_eq!(done.take(), (0..11).collect::<Vec<i32>>());
    assert_eq!(tried.take(), [8, 4, 2, 2, 2, 2, 2, 1]); // no group is tried larger than what fitted
    assert!(halving(&cpu(), groups(), scarce(0)).is_err_and(|error| error.is_out_of_memory()));
    assert_eq!((tried.take(), done.take()), (vec![8, 4, 2, 1], vec![]));
}

#[test]
fn what_the_stack_says_of_a_fault_is_told_apart() {
    // cubecl 0.11.3 as burn 0.22.1 hands it on: IoError, DevicePoison; wgpu 30.0.1.
    for (words, expected) in [
        ("Read(\"out of device memory allocating 4096 bytes\\n<disabled>\")", DeviceFault::OutOfMemory),
        ("can't allocate buffer of size: 268435456\nBacktrace:\n  0: main", DeviceFault::OutOfMemory),
        (
            "An error happened\nCaused by:\n  Several failures at once\nCaused by:\n  skipped `SharedSumKernel`: it needed \
             memory\nCaused by:\n  An IO error happened\nCaused by:\n  can't allocate buffer of size: 335544320\nNo \
             backtrace available\nAsked at:\nNo backtrace available",
            DeviceFault::OutOfMemory,
        ),
        ("wgpu error: Out of Memory", DeviceFault::OutOfMemory),
        ("The device is poisoned\nCaused by:\n  Unknown: Parent device is lost", DeviceFault::Lost),
        ("The device is poisoned\nCaused by:\n  Unknown: Not enough memory left.", DeviceFault::Lost),
        ("a kernel was refused", DeviceFault::Other),
    ] {
        let Error::Device { device, kind, fault } = failure(&cpu(), words) else { panic!("{words}") };
        assert_eq!((device.as_str(), kind), ("cpu", expected), "{words}");
        for noise in ["\n", "Caused by", "acktrace", "<disabled>", "skipped"] {
            assert!(!fault.to_string().contains(noise), "{fault}");
        }
    }
    let panicked = guarded(&cpu(), || -> Result<()> { panic!("wgpu error: Out of Memory") });
    assert!(panicked.is_err_and(|error| error.is_out_of_memory()));
}

#[test]
fn a_patience_that_can_end_nothing_is_found_out_before() {
    // From step 10 on: validations after 10, 20 and, the last, 30.
    let validations = || [0, 10, 20, 30].into_iter();
    let patience = |patience| Patience { patience, after: 10 };
    assert_eq!(patience(1).cannot_act(validations()), None); // it may end the run after step 20
    let words = patience(2).cannot_act(validations()).unwrap();
    assert!(words.contains("3 validations") && words.contains("from step 10"), "{words}");
    // What the rule itself says of the worst there can be: losses that only rise.
    for (least, steps) in [(1, 30), (2, 30), (3, 30), (3, 60)] {
        let validations: Vec<(u64, f64)> = (0..=steps / 10).map(|i| (10 * i, i as f64)).collect();
        let ends = (1..validations.len()).any(|n| patience(least).enough(&validations[..n]).is_some());
        let cannot = patience(least).cannot_act(validations.iter().map(|(step, _)| *step)).is_some();
        assert_eq!(ends, !cannot, "patience {least} in {steps} steps");
    }
}
