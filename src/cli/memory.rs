//! What a run needs, before it starts: `--dtype` and `--dry-run`.

use std::path::Path;

use odyssey::device::ChosenDevice;
use odyssey::error::Result;
use odyssey::memory::{MemoryPlan, Work};
use odyssey::model::{ModelConfig, Precision};
use odyssey::process::bytes;

use super::{Common, output};

/// How a model is held.
#[derive(Debug, Clone, clap::Args)]
pub struct HeldArgs {
    /// What matrices are held in; to compute with, they are converted.
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Tensors of the model's files that are for another use and left out: names, in which * stands for anything.
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',')]
    pub ignore_tensors: Vec<String>,
}

/// Whether the model in `folder` has room for `work`; refused where it has not. With `dry_run` the plan is the result.
pub fn plan(folder: &Path, work: Work, dry_run: bool, chosen: &ChosenDevice, common: &Common) -> Result<()> {
    let plan = MemoryPlan::new(&ModelConfig::read(folder)?, work, chosen)?;
    match dry_run {
        true => output::result(common, &plan, || table(&plan)),
        false => plan.require(folder),
    }
}

fn table(plan: &MemoryPlan) -> String {
    let word = |fits: Option<bool>| match fits {
        Some(true) => "fits",
        Some(false) => "does not fit",
        None => "not known",
    };
    let parts = plan.parts.iter().map(|part| vec![part.what.to_owned(), bytes(part.bytes)]);
    let whole = vec![
        vec!["in all".to_owned(), bytes(plan.needs_bytes)],
        vec!["free on this device".to_owned(), plan.has_bytes.map_or("not known".to_owned(), bytes)],
    ];
    let largest =
        plan.largest_micro_batch.map(|n| format!("; the largest micro-batch that fits is {n}")).unwrap_or_default();
    let options = plan.options.iter().map(|o| vec![o.option.clone(), bytes(o.needs_bytes), word(o.fits).to_owned()]);
    let obstacle = plan.obstacle.as_ref().map(|obstacle| format!(": {obstacle}")).unwrap_or_default();
    let reason = plan.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!(
        "{}\n{:.1} million weights; {}{obstacle}{reason}{largest}\n\n{}",
        output::table(&["what", "memory"], parts.chain(whole)),
        plan.parameters as f64 / 1e6,
        word(plan.fits),
        output::table(&["or with", "memory", ""], options),
    )
}
