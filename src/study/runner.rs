//! What the tasks of a study share while they run: the model at hand, its texts, the sentence encoder.

use std::path::{Path, PathBuf};

use super::config::{DomainEntry, ModelEntry, REFERENCE};
use super::memory::training_memory;
use super::plan::{ControlSize, Plan};
use super::task::{Task, TaskText, TaskWork};
use crate::device::ChosenDevice;
use crate::disk::paths::with_ending;
use crate::error::{Error, Result};
use crate::memory::{MemoryPlan, Work};
use crate::model::{LoadedModel, ModelConfig};
use crate::progress::{Monitor, Watched};
use crate::recipe::{AdaptSettings, NamedPlace};
use crate::similarity::encoder::SentenceEncoder;
use crate::similarity::encoder::folder::EncoderFolder;
use crate::similarity::{FeatureSpec, Reference};
use crate::text::{Corpus, Domain, Split, StreamOptions, TokenStream, Tokenizer, Vocabulary, open_corpus};

/// A model ready for the tasks that use it.
pub(super) struct Loaded {
    key: (String, usize),
    pub(super) base: LoadedModel,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) vocabulary: Vocabulary,
    pub(super) reference: Option<Reference>,
    /// The reference corpus in splits, once the restart control needs it.
    pub(super) control: Option<Domain>,
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

    pub(super) fn load(&mut self, task: &Task) -> Result<Loaded> {
        let key = (task.model.clone(), task.device);
        if let Some(loaded) = self.loaded.take().filter(|loaded| loaded.key == key) {
            return Ok(loaded);
        }
        let entry = self.model(&task.model)?;
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

    /// Keeps a model for the next task, which often uses the same.
    pub(super) fn keep(&mut self, loaded: Loaded) {
        self.loaded = Some(loaded);
    }

    /// Holds the study's sentence encoder on the device of `task` only while tasks need it.
    pub(super) fn hold_encoder(&mut self, task: &Task) -> Result<()> {
        let compares = matches!(task.work, TaskWork::Reference | TaskWork::Similarity { .. });
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

    /// The entry of a model in the study's settings.
    pub(super) fn model(&self, name: &str) -> Result<&'a ModelEntry> {
        self.plan.config.models.iter().find(|m| m.name == name).ok_or_else(|| unknown("model", name))
    }

    /// A strategy's recipe for the model of `task`: where it names the reference, it is that model's.
    pub(super) fn recipe(&self, task: &Task, recipe: &AdaptSettings) -> Result<AdaptSettings> {
        let mut recipe = recipe.clone();
        let reference = &self.model(&task.model)?.reference;
        for place in recipe.strategies.places() {
            if let NamedPlace::Corpus(path) = place
                && path == Path::new(REFERENCE)
            {
                path.clone_from(reference);
            }
        }
        Ok(recipe)
    }

    fn domain(&self, text: &TaskText, loaded: &Loaded, monitor: &mut dyn Monitor) -> Result<Domain> {
        let name = match (text, &loaded.control) {
            (TaskText::Control, Some(control)) => return Ok(control.clone()),
            (TaskText::Control, None) => "",
            (TaskText::Domain(name), _) => name,
        };
        let entry: Option<&DomainEntry> = self.plan.config.domains.iter().find(|d| d.name == name);
        let entry = entry.ok_or_else(|| unknown("domain", name))?;
        Domain::open(&entry.path, Watched::by(self.plan.config.text.read(), monitor))
    }

    /// A split of a text, which must be as it was planned with.
    pub(super) fn read_split(
        &self,
        text: &TaskText,
        loaded: &Loaded,
        split: Split,
        monitor: &mut dyn Monitor,
    ) -> Result<Corpus> {
        let domain = self.domain(text, loaded, monitor)?;
        let corpus = domain.split(Watched::by(split, monitor))?;
        self.plan.contents.check_text(&domain.path, Some(split), &corpus)?;
        Ok(corpus)
    }

    /// The reference corpus of the model of `task`, as it was planned with.
    pub(super) fn read_reference(&self, task: &Task, monitor: &mut dyn Monitor) -> Result<Corpus> {
        let path = &self.model(&task.model)?.reference;
        let corpus = open_corpus(path, Split::Train, Watched::by(self.plan.config.text.read(), monitor))?;
        self.plan.contents.check_text(path, None, &corpus)?;
        Ok(corpus)
    }

    /// The tokens of a split of a text; of the restart control as many as the study's domains have.
    pub(super) fn stream(
        &self,
        text: &TaskText,
        loaded: &Loaded,
        split: Split,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<TokenStream> {
        let corpus = self.read_split(text, loaded, split, monitor)?;
        let divided = || loaded.control.as_ref().is_some_and(Domain::is_divided);
        let most =
            self.plan.control.filter(|_| *text == TaskText::Control).and_then(|ControlSize { train, held_out }| {
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

    /// Whether a task's model has a restart control.
    pub(super) fn has_control(&self, task: &Task) -> bool {
        self.plan.zero_shot(task, &TaskText::Control, &self.plan.config.text.stream()).is_some()
    }

    /// The checkpoint of an interrupted adaptation.
    pub(super) fn checkpoint(&self, task: &Task) -> PathBuf {
        with_ending(&self.folder.join(&task.folder), ".checkpoint")
    }

    /// Removes the checkpoints of tasks that are done: a run may be killed between the two.
    pub fn remove_old_checkpoints(&self) {
        for task in self.plan.tasks.iter().filter(|task| task.is_done(self.folder)) {
            let _ = std::fs::remove_file(self.checkpoint(task)); // mostly there is none
        }
    }
}

pub(super) fn unknown(what: &str, name: &str) -> Error {
    Error::input(
        "plan.json",
        format!("its task names the {what} {name:?}, which the study does not have"),
        "run the study again",
    )
}
