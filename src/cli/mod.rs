//! The command line: a thin face over the library. One file per command; each prints exactly one result.

mod adapt;
mod compare;
mod demo;
mod devices;
mod eval;
mod monitor;
mod output;
mod pretrain;
mod similarity;
mod study;
mod synth;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::error::{Error, Result};
use tracing_subscriber::EnvFilter;

use monitor::Terminal;

const EXAMPLES: &str = "\
Examples:
  odyssey demo
  odyssey eval --model wiki-gpt2 --text domains/wiki_sports
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapted --lr 1e-4
  odyssey compare --before wiki-gpt2 --after adapted --text domains/novels
  odyssey study run study.toml --out study

Environment:
  ODYSSEY_DEVICE  what --device is where it is not given
  NO_COLOR        no colours";

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
    Eval(eval::Args),
    Adapt(adapt::Args),
    Compare(compare::Args),
    Similarity(similarity::Args),
    Study(study::Args),
    Synth(synth::Args),
    Pretrain(pretrain::Args),
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
            anstream::eprintln!("{text}");
        }
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
    // A panic is a bug, or the graphics driver's; either way its message is out already and the status is 1.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| execute(&cli)));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            anstream::eprintln!("odyssey: {error}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn execute(cli: &Cli) -> Result<(), Error> {
    let common = &cli.common;
    match &cli.command {
        Command::Demo(args) => demo::run(args, common),
        Command::Devices(args) => devices::run(args, common),
        Command::Eval(args) => eval::run(args, common),
        Command::Adapt(args) => adapt::run(args, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Similarity(args) => similarity::run(args, common),
        Command::Study(args) => study::run(args, common),
        Command::Synth(args) => synth::run(args, common),
        Command::Pretrain(args) => pretrain::run(args, common),
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
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "odyssey=info,warn",
        _ => "odyssey=debug,info",
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
        .init();
}
