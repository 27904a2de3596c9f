//! Running a study's tasks: each result lands whole in its own folder, so an interrupted study goes on where it was.

use std::path::{Path, PathBuf};
use std::time::Instant;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::config::{DomainEntry, EvaluationSettings, ModelEntry, StrategyEntry};
use super::plan::{Plan, Task, TaskKind};
use crate::adapt::{AdaptResult, Resumable, adapt};
use crate::compare::{Comparison, Vocabulary, compare};
use crate::device::ChosenDevice;
use crate::error::{Error, Result};
use crate::evaluate::{EvalResult, Protocol, ProtocolResult, ScoredStream, evaluate, per_token, summarise};
use crate::files::{self, Array};
use crate::memory::{MemoryPlan, Work};
use crate::model::{LanguageModel, LoadedModel, ModelConfig, Precision};
use crate::progress::{Monitor, Watched};
use crate::rank::{PromptSet, RankChange, Ranks, rank};
use crate::similarity::embed::Embedder;
use crate::similarity::{CorpusSample, Distances, Features, Reference};
use crate::text::{Domain, Overlap, Split, StreamOptions, TokenStream, Tokenizer, open_corpus};

/// Seed of what the distances draw (subsamples for the bandwidth); not one of the study's seeds, which are adaptations'.
const SIMILARITY_SEED: u64 = 42;

/// The prompts of a zero-shot task and the base's ranks, where the study measures prediction rank.
const PROMPTS: &str = "prompts.jsonl";
const RANKS: &str = "ranks.json";

/// `reference.json` of a reference task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReferenceResult {
    pub reference: String,
    pub null: Distances,
}

/// `similarity.json` of a similarity task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SimilarityTaskResult {
    pub distances: Distances,
}

/// `adapt.json` of an adapt task: how it went and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AdaptTaskResult {
    pub adapt: AdaptResult,
    pub after: EvalResult,
    pub comparison: Comparison,
    pub test_newline_rate: f64,
    /// Absent from results of before it was measured.
    #[serde(default)]
    pub overlap: Option<Overlap>,
    /// Where the study measures prediction rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankChange>,
}

/// A model ready for the tasks that use it.
struct Loaded {
    key: (String, usize),
    base: LoadedModel,
    tokenizer: Option<Tokenizer>,
    vocabulary: Vocabulary,
    reference: Option<Reference>,
}

/// Runs what is missing of a study.
pub struct Runner<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    devices: &'a [ChosenDevice],
    loaded: Option<Loaded>,
}

impl<'a> Runner<'a> {
    /// For the study planned in `folder`; `devices` are those of the plan.
    pub fn new(plan: &'a Plan, folder: &'a Path, devices: &'a [ChosenDevice]) -> Self {
        Self { plan, folder, devices, loaded: None }
    }

    /// Runs `task`, unless its result is there.
    ///
    /// # Errors
    /// The task's; an interruption keeps an adaptation's checkpoint for the next run.
    pub fn run(&mut self, task: &Task, monitor: &mut dyn Monitor) -> Result<()> {
        let out = self.folder.join(&task.folder);
        if out.exists() {
            return Ok(());
        }
        let mut loaded = self.load(task)?;
        let done = match task.kind {
            TaskKind::Reference => self.reference(task, &loaded, &out, monitor),
            TaskKind::ZeroShot => self.zero_shot(task, &loaded, &out, monitor),
            TaskKind::Similarity => self.similarity(task, &mut loaded, &out, monitor),
            TaskKind::Adapt => self.adapt(task, &loaded, &out, monitor),
        };
        self.loaded = Some(loaded);
        done
    }

    fn load(&mut self, task: &Task) -> Result<Loaded> {
        let key = (task.model.clone(), task.device);
        if let Some(loaded) = self.loaded.take().filter(|loaded| loaded.key == key) {
            return Ok(loaded);
        }
        let entry = self.model(task)?;
        let device = self.devices.get(task.device).ok_or_else(|| unknown("device", &task.device.to_string()))?;
        let config = ModelConfig::read(&entry.path)?;
        for StrategyEntry { recipe, .. } in &self.plan.config.strategies {
            let work = Work::training(recipe, &config, Precision::F32)?;
            MemoryPlan::new(&config, work, device)?.require(&entry.path)?;
        }
        let base = LoadedModel::open(&entry.path, &device.device)?;
        let tokenizer = base.tokenizer()?;
        let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
        Ok(Loaded { key, base, tokenizer, vocabulary, reference: None })
    }

    fn model(&self, task: &Task) -> Result<&'a ModelEntry> {
        self.plan.config.models.iter().find(|m| m.name == task.model).ok_or_else(|| unknown("model", &task.model))
    }

    fn domain(&self, task: &Task, monitor: &mut dyn Monitor) -> Result<Domain> {
        let entry: Option<&DomainEntry> = self.plan.config.domains.iter().find(|d| d.name == task.domain);
        let entry = entry.ok_or_else(|| unknown("domain", &task.domain))?;
        Domain::open(&entry.path, Watched::by(self.plan.config.text.document, monitor))
    }

    fn split(
        &self,
        task: &Task,
        loaded: &Loaded,
        split: Split,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<TokenStream> {
        let corpus = self.domain(task, monitor)?.split(Watched::by(split, monitor))?;
        loaded.base.stream(&corpus, loaded.tokenizer.as_ref(), Watched::by(options, monitor))
    }

    fn embedder<'b>(&self, loaded: &'b Loaded) -> Embedder<'b> {
        let chunk = self.plan.config.similarity.chunk.unwrap_or(loaded.base.config.context());
        let Loaded { base, vocabulary, .. } = loaded;
        Embedder { model: &base.model, device: &base.device, vocabulary, chunk }
    }

    fn reference(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let config = &self.plan.config;
        let entry = self.model(task)?;
        let corpus = open_corpus(&entry.reference, Split::Train, Watched::by(config.text.document, monitor))?;
        let options = config.text.stream();
        let stream = loaded.base.stream(&corpus, loaded.tokenizer.as_ref(), Watched::by(&options, monitor))?;
        let embedder = self.embedder(loaded);
        let sample = embedder.sample(&stream.ids, config.similarity.reference_samples, monitor)?;
        // The halves are as large as a domain's sample, so that their distance shows its bias and noise.
        let null = embedder.against_itself(&stream.ids, config.similarity.samples, SIMILARITY_SEED, monitor)?;

        files::folder_whole(out, |folder| {
            write_sample(&folder.join("sample.safetensors"), &sample)?;
            let reference = entry.reference.display().to_string();
            files::write_json(&folder.join("reference.json"), &ReferenceResult { reference, null })
        })
    }

    fn similarity(&self, task: &Task, loaded: &mut Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let config = &self.plan.config;
        let stream = self.split(task, loaded, Split::Train, &config.text.stream(), monitor)?;
        let sample = self.embedder(loaded).sample(&stream.ids, config.similarity.samples, monitor)?;
        let reference = match loaded.reference.take() {
            Some(reference) => reference,
            None => {
                let task =
                    self.plan.sibling(task, TaskKind::Reference).ok_or_else(|| unknown("reference of", &task.model))?;
                let sample = read_sample(&self.folder.join(&task.folder).join("sample.safetensors"))?;
                Reference::new(sample, loaded.vocabulary.len(), SIMILARITY_SEED)
            }
        };
        let distances = reference.distances(&sample);
        loaded.reference = Some(reference);
        files::folder_whole(out, |folder| {
            files::write_json(&folder.join("similarity.json"), &SimilarityTaskResult { distances })
        })
    }

    fn protocol(&self, loaded: &Loaded) -> Result<ProtocolResult> {
        let config = &self.plan.config;
        let evaluation = config.evaluation;
        let (base, tokenizer, options) = (&loaded.base.config, loaded.tokenizer.as_ref(), config.text.stream());
        let EvaluationSettings { protocol, context, stride, .. } = evaluation;
        let protocol = Protocol::for_model(protocol, context, stride, base, tokenizer, &options)?;
        Ok(ProtocolResult::new(protocol, config.text.document, &options, tokenizer))
    }

    /// Scores the domain's test split with `model`, and writes the per-token file into `folder`.
    fn score_test(
        &self,
        task: &Task,
        loaded: &Loaded,
        model: &LanguageModel,
        monitor: &mut dyn Monitor,
    ) -> Result<(ScoredStream, EvalResult)> {
        let started = Instant::now();
        let protocol = self.protocol(loaded)?;
        let stream = self.split(task, loaded, Split::Test, &protocol.stream(), monitor)?;
        let scored = evaluate(model, &loaded.base.device, &stream, &protocol.protocol, monitor)?;
        let summary = scored.summary(&task.domain, &stream, &protocol.protocol)?;
        let device = &self.plan.devices[task.device];
        let result = summarise(&task.model, loaded.base.precision, device, protocol, vec![summary], started);
        Ok((scored, result))
    }

    fn zero_shot(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let (scored, result) = self.score_test(task, loaded, &loaded.base.model, monitor)?;
        let rank = match self.plan.config.evaluation.rank {
            true => Some(self.rank_before(task, loaded, monitor)?),
            false => None,
        };
        files::folder_whole(out, |folder| {
            if let Some((prompts, ranks)) = &rank {
                prompts.write(&folder.join(PROMPTS))?;
                files::write_json(&folder.join(RANKS), ranks)?;
            }
            per_token::write(&folder.join("per_token.safetensors"), &scored, &result)?;
            files::write_json(&folder.join("eval.json"), &result)
        })
    }

    fn adapt(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let config = &self.plan.config;
        let strategy: Option<&StrategyEntry> = config.strategies.iter().find(|s| s.name == task.strategy);
        let strategy = strategy.ok_or_else(|| unknown("strategy", &task.strategy))?;
        let options = strategy.train_text.unwrap_or(config.text.stream());
        let train = self.split(task, loaded, Split::Train, &options, monitor)?;
        let valid = self.split(task, loaded, Split::Valid, &config.text.stream(), monitor)?;
        let overlap = self.overlap(task, loaded, &train, &options, monitor)?;

        let checkpoint = self.checkpoint(task);
        let resumable = Resumable {
            path: &checkpoint,
            resume: true,
            every: None,
            longest: Resumable::LONGEST,
            how_to_resume: "the study goes on from there when it is run again",
        };
        let adapted = adapt(&loaded.base, train, &valid, &strategy.recipe, task.seed, Some(resumable), monitor)?;
        let (scored, after) = self.score_test(task, loaded, &adapted.last, monitor)?;

        let zero_shot =
            self.plan.sibling(task, TaskKind::ZeroShot).ok_or_else(|| unknown("zero-shot task of", &task.domain))?;
        let (before, before_result) =
            per_token::read(&self.folder.join(&zero_shot.folder).join("per_token.safetensors"))?;
        if before_result.protocol.fingerprint != after.protocol.fingerprint {
            return Err(Error::file(
                &zero_shot.folder,
                format!(
                    "was evaluated by another recipe, which differs in {}",
                    before_result.protocol.difference(&after.protocol)
                ),
                "remove this folder and run again",
            ));
        }
        let adapted_name = format!("{} adapted to {}", task.model, task.domain);
        let comparison = compare(&before, &scored, [&task.model, &adapted_name], &loaded.vocabulary)?;
        let result = AdaptTaskResult {
            adapt: adapted.result,
            after,
            comparison,
            test_newline_rate: loaded.vocabulary.newline_rate(&scored.ids),
            overlap: Some(overlap),
            rank: self.rank_change(loaded, &self.folder.join(&zero_shot.folder), &adapted.last, monitor)?,
        };
        files::folder_whole(out, |folder| {
            per_token::write(&folder.join("per_token.safetensors"), &scored, &result.after)?;
            files::write_json(&folder.join("adapt.json"), &result)
        })?;
        let _ = std::fs::remove_file(&checkpoint); // its result is whole now
        Ok(())
    }

    /// The domain's prompts, which do not depend on the model but for its reference, and the base's ranks.
    fn rank_before(&self, task: &Task, loaded: &Loaded, monitor: &mut dyn Monitor) -> Result<(PromptSet, Ranks)> {
        let domain = self.domain(task, monitor)?;
        let train = domain.split(Watched::by(Split::Train, monitor))?;
        let test = domain.split(Watched::by(Split::Test, monitor))?;
        let rule = Watched::by(self.plan.config.text.document, monitor);
        let reference = open_corpus(&self.model(task)?.reference, Split::Train, rule)?;
        let prompts = PromptSet::build(&train, &test, Some(&reference));
        let ranks = self.ask(&prompts, loaded, &loaded.base.model, monitor)?;
        Ok((prompts, ranks))
    }

    /// What adaptation did to the ranks of the prompts in the `zero_shot` folder; `None` where the study has none.
    fn rank_change(
        &self,
        loaded: &Loaded,
        zero_shot: &Path,
        adapted: &LanguageModel,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<RankChange>> {
        if !self.plan.config.evaluation.rank {
            return Ok(None);
        }
        let before: Ranks = files::read_json(&zero_shot.join(RANKS))?;
        let prompts = match before.ranks.is_empty() {
            true => PromptSet::none(before.reason.clone().unwrap_or_default()),
            false => PromptSet { similarity: before.similarity.clone(), ..PromptSet::read(&zero_shot.join(PROMPTS))? },
        };
        before.change(&self.ask(&prompts, loaded, adapted, monitor)?).map(Some)
    }

    fn ask(
        &self,
        prompts: &PromptSet,
        loaded: &Loaded,
        model: &LanguageModel,
        monitor: &mut dyn Monitor,
    ) -> Result<Ranks> {
        rank(prompts, model, &loaded.base, loaded.tokenizer.as_ref(), self.plan.config.text.bos, monitor)
    }

    /// How much of the test split stands in the train split, both as they are evaluated; `train` is as `options` made it.
    fn overlap(
        &self,
        task: &Task,
        loaded: &Loaded,
        train: &TokenStream,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<Overlap> {
        let evaluated = self.plan.config.text.stream();
        let test = self.split(task, loaded, Split::Test, &evaluated, monitor)?;
        let eot = loaded.base.config.eos_token_id;
        Ok(if *options == evaluated {
            Overlap::of(train, &test, eot)
        } else {
            Overlap::of(&self.split(task, loaded, Split::Train, &evaluated, monitor)?, &test, eot)
        })
    }

    /// Where an interrupted adaptation waits for the next run.
    fn checkpoint(&self, task: &Task) -> PathBuf {
        let mut name = self.folder.join(&task.folder).into_os_string();
        name.push(".checkpoint");
        name.into()
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::input(
        "plan.json",
        format!("its task names the {what} {name:?}, which the study does not have"),
        "run the study again",
    )
}

/// A reference's features and token counts as safetensors; why features are missing stands in the metadata.
fn write_sample(path: &Path, sample: &CorpusSample) -> Result<()> {
    let (ids, counts): (Vec<u32>, Vec<u64>) = sample.unigrams.iter().unzip();
    let rate = [sample.newline_rate];
    let mut arrays = vec![
        Array::of("ids", Dtype::U32, vec![ids.len()], bytemuck::cast_slice(&ids)),
        Array::of("counts", Dtype::U64, vec![counts.len()], bytemuck::cast_slice(&counts)),
        Array::of("newline_rate", Dtype::F64, vec![1], bytemuck::cast_slice(&rate)),
    ];
    let mut no_features = String::new();
    match &sample.features {
        Ok(f) => arrays.push(Array::of(
            "features",
            Dtype::F32,
            vec![f.samples, f.dimension],
            bytemuck::cast_slice(&f.values),
        )),
        Err(reason) => no_features.clone_from(reason),
    }
    files::write_safetensors(path, arrays, ("no_features", no_features))
}

fn read_sample(path: &Path) -> Result<CorpusSample> {
    let broken = |e: String| {
        Error::file(path, format!("not a sample of a corpus: {e}"), "remove its folder and run the study again")
    };
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let array = |name: &str, dtype: Dtype| match tensors.tensor(name) {
        Ok(view) if view.dtype() == dtype => Ok(view),
        Ok(view) => Err(broken(format!("{name} has type {:?}", view.dtype()))),
        Err(e) => Err(broken(e.to_string())),
    };
    let ids: Vec<u32> = bytemuck::pod_collect_to_vec(array("ids", Dtype::U32)?.data());
    let counts: Vec<u64> = bytemuck::pod_collect_to_vec(array("counts", Dtype::U64)?.data());
    let rate: Vec<f64> = bytemuck::pod_collect_to_vec(array("newline_rate", Dtype::F64)?.data());
    let features = if tensors.names().contains(&"features") {
        let view = array("features", Dtype::F32)?;
        match *view.shape() {
            [samples, dimension] => {
                Features::new(samples, dimension, bytemuck::pod_collect_to_vec(view.data())).map_err(|e| e.to_string())
            }
            _ => return Err(broken("features are no matrix".into())),
        }
    } else {
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
        let reason = header.metadata().as_ref().and_then(|metadata| metadata.get("no_features"));
        Err(reason.ok_or_else(|| broken("has neither features nor a reason".into()))?.clone())
    };
    Ok(CorpusSample {
        features,
        unigrams: ids.into_iter().zip(counts).collect(),
        newline_rate: rate.first().copied().unwrap_or(0.0),
    })
}
