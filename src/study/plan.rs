//! A study's plan: its settings, its tasks and what they read, kept in `plan.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::StudyConfig;
use super::contents::Contents;
use super::task::{Task, TaskText, TaskWork};
use crate::device::DeviceName;
use crate::error::{Error, Result};
use crate::message::{Message, Setting};
use crate::seal;
use crate::text::StreamOptions;

/// The file in a study's folder that lists its tasks.
pub const PLAN_FILE: &str = "plan.json";

/// How much of a reference corpus the restart control reads, so that it is as large as the adaptations to the domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlSize {
    /// Bytes of training text: the median over the domains.
    pub train: u64,
    /// Bytes of the validation and of the test text, if they have no separate files: the maximum over the domains.
    pub held_out: u64,
}

impl ControlSize {
    /// For domains whose splits have so many bytes.
    pub(super) fn of(mut domains: Vec<[u64; 3]>) -> Self {
        domains.sort_unstable(); // by training text
        let train = domains.get(domains.len().saturating_sub(1) / 2).map_or(0, |[train, ..]| *train);
        Self { train, held_out: domains.iter().flat_map(|[_, valid, test]| [*valid, *test]).max().unwrap_or(0) }
    }

    /// How much is read of a held-out split, which may be divided from a corpus by document; `None` for all of it.
    pub(super) fn of_held_out(&self, divided: bool) -> Option<u64> {
        divided.then_some(self.held_out)
    }
}

/// The tasks of a study, and everything needed to collect its results without the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The study, every default filled in.
    pub config: StudyConfig,
    /// The devices that were chosen.
    pub devices: Vec<DeviceName>,
    /// The tasks, in the order they run.
    pub tasks: Vec<Task>,
    /// What the restart control reads; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlSize>,
    /// Why models have no restart control, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub no_control: BTreeMap<String, String>,
    /// What the texts, models and tokenizers held when it was made; nothing in plans of older versions.
    #[serde(default)]
    pub contents: Contents,
    /// Whether results must have checksums: those of studies that an older version ran have none.
    #[serde(skip)]
    pub(super) sealed: bool,
}

impl Plan {
    /// Whether a study was planned in `folder`.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(PLAN_FILE).exists()
    }

    /// Reads the plan of the study in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN_FILE);
        if !Self::is_in(folder) {
            return Err(Error::file(
                folder,
                "is not the folder of a study",
                Message::new("run ").command("study run STUDY.toml", [Setting::new("out", "DIR")]).then(" first"),
            ));
        }
        let (plan, sealed) = seal::read_json::<Self>(&path)?;
        Ok(Self { sealed, ..plan })
    }

    /// Writes the plan into the study's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        seal::write_json(&folder.join(PLAN_FILE), self)
    }

    /// The reference task of the same model and device.
    pub fn reference_of(&self, task: &Task) -> Option<&Task> {
        self.tasks.iter().find(|other| other.is_of(&task.model, task.device) && other.work == TaskWork::Reference)
    }

    /// The distances of the domain that `task` adapts to.
    pub fn similarity_of(&self, task: &Task) -> Option<&Task> {
        let domain = task.adaptation()?.text.domain()?;
        let is_it = |work: &TaskWork| matches!(work, TaskWork::Similarity { domain: other } if other == domain);
        self.tasks.iter().find(|other| other.is_of(&task.model, task.device) && is_it(&other.work))
    }

    /// The base's scores of the text that `task` adapts to, read in the study's own way.
    pub fn zero_shot_of(&self, task: &Task) -> Option<&Task> {
        self.zero_shot(task, &task.adaptation()?.text, &self.config.text.stream())
    }

    /// The zero-shot task of the same model and device that reads the test part of `text` like this.
    pub fn zero_shot(&self, task: &Task, text: &TaskText, read: &StreamOptions) -> Option<&Task> {
        let evaluation = (*read != self.config.text.stream()).then_some(*read);
        let work = TaskWork::ZeroShot { text: text.clone(), evaluation };
        self.tasks.iter().find(|other| other.is_of(&task.model, task.device) && other.work == work)
    }

    /// The group of a text's domain; empty for the reference corpus.
    pub fn group(&self, text: &TaskText) -> String {
        let domain = self.config.domains.iter().find(|d| Some(d.name.as_str()) == text.domain());
        domain.map_or(String::new(), |d| d.group.clone())
    }

    /// The name of a task's model in tables: its name, with the device where there are several.
    pub fn model_label(&self, task: &Task) -> String {
        match self.devices.get(task.device) {
            Some(device) if self.devices.len() > 1 => format!("{} on {}", task.model, device.backend),
            _ => task.model.clone(),
        }
    }
}
