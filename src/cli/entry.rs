//! The whole command line: from its words to its exit status.

use std::process::ExitCode;

use clap::builder::{PathBufValueParser, Styles, TypedValueParser, ValueParser};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use odyssey::device::faults::{once_more, renew};
use odyssey::disk::paths;
use odyssey::error::Error;
use odyssey::shown::visible_lines;
use odyssey::{guard, notice, threads};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use super::common::{Color, Common, is_dumb};
use super::say;
use super::signals;
use super::wording::Options;
use super::{
    adapt, advise, compare, demo, devices, doctor, eval, fetch, gui, merge, pretrain, similarity, stream, study, synth,
};

const EXAMPLES: &str = "\
Examples:
  odyssey demo
  odyssey eval --model wiki-gpt2 --text domains/wiki_sports
  odyssey adapt --model wiki-gpt2 --train domains/novels --valid domains/novels --out adapted --lr 1e-4
  odyssey compare --before wiki-gpt2 --after adapted --text domains/novels
  odyssey merge --base wiki-gpt2 --adapted adapted --target domains/novels --reference domains/wiki_general
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

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Devices(devices::Args),
    Doctor(doctor::Args),
    Eval(eval::Args),
    Adapt(Box<adapt::Args>),
    Compare(compare::Args),
    Merge(Box<merge::Args>),
    Similarity(similarity::Args),
    Study(study::Args),
    Advise(Box<advise::Args>),
    Synth(synth::Args),
    Pretrain(pretrain::Args),
    Fetch(fetch::Args),
    Gui(gui::Args),
}

/// Runs the command line and gives its exit status.
pub fn run() -> ExitCode {
    odyssey::last_words::listen_for_unreadable_maps();
    let program = with_normal_paths(Cli::command());
    let (mut cli, found) = match parsed(&program) {
        Ok(parsed) => parsed,
        Err(said) => return said_instead(&said),
    };
    cli.common.wording = Options::of(&program, &found);
    notice::word_by(cli.common.wording.clone());
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
    say::note(&format!("odyssey: {}", error.worded(&cli.common.wording)));
    ExitCode::from(error.exit_code())
}

fn parsed(program: &clap::Command) -> Result<(Cli, clap::ArgMatches), clap::Error> {
    program.clone().try_get_matches().and_then(|found| Ok((Cli::from_arg_matches(&found)?, found)))
}

/// Prints the help or version that was asked for, or what is wrong with the command line.
fn said_instead(said: &clap::Error) -> ExitCode {
    if said.use_stderr() {
        match with_commands_to_a_terminal() {
            Some(words) => say::note(words.trim_end()),
            None => drop(said.print()),
        }
        return ExitCode::from(said.exit_code() as u8);
    }
    match say::printed(|| said.print()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::note(&format!("odyssey: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What is wrong with the command line, if the message quotes something invisible of it, which a terminal may obey. Without
/// the parser's own colours, because those look the same.
fn with_commands_to_a_terminal() -> Option<String> {
    let said = parsed(&with_normal_paths(Cli::command().styles(Styles::plain()))).err()?;
    let words = said.render().ansi().to_string();
    (visible_lines(&words) != words).then_some(words)
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
        Command::Adapt(args) if !args.stream.is_empty() => stream::run(args, common),
        Command::Adapt(args) => adapt::run(args, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Merge(args) => merge::run(args, common),
        Command::Similarity(args) => similarity::run(args, common),
        Command::Study(args) => study::run(args, common),
        Command::Advise(args) => advise::run(args, common),
        Command::Synth(args) => synth::run(args, common),
        Command::Pretrain(args) => pretrain::run(args, common),
        Command::Fetch(args) => fetch::run(args, common),
        Command::Gui(args) => gui::run(args),
    }
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
        .with_writer(|| say::Log)
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
