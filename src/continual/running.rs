//! Running a stream: stage by stage, each kept before the next.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::place::StreamPlace;
use super::result::{DomainOfStream, StreamResult};
use super::retention::Retention;
use crate::adapt::{AdaptResult, AdaptSettings, Form, Resumable, RunPlace, Strategies, Training};
use crate::error::{Error, Result};
use crate::evaluate::{ProtocolResult, evaluate};
use crate::model::LoadedModel;
use crate::process::peak_resident;
use crate::progress::{Monitor, Watched};
use crate::spool::cache_folder;
use crate::text::{Domain, ReadOptions, Split, StreamOptions, TextOptions, TokenStream, Tokenizer};

/// A model, the domains that it is adapted to one after another, and how.
pub struct DomainStream<'a> {
    /// The model before the stream.
    pub model: &'a LoadedModel,
    /// Its name in results.
    pub name: String,
    /// Its tokenizer.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The domains in order; at least one.
    pub domains: &'a [Domain],
    /// How each stage is trained.
    pub settings: &'a AdaptSettings,
    /// The seed of every stage.
    pub seed: u64,
    /// How the files of what strategies read become documents.
    pub files: ReadOptions,
    /// How texts become tokens for training and validation.
    pub reading: StreamOptions,
    /// How test texts are scored.
    pub protocol: ProtocolResult,
    /// Save a stage after so many steps too.
    pub checkpoint_every: Option<u64>,
    /// The words that say how to resume, for a run that ends early.
    pub how_to_resume: &'a str,
}

impl DomainStream<'_> {
    /// Runs the stages that are missing at `place`. A stage that is done is not trained again, and the numbers of one that is
    /// measured are not measured again.
    ///
    /// Every stage is an adaptation of the model that the stage before left, its last weights. Adapters are merged into the
    /// model at the end of their stage. Strategies that compare with a base have the model before the stream as
    /// [`LoadedModel::before_stream`].
    ///
    /// # Errors
    /// Texts that cannot be read or are too short; what is at `place` is of another stream; as [`Training::run`].
    pub fn run(&self, place: &StreamPlace, monitor: &mut dyn Monitor) -> Result<StreamResult> {
        let started = Instant::now();
        if self.domains.is_empty() {
            return Err(Error::input("stream", "names no domain", "name at least one"));
        }
        let tests = self.tests(monitor)?;
        let determined_by = self.determined_by(&tests)?;
        let so_far = place.so_far(&determined_by)?;
        let before = so_far.map_or(0.0, |found| found.seconds);
        let mut rows = so_far.map(|found| found.retention.clone());
        let mut result = StreamResult {
            schema: "odyssey.stream/1".to_owned(),
            out: place.out.display().to_string(),
            model: self.name.clone(),
            domains: so_far.map_or_else(|| self.described(&tests), |found| found.domains.clone()),
            done: 0,
            of: self.domains.len(),
            retention: Retention::new(Vec::new()),
            zero_shot: 0.0,
            current: None,
            last: 0.0,
            forgetting: Vec::new(),
            mean_forgetting: 0.0,
            since_learned: Vec::new(),
            backward: Vec::new(),
            forward: Vec::new(),
            protocol: self.protocol.clone(),
            determined_by,
            seconds: before,
            peak_memory_bytes: peak_resident(),
        };
        if let Some(found) = so_far.filter(|found| found.done == found.of) {
            return Ok(StreamResult { out: result.out, ..found.clone() });
        }
        let keep = |result: StreamResult, rows: &Retention| {
            let seconds = before + started.elapsed().as_secs_f64();
            let result = StreamResult { seconds, peak_memory_bytes: peak_resident(), ..result }.with(rows.clone());
            place.keep(&result).map(|()| result)
        };
        if rows.is_none() {
            let first = Retention::new(self.losses(self.model, &tests, monitor)?);
            result = keep(result, &first)?;
            rows = Some(first);
        }
        let mut rows = rows.unwrap_or_else(|| Retention::new(Vec::new()));
        let mut stage_before: Option<LoadedModel> = None;
        for (index, domain) in self.domains.iter().enumerate() {
            let folder = place.out.join(folder_of(index + 1, &domain.name));
            let base = stage_before.as_ref().unwrap_or(self.model);
            let done = self.stage(base, domain, &folder, place.resume, monitor)?;
            (result.domains[index].steps, result.domains[index].tokens) = (Some(done.steps), Some(done.tokens));
            let model = self.opened(&folder)?;
            if rows.stages() <= index {
                rows.push(self.losses(&model, &tests, monitor)?);
                result = keep(result, &rows)?;
            }
            stage_before = Some(model);
        }
        Ok(result)
    }

    /// The test texts as the model reads them.
    fn tests(&self, monitor: &mut dyn Monitor) -> Result<Vec<TokenStream>> {
        let mut test = |domain: &Domain| self.read(domain, Split::Test, &self.protocol.stream(), monitor);
        self.domains.iter().map(&mut test).collect()
    }

    fn read(
        &self,
        domain: &Domain,
        split: Split,
        options: &StreamOptions,
        monitor: &mut dyn Monitor,
    ) -> Result<TokenStream> {
        let corpus = domain.split(Watched::by(split, monitor))?;
        self.model.stream(&corpus, self.tokenizer, Watched::by(options, monitor))
    }

    fn determined_by(&self, tests: &[TokenStream]) -> Result<serde_json::Value> {
        let tests = self.domains.iter().zip(tests);
        let tests: Vec<_> =
            tests.map(|(domain, test)| json!({ "domain": domain.name, "test": test.corpus_hash })).collect();
        // What is not written where it is the default, as in the stages' own results.
        let strategies = Strategies { lora: self.settings.adapters(), ..self.settings.strategies.clone() };
        let settings = AdaptSettings { strategies, outlier: AdaptSettings::default().outlier, ..self.settings.clone() };
        Ok(json!({
            "model": self.model.hash()?, "dtype": self.model.precision, "domains": tests,
            "protocol": self.protocol.fingerprint, "settings": settings, "seed": self.seed,
        }))
    }

    /// The losses of a model on all test texts.
    fn losses(&self, model: &LoadedModel, tests: &[TokenStream], monitor: &mut dyn Monitor) -> Result<Vec<f64>> {
        let mut score = |test: &TokenStream| {
            let scored = evaluate(&model.model, &model.device, test, &self.protocol.protocol, monitor)?;
            Ok(scored.mean_nll())
        };
        tests.iter().map(&mut score).collect::<Result<Vec<_>>>().map_err(|error| match error {
            Error::Interrupted(_) => Error::Interrupted(format!(
                "stopped while test texts were scored; the stages before are kept; {}",
                self.how_to_resume
            )),
            other => other,
        })
    }

    /// The domains before any stage is done.
    fn described(&self, tests: &[TokenStream]) -> Vec<DomainOfStream> {
        let describe = |((index, domain), test): ((usize, &Domain), &TokenStream)| DomainOfStream {
            domain: domain.name.clone(),
            text: domain.path.display().to_string(),
            folder: folder_of(index + 1, &domain.name),
            tokens_of_test: test.ids.len(),
            steps: None,
            tokens: None,
        };
        self.domains.iter().enumerate().zip(tests).map(describe).collect()
    }

    /// Trains a stage, unless its folder has the result already.
    fn stage(
        &self,
        base: &LoadedModel,
        domain: &Domain,
        folder: &Path,
        resume: bool,
        monitor: &mut dyn Monitor,
    ) -> Result<AdaptResult> {
        let form = Form::Merged; // the next stage needs a whole model
        let place = RunPlace::take(folder, form, resume, "adapt")?;
        let train = self.read(domain, Split::Train, &self.reading, monitor)?;
        let valid = self.read(domain, Split::Valid, &self.reading, monitor)?;
        let resumable = Some(place.resumable(self.checkpoint_every, Resumable::LONGEST, self.how_to_resume));
        // What strategies read is divided as the domains are: the rest of it may be measured on.
        let texts = TextOptions { read: self.files.clone(), stream: self.reading, divide: true };
        let keep = cache_folder();
        let training =
            Training { base, settings: self.settings, seed: self.seed, resumable, texts: &texts, keep: Some(&keep) };
        if place.is_filled()
            && let Some(done) = place.result_of(&training.determined_by(&train, &valid, monitor)?)?
        {
            return Ok(done);
        }
        let mut adapted = training.run(train, &valid, monitor)?;
        adapted.form = form;
        place.write(&mut adapted, base)?;
        Ok(adapted.result)
    }

    /// The model that a stage left, held as the one before the stream.
    fn opened(&self, folder: &Path) -> Result<LoadedModel> {
        let mut model = LoadedModel::open_in(folder, self.model.precision, &self.model.device)?;
        // A second model in memory, so only where somebody asks for it.
        let others = Strategies { lora: None, ..self.settings.strategies.clone() };
        if others != Strategies::default() {
            model.before_stream = Some(Box::new(self.model.clone()));
        }
        Ok(model)
    }
}

/// The folder of a stage: its number, and the domain's name without what a name of a folder cannot have.
fn folder_of(stage: usize, domain: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = domain.chars().map(plain).take(60).collect();
    format!("{stage}-{name}")
}
