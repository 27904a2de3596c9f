//! The command line: a thin face over the library. One file per command; each prints exactly one result.

mod adapt;
mod advise;
mod compare;
mod demo;
mod devices;
mod doctor;
mod eval;
mod fetch;
mod gui;
mod memory;
mod monitor;
mod output;
mod pretrain;
mod rank;
mod similarity;
mod study;
mod synth;
mod text;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use clap::{Parser, Subcommand};
use odyssey::device::faults::{is_guarded, once_more, renew};
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::error::{Error, Result};
use odyssey::hub::Hub;
use odyssey::model::{Adapter, LoadedModel, Precision, lora};
use odyssey::shown::visible_lines;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use monitor::Terminal;

const EXAMPLES: &str = "\
Examples:
  odyssey demo
  odyssey eval --model wiki-gpt2 --text domains/wiki_sports
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapted --lr 1e-4
  odyssey compare --before wiki-gpt2 --after adapted --text domains/novels
  odyssey study run study.toml --out study
  odyssey advise --model wiki-gpt2 --reference domains/wiki_general --domain domains/novels --lr 1e-3
  odyssey fetch gpt2
  odyssey gui study

Environment:
  ODYSSEY_DEVICE  what --device is where it is not given
  NO_COLOR        no colours
  HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE and HF_ENDPOINT: see `odyssey fetch --help`";

/// Will additional pretraining help or hurt here, which tokens pay for it, and how sure are we?
#[derive(Debug, Parser)]
#[command(name = "odyssey", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Where to compute: auto, cpu, gpu, gpu:N, software, or part of an adapter's name.
    #[arg(long, global = true, env = "ODYSSEY_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Say nothing but the result and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Whether to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Whether this is the second time, on a fresh connection to a device that was lost.
    #[arg(skip)]
    again: Cell<bool>,
    /// Where models and data sets that are named and not here come from.
    #[arg(skip)]
    hub: RefCell<Hub>,
}

/// A model's folder, and the adapter upon it where that was named.
struct Named {
    folder: PathBuf,
    adapter: Option<Adapter>,
}

impl Named {
    /// The model, its adapter on.
    fn open(&self, precision: Precision, device: &Device) -> Result<LoadedModel> {
        let base = LoadedModel::open_in(&self.folder, precision, device)?;
        match &self.adapter {
            Some(adapter) => adapter.attach(&base),
            None => Ok(base),
        }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Devices(devices::Args),
    Doctor(doctor::Args),
    Eval(eval::Args),
    Adapt(Box<adapt::Args>),
    Compare(compare::Args),
    Similarity(similarity::Args),
    Study(study::Args),
    Advise(Box<advise::Args>),
    Synth(synth::Args),
    Pretrain(pretrain::Args),
    Fetch(fetch::Args),
    Gui(gui::Args),
}

impl Common {
    /// What `--device` asks for.
    fn device(&self) -> Result<DeviceChoice> {
        self.device.parse()
    }

    /// The device, said on standard error.
    fn open_device(&self) -> Result<ChosenDevice> {
        let chosen = self.device()?.open()?;
        self.say(&format!("device: {}", chosen.name));
        Ok(chosen)
    }

    /// Says something on standard error, unless asked to be quiet.
    fn say(&self, text: &str) {
        if !self.quiet {
            anstream::eprintln!("{}", visible_lines(text));
        }
    }

    /// The folder of a model given by its path or its name on the hub, from where it is fetched if need be.
    fn model(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().model(path, &mut self.monitor())
    }

    /// A model given by its path or name, where it may be an adapter's: then its base is found by what the adapter says.
    fn named(&self, path: &Path) -> Result<Named> {
        let folder = self.model(path)?;
        if folder.join("config.json").exists() || !Adapter::is_in(&folder) {
            return Ok(Named { folder, adapter: None });
        }
        let adapter = Adapter::read(&folder)?;
        let place = folder.join(lora::CONFIG);
        let cure = "give the base and the adapter: `odyssey eval --model BASE --adapter DIR`";
        let Some(base) = &adapter.base else {
            return Err(Error::file(&place, "does not say which base it is for", cure));
        };
        let beside = folder.join(base);
        let base_folder = match &adapter.revision {
            _ if beside.is_dir() => beside,
            Some(revision) if !Path::new(base).exists() => self.model(Path::new(&format!("{base}@{revision}")))?,
            _ => self.model(Path::new(base))?,
        };
        if !base_folder.is_dir() {
            return Err(Error::file(&place, format!("names the base {base:?}, which is not here"), cure));
        }
        Ok(Named { folder: base_folder, adapter: Some(adapter) })
    }

    /// The same for a corpus or domain.
    fn corpus(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().corpus(path, &mut self.monitor())
    }

    /// A monitor with progress bars where standard error is a terminal.
    fn monitor(&self) -> Terminal {
        Terminal::new(self.quiet)
    }
}

/// Runs the command line and gives its exit status.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    cli.common.color.apply();
    start_logging(&cli.common);
    monitor::listen_for_interrupt();
    keep_guarded_panics_quiet();
    // A panic is a bug, or the graphics driver's; either way its message is out already and the status is 1.
    let execute = |again| {
        cli.common.again.set(again);
        execute(&cli)
    };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once_more(execute, renew)));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            anstream::eprintln!("odyssey: {}", visible_lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// What becomes an error is said once, as that.
fn keep_guarded_panics_quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match is_guarded() {
        true => tracing::debug!("{panic}"),
        false => loud(panic),
    }));
}

fn execute(cli: &Cli) -> Result<(), Error> {
    let common = &cli.common;
    match &cli.command {
        Command::Demo(args) => demo::run(args, common),
        Command::Devices(args) => devices::run(args, common),
        Command::Doctor(args) => doctor::run(args, common),
        Command::Eval(args) => eval::run(args, common),
        Command::Adapt(args) => adapt::run(args, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Similarity(args) => similarity::run(args, common),
        Command::Study(args) => study::run(args, common),
        Command::Advise(args) => advise::run(args, common),
        Command::Synth(args) => synth::run(args, common),
        Command::Pretrain(args) => pretrain::run(args, common),
        Command::Fetch(args) => fetch::run(args, common),
        Command::Gui(args) => gui::run(args),
    }
}

impl Color {
    fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto, // which heeds NO_COLOR
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

fn start_logging(common: &Common) {
    // What hf-hub and cubecl call an error is repeated, or becomes this program's own.
    // The desktop's libraries remark on displays and locales that are none of the user's concern.
    let others = "hf_hub=off,cubecl_common=off,cubecl_runtime=off,cubecl_wgpu=off,winit=error,egui_wgpu=error,\
                  egui_system_font_provider=error";
    let level = match (common.quiet, common.verbose) {
        (true, _) => format!("error,{others}"),
        (_, 0) => format!("warn,{others}"),
        (_, 1) => format!("odyssey=info,warn,{others}"),
        _ => "odyssey=debug,info".to_owned(),
    };
    let ansi = match common.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .without_time()
        .fmt_fields(
            debug_fn(|out, field, value| match field.name() {
                "message" => write!(out, "{}", visible_lines(&format!("{value:?}"))),
                name => write!(out, "{name}={}", visible_lines(&format!("{value:?}"))),
            })
            .delimited(" "),
        )
        .init();
}
