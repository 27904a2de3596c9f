//! 16-bit floats: whether values held in f16 are read back unchanged, and whether arithmetic in f16 is right.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use half::f16;

use super::ops::{exactly, numbers, product, rows, tensor};
use super::{Aspect, Cases, Expected, Plan};
use crate::error::Result;

/// The gap between 1 and the next f16.
const EPSILON: f64 = 1.0 / 1024.0;

pub(super) fn plans() -> Vec<Plan> {
    vec![
        Plan::new(
            "f16 held",
            Aspect::F16Held,
            "of the value; reading it is exact, and writing it may take either neighbour, ε = 2⁻¹⁰",
            held,
        ),
        Plan::new(
            "f16 arithmetic",
            Aspect::F16Computed,
            "of the value; ε = 2⁻¹⁰; of a sum of k terms 2·ε·(√k + 1) of the root of their summed squares",
            computed,
        ),
    ]
}

/// Whether `device` has f16; if not, a note says so.
fn has_f16(device: &Device, cases: &mut Cases) -> bool {
    let has = device.supports_dtype(DType::F16);
    if !has {
        cases.skip("this device has no f16; weights are held in f32");
    }
    has
}

fn f16_tensor<const D: usize>(values: &[f16], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F16))
}

fn held(device: &Device, cases: &mut Cases) -> Result<()> {
    if !has_f16(device, cases) {
        return Ok(());
    }
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|x| x.is_finite()).collect();
    let (normal, tiny): (Vec<f16>, Vec<f16>) = all.into_iter().partition(|x| x.is_normal());
    let wide = |values: &[f16]| -> Vec<f64> { values.iter().map(|x| x.to_f64()).collect() };
    let read = |values: &[f16]| f16_tensor(values, [values.len()], device).cast(FloatDType::F32);
    cases.judge_tensor(format!("all {} normal numbers", normal.len()), read(&normal), Expected::same(wide(&normal)))?;
    // Kernels may treat numbers below 2⁻¹⁴ as 0: this is far below any weight that matters.
    let smallest = vec![f64::from(f16::MIN_POSITIVE); tiny.len()];
    cases.judge_tensor("numbers below 2⁻¹⁴", read(&tiny), Expected::within(1.0, wide(&tiny), smallest))?;

    for (name, range) in [("small", -0.1..0.1), ("large", -65_000.0..65_000.0)] {
        let x = numbers(31, 1031, range);
        let there_and_back = tensor(&x, [1031], device).cast(FloatDType::F16).cast(FloatDType::F32);
        let exact = exactly(&x);
        let scale = exact.iter().map(|x| x.abs().max(f64::from(f16::MIN_POSITIVE))).collect();
        cases.judge_tensor(
            format!("{name} numbers written"),
            there_and_back,
            Expected::within(EPSILON, exact, scale),
        )?;
    }

    let (table, width) = (307, 13);
    let values: Vec<f16> = numbers(32, table * width, -0.1..0.1).into_iter().map(f16::from_f32).collect();
    let which: Vec<i32> = (0..37).map(|i| i * 41 % table as i32).collect();
    let exact = which.iter().flat_map(|&id| wide(&values[id as usize * width..][..width])).collect();
    let ids = Tensor::from_data(TensorData::new(which, [1, 37]), device);
    let looked_up = burn::tensor::module::embedding(f16_tensor(&values, [table, width], device), ids);
    cases.judge_tensor("rows of a table", looked_up.cast(FloatDType::F32), Expected::same(exact))
}

fn computed(device: &Device, cases: &mut Cases) -> Result<()> {
    if !has_f16(device, cases) {
        return Ok(());
    }
    let half = |seed, count| -> Vec<f16> { numbers(seed, count, -2.0..2.0).into_iter().map(f16::from_f32).collect() };
    let (a, b) = (half(33, 1031), half(34, 1031));
    let each = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(a, b)| f(a.to_f64(), b.to_f64())).collect();
    let on_device = || (f16_tensor(&a, [1031], device), f16_tensor(&b, [1031], device));
    let (x, y) = on_device();
    cases.judge_tensor("1031 sums", (x + y).cast(FloatDType::F32), Expected::relative(EPSILON, each(|a, b| a + b)))?;
    let (x, y) = on_device();
    cases.judge_tensor(
        "1031 products",
        (x * y).cast(FloatDType::F32),
        Expected::relative(EPSILON, each(|a, b| a * b)),
    )?;

    for [m, k, n] in [[1, 1, 1], [7, 64, 13], [37, 257, 29]] {
        let (a, b) = (half(35, m * k), half(36, n * k));
        let exact = |x: &[f16]| rows(&x.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), k);
        let expected = product(&exact(&a), &exact(&b), 2.0 * EPSILON * ((k as f64).sqrt() + 1.0));
        let found = f16_tensor(&a, [m, k], device).matmul(f16_tensor(&b, [n, k], device).transpose());
        cases.judge_tensor(format!("{m}×{k}×{n}"), found.cast(FloatDType::F32), expected)?;
    }
    Ok(())
}
