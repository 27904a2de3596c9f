//! The kernels of `shaders/`: each is valid WGSL, and computes on a software card what the framework's operations do.

use burn::tensor::{Device, Tensor, TensorData};
use minijinja::{Value, context};
use odyssey::device::DeviceChoice;
use odyssey::kernels::adamw::{Constants, State};
use odyssey::kernels::cross_entropy::{ChunkGradient, chunk_gradient, nll};
use odyssey::kernels::gram::{self, OfDistance, Values};
use odyssey::kernels::matmul::{Held, linear, plain, plain_linear, product};
use odyssey::kernels::squares::sum_of_squares;
use odyssey::kernels::wgsl;
use odyssey::model::parameters::to_host;
use odyssey::model::{Head, Table};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn software() -> Device {
    DeviceChoice::Software.open().expect("these tests need a software Vulkan card (mesa-vulkan-drivers)").device
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| (f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0) as f32).collect()
}

fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product(), seed), shape), device)
}

fn on_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let count = tensor.shape().num_elements();
    to_host(tensor.reshape([count])).unwrap()
}

/// The largest difference, relative to the largest number.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1e-6f32, |size, x| size.max(x.abs()));
    found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / size
}

/// No cap of attention's scores, and one.
const CAPS: [Option<&str>; 2] = [None, Some("50.0")];

/// Every way that a template is filled in.
fn fillings() -> Vec<(&'static str, Value)> {
    let mut all = vec![("subgroup", context! {})];
    for (lanes, each, flags) in [(4, 1, 0), (8, 16, 1), (128, 1, 2), (128, 1, 3)] {
        let (aligned, gradient) = (flags & 1 == 1, flags & 2 == 2);
        all.push(("adamw", context! { lanes, each, aligned }));
        for steepness in ["", " * (0.5 - 0.25 * logit * logit)"] {
            all.push(("cross_entropy", context! { lanes, aligned, gradient, steepness }));
        }
        all.push(("squares", context! { lanes, each, aligned, shuffles => gradient }));
        all.extend([0, 1, 4].map(|terms| ("gram", context! { lanes, each, terms, aligned })));
    }
    for lanes in [4, 8, 16] {
        for vectors in [1, 3, 16, 32] {
            let names = ["attention", "attention_of_keys", "attention_of_queries"];
            for cap in CAPS {
                all.extend(names.map(|name| (name, context! { lanes, vectors, scale => "0.125", cap })));
            }
        }
        for bits in 0..128 {
            let on = |bit: u32| bits >> bit & 1 == 1;
            let values = context! {
                lanes, rows => 32, vectors => 2, down => on(6),
                a_transposed => on(0), b_transposed => on(1), a_aligned => on(2), b_aligned => on(3), c_aligned => on(4), biased => on(5),
            };
            if !(on(0) && on(1)) {
                all.push(("matmul", values));
            }
        }
    }
    for vectors in [1, 3, 16, 32] {
        for tile in [16, 32] {
            let passes = ["forward", "queries", "keys"];
            for cap in CAPS {
                let filled = |pass| context! { pass, tile, vectors, scale => "0.125", cap };
                all.extend(passes.map(|pass| ("attention_tiled", filled(pass))));
            }
        }
    }
    for bits in 0..64 {
        let on = |bit: u32| bits >> bit & 1 == 1;
        let (width, lanes, back) = (if on(0) { 4 } else { 1 }, if on(1) { 8 } else { 64 }, on(2));
        for function in ["gelu_by_erf", "gelu_by_tanh", "swiglu"] {
            all.push(("activation", context! { function, back, width, lanes }));
        }
        all.push(("rotary", context! { width, lanes, back, channels => 12, half => if on(3) { 6 } else { 2 } }));
        for pass in ["forward", "input", "weights"] {
            let values = context! {
                pass, width, lanes, shuffles => on(1), centred => on(2), weight => on(3), bias => on(4), epsilon => "1e-5",
                rows_at_once => 32,
            };
            all.push(("norm", values));
        }
    }
    all
}

#[test]
fn every_kernel_is_valid_wgsl_however_it_is_filled_in() {
    for (name, values) in fillings() {
        let text = wgsl::text(name, &values).unwrap();
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|e| panic!("{name} {values}: {}", e.emit_to_string(&text)));
        let capabilities = naga::valid::Capabilities::SUBGROUP;
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
        validator.validate(&module).unwrap_or_else(|e| panic!("{name} {values}: {}", e.emit_to_string(&text)));
    }
}

const SIZES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 5, 7],
    [16, 64, 8],
    [17, 65, 9],
    [33, 130, 31],
    [64, 50, 257],
    [1, 4, 1000],
    [128, 96, 64],
    [5, 1003, 12],
];

#[test]
fn a_product_on_a_software_card_is_the_cpu_backends_for_every_size_and_way_to_hold_it() {
    let device = software();
    for [m, n, k] in SIZES {
        for (a_held, b_held) in
            [(Held::Plain, Held::Plain), (Held::Plain, Held::Transposed), (Held::Transposed, Held::Plain)]
        {
            let a_shape = if a_held == Held::Plain { [m, k] } else { [k, m] };
            let b_shape = if b_held == Held::Plain { [k, n] } else { [n, k] };
            let on = |device: &Device, product: fn(_, _, _, _) -> Tensor<2>| {
                on_host(product(random(a_shape, 1, device), a_held, random(b_shape, 2, device), b_held))
            };
            let worst = difference(&on(&device, product), &on(&Device::flex(), plain));
            assert!(worst < 2e-6, "{m}×{k}·{k}×{n}, {a_held:?} · {b_held:?}: {worst:e}");
        }
    }
}

#[test]
fn a_linear_layer_and_its_gradient_are_the_plain_ones_on_the_cpu_and_on_a_software_card() {
    for [positions, input, output] in [[7, 20, 12], [1, 3, 5], [130, 64, 96], [33, 6, 258]] {
        for (held, biased) in
            [(Held::Plain, true), (Held::Plain, false), (Held::Transposed, true), (Held::Transposed, false)]
        {
            let of = |device: Device, linear: fn(_, _, _, _) -> Tensor<2>| {
                let device = device.autodiff();
                let shape = if held == Held::Plain { [input, output] } else { [output, input] };
                let x = random([positions, input], 1, &device).require_grad();
                let weight = random(shape, 2, &device).require_grad();
                let bias = random([output], 3, &device).require_grad();
                let y = linear(x.clone().exp(), weight.clone(), held, biased.then(|| bias.clone()));
                let gradients = (y.clone() * y.clone()).sum().backward();
                let mut found = vec![on_host(y.inner())];
                found.extend([x.grad(&gradients), weight.grad(&gradients)].map(|gradient| on_host(gradient.unwrap())));
                found.extend(bias.grad(&gradients).map(on_host));
                assert_eq!(found.len(), if biased { 4 } else { 3 });
                found
            };
            let expected = of(Device::flex(), plain_linear);
            for device in [Device::flex(), software()] {
                for (found, expected) in of(device.clone(), linear).iter().zip(&expected) {
                    let worst = difference(found, expected);
                    assert!(worst < 3e-6, "{positions}×{input}·{input}×{output}, {held:?}, on {device:?}: {worst:e}");
                }
            }
        }
    }
}

#[test]
fn loss_and_gradient_of_a_chunk_on_a_software_card_are_the_cpu_backends() {
    for (positions, channels, pieces) in [
        (1, 4, &[3][..]),
        (3, 4, &[17]),
        (5, 8, &[1024]),
        (9, 6, &[200, 201, 112]),
        (2, 4, &[50257]),
        (70, 12, &[64, 64]),
    ] {
        let vocabulary: usize = pieces.iter().sum();
        let targets: Vec<u32> = (0..positions).map(|i| ((i * 7919 + vocabulary - 1) % vocabulary) as u32).collect();
        let weights: Vec<f32> = (0..positions).map(|i| [0.25, 1.5, 0.0][i % 3]).collect();
        let bent: [fn(Head) -> Head; 4] =
            [|head| head, |head| head.scaled(0.3), |head| head.capped(2.0), |head| head.scaled(1.7).capped(5.0)];
        for (form, bend) in bent.into_iter().enumerate() {
            let on = |device: &Device| {
                let hidden = || random([positions, channels], 1, device) * 5.0;
                let piece = |(i, &rows): (usize, &usize)| random([rows, channels], 2 + i as u64, device);
                let head = bend(Table::from(pieces.iter().enumerate().map(piece).collect::<Vec<_>>()).into());
                let ChunkGradient { nll: loss, products } = chunk_gradient(hidden(), &head, &targets, &weights);
                [on_host(loss), on_host(Tensor::cat(products, 1)), on_host(nll(hidden(), &head, &targets))]
            };
            for (found, expected) in on(&software()).iter().zip(&on(&Device::flex())) {
                let worst = difference(found, expected);
                // Near a cap a gradient is the small rest of a difference.
                let allowed = if form < 2 { 3e-6 } else { 3e-5 };
                assert!(worst < allowed, "{positions} positions, {pieces:?}, form {form} of the head: {worst:e}");
            }
        }
    }
}

#[test]
fn a_number_that_is_none_is_not_hidden_on_a_software_card() {
    let device = software();
    for broken in [f32::NAN, f32::INFINITY] {
        let hidden = Tensor::<2>::from_data([[1.0, broken], [1.0, 1.0]], &device);
        let found = on_host(nll(hidden, &Table::from(vec![random([40, 2], 1, &device)]).into(), &[3, 4]));
        assert!(!found[0].is_finite() && found[1].is_finite(), "{broken} gives {found:?}");
    }
}

#[test]
fn a_step_of_adamw_on_a_software_card_is_the_cpu_backends() {
    let constants = Constants {
        factor: 0.5,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        rate: 1e-3 / 0.1,
        correction: 0.001,
        keep: 1.0 - 1e-4,
    };
    for count in [1, 7, 64, 40_000, 40_001] {
        let on = |device: &Device| {
            let [weight, first, second, gradient] = [1, 2, 3, 4].map(|seed| random([count], seed, device));
            let State { weight, first, second } =
                State { weight, first, second: second.clone() * second }.step(gradient, constants);
            [weight, first, second].map(on_host)
        };
        for (found, expected) in on(&software()).iter().zip(&on(&Device::flex())) {
            assert!(difference(found, expected) < 1e-6, "{count} numbers");
        }
    }
}

#[test]
fn a_sum_of_squares_on_a_software_card_is_the_cpu_backends_over_all_tensors() {
    let of = |device: &Device| {
        let counts = [1, 7, 64, 40_000, 0, 1_000_001];
        let all = counts.map(|count| random([count], count as u64, device));
        sum_of_squares(&all).unwrap()
    };
    let (found, expected) = (of(&software()), of(&Device::flex()));
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} instead of {expected}");
    assert_eq!(sum_of_squares(&[]).unwrap(), 0.0);
}

#[test]
fn what_draws_find_in_a_tile_is_the_plain_sums_on_the_cpu_and_on_a_software_card() {
    for [rows, draws] in [[1, 1], [3, 7], [200, 33]] {
        let on = |device: &Device, found: fn(_, _, _) -> Tensor<2>| {
            on_host(found(random([rows, draws], 1, device), random([rows, draws], 2, device), draws / 2))
        };
        let expected = on(&Device::flex(), gram::plain_found);
        for device in [Device::flex(), software()] {
            let worst = difference(&on(&device, gram::found), &expected);
            assert!(worst < 1e-6, "{rows} rows, {draws} draws: {worst:.1e}");
        }
    }
}

#[test]
fn a_tile_of_a_kernel_matrix_is_the_plain_one_on_the_cpu_and_on_a_software_card() {
    let of_distances = [
        OfDistance::Exponential(-0.5),
        OfDistance::Exponentials([-4.0, -1.0, -0.3, -0.05]),
        OfDistance::Distance(-1.5),
    ];
    for [rows, columns] in [[1, 1], [3, 7], [64, 64], [33, 130], [40, 600]] {
        for of_distance in of_distances {
            for diagonal in [false, rows == columns] {
                let on = |device: &Device, tile: fn(_, _, _) -> Tensor<2>| {
                    let [a, b] = [(rows, 1), (columns, if diagonal { 1 } else { 2 })]
                        .map(|(count, seed)| random([count, 5], seed, device));
                    let squares = [&a, &b].map(|x| (x.clone() * x.clone()).sum_dim(1));
                    on_host(tile(a.matmul(b.transpose()), squares, Values { of_distance, middle: 0.25, diagonal }))
                };
                let expected = on(&Device::flex(), gram::plain);
                for device in [Device::flex(), software()] {
                    let worst = difference(&on(&device, gram::tile), &expected);
                    // The distance of almost equal vectors is the root of a difference that rounding leaves.
                    let allowed = if of_distance == OfDistance::Distance(-1.5) { 1e-3 } else { 2e-6 };
                    assert!(worst < allowed, "{rows}×{columns}, {of_distance:?}, {diagonal} on {device:?}: {worst:e}");
                }
            }
        }
    }
}
