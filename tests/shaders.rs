//! The kernels of `shaders/`: each is valid WGSL, and computes on a software adapter what the framework's operations do.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use minijinja::{Value, context};
use odyssey::device::DeviceChoice;
use odyssey::kernels::matmul::{Held, linear, plain, product};
use odyssey::kernels::wgsl;
use odyssey::model::parameters::to_host;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn software() -> Device {
    DeviceChoice::Software.open().expect("these tests need a software Vulkan adapter (mesa-vulkan-drivers)").device
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

/// Every way that a template is filled in.
fn fillings() -> Vec<(&'static str, Value)> {
    let mut all = vec![("subgroup", context! {})];
    for lanes in [4, 8, 16] {
        for vectors in [1, 3, 16, 32] {
            let names = ["attention", "attention_of_keys", "attention_of_queries"];
            all.extend(names.map(|name| (name, context! { lanes, vectors, scale => "0.125" })));
        }
        for bits in 0..32 {
            let on = |bit: u32| bits >> bit & 1 == 1;
            let values = context! {
                lanes, rows => 16, vectors => 2,
                a_transposed => on(0), b_transposed => on(1), a_aligned => on(2), b_aligned => on(3), c_aligned => on(4),
            };
            if !(on(0) && on(1)) {
                all.push(("matmul", values));
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
fn a_product_on_a_software_adapter_is_the_cpu_backends_for_every_size_and_way_to_hold_it() {
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
fn the_gradient_of_a_linear_layer_on_a_software_adapter_is_the_cpu_backends() {
    for held in [Held::Plain, Held::Transposed] {
        let of = |device: Device| {
            let device = device.autodiff();
            let shape = if held == Held::Plain { [20, 12] } else { [12, 20] };
            let x = random([7, 20], 1, &device).require_grad();
            let weight = random(shape, 2, &device).require_grad();
            let y = linear(x.clone().exp(), weight.clone(), held);
            let gradients = (y.clone() * y).sum().backward();
            [x.grad(&gradients), weight.grad(&gradients)].map(|gradient| on_host(gradient.unwrap()))
        };
        let (found, expected) = (of(software()), of(Device::flex()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(difference(found, expected) < 2e-6);
        }
    }
}

#[test]
#[ignore = "prints rates, proves nothing"]
fn rates() {
    let device = software();
    for [m, n, k] in [[512, 256, 256], [512, 1024, 256], [512, 4096, 256], [256, 1024, 512]] {
        for (a_held, b_held) in
            [(Held::Plain, Held::Plain), (Held::Plain, Held::Transposed), (Held::Transposed, Held::Plain)]
        {
            let a_shape = if a_held == Held::Plain { [m, k] } else { [k, m] };
            let b_shape = if b_held == Held::Plain { [k, n] } else { [n, k] };
            let mut line = format!("{m}×{k}·{k}×{n} {a_held:?} {b_held:?}:");
            for (name, device, product) in [
                ("ours", &device, product as fn(_, _, _, _) -> Tensor<2>),
                ("burn", &device, plain),
                ("cpu", &Device::flex(), plain),
            ] {
                let (a, b) = (random(a_shape, 1, device), random(b_shape, 2, device));
                let mut best = f64::INFINITY;
                for _ in 0..5 {
                    let began = Instant::now();
                    let c = product(a.clone(), a_held, b.clone(), b_held);
                    on_host(c.narrow(0, 0, 1).narrow(1, 0, 1));
                    best = best.min(began.elapsed().as_secs_f64());
                }
                line += &format!(" {name} {:.1} ms, {:.1} GF/s;", best * 1e3, (2 * m * n * k) as f64 / best / 1e9);
            }
            println!("{line}");
        }
    }
}
