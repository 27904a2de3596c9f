//! How fast a device is: medians of runs, after warm-up runs.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::exact::number;
use super::ops::tensor;
use super::steps::{batch, tiny_model};
use super::{Timing, caught};
use crate::adapt::objective::Objective;
use crate::adapt::optimizer::{AdamW, AdamWConfig, clip, gradient_norm};
use crate::error::Result;
use crate::kernels::matmul::{Held, product};
use crate::model::ModelConfig;
use crate::model::parameters::to_host;

const WARM_UPS: usize = 2;
const RUNS: usize = 5;
/// The shortest run that can be timed well, seconds.
const LONG_ENOUGH: f64 = 0.03;

/// A measurement: the size, the units of work, and the seconds.
type Measured = (String, f64, f64);
type Measure = fn(&Device) -> Result<Measured>;

pub(super) fn measure(device: &Device) -> Vec<Timing> {
    let measures: [(&str, &str, Measure); 3] = [
        ("matrix product", "GFLOP/s", matrix_product),
        ("reading and writing", "GB/s", reading_and_writing),
        ("training step", "tokens/s", training),
    ];
    let timed = |(name, unit, measure): (&str, &str, Measure)| {
        let mut measured = None;
        let done = caught(|| {
            measured = Some(measure(device)?);
            Ok(())
        });
        let (size, work, seconds) = measured.unwrap_or_default();
        let known = |value: f64| done.is_ok().then_some(value);
        Timing {
            name: name.into(),
            size,
            value: known(work / seconds),
            unit: unit.into(),
            seconds: known(seconds),
            reason: done.err(),
        }
    };
    measures.into_iter().map(timed).collect()
}

/// The median time of a run, seconds.
fn median(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for i in 0..WARM_UPS + RUNS {
        let started = Instant::now();
        run()?;
        if i >= WARM_UPS {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2].max(1e-9))
}

/// The median at the first of `sizes` that takes long enough, or at the last.
fn growing(sizes: &[usize], run: impl Fn(usize) -> Result<Box<dyn FnMut() -> Result<()>>>) -> Result<(usize, f64)> {
    let mut done = (0, 1.0);
    for &size in sizes {
        done = (size, median(run(size)?)?);
        if done.1 >= LONG_ENOUGH {
            break;
        }
    }
    Ok(done)
}

/// Waits for a result: one of its numbers comes to the host.
fn wait_for(x: Tensor<2>) -> Result<()> {
    to_host(x.narrow(0, 0, 1).narrow(1, 0, 1).flatten(0, 1)).map(|_| ())
}

fn square(size: usize, device: &Device) -> Tensor<2> {
    tensor(&(0..size * size).map(|i| number(50, i)).collect::<Vec<f32>>(), [size, size], device)
}

fn matrix_product(device: &Device) -> Result<Measured> {
    let (size, seconds) = growing(&[128, 256, 512, 1024, 2048, 4096], |size| {
        let x = square(size, device);
        Ok(Box::new(move || wait_for(product(x.clone(), Held::Plain, x.clone(), Held::Plain))))
    })?;
    Ok((format!("{size}×{size}×{size}"), 2.0 * (size as f64).powi(3) / 1e9, seconds))
}

fn reading_and_writing(device: &Device) -> Result<Measured> {
    // Up to 64 MiB, half of the smallest binding.
    let (size, seconds) = growing(&[1024, 2048, 4096], |size| {
        let x = square(size, device);
        Ok(Box::new(move || wait_for(x.clone() + 1.0)))
    })?;
    let bytes = size * size * size_of::<f32>();
    Ok((format!("{} MiB", bytes >> 20), 2.0 * bytes as f64 / 1e9, seconds))
}

fn training(device: &Device) -> Result<Measured> {
    let (windows, time, vocabulary) = (4, 64, 1024);
    let json = json!({
        "model_type": "gpt2", "vocab_size": vocabulary, "n_positions": time, "n_embd": 128, "n_layer": 2, "n_head": 4,
    });
    let config = ModelConfig::from_json("a tiny model", json.as_object().cloned().unwrap_or_default())?;
    let batch = batch(windows, time, vocabulary);
    let mut model = Some(tiny_model(config, device)?.model.train());
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let seconds = median(|| {
        if let Some(before) = model.take() {
            let gradients = Objective::default().backward(&before, &batch, batch.weight())?.gradients;
            let factor = clip(gradient_norm(&gradients)?, 1.0);
            let after = optimizer.step(1e-4, factor, before, gradients);
            // The step itself is waited for, not only its gradient.
            let weight = after.parameters().pop().map(|weight| weight.values.unsqueeze::<2>());
            weight.map_or(Ok(()), wait_for)?;
            model = Some(after);
        }
        Ok(())
    })?;
    let size = format!("2 layers of 128 channels, {vocabulary} tokens, {windows} windows of {time}");
    Ok((size, (windows * time) as f64, seconds))
}
