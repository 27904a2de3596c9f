//! The content of the form, and the study made from it.

use std::path::{Path, PathBuf};

use crate::device::DeviceChoice;
use crate::disk::paths::normal;
use crate::error::{Error, Result};
use crate::files;
use crate::gui::library::is_study;
use crate::gui::wording::Labels;
use crate::hub::Hub;
use crate::hub::name::{Kind, Name, has_prefix};
use crate::memory::MemoryPlan;
use crate::model::ModelConfig;
use crate::recipe::{AdaptSettings, Given};
use crate::study::config::{
    DomainEntry, EvaluationSettings, ModelEntry, SimilaritySettings, StatisticsSettings, StrategyEntry, TextSettings,
};
use crate::study::planning::check_sizes;
use crate::study::{StudyConfig, training_memory};
use crate::text::domain::name_of;
use crate::text::has_split_files;

/// What errors call the form.
const PLACE: &str = "new study";

/// The form. Settings that it does not show keep the values of the study file it was filled from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    /// The study without the values of the fields below.
    pub config: StudyConfig,
    /// The first model's folder, or its name on the hub.
    pub model: String,
    /// Its reference corpus.
    pub reference: String,
    /// The study's folder; where it is empty, one is made of the name.
    pub folder: String,
    /// What `--device` would say.
    pub device: String,
    /// Apart by commas.
    pub seeds: String,
    /// What is given of the first strategy's recipe.
    pub recipe: Given,
}

impl Form {
    /// Nothing but defaults.
    pub fn empty(device: &str) -> Self {
        let recipe = AdaptSettings::default();
        let config = StudyConfig {
            name: String::new(),
            seeds: vec![42],
            devices: vec![DeviceChoice::Auto],
            restart_control: true,
            text: TextSettings::default(),
            evaluation: EvaluationSettings::default(),
            similarity: SimilaritySettings::default(),
            statistics: StatisticsSettings::default(),
            ablation: None,
            models: Vec::new(),
            domains: Vec::new(),
            strategies: vec![StrategyEntry::new("full", recipe)],
        };
        Self { device: device.to_owned(), ..Self::of(config) }
    }

    /// Filled from a study.
    pub fn of(config: StudyConfig) -> Self {
        let text = |path: &Path| path.display().to_string();
        let (model, reference) =
            config.models.first().map_or_else(Default::default, |m| (text(&m.path), text(&m.reference)));
        let seeds: Vec<String> = config.seeds.iter().map(ToString::to_string).collect();
        let devices: Vec<String> = config.devices.iter().map(ToString::to_string).collect();
        let recipe = config.strategies.first().map_or_else(Given::new, |strategy| strategy.recipe.given());
        Self {
            model,
            reference,
            folder: String::new(),
            device: devices.join(", "),
            seeds: seeds.join(", "),
            recipe,
            config,
        }
    }

    /// One more domain, unless it is there.
    pub fn add_domain(&mut self, path: PathBuf) {
        if self.config.domains.iter().any(|domain| domain.path == path) {
            return;
        }
        let taken = |name: &str| self.config.domains.iter().any(|domain| domain.name == name);
        let called = name_of(&path);
        let name = std::iter::once(called.clone()).chain((2..).map(|n: u32| format!("{called}-{n}")));
        let name = name.into_iter().find(|name| !taken(name)).unwrap_or(called);
        let group = self.config.domains.last().map_or_else(|| "domain".to_owned(), |domain| domain.group.clone());
        self.config.domains.push(DomainEntry { name, path, group });
    }

    /// The study, its paths absolute, only the existence of paths is checked.
    fn study(&self) -> Result<StudyConfig> {
        let mut config = self.config.clone();
        config.name = match self.config.name.trim() {
            "" => "A new study".to_owned(),
            name => name.to_owned(),
        };
        let seeds = self.seeds.split(',').map(str::trim).filter(|seed| !seed.is_empty());
        config.seeds = seeds
            .map(|seed| {
                let fault = format!("{seed:?} is not a seed");
                seed.parse().map_err(|_| Error::input("seeds", fault, "write whole numbers apart by commas: 1, 2, 3"))
            })
            .collect::<Result<_>>()?;
        let devices = self.device.split(',').map(str::trim).filter(|device| !device.is_empty());
        config.devices = devices.map(str::parse).collect::<Result<_>>()?;
        if let Some(strategy) = config.strategies.first_mut() {
            strategy.recipe = AdaptSettings::from_given(&self.recipe)?;
        }
        let cure = "enter a folder, or a model on the hub such as gpt2";
        let path = named(Kind::Model, &self.model, "model", cure)?;
        let cure = "name a corpus: a sample of what the model was pretrained on";
        let reference = named(Kind::Dataset, &self.reference, "reference corpus", cure)?;
        match config.models.first_mut() {
            Some(model) => (model.path, model.reference) = (path, reference),
            None => config.models.push(ModelEntry { name: String::new(), path, reference }),
        }
        for model in config.models.iter_mut().take(1) {
            let is_own = self.config.models.first().is_some_and(|before| before.path == model.path);
            if !is_own || model.name.is_empty() {
                let text = self.model.trim();
                model.name = if has_prefix(&model.path) { text.replace("hub:", "") } else { name_of(&model.path) };
            }
        }
        if config.domains.is_empty() {
            let cure = "add folders with train, valid and test texts, or files, or drop them on the window";
            return Err(Error::input("domains", "there are none", cure));
        }
        Ok(config)
    }

    /// The study, checked as `odyssey study run` checks it, with what it will need of memory. Reads files.
    ///
    /// # Errors
    /// What is wrong, and the cure.
    pub fn check(&self, data: &Path) -> Result<Checked> {
        let config = self.study()?;
        config.check(Path::new(PLACE))?;
        let folder = self.study_folder(&config.name, data)?;
        let mut notes = Vec::new();
        if is_study(&folder) {
            notes.push("this folder holds a study: tasks that are the same are not computed again".to_owned());
        }
        let hub = Hub::new();
        let mut planned = Vec::new();
        for entry in &config.models {
            let Some(here) = hub.model_here(&entry.path) else {
                notes.push(format!("{} is fetched from the hub when the study starts", entry.path.display()));
                continue;
            };
            let entry = ModelEntry { path: here, ..entry.clone() };
            let model = ModelConfig::read(&entry.path)?;
            check_sizes(&config, &entry)?;
            for choice in &config.devices {
                let device = choice.open()?;
                for strategy in &config.strategies {
                    let plan = training_memory(&config, &entry, strategy, &device)?;
                    let (model, strategy) = (entry.name.clone(), strategy.name.clone());
                    planned.push(Planned { model, strategy, device: device.name.to_string(), plan });
                }
                let doubts = config.strategies.iter().filter_map(|s| s.recipe.doubt_rate(model.channels()));
                notes.extend(doubts.map(|doubt| doubt.worded(&Labels)));
            }
        }
        for domain in config.domains.iter().filter(|domain| !has_prefix(&domain.path)) {
            if domain.path.is_dir() {
                has_split_files(&domain.path)?;
            }
        }
        Ok(Checked { toml: config.to_toml(), config, folder, planned, notes })
    }

    fn study_folder(&self, name: &str, data: &Path) -> Result<PathBuf> {
        let folder = match self.folder.trim() {
            "" => {
                let studies = data.join("studies");
                let slug = slug(name);
                let names = std::iter::once(slug.clone()).chain((2..).map(|n: u32| format!("{slug}-{n}")));
                let folder = names.into_iter().map(|name| studies.join(name)).find(|folder| !folder.exists());
                folder.unwrap_or_else(|| studies.join(&slug))
            }
            given => absolute(Path::new(given)),
        };
        match folder.exists() {
            true if !folder.is_dir() => Err(Error::file(&folder, "is a file", "name a folder")),
            true => Ok(folder),
            false => files::check_new_folder(&folder).map(|()| folder),
        }
    }
}

/// A study that can run.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    /// It.
    pub config: StudyConfig,
    /// The same in the form of a file.
    pub toml: String,
    /// Where its results go.
    pub folder: PathBuf,
    /// What its adaptations need of memory.
    pub planned: Vec<Planned>,
    /// What should be known before it starts.
    pub notes: Vec<String>,
}

/// The memory that an adaptation needs.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub model: String,
    pub strategy: String,
    pub device: String,
    pub plan: MemoryPlan,
}

/// A typed model or corpus: an absolute path, or a name on the hub with its prefix.
fn named(kind: Kind, text: &str, what: &str, cure: &str) -> Result<PathBuf> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::input(what, "none is given", cure));
    }
    let path = Path::new(text);
    Ok(match Name::of_path(kind, path)? {
        Some(_) if has_prefix(path) => path.to_owned(),
        Some(_) => PathBuf::from(format!("hub:{text}")),
        None => absolute(path),
    })
}

/// Replaces `~` by the home folder.
fn absolute(path: &Path) -> PathBuf {
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let path = match path.strip_prefix("~").ok().and_then(|rest| Some(home()?.join(rest))) {
        Some(below_home) => below_home,
        None => path.to_owned(),
    };
    normal(&std::path::absolute(&path).unwrap_or(path))
}

/// A folder's name for a study's.
fn slug(name: &str) -> String {
    let plain: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(60).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "study".to_owned() } else { words.join("-") }
}

/// The kind of a path.
#[derive(Debug)]
pub(super) enum Found {
    Model(PathBuf),
    Domains(Vec<PathBuf>),
    Study(Box<StudyConfig>),
}

/// What `path` looks like: a study's file, a model, a domain, or a folder of domains. Reads folders.
///
/// # Errors
/// A study's file that cannot be read; a folder that cannot be listed.
pub(super) fn look_at(path: &Path) -> Result<Found> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) {
        let mut config = StudyConfig::read(path)?;
        for (_, named) in config.paths_mut().filter(|(_, named)| !has_prefix(named)) {
            *named = absolute(named);
        }
        return Ok(Found::Study(Box::new(config)));
    }
    if let Some(name) = Name::of_path(Kind::Dataset, path)? {
        return Ok(Found::Domains(vec![PathBuf::from(format!("hub:{name}"))]));
    }
    let path = absolute(path);
    if path.join("config.json").is_file() {
        return Ok(Found::Model(path));
    }
    if !path.is_dir() || has_split_files(&path)? {
        return Ok(Found::Domains(vec![path]));
    }
    let entries = std::fs::read_dir(&path).map_err(|e| Error::reading(&path, e))?;
    let mut domains: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.is_dir() && has_split_files(p).unwrap_or(false))
        .collect();
    domains.sort();
    Ok(Found::Domains(if domains.is_empty() { vec![path] } else { domains }))
}
