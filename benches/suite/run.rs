//! The measurement: both sides of a case prepared, then run in turn, so that a busy machine is busy for both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use clap::Parser;
use odyssey::device::DeviceChoice;
use odyssey::model::{LoadedModel, ModelConfig, save};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::cases::{Case, Group, Order, Source, Task, all};
use super::report::{Measured, Report, Times};
use super::side::Side;
use super::work::Work;
use crate::Fallible;

/// How fast odyssey is: ratios of one run against PyTorch, transformers, PEFT and scipy, as far as they are found.
///
/// Each case is done by both sides in turn, on the same inputs and with the same number of threads, and both must come
/// to the same result. The device's own rates are measured in the same run, and what a case must compute and move at least
/// is counted, so that the share of what the device could do is known.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "benches/run.sh",
    after_help = "Examples:
  benches/run.sh --filter gpt2-256
  benches/run.sh --device software --repeats 3 --filter evaluate
  ODYSSEY_PYTHON=~/venv/bin/python benches/run.sh --large --scaling --json speed.json"
)]
pub struct Options {
    /// Only cases with this in their name, of whatever group.
    #[arg(long, value_name = "PART")]
    pub filter: Option<String>,
    /// Where odyssey computes: cpu, software, gpu, gpu:1, …; PyTorch takes CUDA against a GPU, else the processor.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of both sides; all by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How often each side runs each case, after a first time and one to warm up.
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub repeats: usize,
    /// Writes all numbers here.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// GPT-2 124M, too: needs some 6 GiB of memory.
    #[arg(long)]
    pub large: bool,
    /// How time grows with batch, context, vocabulary and samples, too.
    #[arg(long)]
    pub scaling: bool,
    /// Without references.
    #[arg(long)]
    pub alone: bool,
    /// The Python that has the references.
    #[arg(long, env = "ODYSSEY_PYTHON", default_value = "python3")]
    pub python: PathBuf,
    /// The folder of models and texts that some cases need.
    #[arg(long, env = "ODYSSEY_TEST_DATA", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"))]
    pub data: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    pub bench: bool,
    /// A side of a comparison, see `side.rs`.
    #[arg(long, hide = true)]
    pub worker: bool,
}

/// Runs the chosen cases, prints a line for each, and writes the report.
pub fn measure(options: &Options) -> Fallible<Report> {
    let threads = match options.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let device = options.device.parse::<DeviceChoice>()?.open()?.name.to_string();
    let mut report = Report {
        schema: "odyssey.bench/1".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        device,
        threads,
        repeats: options.repeats,
        load: sysinfo::System::load_average().one,
        cases: Vec::new(),
    };
    report.print_head();
    for case in all().into_iter().filter(|case| is_wanted(case, options)) {
        let measured = case_of(&case, options, threads, &report)?;
        measured.print();
        report.cases.push(measured);
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(report)
}

fn is_wanted(case: &Case, options: &Options) -> bool {
    match (&options.filter, case.group) {
        (_, Group::Rates) => true,
        (Some(part), _) => case.name.contains(part.as_str()),
        (None, Group::Usual) => true,
        (None, Group::Large) => options.large,
        (None, Group::Scaling) => options.scaling,
        (None, Group::Smoke) => false,
    }
}

fn case_of(case: &Case, options: &Options, threads: usize, report: &Report) -> Fallible<Measured> {
    let mut measured = Measured { name: case.name.clone(), task: Some(case.task.clone()), ..Measured::default() };
    let inputs = tempfile::tempdir()?;
    let model = match make_inputs(case, &options.data, inputs.path()) {
        Ok(model) => model,
        Err(error) => {
            measured.reason = Some(error.to_string());
            return Ok(measured);
        }
    };
    let config = model.as_deref().map(ModelConfig::read).transpose()?;
    let order = Order {
        task: case.task.clone(),
        model,
        inputs: inputs.path().to_owned(),
        threads,
        device: options.device.clone(),
    };

    let mut own = Command::new(std::env::current_exe()?);
    own.arg("--worker");
    let mut ours = match Side::start(own, &order)? {
        Ok(side) => side,
        Err(reason) => {
            measured.reason = Some(reason);
            return Ok(measured);
        }
    };
    let mut theirs = if options.alone {
        None
    } else {
        Side::start(reference(&options.python, threads), &order)?.map_err(|reason| measured.reason = Some(reason)).ok()
    };
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..=options.repeats {
        let ran = [Some(ours.run()?), theirs.as_mut().map(Side::run).transpose()?];
        // The first round only warms up.
        if round > 0 {
            seconds.iter_mut().zip(ran).for_each(|(all, one)| all.extend(one));
        }
    }
    let [own_seconds, their_seconds] = seconds;
    let theirs = theirs.map(|side| Times::end(side, &their_seconds)).transpose()?;
    let work = Work::of(&case.task, config.as_ref())?;
    measured.conclude(Times::end(ours, &own_seconds)?, theirs, [&own_seconds, &their_seconds], work, report);
    Ok(measured)
}

/// The other side, as it is found.
fn reference(python: &Path, threads: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/suite/reference.py")).stderr(Stdio::null());
    let threads = threads.to_string();
    for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(name, &threads);
    }
    command.envs([("TOKENIZERS_PARALLELISM", "true"), ("HF_HUB_OFFLINE", "1")]);
    command
}

/// Writes what both sides read into `inputs`; the model's folder.
fn make_inputs(case: &Case, data: &Path, inputs: &Path) -> Fallible<Option<PathBuf>> {
    let model = match &case.source {
        Source::None => None,
        Source::Folder(below) => {
            let folder = data.join(below);
            if !folder.is_dir() {
                return Err(format!("no {below} in the folder of test data; name it by ODYSSEY_TEST_DATA").into());
            }
            Some(folder)
        }
        Source::Random(json) => {
            let folder = inputs.join("model");
            fs::create_dir(&folder)?;
            let config = ModelConfig::from_json("a benchmark", json.as_object().cloned().unwrap_or_default())?;
            let loaded = LoadedModel::random(config, &folder, 1, &Device::flex())?;
            save(&loaded.model, &loaded, &folder)?;
            Some(folder)
        }
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut number = || f64::from(rng.next_u32()) / 2f64.powi(32);
    match case.task {
        Task::Train { batch: windows, context, .. } | Task::Evaluate { windows, context, .. } => {
            let vocabulary = match &model {
                Some(folder) => ModelConfig::read(folder)?.vocabulary(),
                None => 1,
            };
            let id = |_| ((number() * vocabulary as f64) as u32).to_le_bytes();
            fs::write(inputs.join("ids.u32"), (0..windows * (context + 1)).flat_map(id).collect::<Vec<u8>>())?;
        }
        Task::Mmd { samples, dimension, .. } | Task::Frechet { samples, dimension } => {
            for (name, shift) in [("x.f32", 0.0), ("y.f32", 0.1)] {
                // Of variance 1.
                let mut value = |_| (((2.0 * number() - 1.0) * 3f64.sqrt() + shift) as f32).to_le_bytes();
                fs::write(inputs.join(name), (0..samples * dimension).flat_map(&mut value).collect::<Vec<u8>>())?;
            }
        }
        Task::Tokenise { .. } => {
            let text = fs::read_to_string(data.join("data/wikitext2/test.txt"))?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let documents: Vec<String> = lines.map(|line| json!({ "text": line }).to_string()).collect();
            fs::write(inputs.join("documents.jsonl"), documents.join("\n"))?;
        }
        Task::Product { .. } | Task::Copy { .. } => {}
    }
    Ok(model)
}
