//! Attention against a direct sum in f64, also where scores are too many to be held at once; its gradients against those
//! of the framework's operations.

use crate::graphics_card;

use burn::tensor::{Device, Tensor, TensorData};
use odyssey::device::DeviceChoice;
use odyssey::kernels::attention::{Attention, plain, side_by_side};
use odyssey::model::Precision;
use odyssey::model::layers::{CausalAttention, causal_attention, split_heads};
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
        &CausalAttention::new(time, window, &device),
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

/// Queries, keys, values and a gradient of the result, cut out of one projection as models do it.
struct Problem {
    shape: [usize; 5],
    attention: Attention,
}

impl Problem {
    /// The result, and ∂L/∂q, ∂L/∂k and ∂L/∂v.
    fn solve(
        &self,
        device: &Device,
        attention: fn(Tensor<4>, Tensor<4>, Tensor<4>, &CausalAttention, Precision) -> Tensor<3>,
    ) -> [Vec<f32>; 4] {
        let [batch, heads, kv_heads, time, channels] = self.shape;
        let device = device.clone().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut random = |heads: usize| {
            let width = heads * channels;
            let values = (0..batch * time * width).map(|_| rng.random_range(-2.0..2.0)).collect::<Vec<f32>>();
            Tensor::<3>::from_data(TensorData::new(values, [batch, time, width]), &device)
        };
        let q = random(heads).require_grad();
        let pair = random(2 * kv_heads); // keys and values side by side, as views of one tensor
        let part = |i: usize| pair.clone().narrow(2, i * kv_heads * channels, kv_heads * channels).require_grad();
        let (k, v) = (part(0), part(1));
        let gradient = random(heads);
        let mask = CausalAttention::with(self.attention, time, &device);
        let split = |x: &Tensor<3>, heads| split_heads(x.clone(), heads);
        let y = attention(split(&q, heads), split(&k, kv_heads), split(&v, kv_heads), &mask, Precision::F32);
        let gradients = (y.clone() * gradient).sum().backward();
        let host = |x: Tensor<3>| to_host(x.flatten(0, 2)).unwrap();
        [
            host(y.inner()),
            host(q.grad(&gradients).unwrap()),
            host(k.grad(&gradients).unwrap()),
            host(v.grad(&gradients).unwrap()),
        ]
    }
}

/// Batch, heads, heads of keys, time, channels of a head; window.
fn problems() -> Vec<Problem> {
    let shapes = [
        ([1, 1, 1, 1, 1], None),
        ([2, 2, 2, 5, 3], None),
        ([2, 4, 2, 33, 4], None),
        ([1, 3, 1, 67, 12], Some(11)),
        ([1, 2, 2, 31, 16], Some(1)),
        ([3, 2, 1, 64, 32], None),
        ([1, 4, 4, 129, 64], Some(40)),
        ([1, 2, 1, 130, 80], None),
        ([2, 2, 2, 200, 48], Some(150)),
        ([1, 2, 2, 37, 128], None),
    ];
    let plain =
        shapes.map(|(shape, window)| Problem { shape, attention: Attention { window, ..Attention::default() } });
    let with = |shape, scale, soft_cap, window| Problem { shape, attention: Attention { scale, soft_cap, window } };
    let settings = [
        with([2, 4, 2, 33, 4], Some(0.7), None, None),
        with([1, 2, 1, 130, 32], None, Some(1.5), None),
        with([2, 2, 2, 67, 12], Some(0.9), Some(2.0), Some(11)),
        with([1, 4, 1, 200, 16], Some(0.2), Some(30.0), Some(150)),
    ];
    plain.into_iter().chain(settings).collect()
}

#[track_caller]
fn assert_as_composed(device: &Device, problems: impl IntoIterator<Item = Problem>) {
    for problem in problems {
        let expected = problem.solve(&Device::flex(), plain);
        let found = problem.solve(device, causal_attention);
        for ((name, found), expected) in ["result", "of q", "of k", "of v"].into_iter().zip(found).zip(expected) {
            let size = expected.iter().fold(1.0f32, |size, x| size.max(x.abs()));
            let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / size;
            let Problem { shape, attention } = problem;
            assert!(found.len() == expected.len() && worst < 5e-6, "{shape:?}, {attention:?}, {name}: {worst:.1e}");
        }
    }
}

/// The sum of result times gradient, directly in f64, from inputs `[T, heads · D]`.
fn direct([heads, kv_heads, time, channels]: [usize; 4], attention: Attention, inputs: [&[f64]; 4]) -> f64 {
    let [q, k, v, gradient] = inputs;
    let Attention { scale, soft_cap, window } = attention;
    let scale = scale.unwrap_or((channels as f64).powf(-0.5));
    let mut sum = 0.0;
    for (t, head) in (0..time).flat_map(|t| (0..heads).map(move |head| (t, head))) {
        let kv = head * kv_heads / heads;
        let row =
            |x: &[f64], heads: usize, t: usize, head: usize| x[(t * heads + head) * channels..][..channels].to_vec();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let query = row(q, heads, t, head);
        // Query t sees key s where t − window < s ≤ t.
        let seen: Vec<usize> = (0..=t).filter(|s| window.is_none_or(|window| t < s + window)).collect();
        let weight = |s: &usize| {
            let score = scale * dot(&query, &row(k, kv_heads, *s, kv));
            soft_cap.map_or(score, |cap| cap * (score / cap).tanh()).exp()
        };
        let weights: Vec<f64> = seen.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        let wanted = row(gradient, heads, t, head);
        sum += seen.iter().zip(&weights).map(|(&s, w)| w / total * dot(&row(v, kv_heads, s, kv), &wanted)).sum::<f64>();
    }
    sum
}

#[test]
fn scale_cap_and_window_have_the_gradients_of_the_direct_sum() {
    let shape @ [heads, kv_heads, time, channels] = [4, 2, 9, 4];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut random =
        |heads: usize| (0..time * heads * channels).map(|_| rng.random_range(-2.0f32..2.0)).collect::<Vec<f32>>();
    let values = [random(heads), random(kv_heads), random(kv_heads), random(heads)];
    let exact = values.clone().map(|x| x.into_iter().map(f64::from).collect::<Vec<f64>>());
    for (scale, soft_cap, window) in
        [(None, None, Some(3)), (Some(0.9), None, None), (None, Some(1.5), None), (Some(0.9), Some(1.5), Some(3))]
    {
        let attention = Attention { scale, soft_cap, window };
        for form in [causal_attention, plain] {
            let device = Device::flex().autodiff();
            let tensor = |x: &[f32], heads: usize| {
                Tensor::<3>::from_data(TensorData::new(x.to_vec(), [1, time, heads * channels]), &device)
            };
            let inputs = [0, 1, 2].map(|i| tensor(&values[i], if i == 0 { heads } else { kv_heads }).require_grad());
            let [q, k, v] = [0, 1, 2].map(|i| split_heads(inputs[i].clone(), if i == 0 { heads } else { kv_heads }));
            let y = form(q, k, v, &CausalAttention::with(attention, time, &device), Precision::F32);
            let gradients = (y * tensor(&values[3], heads)).sum().backward();
            for (which, input) in inputs.iter().enumerate() {
                let found = to_host(input.grad(&gradients).unwrap().flatten(0, 2)).unwrap();
                for (i, found) in found.into_iter().enumerate() {
                    let moved = |by: f64| {
                        let mut inputs = exact.clone();
                        inputs[which][i] += by;
                        direct(shape, attention, inputs.each_ref().map(Vec::as_slice))
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (f64::from(found) - slope).abs() < 2e-5,
                        "{attention:?}, input {which}, {i}: {found}, {slope}"
                    );
                }
            }
        }
    }
}

#[test]
fn result_and_gradients_are_those_of_the_composed_form() {
    assert_as_composed(&Device::flex(), problems());
}

#[test]
fn result_and_gradients_on_a_software_card_are_those_of_the_composed_form() {
    let software = DeviceChoice::Software.open().expect("needs a software Vulkan card (mesa-vulkan-drivers)");
    // Kernels of lanes for more channels take seconds to compile, and are the same text with more lines.
    let most = if std::env::var_os(graphics_card::VARIABLE).is_some() { 128 } else { 48 };
    let problems = problems().into_iter().filter(|problem| problem.shape[4] <= most);
    assert_as_composed(&software.device, problems);
}

#[test]
fn threads_change_no_bit() {
    let attention = Attention { window: Some(90), soft_cap: Some(2.0), scale: None };
    let problem = Problem { shape: [2, 4, 2, 130, 32], attention };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| problem.solve(&Device::flex(), causal_attention))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_score_that_is_no_number_is_not_hidden() {
    let device = Device::flex();
    let time = 40;
    let of = |broken: f32| {
        let mut keys = vec![0.5; time * 16];
        keys[20 * 16] = broken;
        let x = Tensor::<4>::from_data(TensorData::new(keys, [1, 1, time, 16]), &device);
        let ones = Tensor::ones([1, 1, time, 16], &device);
        let y = causal_attention(ones.clone(), x, ones, &CausalAttention::new(time, None, &device), Precision::F32);
        to_host(y.flatten(0, 2)).unwrap()
    };
    for broken in [f32::NAN, f32::INFINITY] {
        let y = of(broken);
        assert!(y[..20 * 16].iter().all(|x| *x == 1.0) && y[20 * 16..].iter().all(|x| x.is_nan()), "{broken}: {y:?}");
    }
}

/// The result and ∂L/∂qkv for queries, keys and values side by side.
fn of_one_projection(device: &Device, fused: bool) -> [Vec<f32>; 2] {
    let [batch, heads, time, channels] = [2, 3, 41, 16];
    let device = device.clone().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut random = |width: usize| {
        let values = (0..batch * time * width).map(|_| rng.random_range(-2.0..2.0)).collect::<Vec<f32>>();
        Tensor::<3>::from_data(TensorData::new(values, [batch, time, width]), &device)
    };
    let qkv = random(3 * heads * channels).require_grad();
    let gradient = random(heads * channels);
    let mask = CausalAttention::new(time, None, &device);
    let part = |i| split_heads(qkv.clone().narrow(2, i * heads * channels, heads * channels), heads);
    let y = match fused {
        true => side_by_side(qkv.clone(), heads, &mask, Precision::F32),
        false => plain(part(0), part(1), part(2), &mask, Precision::F32),
    };
    let gradients = (y.clone() * gradient).sum().backward();
    [y.inner(), qkv.grad(&gradients).unwrap()].map(|x| to_host(x.flatten(0, 2)).unwrap())
}

#[test]
fn one_projection_of_queries_keys_and_values_is_read_where_they_lie_on_a_software_card_too() {
    let software = DeviceChoice::Software.open().expect("needs a software Vulkan card (mesa-vulkan-drivers)");
    let expected = of_one_projection(&Device::flex(), false);
    for device in [Device::flex(), software.device] {
        for (found, expected) in of_one_projection(&device, true).iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            let worst = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 2e-5, "{device:?}: {worst:.1e}");
        }
    }
}
