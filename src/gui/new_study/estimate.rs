//! What a study will take before it starts: how many tokens, how long on this device, how much disk.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use egui::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::form::Checked;
use crate::adapt::data::{MicroBatch, Packing};
use crate::adapt::timing::tokens_per_second;
use crate::device::ChosenDevice;
use crate::error::{Error, Result};
use crate::evaluate::{Protocol, ProtocolResult};
use crate::files;
use crate::gui::queue::give_way;
use crate::hub::Hub;
use crate::hub::name::has_prefix;
use crate::model::{LanguageModel, LoadedModel, ModelConfig};
use crate::perplexity::Evaluation;
use crate::process;
use crate::progress::{Monitor, Watched};
use crate::recipe::AdaptSettings;
use crate::study::StudyConfig;
use crate::study::config::EvaluationSettings;
use crate::text::{Domain, Letters, ReadOptions, Reading, Split, TokenStream, Tokenizer, open_corpus};

/// How many bytes of a text are tokenised to measure tokens per byte.
const SAMPLE: u64 = 1 << 16;
/// Tokens of a timed micro-batch, as far as the recipe has so many at once.
const TIMED: usize = 1024;
/// Tokens of the longest window that is timed. The longest that some models read would take minutes and gigabytes, and few
/// texts have them.
const LONGEST_TIMED: usize = 4096;
/// Bytes that are kept of a scored token: id, loss, document, place, window.
const KEPT: u64 = 24;

/// What a study takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outlook {
    /// Adaptations, those of the restart control among them.
    pub adaptations: u64,
    /// Tokens trained on in all.
    pub trained: u64,
    /// Tokens read to validate, evaluate and measure distances.
    pub evaluated: u64,
    /// Seconds of both; `None` if the rate is not known.
    pub seconds: Option<f64>,
    /// Where the rate comes from, in words.
    pub rates: Vec<String>,
    /// Bytes that the results take.
    pub disk: u64,
    /// Free bytes on the disk of the results; `None` if not known.
    pub disk_free: Option<u64>,
}

/// The progress of the estimate, and whether it should stop.
#[derive(Default)]
pub(super) struct Progress {
    pub stop: AtomicBool,
    what: Mutex<String>,
}

impl Progress {
    /// The present work.
    pub fn what(&self) -> String {
        self.what.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Watcher {
    progress: Arc<Progress>,
    context: Context,
}

impl Monitor for Watcher {
    fn begin(&mut self, what: &str, _total: u64) {
        *self.progress.what.lock().unwrap_or_else(PoisonError::into_inner) = what.to_owned();
        self.context.request_repaint();
    }

    fn stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Relaxed)
    }
}

/// Known facts about texts from earlier reads; each text is read once.
#[derive(Default)]
pub(super) struct Texts {
    sizes: HashMap<(PathBuf, ReadOptions), Sizes>,
    /// Tokens a byte makes, by text and tokenizer.
    tokens: BTreeMap<(PathBuf, PathBuf), f64>,
}

/// Bytes of a domain's splits.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    train: u64,
    valid: u64,
    test: u64,
    divided: bool,
}

/// The measured speed of a device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Rate {
    /// Tokens trained on a second.
    train: f64,
    /// Tokens scored a second.
    evaluate: f64,
}

/// What `checked` takes. Texts are read. A step is timed if the speed of this device is not known.
///
/// # Errors
/// Faults of a text or model; an interruption.
pub(super) fn look_ahead(
    checked: &Checked,
    data: &Path,
    texts: &Mutex<Texts>,
    progress: Arc<Progress>,
    context: Context,
) -> Result<Outlook> {
    give_way();
    let mut watcher = Watcher { progress, context };
    let config = &checked.config;
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut outlook = Outlook {
        adaptations: 0,
        trained: 0,
        evaluated: 0,
        seconds: Some(0.0),
        rates: Vec::new(),
        disk: 0,
        disk_free: process::free_disk(&checked.folder),
    };
    let options = config.text.read();
    let mut domains = Vec::new();
    for domain in &config.domains {
        match has_prefix(&domain.path) {
            true => outlook.rates.push(format!("{} is on the hub, and not counted", domain.name)),
            false => domains.push((domain.path.as_path(), texts.sizes(&domain.path, &options, &mut watcher)?)),
        }
    }
    for entry in &config.models {
        let Some(folder) = Hub::new().model_here(&entry.path) else {
            outlook.rates.push(format!("{} is on the hub, and not counted", entry.name));
            outlook.seconds = None;
            continue;
        };
        let model = Subject { config, model: ModelConfig::read(&folder)?, folder };
        let control = match config.restart_control && !has_prefix(&entry.reference) {
            true => texts.sizes(&entry.reference, &options, &mut watcher).ok(),
            false => None,
        };
        let mut counted = Vec::new();
        for (path, sizes) in &domains {
            counted.push((*sizes, texts.tokens_per_byte(path, &model, &mut watcher)?));
        }
        let control = match control {
            Some(sizes) => {
                Some((as_control(sizes, &domains), texts.tokens_per_byte(&entry.reference, &model, &mut watcher)?))
            }
            None => None,
        };
        let tokens = model.tokens(&counted, control)?;
        for choice in &config.devices {
            let device = choice.open()?;
            outlook.adaptations += tokens.adaptations;
            outlook.trained += tokens.trained;
            outlook.evaluated += tokens.evaluated;
            outlook.disk += tokens.kept * KEPT;
            let fits = checked.planned.iter().all(|planned| planned.plan.fits != Some(false));
            if !fits {
                outlook.seconds = None;
                continue;
            }
            let (rate, words) = model.rate(&device, data, &mut watcher)?;
            let seconds = tokens.trained as f64 / rate.train + tokens.evaluated as f64 / rate.evaluate;
            outlook.seconds = outlook.seconds.map(|before| before + seconds);
            outlook.rates.push(format!(
                "{} on {}: trains {:.0} and scores {:.0} tokens/s, {words}",
                entry.name, device.name, rate.train, rate.evaluate
            ));
        }
        // A checkpoint has weights, best weights and two moments, and there is one at a time.
        outlook.disk += 4 * size_of::<f32>() as u64 * LanguageModel::weight_count(&model.model)?;
    }
    Ok(outlook)
}

/// As much of a reference corpus as the restart control reads.
fn as_control(reference: Sizes, domains: &[(&Path, Sizes)]) -> Sizes {
    let mut train: Vec<u64> = domains.iter().map(|(_, sizes)| sizes.train).collect();
    train.sort_unstable();
    let median = train.get(train.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let most = domains.iter().map(|(_, sizes)| sizes.valid.max(sizes.test)).max().unwrap_or(0);
    let held_out = |bytes: u64| if reference.divided { bytes.min(most) } else { bytes };
    Sizes {
        train: reference.train.min(median),
        valid: held_out(reference.valid),
        test: held_out(reference.test),
        ..reference
    }
}

impl Texts {
    fn sizes(&mut self, path: &Path, options: &ReadOptions, monitor: &mut dyn Monitor) -> Result<Sizes> {
        let key = (path.to_owned(), options.clone());
        if let Some(known) = self.sizes.get(&key) {
            return Ok(*known);
        }
        monitor.begin(&format!("reading {}", path.display()), 0);
        let domain = Domain::open(path, Watched::by(options.clone(), monitor))?;
        let mut bytes = |split| Ok(domain.split(Watched::by(split, monitor))?.documents.bytes());
        let sizes = Sizes {
            train: bytes(Split::Train)?,
            valid: bytes(Split::Valid)?,
            test: bytes(Split::Test)?,
            divided: domain.is_divided(),
        };
        monitor.end();
        self.sizes.insert(key, sizes);
        Ok(sizes)
    }

    fn tokens_per_byte(&mut self, path: &Path, subject: &Subject<'_>, monitor: &mut dyn Monitor) -> Result<f64> {
        let key = (path.to_owned(), subject.folder.clone());
        if let Some(known) = self.tokens.get(&key) {
            return Ok(*known);
        }
        monitor.begin(&format!("tokenising a piece of {}", path.display()), 0);
        let text = &subject.config.text;
        let corpus = open_corpus(path, Split::Train, Watched::by(text.read(), monitor))?.first(SAMPLE)?;
        let ModelConfig { eos_token_id, bos_token_id, .. } = subject.model;
        let tokenizer = Tokenizer::find(&subject.folder)?;
        let options = text.stream();
        let watched = Watched::by(&options, monitor);
        let vocabulary = subject.model.vocabulary();
        let stream = TokenStream::build(&corpus, tokenizer.as_ref(), eos_token_id, bos_token_id, vocabulary, watched)?;
        let tokens = stream.ids.len() as f64 / corpus.documents.bytes().max(1) as f64;
        monitor.end();
        self.tokens.insert(key, tokens);
        Ok(tokens)
    }
}

/// A model of the study.
struct Subject<'a> {
    config: &'a StudyConfig,
    model: ModelConfig,
    folder: PathBuf,
}

/// How many tokens a model's tasks read.
#[derive(Default)]
struct Tokens {
    adaptations: u64,
    trained: u64,
    evaluated: u64,
    /// Of which something is kept.
    kept: u64,
}

impl Subject<'_> {
    fn protocol(&self) -> Result<ProtocolResult> {
        let EvaluationSettings { protocol, context, stride, .. } = self.config.evaluation;
        let (tokenizer, text) = (Tokenizer::find(&self.folder)?, &self.config.text);
        let (sizes, options) = ([context, stride], text.stream());
        ProtocolResult::for_model(protocol, sizes, &self.model, tokenizer.as_ref(), text.document, &options)
    }

    /// How many times a token is read for one score.
    fn readings(&self, protocol: &Protocol) -> f64 {
        let tokens = 16 * protocol.context.clamp(2, 1 << 16);
        let windows = protocol.windows(&vec![0; tokens]);
        let [read, scored] =
            [windows.iter().map(|w| w.read()).sum::<usize>(), windows.iter().map(|w| w.end - w.scored).sum()];
        if scored == 0 { 1.0 } else { read as f64 / scored as f64 }
    }

    /// Of all tasks over these domains, each with the tokens that a byte makes, and the restart control.
    fn tokens(&self, domains: &[(Sizes, f64)], control: Option<(Sizes, f64)>) -> Result<Tokens> {
        let Self { config, model, .. } = self;
        let readings = self.readings(&self.protocol()?.protocol);
        let evaluations = 1 + config.other_evaluations().len() as u64;
        let of = |bytes: u64, per_byte: f64| (bytes as f64 * per_byte) as u64;
        let scoring = |(sizes, per_byte): (Sizes, f64)| (of(sizes.test, per_byte) as f64 * readings) as u64;
        let forgetting = control.map_or(0, scoring);
        let mut tokens = Tokens::default();
        for (index, &(sizes, per_byte)) in domains.iter().chain(&control).enumerate() {
            let is_control = index == domains.len();
            let scored = scoring((sizes, per_byte)) * evaluations;
            tokens.evaluated += scored;
            tokens.kept += of(sizes.test, per_byte) * evaluations;
            for strategy in &config.strategies {
                let runs = config.seeds.len() as u64 * (1 + config.other_trainings(strategy).len() as u64);
                let recipe = &strategy.recipe;
                let trained = trained(recipe, model.context(), of(sizes.train, per_byte));
                let validated = (of(sizes.valid, per_byte)).min(recipe.valid_tokens as u64) * (1 + recipe.validations);
                let forgotten = if is_control { 0 } else { forgetting };
                tokens.adaptations += runs;
                tokens.trained += runs * trained;
                tokens.evaluated += runs * (validated + scored + forgotten);
                tokens.kept += runs * of(sizes.test, per_byte);
            }
        }
        let similarity = &config.similarity;
        let chunk = similarity.chunk.unwrap_or(model.context()) as u64;
        let samples = domains.len() * similarity.samples + similarity.reference_samples;
        tokens.evaluated += samples as u64 * chunk;
        Ok(tokens)
    }

    /// How fast `device` trains and scores the model by the first recipe: from before, or timed now.
    fn rate(&self, device: &ChosenDevice, data: &Path, monitor: &mut dyn Monitor) -> Result<(Rate, &'static str)> {
        let recipe = self.config.strategies.first().map(|strategy| strategy.recipe.clone()).unwrap_or_default();
        let context = recipe.window_length(self.model.context()).min(LONGEST_TIMED);
        let at_once = recipe.micro_batch.min(recipe.batch).min(TIMED.div_ceil(context)).max(1);
        let determined_by = json!([
            env!("CARGO_PKG_VERSION"),
            device.name,
            device.driver,
            files::hash_file(&self.folder.join("config.json"))?,
            context,
            at_once,
            recipe.strategy,
            recipe.strategies.lora,
            recipe.compute,
            recipe.adamw.moments,
            self.config.evaluation.context,
        ]);
        let key = files::hash_bytes(determined_by.to_string().as_bytes())[..16].to_owned();
        let path = data.join("rates.json");
        // If the stored rates cannot be read, they are measured again.
        let mut known: BTreeMap<String, Rate> = files::read_json(&path).unwrap_or_default();
        if let Some(rate) = known.get(&key) {
            return Ok((*rate, "as measured here before"));
        }
        monitor.begin("timing a step on this device", 0);
        let base = LoadedModel::random(self.model.clone(), &self.folder, 0, &device.device)?;
        let vocabulary = self.model.vocabulary();
        let id = |i: usize| (i * 7 % vocabulary.max(1)) as u32;
        let batch = MicroBatch {
            inputs: (0..at_once).map(|b| (0..context).map(|t| id(b * context + t)).collect()).collect(),
            targets: (0..at_once * context).map(|i| id(i + 1)).collect(),
            weights: vec![1.0; at_once * context],
            penalised: Vec::new(),
        };
        let train = tokens_per_second(&base, &recipe, &batch, 0, monitor)?;
        let evaluation = Evaluation::new(&base, None, self.protocol()?);
        let protocol = evaluation.protocol.protocol;
        let window = protocol.context.min(LONGEST_TIMED);
        let tokens = (TIMED.div_ceil(window.max(1)) * window).max(2);
        let ids: Vec<u32> = (0..tokens).map(id).collect();
        let zeros = || vec![0_u32; tokens].into();
        let stream = TokenStream {
            ids: ids.into(),
            document: zeros(),
            byte: zeros(),
            bytes: 0,
            words: 0,
            letters: Letters::default(),
            documents: 1,
            corpus_hash: String::new(),
            reading: Reading::default(),
        };
        let mut rate = f64::NAN;
        for _ in 0..2 {
            let started = Instant::now();
            evaluation.score(&base.model, &stream, monitor)?;
            rate = tokens as f64 * self.readings(&protocol) / started.elapsed().as_secs_f64().max(1e-9);
            if monitor.stopped() {
                return Err(Error::Interrupted("the form changed".into()));
            }
        }
        monitor.end();
        let measured = Rate { train, evaluate: rate };
        known.insert(key, measured);
        if let Err(error) = files::write_json(&path, &known) {
            tracing::warn!("the measured rate is not kept: {error}");
        }
        Ok((measured, "measured now"))
    }
}

/// Tokens that a run trains on over a text of so many; 0 where they make no batch, which the run itself will refuse.
fn trained(recipe: &AdaptSettings, longest: usize, tokens: u64) -> u64 {
    let context = recipe.window_length(longest) as u64;
    let windows = match recipe.packing {
        Packing::Blocks => tokens / context,
        Packing::Stream | Packing::Document => tokens.div_ceil(context),
    };
    let Ok((steps, per_epoch)) = recipe.steps(windows as usize) else { return 0 };
    let rest = ((steps % per_epoch) * recipe.batch as u64 * context).min(tokens);
    (steps / per_epoch) * tokens + rest
}
