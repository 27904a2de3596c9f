//! Norms, nonlinearities and rotations that are one pass each: against f64, and with their gradients against the framework's
//! operations, on the CPU and on a software card.

use std::sync::Mutex;

use burn::tensor::{Device, Tensor, TensorData};
use odyssey::device::DeviceChoice;
use odyssey::kernels::{activation, norm, rotary};
use odyssey::model::parameters::to_host;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::function::erf::erf;

fn numbers(count: usize, size: f64, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| (size * (f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0)) as f32).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn on_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let count = tensor.shape().num_elements();
    to_host(tensor.reshape([count])).unwrap()
}

fn software() -> Device {
    DeviceChoice::Software.open().expect("these tests need a software Vulkan card (mesa-vulkan-drivers)").device
}

/// A function of tensors in both forms.
struct Case {
    name: &'static str,
    ours: fn(&[Tensor<3>]) -> Tensor<3>,
    plain: fn(&[Tensor<3>]) -> Tensor<3>,
    /// The shapes of its inputs when the first is `[B, T, C]`.
    shapes: fn([usize; 3]) -> Vec<[usize; 3]>,
}

const EPSILON: f64 = 1e-5;

fn vector(tensor: &Tensor<3>) -> Tensor<1> {
    tensor.clone().flatten(0, 2)
}

fn affine(inputs: &[Tensor<3>]) -> Option<[Tensor<1>; 2]> {
    Some([vector(&inputs[1]), vector(&inputs[2])])
}

/// A device's tables `[time, half]`.
type Tables = (Device, [usize; 2], [Tensor<2>; 2]);

/// Cosines and sines of some angles, `[time, half]`; those of a device are made once.
fn tables(time: usize, half: usize, device: &Device) -> [Tensor<2>; 2] {
    static MADE: Mutex<Vec<Tables>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    if let Some((_, _, tables)) = made.iter().find(|(at, shape, _)| at == device && *shape == [time, half]) {
        return tables.clone();
    }
    let angle = |i: usize| (i / half) as f64 * 0.7f64.powi((i % half) as i32);
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..time * half).map(|i| f(angle(i)) as f32).collect();
        tensor(&values, [time, half], device)
    };
    let tables = [table(f64::cos), table(f64::sin)];
    made.push((device.clone(), [time, half], tables.clone()));
    tables
}

/// Heads of two channels and more as a model splits them off, and the tables of angles; 1/`share` of the channels are turned.
fn heads(x: &Tensor<3>, share: usize) -> (Tensor<4>, Tensor<2>, Tensor<2>) {
    let [batch, time, channels] = x.dims();
    let heads = if channels.is_multiple_of(3) { 3 } else { 1 };
    let half = (channels / heads / 2 / share).max(1);
    let [cos, sin] = tables(time + 2, half, &x.device().inner());
    (x.clone().reshape([batch, time, heads, channels / heads]).swap_dims(1, 2), cos, sin)
}

fn joined(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, time, channels] = x.dims();
    x.reshape([batch * heads, time, channels])
}

const CASES: [Case; 8] = [
    Case {
        name: "layer norm",
        ours: |inputs| norm::layer_norm(inputs[0].clone(), affine(inputs), EPSILON),
        plain: |inputs| norm::plain_layer_norm(inputs[0].clone(), affine(inputs), EPSILON),
        shapes: |shape| vec![shape, [1, 1, shape[2]], [1, 1, shape[2]]],
    },
    Case {
        name: "layer norm without weights",
        ours: |inputs| norm::layer_norm(inputs[0].clone(), None, EPSILON),
        plain: |inputs| norm::plain_layer_norm(inputs[0].clone(), None, EPSILON),
        shapes: |shape| vec![shape],
    },
    Case {
        name: "RMS norm",
        ours: |inputs| norm::rms_norm(inputs[0].clone(), vector(&inputs[1]), EPSILON),
        plain: |inputs| norm::plain_rms_norm(inputs[0].clone(), vector(&inputs[1]), EPSILON),
        shapes: |shape| vec![shape, [1, 1, shape[2]]],
    },
    Case {
        name: "GELU by erf",
        ours: |inputs| activation::gelu_by_erf(inputs[0].clone()),
        plain: |inputs| activation::plain_gelu_by_erf(inputs[0].clone()),
        shapes: |shape| vec![shape],
    },
    Case {
        name: "GELU by tanh",
        ours: |inputs| activation::gelu_by_tanh(inputs[0].clone()),
        plain: |inputs| activation::plain_gelu_by_tanh(inputs[0].clone()),
        shapes: |shape| vec![shape],
    },
    Case {
        name: "SwiGLU",
        ours: |inputs| activation::swiglu(inputs[0].clone(), inputs[1].clone()),
        plain: |inputs| activation::plain_swiglu(inputs[0].clone(), inputs[1].clone()),
        shapes: |shape| vec![shape, shape],
    },
    Case {
        name: "rotation",
        ours: |inputs| {
            let (x, cos, sin) = heads(&inputs[0], 1);
            joined(rotary::rotate(x, cos, sin))
        },
        plain: |inputs| {
            let (x, cos, sin) = heads(&inputs[0], 1);
            joined(rotary::plain(x, cos, sin))
        },
        shapes: |shape| vec![shape],
    },
    Case {
        name: "rotation of a third",
        ours: |inputs| {
            let (x, cos, sin) = heads(&inputs[0], 3);
            joined(rotary::rotate(x, cos, sin))
        },
        plain: |inputs| {
            let (x, cos, sin) = heads(&inputs[0], 3);
            joined(rotary::plain(x, cos, sin))
        },
        shapes: |shape| vec![shape],
    },
];

/// The value, and the gradients of the inputs that are `wanted`, of a sum with some weights.
fn run(
    function: fn(&[Tensor<3>]) -> Tensor<3>,
    shapes: &[[usize; 3]],
    wanted: usize,
    device: &Device,
) -> (Vec<f32>, Vec<Option<Vec<f32>>>) {
    let device = device.clone().autodiff();
    let input = |(i, shape): (usize, &[usize; 3])| {
        let x = tensor(&numbers(shape.iter().product(), 3.0, i as u64), *shape, &device);
        if wanted >> i & 1 == 1 { x.require_grad() } else { x }
    };
    let inputs: Vec<Tensor<3>> = shapes.iter().enumerate().map(input).collect();
    let y = function(&inputs);
    let weights = tensor(&numbers(y.shape().num_elements(), 1.0, 77), y.dims(), &device);
    let gradients = (y.clone() * weights).sum().backward();
    (on_host(y), inputs.iter().map(|x| x.grad(&gradients).map(on_host)).collect())
}

/// Largest difference, relative to the largest number; gradients of few channels are 0 but for what is lost.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.1f32, |size, x| size.max(x.abs()));
    // A comparison that NaN does not pass.
    found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| if (a - b).abs() <= worst { worst } else { (a - b).abs() })
        / size
}

const SHAPES: [[usize; 3]; 10] = [
    [1, 1, 2],
    [2, 1, 6],
    [1, 3, 7],
    [1, 8, 64],
    [2, 5, 36],
    [3, 33, 48],
    [1, 700, 30],
    [2, 65, 272],
    [1, 37, 1031],
    [1, 2, 20_000],
];

fn is_the_plain_one_on(device: &Device) {
    for Case { name, ours, plain, shapes } in CASES {
        for shape in SHAPES {
            let shapes = shapes(shape);
            let (expected, expected_gradients) = run(plain, &shapes, usize::MAX, &Device::flex());
            let all = (1 << shapes.len()) - 1;
            // Each choice of inputs by which gradients are wanted, for one shape.
            for wanted in if shape == [2, 5, 36] { 1..=all } else { all..=all } {
                let (value, gradients) = run(ours, &shapes, wanted, device);
                let off = difference(&value, &expected);
                assert!(off < 2e-6, "{name} of {shape:?}: {off:e}");
                for (i, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
                    assert_eq!(found.is_some(), wanted >> i & 1 == 1, "{name}: input {i}");
                    if let (Some(found), Some(expected)) = (found, expected) {
                        let off = difference(found, expected);
                        assert!(off < 5e-6, "{name} of {shape:?}: {off:e} in the gradient by input {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn values_and_gradients_on_the_cpu_are_those_of_the_plain_operations() {
    is_the_plain_one_on(&Device::flex());
}

#[test]
fn values_and_gradients_on_a_software_card_are_those_of_the_plain_operations() {
    is_the_plain_one_on(&software());
}

/// A nonlinearity in f64, and its slope by a difference of f64s.
fn against_f64(ours: fn(Tensor<3>) -> Tensor<3>, exact: fn(f64) -> f64) {
    let mut x: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 / 1000.0).collect();
    x.extend([1e-30, -1e-30, 1e4, -1e4, 30.0, -30.0, 1e30, -1e30, 0.0, -0.0]);
    let input = tensor(&x, [1, 1, x.len()], &Device::flex().autodiff()).require_grad();
    let y = ours(input.clone());
    let gradients = y.clone().sum().backward();
    let slopes = on_host(input.grad(&gradients).unwrap());
    for ((&x, y), slope) in x.iter().zip(on_host(y)).zip(slopes) {
        let (x, y, slope) = (f64::from(x), f64::from(y), f64::from(slope));
        assert!((y - exact(x)).abs() <= 1.5e-7 * x.abs(), "{y} instead of {} at {x}", exact(x));
        let step = 1e-6 * x.abs().max(1.0);
        let expected = (exact(x + step) - exact(x - step)) / (2.0 * step);
        assert!((slope - expected).abs() <= 1e-6, "slope {slope} instead of {expected} at {x}");
    }
}

#[test]
fn both_forms_of_gelu_and_silu_are_exact_in_f32_and_so_are_their_slopes() {
    against_f64(activation::gelu_by_erf, |x| x * 0.5 * (1.0 + erf(x / 2f64.sqrt())));
    against_f64(activation::gelu_by_tanh, |x| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        x / (1.0 + (-2.0 * u).exp())
    });
    against_f64(|x| activation::swiglu(x.clone(), Tensor::ones(x.dims(), &x.device())), |x| x / (1.0 + (-x).exp()));
}

#[test]
fn norms_are_those_of_f64_even_of_rows_far_from_zero() {
    for (offset, allowed) in [(0.0, 1e-6), (1000.0, 1e-3)] {
        for [rows, channels] in [[1, 1], [5, 7], [9, 64], [3, 1031]] {
            let x: Vec<f32> = numbers(rows * channels, 1.0, 5).into_iter().map(|x| x + offset).collect();
            let (weight, bias) = (numbers(channels, 1.0, 6), numbers(channels, 1.0, 7));
            let device = Device::flex();
            let input = tensor(&x, [1, rows, channels], &device);
            let affine = [&weight, &bias].map(|part| tensor(part, [channels], &device));
            let layer = on_host(norm::layer_norm(input.clone(), Some(affine), EPSILON));
            let rms = on_host(norm::rms_norm(input, tensor(&weight, [channels], &device), EPSILON));
            for (i, row) in x.chunks(channels).enumerate() {
                let of = |f: &dyn Fn(f64) -> f64| row.iter().map(|&x| f(f64::from(x))).sum::<f64>() / channels as f64;
                let mean = of(&|x| x);
                let deviation = (of(&|x| (x - mean).powi(2)) + EPSILON).sqrt();
                let root = (of(&|x| x * x) + EPSILON).sqrt();
                for (j, &x) in row.iter().enumerate() {
                    let (x, w, b) = (f64::from(x), f64::from(weight[j]), f64::from(bias[j]));
                    let near = |found: f32, exact: f64| {
                        assert!((f64::from(found) - exact).abs() <= allowed * exact.abs().max(1.0), "{found}, {exact}");
                    };
                    near(layer[i * channels + j], (x - mean) / deviation * w + b);
                    near(rms[i * channels + j], x / root * w);
                }
            }
        }
    }
}

#[test]
fn a_number_that_is_none_is_not_hidden() {
    for Case { name, ours, shapes, .. } in CASES {
        let device = Device::flex();
        let inputs: Vec<Tensor<3>> = shapes([1, 2, 12])
            .iter()
            .map(|&shape| {
                let mut values = numbers(shape.iter().product(), 1.0, 3);
                values[1] = f32::NAN;
                tensor(&values, shape, &device)
            })
            .collect();
        assert!(on_host(ours(&inputs)).iter().any(|y| y.is_nan()), "{name}");
    }
}

#[test]
fn gradients_have_the_same_bits_however_many_threads_there_are() {
    let of = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| CASES.map(|case| run(case.ours, &(case.shapes)([2, 900, 60]), usize::MAX, &Device::flex())))
    };
    assert!(of(1) == of(3));
}
