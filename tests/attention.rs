//! Attention against a direct sum in f64, also where scores are too many to be held at once.

use burn::tensor::{Device, Tensor, TensorData};
use odyssey::model::Precision;
use odyssey::model::layers::{CausalMask, causal_attention};
use odyssey::model::parameters::to_host;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Largest difference between `causal_attention` and the direct sum, over some rows.
fn worst(
    [heads, kv_heads, time, channels]: [usize; 4],
    window: Option<usize>,
    rows: impl Iterator<Item = usize>,
) -> f64 {
    let device = Device::flex();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut random = |count: usize| (0..count).map(|_| rng.random_range(-2.0..2.0)).collect::<Vec<f32>>();
    let (q, k, v) =
        (random(heads * time * channels), random(kv_heads * time * channels), random(kv_heads * time * channels));
    let tensor = |values: &[f32], heads: usize| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, heads, time, channels]), &device)
    };
    let y = causal_attention(
        tensor(&q, heads),
        tensor(&k, kv_heads),
        tensor(&v, kv_heads),
        &CausalMask::new(time, window, &device),
        Precision::F32,
    );
    let y = to_host(y.flatten(0, 2)).unwrap(); // [T, H·D]

    let at = |x: &[f32], head: usize, t: usize, d: usize| f64::from(x[(head * time + t) * channels + d]);
    let mut worst: f64 = 0.0;
    for t in rows {
        for head in 0..heads {
            let kv = head / (heads / kv_heads);
            let first = window.map_or(0, |window| (t + 1).saturating_sub(window));
            let scores: Vec<f64> = (first..=t)
                .map(|s| {
                    let dot: f64 = (0..channels).map(|d| at(&q, head, t, d) * at(&k, kv, s, d)).sum();
                    (dot / (channels as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = scores.iter().sum();
            for d in 0..channels {
                let expected: f64 = scores.iter().enumerate().map(|(s, w)| w / sum * at(&v, kv, first + s, d)).sum();
                let ours = f64::from(y[t * heads * channels + head * channels + d]);
                worst = worst.max((ours - expected).abs());
            }
        }
    }
    worst
}

#[test]
fn grouped_causal_attention_equals_the_direct_sum() {
    for shape in [[4, 4, 17, 8], [4, 2, 17, 8], [6, 1, 5, 4], [1, 1, 1, 2]] {
        for window in [None, Some(1), Some(3), Some(17), Some(100)] {
            let error = worst(shape, window, 0..shape[2]);
            assert!(error < 1e-5, "{shape:?}, window {window:?}: {error:.1e}");
        }
    }
}

#[test]
fn a_window_whose_scores_exceed_one_binding_is_attended_to_in_stretches() {
    // 4 heads × 4000² scores are 256 MB, twice what is held at once.
    let rows = || (0..4000).step_by(197).chain([2095, 2096, 2097, 2098, 3999]);
    for window in [None, Some(1000)] {
        let error = worst([4, 2, 4000, 4], window, rows());
        assert!(error < 1e-5, "window {window:?}: {error:.1e}");
    }
}

#[test]
fn a_window_too_long_for_a_whole_mask_has_the_rows_it_needs() {
    let rows = || (0..5000).step_by(331).chain([4095, 4096, 4097, 4999]);
    for window in [None, Some(700)] {
        let error = worst([2, 1, 5000, 2], window, rows());
        assert!(error < 1e-5, "window {window:?}: {error:.1e}");
    }
}
