//! Running a study's tasks: each result is written completely into its own folder, so an interrupted study can be
//! resumed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::config::{DomainEntry, EvaluationSettings, ModelEntry, StrategyEntry};
use super::kept::{ADAPT, EVAL, PER_TOKEN, State};
use super::memory::training_memory;
use super::plan::{ControlSize, Plan, Task, TaskKind};
use super::ranks;
use crate::adapt::{AdaptResult, Resumable, adapt};
use crate::compare::{
    Comparison, LineBreakParts, LossProfile, PairedChanges, PartChanges, Scoring, check_comparable, compare,
};
use crate::device::ChosenDevice;
use crate::disk::paths::with_ending;
use crate::error::{Error, Result};
use crate::evaluate::{EvalResult, Protocol, ProtocolResult, ScoredStream, evaluate, per_token, summarise};
use crate::files;
use crate::memory::{MemoryPlan, Work};
use crate::model::{LanguageModel, LoadedModel, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::rank::RankChange;
use crate::seal;
use crate::similarity::encoder::SentenceEncoder;
use crate::similarity::encoder::folder::EncoderFolder;
use crate::similarity::{FeatureSpec, Reference};
use crate::stats::{BOOTSTRAP_SEED, RESAMPLES, Resamples};
use crate::text::{Corpus, Domain, Overlap, Split, StreamOptions, TokenStream, Tokenizer, Vocabulary, open_corpus};

/// Token types kept in results, from each end of the list.
pub(super) const TYPES_KEPT: usize = 50;

/// `adapt.json` of an adapt task: its course and its results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AdaptTaskResult {
    pub adapt: AdaptResult,
    pub after: EvalResult,
    pub comparison: Comparison,
    pub test_newline_rate: f64,
    /// Absent in results written by older versions.
    #[serde(default)]
    pub overlap: Option<Overlap>,
    /// Where the study measures prediction rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankChange>,
    /// The change of every document; absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<PairedChanges>,
    /// The parts that line breaks and ends of documents carry; absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_changes: Option<PartChanges>,
    /// The same model under the other ways to evaluate of the ablation grid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<OtherEvaluation>,
    /// Whether the restart control's held-out text was divided from the reference corpus by document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub divided: bool,
    /// The loss of the base on the test text, by parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_loss: Option<LossProfile>,
    /// Tokens of the training text, trained on or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_tokens: Option<u64>,
    /// The base's weights and the entries of its vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_size: Option<(u64, usize)>,
    /// The change on held-out text of the reference corpus, if there is a restart control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgetting: Option<Forgetting>,
}

/// The change by an adaptation on held-out text of the reference corpus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forgetting {
    pub delta: f64,
    pub delta_ci95: [f64; 2],
    pub changes: PairedChanges,
}

/// The result of an adaptation with another way to evaluate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OtherEvaluation {
    pub text: StreamOptions,
    pub delta: f64,
    pub delta_ci95: [f64; 2],
    pub parts: LineBreakParts,
    pub changes: PairedChanges,
    /// Absent in results written by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_changes: Option<PartChanges>,
}

/// A test text scored by base and adapted model.
struct ScoredBoth {
    comparison: Comparison,
    changes: PairedChanges,
    parts: PartChanges,
    base_loss: LossProfile,
    after: ScoredStream,
    result: EvalResult,
}

/// A model ready for the tasks that use it.
pub(super) struct Loaded {
    key: (String, usize),
    pub(super) base: LoadedModel,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) vocabulary: Vocabulary,
    pub(super) reference: Option<Reference>,
    /// The reference corpus in splits, once the restart control needs it.
    control: Option<Domain>,
}

/// Runs the missing tasks of a study.
pub struct Runner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a Path,
    pub(super) devices: &'a [ChosenDevice],
    loaded: Option<Loaded>,
    /// The sentence encoder, while tasks compare with it, and the index of its device.
    pub(super) encoder: Option<(usize, SentenceEncoder)>,
}

impl<'a> Runner<'a> {
    /// For the study planned in `folder`; `devices` are those of the plan.
    pub fn new(plan: &'a Plan, folder: &'a Path, devices: &'a [ChosenDevice]) -> Self {
        Self { plan, folder, devices, loaded: None, encoder: None }
    }

    /// Runs `task`, unless its result is there.
    ///
    /// # Errors
    /// Errors of the task. An interruption keeps the checkpoint of an adaptation for the next run.
    pub fn run(&mut self, task: &Task, monitor: &mut dyn Monitor) -> Result<()> {
        let out = self.folder.join(&task.folder);
        match self.plan.state(task, self.folder)? {
            State::Done | State::Unchecked => return Ok(()),
            State::Missing => {}
            State::Damaged(damage) => {
                tracing::warn!("{damage}; {} is computed anew", task.label());
                files::remove(&out)?;
            }
        }
        let mut loaded = self.load(task)?;
        self.hold_encoder(task)?;
        let reads_control = match task.kind {
            TaskKind::Adapt => task.is_control() || self.has_control(task),
            _ => task.is_control() && task.kind != TaskKind::Reference,
        };
        if reads_control && loaded.control.is_none() {
            let rule = Watched::by(self.plan.config.text.read(), monitor);
            loaded.control = Some(Domain::open(&self.model(task)?.reference, rule)?);
        }
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
        for strategy in &self.plan.config.strategies {
            training_memory(&self.plan.config, entry, strategy, device)?.require(&entry.path)?;
        }
        if let FeatureSpec::Encoder { folder } = &self.plan.config.similarity.features {
            let encoder = EncoderFolder::read(folder)?.size(&device.device);
            MemoryPlan::new(&config, Work::Embed(encoder), device)?.require(&entry.path)?;
        }
        let base = LoadedModel::open(&entry.path, &device.device)?;
        let tokenizer = base.tokenizer()?;
        self.plan.contents.check_model(entry, tokenizer.as_ref())?;
        let vocabulary = Vocabulary::new(tokenizer.as_ref(), base.config.vocabulary());
        Ok(Loaded { key, base, tokenizer, vocabulary, reference: None, control: None })
    }

    pub(super) fn model(&self, task: &Task) -> Result<&'a ModelEntry> {
        self.plan.config.models.iter().find(|m| m.name == task.model).ok_or_else(|| unknown("model", &task.model))
    }

    pub(super) fn domain(&self, task: &Task, loaded: &Loaded, monitor: &mut dyn Monitor) -> Result<Domain> {
        if let Some(control) = loaded.control.as_ref().filter(|_| task.is_control()) {
            return Ok(control.clone());
        }
        let entry: Option<&DomainEntry> = self.plan.config.domains.iter().find(|d| d.name == task.domain);
        let entry = entry.ok_or_else(|| unknown("domain", &task.domain))?;
        Domain::open(&entry.path, Watched::by(self.plan.config.text.read(), monitor))
    }

    /// A split of the domain of `task`, or of its reference corpus, as it was planned with.
    pub(super) fn read_split(
        &self,
        task: &Task,
        loaded: &Loaded,
        split: Split,
        monitor: &mut dyn Monitor,
    ) -> Result<Corpus> {
        let domain = self.domain(task, loaded, monitor)?;
        let corpus = domain.split(Watched::by(split, monitor))?;
        self.plan.contents.check_text(&domain.path, Some(split), &corpus)?;
        Ok(corpus)
    }

    /// The reference corpus of the model of `task`, as it was planned with.
    pub(super) fn read_reference(&self, task: &Task, monitor: &mut dyn Monitor) -> Result<Corpus> {
        let path = &self.model(task)?.reference;
        let corpus = open_corpus(path, Split::Train, Watched::by(self.plan.config.text.read(), monitor))?;
        self.plan.contents.check_text(path, None, &corpus)?;
        Ok(corpus)
    }

    fn split(
        &self,
        task: &Task,
        loaded: &Loaded,
        split: Split,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<TokenStream> {
        let corpus = self.read_split(task, loaded, split, monitor)?;
        let divided = || loaded.control.as_ref().is_some_and(Domain::is_divided);
        let most = self.plan.control.filter(|_| task.is_control()).and_then(|ControlSize { train, held_out }| {
            if split == Split::Train { Some(train) } else { divided().then_some(held_out) }
        });
        let Some(most) = most else {
            return loaded.base.stream(&corpus, loaded.tokenizer.as_ref(), Watched::by(options, monitor));
        };
        let corpus = corpus.first(most)?;
        let bytes = corpus.documents.bytes().max(1);
        let mut stream = loaded.base.stream(&corpus, loaded.tokenizer.as_ref(), Watched::by(options, monitor))?;
        if split == Split::Train && bytes > most {
            // The last document is complete up to here, and it may be the only one.
            let tokens = (stream.ids.len() as u128 * u128::from(most)).div_ceil(u128::from(bytes));
            stream.truncate(usize::try_from(tokens).unwrap_or(usize::MAX).max(2));
        }
        Ok(stream)
    }

    fn protocol(&self, loaded: &Loaded, options: &StreamOptions) -> Result<ProtocolResult> {
        let config = &self.plan.config;
        let evaluation = config.evaluation;
        let (base, tokenizer) = (&loaded.base.config, loaded.tokenizer.as_ref());
        let EvaluationSettings { protocol, context, stride, .. } = evaluation;
        let protocol = Protocol::for_model(protocol, context, stride, base, tokenizer, options)?;
        Ok(ProtocolResult::new(protocol, config.text.document, options, tokenizer))
    }

    /// Scores the domain's test split, read as `options` say, with `model`.
    fn score_test(
        &self,
        task: &Task,
        loaded: &Loaded,
        model: &LanguageModel,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<(ScoredStream, EvalResult)> {
        let started = Instant::now();
        let protocol = self.protocol(loaded, options)?;
        let stream = self.split(task, loaded, Split::Test, &protocol.stream(), monitor)?;
        let scored = evaluate(model, &loaded.base.device, &stream, &protocol.protocol, monitor)?;
        let summary = scored.summary(&task.domain, &stream, &protocol.protocol)?;
        let device = &self.plan.devices[task.device];
        let result = summarise(&task.model, loaded.base.precision, device, protocol, vec![summary], started);
        Ok((scored, result))
    }

    fn zero_shot(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let options = task.evaluation.unwrap_or(self.plan.config.text.stream());
        let (scored, result) = self.score_test(task, loaded, &loaded.base.model, &options, monitor)?;
        let ranked = self.plan.config.evaluation.rank && task.evaluation.is_none() && !task.is_control();
        let rank = match ranked {
            true => Some(self.rank_before(task, loaded, monitor)?),
            false => None,
        };
        seal::folder_whole(out, &self.plan.made_with(task), |folder| {
            if let Some(rank) = &rank {
                ranks::write(folder, rank)?;
            }
            per_token::write(&folder.join(PER_TOKEN), &scored, &result)?;
            files::write_json(&folder.join(EVAL), &result)
        })
    }

    fn adapt(&self, task: &Task, loaded: &Loaded, out: &Path, monitor: &mut dyn Monitor) -> Result<()> {
        let config = &self.plan.config;
        let strategy: Option<&StrategyEntry> = config.strategies.iter().find(|s| s.name == task.strategy);
        let strategy = strategy.ok_or_else(|| unknown("strategy", &task.strategy))?;
        let strategy = task.training.map_or_else(|| strategy.clone(), |training| strategy.varied(training));
        let options = strategy.train_text.unwrap_or(config.text.stream());
        let train = self.split(task, loaded, Split::Train, &options, monitor)?;
        let valid = self.split(task, loaded, Split::Valid, &config.text.stream(), monitor)?;
        // Values that exist once for a domain are taken from its plain adaptation.
        let plain = task.training.is_none() && !task.is_control();
        let overlap = if plain { Some(self.overlap(task, loaded, &train, &options, monitor)?) } else { None };

        let available_tokens = train.ids.len() as u64;
        let checkpoint = self.checkpoint(task);
        let resumable = Resumable {
            path: &checkpoint,
            resume: true,
            every: None,
            longest: Resumable::LONGEST,
            how_to_resume: "the study goes on from there when it is run again",
        };
        let adapted = adapt(&loaded.base, train, &valid, &strategy.recipe, task.seed, Some(resumable), monitor)?;
        let mut scored = self.score_both(task, loaded, &adapted.last, &config.text.stream(), monitor)?;
        let mut evaluations = Vec::new();
        for text in config.other_evaluations() {
            let ScoredBoth { comparison, changes, parts: of_parts, .. } =
                self.score_both(task, loaded, &adapted.last, &text, monitor)?;
            let Comparison { delta, delta_ci95, .. } = comparison;
            let parts = of_parts.shares(&changes);
            evaluations.push(OtherEvaluation { text, delta, delta_ci95, parts, changes, part_changes: Some(of_parts) });
        }
        let forgetting = self.forgetting(task, loaded, &adapted.last, monitor)?;
        if !plain {
            scored.comparison.shorten(TYPES_KEPT);
            scored.comparison.passages.clear();
        }
        let rank = match self.plan.sibling(task, TaskKind::ZeroShot) {
            Some(zero_shot) if plain && config.evaluation.rank => {
                Some(self.rank_change(loaded, &self.plan.result_of(zero_shot, self.folder)?, &adapted.last, monitor)?)
            }
            _ => None,
        };
        let result = AdaptTaskResult {
            adapt: adapted.result,
            test_newline_rate: loaded.vocabulary.newline_rate(&scored.after.ids),
            after: scored.result,
            comparison: scored.comparison,
            overlap,
            rank,
            changes: Some(scored.changes),
            part_changes: Some(scored.parts),
            evaluations,
            divided: task.is_control() && loaded.control.as_ref().is_some_and(Domain::is_divided),
            base_loss: Some(scored.base_loss),
            available_tokens: Some(available_tokens),
            base_size: Some((LanguageModel::weight_count(&loaded.base.config)?, loaded.base.config.vocabulary())),
            forgetting,
        };
        seal::folder_whole(out, &self.plan.made_with(task), |folder| {
            if plain {
                per_token::write(&folder.join(PER_TOKEN), &scored.after, &result.after)?;
            }
            files::write_json(&folder.join(ADAPT), &result)
        })?;
        let _ = std::fs::remove_file(&checkpoint); // the result is completely written
        Ok(())
    }

    /// Scores the test split, read as `options` say, with the adapted model, beside the base's scores of it.
    fn before_and_after(
        &self,
        task: &Task,
        loaded: &Loaded,
        adapted: &LanguageModel,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<(ScoredStream, ScoredStream, EvalResult)> {
        let (after, result) = self.score_test(task, loaded, adapted, options, monitor)?;
        let zero_shot = self.plan.zero_shot(task, options).ok_or_else(|| unknown("zero-shot task of", &task.domain))?;
        let (before, before_result) =
            per_token::read_kept(&self.plan.result_of(zero_shot, self.folder)?.join(PER_TOKEN))?;
        let scoring = |name, stream, recipe| Scoring { name, stream, recipe, tokenizer: None, vocabulary: None };
        check_comparable(
            scoring("the base's scores", &before, &before_result.protocol),
            scoring("those now", &after, &result.protocol),
        )
        .map_err(|error| {
            let fault = match error {
                Error::Input { fault, .. } => format!("its scores and those of now {fault}"),
                other => other.to_string(),
            };
            Error::file(&zero_shot.folder, fault, "remove this folder and run again")
        })?;
        Ok((before, after, result))
    }

    /// Scores the test split, read as `options` say, with the adapted model, and compares with the base's scores.
    fn score_both(
        &self,
        task: &Task,
        loaded: &Loaded,
        adapted: &LanguageModel,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<ScoredBoth> {
        let (before, after, result) = self.before_and_after(task, loaded, adapted, options, monitor)?;
        let domain = if task.is_control() { "its reference corpus" } else { &task.domain };
        let adapted_name = format!("{} adapted to {domain}", task.model);
        let names = [task.model.as_str(), adapted_name.as_str()];
        let comparison = compare(&before, &after, names, &loaded.vocabulary)?;
        let changes = PairedChanges::of(&before, &after, names)?;
        let parts = PartChanges::of(&before, &after, names, &loaded.vocabulary, loaded.base.config.eos_token_id)?;
        let base_loss = LossProfile::of(&before, &loaded.vocabulary);
        Ok(ScoredBoth { comparison, changes, parts, base_loss, after, result })
    }

    /// Whether the model of `task` has a restart control.
    fn has_control(&self, task: &Task) -> bool {
        self.plan.zero_shot(&control_of(task), &self.plan.config.text.stream()).is_some()
    }

    /// The change of the model adapted by `task` on the test text of the restart control; `None` if there is none.
    fn forgetting(
        &self,
        task: &Task,
        loaded: &Loaded,
        adapted: &LanguageModel,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Forgetting>> {
        if task.is_control() || !self.has_control(task) {
            return Ok(None);
        }
        let options = self.plan.config.text.stream();
        let control = control_of(task);
        let (before, after, _) = self.before_and_after(&control, loaded, adapted, &options, monitor)?;
        let changes = PairedChanges::of(&before, &after, [&task.model, &task.label()])?;
        let draws = Resamples::new(changes.tokens.len(), RESAMPLES, BOOTSTRAP_SEED);
        let delta_ci95 = draws.ratio_interval(&changes.changes, &changes.tokens)?;
        let delta = changes.changes.iter().sum::<f64>() / changes.tokens.iter().sum::<f64>();
        Ok(Some(Forgetting { delta, delta_ci95, changes }))
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

    /// The checkpoint of an interrupted adaptation.
    fn checkpoint(&self, task: &Task) -> PathBuf {
        with_ending(&self.folder.join(&task.folder), ".checkpoint")
    }

    /// Removes the checkpoints of tasks that are done: a run may be killed between the two.
    pub fn remove_old_checkpoints(&self) {
        for task in self.plan.tasks.iter().filter(|task| task.is_done(self.folder)) {
            let _ = std::fs::remove_file(self.checkpoint(task)); // mostly there is none
        }
    }
}

/// The restart control as the domain of a task.
fn control_of(task: &Task) -> Task {
    Task { domain: String::new(), ..task.clone() }
}

pub(super) fn unknown(what: &str, name: &str) -> Error {
    Error::input(
        "plan.json",
        format!("its task names the {what} {name:?}, which the study does not have"),
        "run the study again",
    )
}
