//! The page with the form.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egui::{Context, Ui};

use super::estimate::{Outlook, Progress, Texts, look_ahead};
use super::form::{Checked, Form, Found, look_at};
use crate::error::{Error, Result};
use crate::files;
use crate::gui::background::{Arrival, Background};
use crate::gui::settings::Settings;
use crate::gui::{Ask, Asks};

/// The pause in typing before the values are checked.
const REST: Duration = Duration::from_millis(300);

/// The form.
pub struct NewStudy {
    pub(super) data: PathBuf,
    pub(super) form: Form,
    /// The form as it was at the last look.
    pub(super) seen: Form,
    /// When it last changed, while that was not checked.
    pub(super) changed: Option<Instant>,
    pub(super) checking: Option<Background<Result<Checked>>>,
    /// What the check found; `None` while there is something to check.
    pub(super) checked: Option<Result<Checked, String>>,
    pub(super) looking_ahead: Option<(Arc<Progress>, Background<Result<Outlook>>)>,
    pub(super) outlook: Option<Result<Outlook, String>>,
    pub(super) texts: Arc<Mutex<Texts>>,
    pub(super) choosing: Option<(Purpose, Background<Vec<PathBuf>>)>,
    /// Dropped, and not looked at yet.
    pub(super) dropped: Vec<PathBuf>,
    pub(super) looking_at: Vec<Background<Result<Found>>>,
    pub(super) saving: Option<Background<Result<Option<PathBuf>>>>,
    /// Name of a data set on the hub that is to be a domain.
    pub(super) hub_domain: String,
    pub(super) devices: Option<Vec<(String, String)>>,
    pub(super) listing: Option<Background<Vec<(String, String)>>>,
    /// Whether nothing was typed yet.
    pub(super) fresh: bool,
}

/// What a dialog asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Model,
    ReferenceFolder,
    ReferenceFile,
    DomainFolders,
    DomainFiles,
    Folder,
    Study,
}

impl NewStudy {
    /// Empty; new studies are put into a folder of `data` unless the user says otherwise.
    pub fn new(data: &Path) -> Self {
        let form = Form::empty("");
        Self {
            data: data.to_owned(),
            seen: form.clone(),
            form,
            changed: None,
            checking: None,
            checked: None,
            looking_ahead: None,
            outlook: None,
            texts: Arc::default(),
            choosing: None,
            dropped: Vec::new(),
            looking_at: Vec::new(),
            saving: None,
            hub_domain: String::new(),
            devices: None,
            listing: None,
            fresh: true,
        }
    }

    /// Takes a dropped folder or file for what it looks like: a model, a domain, a folder of domains, a study's file.
    pub fn take(&mut self, path: &Path) {
        self.dropped.push(path.to_owned());
    }

    /// Draws the page.
    pub fn show(&mut self, ui: &mut Ui, settings: &mut Settings, asks: &mut Asks) {
        if self.fresh && self.form.device != settings.device {
            self.form.device.clone_from(&settings.device);
            self.seen.device.clone_from(&settings.device);
        }
        self.keep_up(ui.ctx(), asks);
        self.inputs(ui);
        ui.separator();
        self.before_it_starts(ui, asks);
        self.watch(ui.ctx());
    }

    /// Takes the results of finished threads.
    pub(super) fn keep_up(&mut self, context: &Context, asks: &mut Asks) {
        if self.devices.is_none() {
            let listing = self.listing.get_or_insert_with(|| Background::start(context, crate::gui::devices::choices));
            match listing.poll() {
                Arrival::Here(devices) => self.devices = Some(devices),
                Arrival::Lost => self.devices = Some(vec![("cpu".into(), "cpu: the processor".into())]),
                Arrival::Pending => {}
            }
        }
        if let Some((purpose, choosing)) = &self.choosing {
            match choosing.poll() {
                Arrival::Here(chosen) => {
                    let purpose = *purpose;
                    self.choosing = None;
                    self.chosen(context, purpose, chosen);
                }
                Arrival::Lost => self.choosing = None,
                Arrival::Pending => {}
            }
        }
        for path in std::mem::take(&mut self.dropped) {
            self.looking_at.push(Background::start(context, move || look_at(&path)));
        }
        for looking in std::mem::take(&mut self.looking_at) {
            match looking.poll() {
                Arrival::Here(Ok(found)) => self.found(found),
                Arrival::Here(Err(error)) => asks.push(Ask::Fail(error.to_string())),
                Arrival::Lost => {}
                Arrival::Pending => self.looking_at.push(looking),
            }
        }
        match self.saving.as_ref().map(Background::poll) {
            Some(Arrival::Here(saved)) => {
                self.saving = None;
                match saved {
                    Ok(Some(path)) => asks.push(Ask::Say(format!("saved as {}", path.display()))),
                    Ok(None) => {}
                    Err(error) => asks.push(Ask::Fail(error.to_string())),
                }
            }
            Some(Arrival::Lost) => self.saving = None,
            Some(Arrival::Pending) | None => {}
        }
        match self.checking.as_ref().map(Background::poll) {
            Some(Arrival::Here(checked)) => {
                self.checking = None;
                self.checked = Some(checked.map_err(|error| error.to_string()));
                self.look_ahead(context);
            }
            Some(Arrival::Lost) => {
                self.checking = None;
                self.checked = Some(Err("the values could not be checked; this is a fault of odyssey".into()));
            }
            Some(Arrival::Pending) | None => {}
        }
        match self.looking_ahead.as_ref().map(|(_, outlook)| outlook.poll()) {
            Some(Arrival::Here(Err(Error::Interrupted(_)))) => self.looking_ahead = None,
            Some(Arrival::Here(outlook)) => {
                self.looking_ahead = None;
                self.outlook = Some(outlook.map_err(|error| error.to_string()));
            }
            Some(Arrival::Lost) => {
                self.looking_ahead = None;
                self.outlook = Some(Err("this device failed while a step was timed".into()));
            }
            Some(Arrival::Pending) | None => {}
        }
    }

    /// Starts a check once the typing rests.
    pub(super) fn watch(&mut self, context: &Context) {
        if self.form != self.seen {
            self.seen = self.form.clone();
            self.changed = Some(Instant::now());
            self.fresh = false;
            // The running check belongs to another version of the form.
            (self.checking, self.checked, self.outlook) = (None, None, None);
            self.stop_looking_ahead();
        }
        let Some(changed) = self.changed else { return };
        match REST.checked_sub(changed.elapsed()).filter(|left| !left.is_zero()) {
            Some(left) => context.request_repaint_after(left),
            None => {
                self.changed = None;
                let (form, data) = (self.form.clone(), self.data.clone());
                self.checking = Some(Background::start(context, move || form.check(&data)));
            }
        }
    }

    pub(super) fn look_ahead(&mut self, context: &Context) {
        self.stop_looking_ahead();
        let Some(Ok(checked)) = &self.checked else { return };
        let progress = Arc::new(Progress::default());
        let (checked, data, texts) = (checked.clone(), self.data.clone(), Arc::clone(&self.texts));
        let (told, of) = (Arc::clone(&progress), context.clone());
        let work = Background::start(context, move || look_ahead(&checked, &data, &texts, told, of));
        self.looking_ahead = Some((progress, work));
    }

    pub(super) fn stop_looking_ahead(&mut self) {
        if let Some((progress, _)) = self.looking_ahead.take() {
            progress.stop.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn choose(&mut self, context: &Context, purpose: Purpose) {
        let choose = move || {
            let dialog = rfd::FileDialog::new();
            let one = |path: Option<PathBuf>| path.into_iter().collect();
            match purpose {
                Purpose::Model => one(dialog.set_title("The model's folder").pick_folder()),
                Purpose::ReferenceFolder => one(dialog.set_title("The reference corpus").pick_folder()),
                Purpose::ReferenceFile => one(dialog.set_title("The reference corpus").pick_file()),
                Purpose::DomainFolders => dialog.set_title("Folders of domains").pick_folders().unwrap_or_default(),
                Purpose::DomainFiles => dialog.set_title("Files, a domain each").pick_files().unwrap_or_default(),
                Purpose::Folder => one(dialog.set_title("The folder for results").pick_folder()),
                Purpose::Study => one(dialog.set_title("A study's file").add_filter("TOML", &["toml"]).pick_file()),
            }
        };
        self.choosing = Some((purpose, Background::start(context, choose)));
    }

    pub(super) fn chosen(&mut self, context: &Context, purpose: Purpose, chosen: Vec<PathBuf>) {
        let text = |path: &PathBuf| path.display().to_string();
        for path in chosen {
            match purpose {
                Purpose::Model => self.form.model = text(&path),
                Purpose::ReferenceFolder | Purpose::ReferenceFile => self.form.reference = text(&path),
                Purpose::Folder => self.form.folder = text(&path),
                Purpose::DomainFiles => self.form.add_domain(path),
                // Which may be a folder of domains.
                Purpose::DomainFolders | Purpose::Study => {
                    self.looking_at.push(Background::start(context, move || look_at(&path)));
                }
            }
        }
    }

    pub(super) fn found(&mut self, found: Found) {
        match found {
            Found::Model(path) => self.form.model = path.display().to_string(),
            Found::Domains(paths) => paths.into_iter().for_each(|path| self.form.add_domain(path)),
            Found::Study(config) => self.form = Form::of(*config),
        }
    }

    pub(super) fn save(&mut self, context: &Context) {
        let Some(Ok(checked)) = &self.checked else { return };
        let toml = checked.toml.clone();
        self.saving = Some(Background::start(context, move || {
            let dialog = rfd::FileDialog::new().set_title("Save the study's file").set_file_name("study.toml");
            let Some(path) = dialog.save_file() else { return Ok(None) };
            files::write_whole(&path, |out| std::io::Write::write_all(out, toml.as_bytes()))?;
            Ok(Some(path))
        }));
    }
}
