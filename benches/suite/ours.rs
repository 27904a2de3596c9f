//! Our side: the library's own calls.

use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use odyssey::adapt::data::{MicroBatch, Order as WindowOrder, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::step::training_step;
use odyssey::device::DeviceChoice;
use odyssey::evaluate::Window;
use odyssey::evaluate::score::score;
use odyssey::kernels::matmul::{Held, product};
use odyssey::model::parameters::to_host;
use odyssey::model::{LoadedModel, LoraSettings};
use odyssey::process::peak_resident;
use odyssey::progress::Silent;
use odyssey::similarity::Features;
use odyssey::similarity::draws::Draws;
use odyssey::similarity::frechet::{Gaussian, frechet};
use odyssey::similarity::kernel::Kernel;
use odyssey::similarity::tiles::discrepancies;
use odyssey::text::{Corpus, DocumentRule, StreamOptions, Tokenizer};

use super::cases::{Order, Task};
use super::side::{Ended, Ran, Ready};
use crate::Fallible;

/// Work that is ready to be done, and says what came out.
type Prepared = Box<dyn FnMut() -> Fallible<f64>>;

/// Short work is done so often that it takes this long, seconds.
const LONG_ENOUGH: f64 = 0.05;

/// Answers orders on standard input until it is told to end.
pub fn serve() -> Fallible<()> {
    let mut lines = std::io::stdin().lock().lines();
    let order: Order = serde_json::from_str(&lines.next().ok_or("no order")??)?;
    rayon::ThreadPoolBuilder::new().num_threads(order.threads).build_global()?;
    let started = Instant::now();
    let (name, mut work) = prepare(&order)?;
    let prepare_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let check = work()?;
    let first_s = started.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&Ready { name, prepare_s, first_s, check, absent: None })?);

    let mut times = 1;
    for line in lines {
        if line? != "run" {
            println!("{}", serde_json::to_string(&Ended { peak_bytes: peak_resident() })?);
            break;
        }
        let started = Instant::now();
        for _ in 0..times {
            work()?;
        }
        let seconds = started.elapsed().as_secs_f64() / f64::from(times);
        println!("{}", serde_json::to_string(&Ran { seconds })?);
        times = (LONG_ENOUGH / seconds).clamp(1.0, 1000.0) as u32;
    }
    Ok(())
}

fn prepare(order: &Order) -> Fallible<(String, Prepared)> {
    let chosen = order.device.parse::<DeviceChoice>()?.open()?;
    let name = format!("odyssey {} on {}", env!("CARGO_PKG_VERSION"), chosen.name);
    let device = chosen.device;
    let work = match order.task {
        Task::Product { size } => {
            let x = numbers(size * size, &device).reshape([size, size]);
            // The fastest there is on the device: what everything else is a share of.
            let square = move || product(x.clone(), Held::Plain, x.clone(), Held::Plain);
            boxed(move || last(square().reshape([size * size])))
        }
        Task::Copy { numbers: count } => {
            let x = numbers(count, &device);
            boxed(move || last(x.clone() + 1.0))
        }
        Task::Train { batch, context, rank } => train(order, batch, context, rank, &device)?,
        Task::Evaluate { batch, windows, context } => {
            let model = open(order, &device)?.model;
            let ids = ids(order)?;
            let window = |w: usize| {
                let start = w * (context + 1);
                Window { prefix: None, start, end: start + context + 1, scored: start + 1 }
            };
            let windows: Vec<Window> = (0..windows).map(window).collect();
            boxed(move || {
                let nll = score(&model, &device, &ids, &windows, batch, &mut Silent)?;
                let scored: Vec<f64> = nll.into_iter().filter(|nll| !nll.is_nan()).map(f64::from).collect();
                Ok(scored.iter().sum::<f64>() / scored.len() as f64)
            })
        }
        Task::Mmd { samples, dimension, permutations, sigma, domains } => {
            let [x, y] = samples_of(order, samples, dimension)?;
            let one = move || {
                let draws = Draws::new(&x, &y, 1).permuted(permutations);
                let drawn = discrepancies(&x, &y, &[Kernel::Rbf { sigma }], &draws, &device, &mut Silent)?;
                Ok(drawn[0].observed)
            };
            boxed(move || (0..domains).try_fold(f64::NAN, |_, _| one()))
        }
        Task::Frechet { samples, dimension } => {
            let [x, y] = samples_of(order, samples, dimension)?;
            boxed(move || Ok(frechet(&Gaussian::fit(&x)?, &Gaussian::fit(&y)?)?.distance))
        }
        Task::Tokenise { context } => {
            let tokenizer = Tokenizer::load(order.model.as_deref().ok_or("no tokenizer")?)?;
            let config = odyssey::model::ModelConfig::read(order.model.as_deref().ok_or("no model")?)?;
            let path = order.input("documents.jsonl");
            boxed(move || {
                let corpus = Corpus::read(&path, DocumentRule::default())?;
                let (eot, vocabulary) = (config.eos_token_id, config.vocabulary());
                let options = StreamOptions::default();
                let stream =
                    odyssey::text::TokenStream::build(&corpus, Some(&tokenizer), eot, None, vocabulary, &options)?;
                let tokens = stream.ids.len();
                TrainingWindows::new(stream, context, Packing::Blocks, WindowOrder::File, 0)?;
                Ok(tokens as f64)
            })
        }
    };
    Ok((name, work))
}

fn boxed(work: impl FnMut() -> Fallible<f64> + 'static) -> Prepared {
    Box::new(work)
}

/// Numbers between -1 and 1.
fn numbers(count: usize, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 1001) as f32) / 500.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Waits for a result: its last number comes to the host.
fn last(x: Tensor<1>) -> Fallible<f64> {
    let [count] = x.dims();
    Ok(f64::from(to_host(x.narrow(0, count - 1, 1))?[0]))
}

fn open(order: &Order, device: &Device) -> Fallible<LoadedModel> {
    Ok(LoadedModel::open(order.model.as_deref().ok_or("no model")?, device)?)
}

fn ids(order: &Order) -> Fallible<Vec<u32>> {
    let bytes = fs::read(order.input("ids.u32"))?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

fn samples_of(order: &Order, samples: usize, dimension: usize) -> Fallible<[Features; 2]> {
    let read = |path: &Path| -> Fallible<Features> {
        let bytes = fs::read(path)?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Features::new(samples, dimension, values)?)
    };
    Ok([read(&order.input("x.f32"))?, read(&order.input("y.f32"))?])
}

fn train(order: &Order, batch: usize, context: usize, rank: Option<usize>, device: &Device) -> Fallible<Prepared> {
    let base = open(order, device)?;
    let model = match rank {
        Some(rank) => LoraSettings { rank, ..LoraSettings::default() }.attach(&base, 1)?,
        None => base.model,
    };
    let mut model = Some(model.train());
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let windows: Vec<Vec<u32>> = ids(order)?.chunks_exact(context + 1).take(batch).map(<[u32]>::to_vec).collect();
    let batches = [MicroBatch {
        inputs: windows.iter().map(|window| window[..context].to_vec()).collect(),
        targets: windows.iter().flat_map(|window| window[1..].to_vec()).collect(),
        weights: vec![1.0; batch * context],
        penalised: Vec::new(),
    }];
    Ok(boxed(move || {
        let before = model.take().ok_or("an earlier step failed")?;
        let done = training_step(&Objective::default(), before, &mut optimizer, &batches, 1e-4, Some(1.0))?;
        // The step itself is waited for, not only its gradient.
        if let Some(weight) = done.model.trained().pop() {
            last(weight.values)?;
        }
        model = Some(done.model);
        Ok(done.loss)
    }))
}
