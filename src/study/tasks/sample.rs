//! The features and counts of a corpus, which distances are made of.

use serde_json::json;

use crate::error::Result;
use crate::progress::{Monitor, Watched};
use crate::similarity::embed::Embedder;
use crate::similarity::extract::Hidden;
use crate::similarity::{CorpusSample, FeatureSpec};
use crate::study::runner::{Loaded, Runner, unknown};
use crate::study::task::{Task, TaskText};
use crate::text::{Corpus, Split};

/// A corpus's features and counts; `samples` is the number of its chunks, or documents.
pub(super) fn sample(
    runner: &Runner<'_>,
    task: &Task,
    loaded: &Loaded,
    corpus: &Corpus,
    samples: usize,
    monitor: &mut dyn Monitor,
) -> Result<CorpusSample> {
    let Loaded { base, vocabulary, .. } = loaded;
    let (settings, options) = (&runner.plan.config.similarity, runner.plan.config.text.stream());
    let stream = base.stream(corpus, loaded.tokenizer.as_ref(), Watched::by(&options, monitor))?;
    let chunk = settings.chunk.unwrap_or(base.config.context());
    let (model, device) = (&base.model, &base.device);
    let embedder = |hidden: Hidden| Embedder { model, device, vocabulary, chunk, hidden };
    let device = &runner.plan.devices[task.device];
    let (sample, kept) = match &settings.features {
        FeatureSpec::Model { hidden, .. } => {
            let of = json!({
                "model": base.hash()?, "precision": base.precision, "device": device, "text": options,
            });
            embedder(*hidden).sample_kept(&stream, samples, &of, monitor)?
        }
        FeatureSpec::Encoder { .. } => {
            let (_, encoder) = runner.encoder.as_ref().ok_or_else(|| unknown("encoder of", &task.model))?;
            let (features, kept) = encoder.features_kept(corpus, samples, &json!(device), monitor)?;
            (CorpusSample { features, counts: embedder(Hidden::default()).counts(&stream) }, kept)
        }
        FeatureSpec::Lexical => {
            let reason = Err("the study compares words alone".to_owned());
            (CorpusSample { features: reason, counts: embedder(Hidden::default()).counts(&stream) }, false)
        }
    };
    if kept {
        tracing::info!("{}: its features are cached", task.label());
    }
    Ok(sample)
}

/// The sample of a domain's train split.
pub(super) fn sample_of_domain(
    runner: &Runner<'_>,
    task: &Task,
    domain: &str,
    loaded: &Loaded,
    monitor: &mut dyn Monitor,
) -> Result<CorpusSample> {
    let corpus = runner.read_split(&TaskText::Domain(domain.to_owned()), loaded, Split::Train, monitor)?;
    sample(runner, task, loaded, &corpus, runner.plan.config.similarity.samples, monitor)
}
