//! `odyssey study`: the experiment over models, domains, strategies and seeds.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use odyssey::advise::hindsight::{Hindsight, hindsight};
use odyssey::error::Result;
use odyssey::report;
use odyssey::study::{self, State, StudyConfig, StudyResults};
use serde_json::json;

use super::common::Common;
use super::output;

/// Run a study over models, domains, strategies and seeds; resumable.
///
/// Every recipe is also tried on the reference corpus itself. This shows the cost of restarting the optimiser
/// (`restart_control = false` in the study's file leaves that out). A table `[ablation]` varies how text is joined,
/// whether line breaks stay and the learning rate; domains are called better or worse at the error rate of
/// `[statistics]`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In the study's file, for the ablation grid (every key may be left out):
  [ablation]
  train_join = [\"eot\", \"none\"]
  eval_join = [\"eot\", \"none\"]
  newlines = [\"keep\", \"strip\"]       # in training; eval_newlines in evaluation
  lr = [1e-4, 3e-4, 1e-3]

  [statistics]
  error_rate = 0.05

What corpora are compared by:
  [similarity]
  features = \"minilm:encoder\"       # a sentence encoder's folder, or minilm:hub:OWNER/NAME; \"model\" (hidden states of
                                     # each base, the default), \"model@6,last\" or \"lexical\"

Examples:
  odyssey study run examples/local.toml --out study
  odyssey study status study
  odyssey study report study")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the missing tasks of a study, then write results.json, results.csv, report.html and the plots.
    Run {
        /// The study's TOML.
        study: PathBuf,
        /// The study's folder; give the same one again to go on.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Which tasks of a study are done.
    Status {
        /// The study's folder.
        dir: PathBuf,
    },
    /// Write results, report and plots again from the finished tasks.
    Report {
        /// The study's folder.
        dir: PathBuf,
    },
}

pub fn run(args: &Args, common: &Common) -> Result<()> {
    match &args.command {
        Command::Run { study, out } => {
            let mut config = StudyConfig::read(study)?;
            let mut inputs = config.inputs();
            inputs.push(study.clone());
            report::check_folder(out, &mut common.outputs(&inputs))?;
            if common.device != "auto" {
                config.devices = vec![common.device()?];
            }
            let results = run_study(config, out, common)?;
            show(&results, out, common)
        }
        Command::Status { dir } => status(dir, common),
        Command::Report { dir } => {
            report::check_folder(dir, &mut common.outputs(&[]))?;
            let results = study::collect(dir)?;
            report::write(&results, dir)?;
            show(&results, dir, common)
        }
    }
}

/// Runs a study and writes its report.
pub fn run_study(mut config: StudyConfig, out: &Path, common: &Common) -> Result<StudyResults> {
    for choice in &config.devices {
        common.say(&format!("device: {}", choice.open()?.name));
    }
    config.fetch(&mut common.hub.borrow_mut(), &mut common.monitor())?;
    let mut monitor = common.monitor();
    let results = study::run(config, out, &mut monitor);
    drop(monitor);
    let results = results?;
    report::write(&results, out)?;
    Ok(results)
}

/// Prints a study's results: the tables, and where the report is.
pub fn show(results: &StudyResults, folder: &Path, common: &Common) -> Result<()> {
    output::kept(common, results, || {
        let answer = report::answer(results).join("\n");
        let mut tables = vec![report::table::results_table(results)];
        tables.extend(report::calls::sheet(results).map(|sheet| report::table::sheet_table(&sheet)));
        tables.extend(report::calls::note(results));
        tables.extend(report::ablation::sheet(results).map(|sheet| report::table::sheet_table(&sheet)));
        tables.extend(report::distances::sheet(results).map(|sheet| report::table::sheet_table(&sheet)));
        tables.push(report::table::correlations_table(results));
        let tables = tables.join("\n");
        let advice = hindsight(results).map_or_else(|error| format!("\n\nno advice: {error}"), |said| advice(&said));
        format!("{tables}\n{answer}{advice}\n\nreport: {}", folder.join("report.html").display())
    })
}

/// The advice that would have been given about the domains; empty if there are none.
fn advice(said: &[Hindsight]) -> String {
    let Some(sheet) = report::advice::sheet(said) else { return String::new() };
    format!(
        "\n\nwhat `odyssey advise` would have said of each domain before, its own rows left out\n{}\n{}",
        report::table::sheet_table(&sheet),
        report::advice::note(said).unwrap_or_default()
    )
}

fn status(folder: &Path, common: &Common) -> Result<()> {
    let status = study::status(folder)?;
    let done = status.tasks.iter().filter(|(_, state)| state.is_done()).count();
    let tasks: Vec<_> = status
        .tasks
        .iter()
        .map(|(task, state)| match state {
            State::Damaged(damage) => json!({ "task": task, "done": false, "damaged": damage.to_string() }),
            _ => json!({ "task": task, "done": state.is_done() }),
        })
        .collect();
    let value = json!({ "schema": "odyssey.study-status/1", "done": done, "of": tasks.len(), "tasks": tasks });
    output::result(common, &value, || {
        let mark = |state: &State| match state {
            State::Missing => "missing".to_owned(),
            State::Done => "done".to_owned(),
            State::Unchecked => "done, without checksums".to_owned(),
            State::Damaged(damage) => format!("damaged, will be computed anew: {damage}"),
        };
        let rows = status.tasks.iter().map(|(task, state)| vec![task.clone(), mark(state)]);
        format!("{}\n{done} of {} tasks done", output::table(&["task", "state"], rows), status.tasks.len())
    })
}
