//! A step that cannot be trusted is not taken: the run stops at the last good state and says where.

use crate::cli::Place;
use odyssey::adapt::step::Limit;

const ADAPT: &str = "adapt --model model --train train.jsonl --valid valid.jsonl --out adapted --batch 2 --micro-batch 1 \
                     --validations 2 --order file --quiet";

/// Runs a command line that must fail by itself, and gives what it says.
fn failed(place: &Place, line: &str) -> String {
    let said = place.odyssey(line);
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    said.err
}

#[test]
fn numbers_beyond_f32_stop_the_run_before_they_reach_the_weights() {
    let place = Place::with_model();
    let words = failed(&place, &format!("{ADAPT} --steps 20 --lr 1e30 --clip 0 --decay constant --warmup-ratio 0"));
    for part in ["step 2: ", "left the range of f32", "lower learning rate", "documents ", "adapted.checkpoint"] {
        assert!(words.contains(part), "no {part:?}: {words}");
    }
    // What is saved is the state after the one good step, not numbers that are none.
    let bytes = place.read("adapted.checkpoint");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in tensors.iter().filter(|(name, _)| name.starts_with("model.")) {
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
    }
    assert!(!place.path("adapted").exists());
}

#[test]
fn a_loss_far_above_the_latest_ones_stops_the_run_which_goes_on_when_told_to() {
    let place = Place::with_model();
    let line = format!("{ADAPT} --steps 24 --lr 1e-3");
    // Of 40 documents of 50 tokens and their separators, windows of 64 and two windows a step make an epoch of 16 steps.
    // Step 17, the first that is judged, reads the first documents again; a factor this low finds any loss far off.
    let words = failed(&place, &format!("{line} --outlier 0.5"));
    for part in [
        "step 17: loss ",
        "0.5 times the median of the last 16 steps",
        "documents ",
        " of the training text",
        "--outlier 0",
        "saved in",
    ] {
        assert!(words.contains(part), "no {part:?}: {words}");
    }
    let gone_on = place.odyssey(&format!("{line} --outlier 0 --resume"));
    assert_eq!(gone_on.status, Some(0), "{}", gone_on.err);

    let undisturbed = Place::with_model();
    assert_eq!(undisturbed.odyssey(&line).status, Some(0));
    let weights = "adapted/model.safetensors";
    assert!(place.read(weights) == undisturbed.read(weights), "it went on to other bits");
}

#[test]
fn a_text_learned_by_heart_is_no_reason_to_stop_and_a_loss_that_leaves_the_run_behind_is() {
    let limit = |loss: &dyn Fn(u64) -> f64| {
        let losses: Vec<(u64, f64)> = (1..=200).map(|step| (step, loss(step))).collect();
        Limit::after(&losses, 3.0).unwrap()
    };
    // A window that is harder than the others, among losses that fell from 4 nats to nearly none.
    let learned = limit(&|step| 0.06 + 4.0 * (-(step as f64) / 10.0).exp());
    // A base that knew the text before, and one of whose batches one in eight is hard.
    let known = limit(&|_| 0.06);
    let noisy = limit(&|step| if step % 8 == 0 { 1.5 } else { 0.06 });
    let ordinary = limit(&|step| 3.0 + 0.05 * (step % 7) as f64);
    for (limit, usual, far) in
        [(learned, [0.2, 1.5], 9.0), (known, [0.2, 1.0], 1.5), (noisy, [1.6, 4.0], 9.0), (ordinary, [3.5, 8.9], 10.0)]
    {
        assert!(usual.iter().all(|&loss| !limit.is_exceeded(loss)), "{limit:?}");
        assert!(limit.is_exceeded(far), "{limit:?}");
    }
    // Few losses say nothing, and a factor of 0 asks for nothing.
    assert_eq!(Limit::after(&[(1, 3.0); 15], 3.0), None);
    assert_eq!(Limit::after(&[(1, 3.0); 100], 0.0), None);
}

#[test]
fn keeping_only_what_layers_read_trains_to_the_same_weights() {
    let [whole, by_layers] = ["", " --gradient-checkpointing"].map(|option| {
        let place = Place::with_model();
        let said = place.odyssey(&format!("{ADAPT} --steps 8 --lr 1e-3{option}"));
        assert_eq!(said.status, Some(0), "{}", said.err);
        let bytes = place.read("adapted/model.safetensors");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut weights: Vec<(String, Vec<f32>)> = Vec::new();
        for (name, view) in tensors.tensors() {
            weights.push((name, bytemuck::pod_collect_to_vec(view.data())));
        }
        weights.sort_by(|a, b| a.0.cmp(&b.0));
        weights
    });
    // The loss does not depend on the keys' bias: its gradient is rounding, of which Adam makes whole steps.
    for ((name, a), (_, b)) in whole.iter().zip(&by_layers).filter(|((name, _), _)| !name.ends_with("c_attn.bias")) {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Adam's first steps turn rounding into steps: eight steps of 1e-3 at most, and hardly ever.
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}
