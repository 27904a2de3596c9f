//! The command line: a thin face over the library. One file per command; each prints exactly one result.

mod adapt;
mod advise;
mod compare;
mod demo;
mod devices;
mod diary;
mod doctor;
mod eval;
mod fetch;
mod gui;
mod lines;
mod memory;
mod monitor;
mod output;
mod place;
mod pretrain;
mod rank;
mod signals;
mod similarity;
mod study;
mod synth;
mod text;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use clap::builder::{PathBufValueParser, TypedValueParser, ValueParser};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use odyssey::cure::Flags;
use odyssey::device::faults::{once_more, renew};
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::disk::outputs::Outputs;
use odyssey::disk::paths;
use odyssey::error::{Error, Result};
use odyssey::guard;
use odyssey::hub::Hub;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{Adapter, LoadedModel, peft};
use odyssey::notice::warn_once;
use odyssey::shown::visible_lines;
use odyssey::text::is_pipe;
use odyssey::threads;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use memory::HeldArgs;
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

/// Will additional pretraining help or hurt here, which tokens carry the change, and how sure are we?
#[derive(Debug, Parser)]
#[command(name = "odyssey", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Where to compute: auto, cpu, gpu, gpu:N, software, or part of an adapter's name.
    #[arg(long, global = true, env = "ODYSSEY_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Print only the result and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Also replace files that this program did not write; never what the command reads, nor a device.
    #[arg(long, global = true)]
    force: bool,
    /// Whether to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Whether this is the second try, with a new connection to a device that was lost.
    #[arg(skip)]
    again: Cell<bool>,
    /// Models and data sets given by hub name.
    #[arg(skip)]
    hub: RefCell<Hub>,
}

/// The folder of a model, and the adapter if one was named.
struct Named {
    folder: PathBuf,
    adapter: Option<Adapter>,
}

impl Named {
    /// The model, with its adapter attached if there is one.
    fn open(&self, held: &HeldArgs, device: &Device) -> Result<LoadedModel> {
        match &self.adapter {
            Some(adapter) => {
                let base = LoadedModel::open_base(&self.folder, &held.ignore_tensors, held.dtype, device)?;
                adapter.attach(&base)
            }
            None => LoadedModel::open_without(&self.folder, &held.ignore_tensors, held.dtype, device),
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
    /// The device that `--device` names.
    fn device(&self) -> Result<DeviceChoice> {
        self.device.parse()
    }

    /// Opens the device and prints its name on standard error.
    fn open_device(&self) -> Result<ChosenDevice> {
        let chosen = self.device()?.open()?;
        self.say(&format!("device: {}", chosen.name));
        Ok(chosen)
    }

    /// Prints on standard error, unless `--quiet` is given.
    fn say(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }

    /// The folder of a model given by its path or its name on the hub, fetched if it is missing.
    fn model(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().model(path, &mut self.monitor())
    }

    /// The same for an adapter.
    fn adapter(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().adapter(path, &mut self.monitor())
    }

    /// A model given by its path or name, which may be the folder of an adapter; then the adapter names its base.
    fn named(&self, path: &Path) -> Result<Named> {
        let folder = self.model(path)?;
        if !Adapter::is_in(&folder) {
            return Ok(Named { folder, adapter: None });
        }
        let adapter = Adapter::read(&folder)?;
        if folder.join("config.json").exists() && WeightFiles::are_in(&folder) {
            warn_once(format!(
                "{}: holds an adapter beside the model's weights: it is put on, as transformers does",
                folder.display()
            ));
            return Ok(Named { folder, adapter: Some(adapter) });
        }
        let place = folder.join(peft::CONFIG);
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
        if is_pipe(path) {
            return Ok(path.to_owned());
        }
        self.hub.borrow_mut().corpus(path, &mut self.monitor())
    }

    /// The guard of what the command writes over, which reads these models, corpora and files.
    fn outputs<'a>(&self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Outputs {
        let hub = self.hub.borrow();
        Outputs::new(self.force, inputs.into_iter().map(|path| hub.model_here(path).unwrap_or_else(|| path.clone())))
    }

    /// A monitor that shows progress on standard error.
    fn monitor(&self) -> Terminal {
        Terminal::new(self.quiet, is_dumb() || self.color.is_never())
    }
}

/// Runs the command line and gives its exit status.
pub fn run() -> ExitCode {
    odyssey::last_words::listen_for_unreadable_maps();
    let parsed = with_normal_paths(Cli::command()).try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(said) => return said_instead(&said),
    };
    cli.common.color.apply();
    start_logging(&cli.common);
    signals::listen(cli.common.quiet);
    guard::hush();
    let execute = |again| {
        cli.common.again.set(again);
        execute(&cli)
    };
    let all = || threads::start().and_then(|()| once_more(execute, renew));
    let done = guard::caught(all);
    let error = match done {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error,
        // A panic is a bug of this program or of the graphics driver. Its message is already printed; the status is 1.
        Err(panic) => match panic.words().and_then(threads::refused) {
            Some(error) => error,
            None => return ExitCode::FAILURE,
        },
    };
    output::note(&format!("odyssey: {}", error.worded(&Flags)));
    ExitCode::from(error.exit_code())
}

/// Prints the help or version that was asked for, or what is wrong with the command line.
fn said_instead(said: &clap::Error) -> ExitCode {
    if said.use_stderr() {
        let _ = said.print();
        return ExitCode::from(said.exit_code() as u8);
    }
    match output::printed(|| said.print()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("odyssey: {}", error.worded(&Flags)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command line whose paths, of every option and command, come out in one form however they are written.
fn with_normal_paths(command: clap::Command) -> clap::Command {
    let path = ValueParser::path_buf().type_id();
    let command = command.mut_args(|arg| match arg.get_value_parser().type_id() == path {
        true => arg.value_parser(PathBufValueParser::new().map(|path| paths::normal(&path))),
        false => arg,
    });
    command.mut_subcommands(with_normal_paths)
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
    /// Whether nothing but text is wanted.
    fn is_never(self) -> bool {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        matches!(self, Self::Never) || matches!(self, Self::Auto) && unwanted()
    }

    fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto, // this respects NO_COLOR
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Whether the terminal knows no commands.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn start_logging(common: &Common) {
    // What cubecl calls an error is repeated, or becomes this program's own. So is what wgpu says of drivers and of
    // layers that it looks for. The desktop libraries log remarks on displays and locales that do not matter to the
    // user.
    let others = "cubecl_common=off,cubecl_runtime=off,cubecl_wgpu=off,wgpu_hal=off,wgpu_core=off,naga=off,\
                  winit=error,egui_wgpu=error,egui_system_font_provider=error";
    let level = match (common.quiet, common.verbose) {
        (true, _) => format!("error,{others}"),
        (_, 0) => format!("warn,{others}"),
        (_, 1) => format!("odyssey=info,warn,{others}"),
        _ => "odyssey=debug,info".to_owned(),
    };
    let ansi = match common.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::IsTerminal::is_terminal(&std::io::stderr()) && !is_dumb() && !common.color.is_never(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(|| output::Log)
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
