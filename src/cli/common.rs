//! What every command has: its common options, and models, texts and devices by what the user calls them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use odyssey::device::{ChosenDevice, DeviceChoice};
use odyssey::disk::outputs::Outputs;
use odyssey::error::{Error, Result};
use odyssey::hub::Hub;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{Adapter, LoadedModel, peft};
use odyssey::notice::warn_once;
use odyssey::text::is_pipe;

use super::held::HeldArgs;
use super::monitor::Terminal;
use super::say;
use super::wording::Options;

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Where to compute: auto, cpu, gpu, gpu:N, software, or part of a card's name.
    #[arg(long, global = true, env = "ODYSSEY_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub(super) device: String,
    /// Print only the result and errors.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Also replace files that this program did not write; never what the command reads, nor a device.
    #[arg(long, global = true)]
    pub(super) force: bool,
    /// Whether to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,
    /// Whether this is the second try, with a new connection to a device that was lost.
    #[arg(skip)]
    pub(super) again: Cell<bool>,
    /// Models and data sets given by hub name.
    #[arg(skip)]
    pub(super) hub: RefCell<Hub>,
    /// How settings are called.
    #[arg(skip)]
    pub(super) wording: Options,
}

/// The folder of a model, and the adapter if one was named.
pub(super) struct Named {
    pub(super) folder: PathBuf,
    pub(super) adapter: Option<Adapter>,
}

impl Named {
    /// The model, with its adapter attached if there is one.
    pub(super) fn open(&self, held: &HeldArgs, device: &Device) -> Result<LoadedModel> {
        match &self.adapter {
            Some(adapter) => {
                let base = LoadedModel::open_base(&self.folder, &held.ignore_tensors, held.dtype, device)?;
                adapter.attach(&base)
            }
            None => LoadedModel::open_without(&self.folder, &held.ignore_tensors, held.dtype, device),
        }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

impl Common {
    /// The device that `--device` names.
    pub(super) fn device(&self) -> Result<DeviceChoice> {
        self.device.parse()
    }

    /// Opens the device and prints its name on standard error.
    pub(super) fn open_device(&self) -> Result<ChosenDevice> {
        let chosen = self.device()?.open()?;
        self.say(&format!("device: {}", chosen.name));
        Ok(chosen)
    }

    /// Prints on standard error, unless `--quiet` is given.
    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            say::note(text);
        }
    }

    /// The folder of a model given by its path or its name on the hub, fetched if it is missing.
    pub(super) fn model(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().model(path, &mut self.monitor())
    }

    /// The same for an adapter.
    pub(super) fn adapter(&self, path: &Path) -> Result<PathBuf> {
        self.hub.borrow_mut().adapter(path, &mut self.monitor())
    }

    /// A model given by its path or name, which may be the folder of an adapter; then the adapter names its base.
    pub(super) fn named(&self, path: &Path) -> Result<Named> {
        let folder = self.model(path)?;
        if !Adapter::is_in(&folder) {
            return Ok(Named { folder, adapter: None });
        }
        let adapter = Adapter::read(&folder)?;
        if folder.join("config.json").exists() && WeightFiles::are_in(&folder) {
            warn_once(format!(
                "{}: holds an adapter beside the model's weights: it is put on, as transformers does",
                folder.display()
            ));
            return Ok(Named { folder, adapter: Some(adapter) });
        }
        let place = folder.join(peft::CONFIG);
        let cure = "give the base and the adapter: `odyssey eval --model BASE --adapter DIR`";
        let Some(base) = &adapter.base else {
            return Err(Error::file(&place, "does not say which base it is for", cure));
        };
        let beside = folder.join(base);
        let base_folder = match &adapter.revision {
            _ if beside.is_dir() => beside,
            Some(revision) if !Path::new(base).exists() => self.model(Path::new(&format!("{base}@{revision}")))?,
            _ => self.model(Path::new(base))?,
        };
        if !base_folder.is_dir() {
            return Err(Error::file(&place, format!("names the base {base:?}, which is not here"), cure));
        }
        Ok(Named { folder: base_folder, adapter: Some(adapter) })
    }

    /// The same for a corpus or domain.
    pub(super) fn corpus(&self, path: &Path) -> Result<PathBuf> {
        if is_pipe(path) {
            return Ok(path.to_owned());
        }
        self.hub.borrow_mut().corpus(path, &mut self.monitor())
    }

    /// The guard of what the command writes over, which reads these models, corpora and files.
    pub(super) fn outputs<'a>(&self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Outputs {
        let hub = self.hub.borrow();
        Outputs::new(self.force, inputs.into_iter().map(|path| hub.model_here(path).unwrap_or_else(|| path.clone())))
    }

    /// A monitor that shows progress on standard error.
    pub(super) fn monitor(&self) -> Terminal {
        Terminal::new(self.quiet, is_dumb() || self.color.is_never())
    }
}

impl Color {
    /// Whether nothing but text is wanted.
    pub(super) fn is_never(self) -> bool {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        matches!(self, Self::Never) || matches!(self, Self::Auto) && unwanted()
    }

    pub(super) fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto, // this respects NO_COLOR
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Whether the terminal knows no commands.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
