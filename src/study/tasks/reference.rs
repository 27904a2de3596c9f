//! The task of a reference corpus: its sample, the kernel for all domains, its distances to parts of itself.

use std::path::Path;

use super::sample::{sample, sample_of_domain};
use crate::error::Result;
use crate::files;
use crate::progress::Monitor;
use crate::seal;
use crate::similarity::{self, Reference, stored};
use crate::study::config::SIMILARITY_SEED;
use crate::study::runner::{Loaded, Runner};
use crate::study::task::Task;
use crate::study::task_results::{REFERENCE, ReferenceResult, SAMPLE};

/// The reference's sample, the kernel for all domains, and the distances of the reference to parts of itself.
pub(in crate::study) fn run(
    runner: &Runner<'_>,
    task: &Task,
    loaded: &Loaded,
    out: &Path,
    monitor: &mut dyn Monitor,
) -> Result<()> {
    let config = &runner.plan.config;
    let (settings, tests) = (&config.similarity, config.similarity.tests(SIMILARITY_SEED));
    let entry = runner.model(&task.model)?;
    let corpus = runner.read_reference(task, monitor)?;
    let sample = sample(runner, task, loaded, &corpus, settings.reference_samples, monitor)?;

    let (mut pool, mut tokens) = (Vec::new(), Vec::new());
    for domain in &config.domains {
        let sample = sample_of_domain(runner, task, &domain.name, loaded, monitor)?;
        tokens.push(sample.counts.unigrams.total());
        pool.extend(sample.features.ok());
    }
    let kernel = tests.fit(&sample, &pool);
    let reference =
        Reference::new(sample.clone(), loaded.vocabulary.len(), SIMILARITY_SEED).with_kernel(kernel.clone());
    let part = similarity::usual(&tokens);
    let null = reference.against_itself(settings.samples, part, &tests, &loaded.base.device, monitor)?;

    seal::folder_whole(out, &runner.plan.made_with(task), |folder| {
        stored::write(&folder.join(SAMPLE), &sample)?;
        let reference = entry.reference.display().to_string();
        let sigma = kernel.ok().and_then(|kernel| kernel.sigma());
        files::write_json(&folder.join(REFERENCE), &ReferenceResult { reference, null, sigma })
    })
}
