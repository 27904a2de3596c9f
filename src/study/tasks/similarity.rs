//! The task of a domain's distances to its model's reference corpus.

use std::path::Path;

use super::sample::sample_of_domain;
use crate::error::Result;
use crate::files;
use crate::progress::Monitor;
use crate::seal;
use crate::similarity::{Measure, Reference, stored};
use crate::study::config::SIMILARITY_SEED;
use crate::study::runner::{Loaded, Runner, unknown};
use crate::study::task::Task;
use crate::study::task_results::{REFERENCE, ReferenceResult, SAMPLE, SIMILARITY, SimilarityTaskResult};

/// The distances of a domain to its model's reference.
pub(in crate::study) fn run(
    runner: &Runner<'_>,
    task: &Task,
    domain: &str,
    loaded: &mut Loaded,
    out: &Path,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    let tests = runner.plan.config.similarity.tests(SIMILARITY_SEED);
    let sample = sample_of_domain(runner, task, domain, loaded, monitor)?;
    let reference = match loaded.reference.take() {
        Some(reference) => reference,
        None => {
            let task = runner.plan.reference_of(task).ok_or_else(|| unknown("reference of", &task.model))?;
            let folder = runner.plan.result_of(task, runner.folder)?;
            let result: ReferenceResult = files::read_json(&folder.join(REFERENCE))?;
            let kernel = tests.kernel.with(result.sigma).ok_or_else(|| {
                let reason = result.null[Measure::Mmd2].why_missing();
                reason.unwrap_or("there is no bandwidth").to_owned()
            });
            let sample = stored::read(&folder.join(SAMPLE))?;
            Reference::new(sample, loaded.vocabulary.len(), SIMILARITY_SEED).with_kernel(kernel)
        }
    };
    let distances = reference.test(&sample, &tests, &loaded.base.device, monitor)?;
    loaded.reference = Some(reference);
    seal::folder_whole(out, &runner.plan.made_with(task), |folder| {
        files::write_json(&folder.join(SIMILARITY), &SimilarityTaskResult { distances })
    })
}
