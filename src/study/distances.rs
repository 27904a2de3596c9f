//! Distances in a study: the features, the reference and its distance from itself, then each domain.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::SIMILARITY_SEED;
use super::kept::{REFERENCE, SAMPLE, SIMILARITY};
use super::plan::{Task, TaskKind};
use super::run::{Loaded, Runner, unknown};
use crate::error::Result;
use crate::files;
use crate::progress::{Monitor, Watched};
use crate::seal;
use crate::similarity::embed::Embedder;
use crate::similarity::encoder::SentenceEncoder;
use crate::similarity::extract::Hidden;
use crate::similarity::{self, CorpusSample, Distances, FeatureSpec, Reference, stored};
use crate::text::{Corpus, Split};

/// `reference.json` of a reference task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReferenceResult {
    pub reference: String,
    pub null: Distances,
    /// The kernel's bandwidth on the pool of all corpora, where it has one.
    #[serde(default)]
    pub sigma: Option<f64>,
}

/// `similarity.json` of a similarity task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SimilarityTaskResult {
    pub distances: Distances,
}

impl Runner<'_> {
    /// Holds the study's sentence encoder on the device of `task` only while tasks need it.
    pub(super) fn hold_encoder(&mut self, task: &Task) -> Result<()> {
        let compares = matches!(task.kind, TaskKind::Reference | TaskKind::Similarity);
        let FeatureSpec::Encoder { folder } = &self.plan.config.similarity.features else { return Ok(()) };
        if !compares {
            self.encoder = None;
        } else if self.encoder.as_ref().is_none_or(|(device, _)| *device != task.device) {
            let device = self.devices.get(task.device).ok_or_else(|| unknown("device", &task.device.to_string()))?;
            self.encoder = None; // two would take twice the memory
            let encoder = SentenceEncoder::open(folder, &device.device)?;
            self.plan.contents.check_encoder(folder, &encoder.hash()?)?;
            self.encoder = Some((task.device, encoder));
        }
        Ok(())
    }

    /// A corpus's features and counts; `samples` is the number of its chunks, or documents.
    fn sample(
        &self,
        task: &Task,
        loaded: &Loaded,
        corpus: &Corpus,
        samples: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<CorpusSample> {
        let Loaded { base, vocabulary, .. } = loaded;
        let (settings, options) = (&self.plan.config.similarity, self.plan.config.text.stream());
        let stream = base.stream(corpus, loaded.tokenizer.as_ref(), Watched::by(&options, monitor))?;
        let chunk = settings.chunk.unwrap_or(base.config.context());
        let (model, device) = (&base.model, &base.device);
        let embedder = |hidden: Hidden| Embedder { model, device, vocabulary, chunk, hidden };
        let device = &self.plan.devices[task.device];
        let (sample, kept) = match &settings.features {
            FeatureSpec::Model { hidden, .. } => {
                let of = json!({
                    "model": base.hash()?, "precision": base.precision, "device": device, "text": options,
                });
                embedder(*hidden).sample_kept(&stream, samples, &of, monitor)?
            }
            FeatureSpec::Encoder { .. } => {
                let (_, encoder) = self.encoder.as_ref().ok_or_else(|| unknown("encoder of", &task.model))?;
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
    fn sample_of_domain(&self, task: &Task, loaded: &Loaded, monitor: &mut dyn Monitor) -> Result<CorpusSample> {
        let corpus = self.read_split(task, loaded, Split::Train, monitor)?;
        self.sample(task, loaded, &corpus, self.plan.config.similarity.samples, monitor)
    }

    /// The reference's sample, the kernel for all domains, and the distances of the reference to parts of itself.
    pub(super) fn reference(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let config = &self.plan.config;
        let (settings, tests) = (&config.similarity, config.similarity.tests(SIMILARITY_SEED));
        let entry = self.model(task)?;
        let corpus = self.read_reference(task, monitor)?;
        let sample = self.sample(task, loaded, &corpus, settings.reference_samples, monitor)?;

        let (mut pool, mut tokens) = (Vec::new(), Vec::new());
        for domain in &config.domains {
            let of_domain = Task { domain: domain.name.clone(), ..task.clone() };
            let sample = self.sample_of_domain(&of_domain, loaded, monitor)?;
            tokens.push(sample.counts.unigrams.total());
            pool.extend(sample.features.ok());
        }
        let kernel = tests.fit(&sample, &pool);
        let reference =
            Reference::new(sample.clone(), loaded.vocabulary.len(), SIMILARITY_SEED).with_kernel(kernel.clone());
        let part = similarity::usual(&tokens);
        let null = reference.against_itself(settings.samples, part, &tests, &loaded.base.device, monitor)?;

        seal::folder_whole(out, &self.plan.made_with(task), |folder| {
            stored::write(&folder.join(SAMPLE), &sample)?;
            let reference = entry.reference.display().to_string();
            let sigma = kernel.ok().and_then(|kernel| kernel.sigma());
            files::write_json(&folder.join(REFERENCE), &ReferenceResult { reference, null, sigma })
        })
    }

    /// The distances of a domain to its model's reference.
    pub(super) fn similarity(
        &self,
        task: &Task,
        loaded: &mut Loaded,
        out: &Path,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let tests = self.plan.config.similarity.tests(SIMILARITY_SEED);
        let sample = self.sample_of_domain(task, loaded, monitor)?;
        let reference = match loaded.reference.take() {
            Some(reference) => reference,
            None => {
                let task =
                    self.plan.sibling(task, TaskKind::Reference).ok_or_else(|| unknown("reference of", &task.model))?;
                let folder = self.plan.result_of(task, self.folder)?;
                let result: ReferenceResult = files::read_json(&folder.join(REFERENCE))?;
                let kernel = tests.kernel.with(result.sigma).ok_or_else(|| {
                    let reason = result.null.reasons.get("mmd2").cloned();
                    reason.unwrap_or_else(|| "there is no bandwidth".into())
                });
                let sample = stored::read(&folder.join(SAMPLE))?;
                Reference::new(sample, loaded.vocabulary.len(), SIMILARITY_SEED).with_kernel(kernel)
            }
        };
        let distances = reference.test(&sample, &tests, &loaded.base.device, monitor)?;
        loaded.reference = Some(reference);
        seal::folder_whole(out, &self.plan.made_with(task), |folder| {
            files::write_json(&folder.join(SIMILARITY), &SimilarityTaskResult { distances })
        })
    }
}
