//! The application: navigation, keyboard, what pages ask for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::{CentralPanel, Context, Key, KeyboardShortcut, Modifiers, Panel, RichText, ScrollArea, ThemePreference, Ui};

use super::background::{Arrival, Background};
use super::devices::Devices;
use super::frames::FrameTimes;
use super::home::Home;
use super::library;
use super::live::Live;
use super::new_study::NewStudy;
use super::opened::OpenStudy;
use super::queue::Queue;
use super::settings::Settings;
use super::study_page::StudyPage;
use super::theme;
use super::{Ask, Asks, Page};
use crate::error::Result;

/// How long a message stays that needs no action.
const MESSAGE: Duration = Duration::from_secs(6);

/// Keys, and what they do.
const KEYS: [(&str, &str); 12] = [
    ("Ctrl+1 … Ctrl+5", "the pages, in the order of the navigation"),
    ("Ctrl+O", "open a study"),
    ("Ctrl+N", "new study"),
    ("Ctrl+R", "read the opened study again"),
    ("Tab, Shift+Tab", "next and previous control; Enter or Space presses it"),
    ("Arrow keys", "next and previous domain on the pages of a study"),
    ("Enter", "open the selected domain's card"),
    ("Escape", "back from a card, or close a window"),
    ("Ctrl++, Ctrl+−, Ctrl+0", "larger, smaller, as it was"),
    ("Ctrl+C", "copy the selected text"),
    ("F1", "these keys"),
    ("Ctrl+Q", "quit"),
];

/// The whole application.
pub struct App {
    settings: Settings,
    page: Page,
    home: Home,
    new_study: NewStudy,
    study: Option<StudyPage>,
    opening: Option<(PathBuf, Background<Result<OpenStudy>>)>,
    choosing: Option<Background<Option<PathBuf>>>,
    queue: Queue,
    live: Live,
    devices: Devices,
    message: Option<Message>,
    shows_keys: bool,
    closing: Closing,
    /// Whether the process was asked to end.
    interrupted: Interrupted,
    /// The frame timer, if frames are timed; then frames are drawn without pause.
    frames: Option<FrameTimes>,
    /// When the program began; `None` after the first frame.
    began: Option<Instant>,
}

/// Says whether the process was asked to end, by Ctrl-C in its terminal say.
pub type Interrupted = Box<dyn Fn() -> bool>;

/// How often to ask that while nothing else happens.
const LISTEN: Duration = Duration::from_millis(500);

/// The message in the status line.
struct Message {
    text: String,
    /// Stays until it is closed.
    failed: bool,
    since: Instant,
}

/// Whether the window may close.
#[derive(PartialEq)]
enum Closing {
    No,
    /// Something is running: what to do?
    Asked,
    /// The running work saves what it has, then the window closes.
    Saving,
}

impl App {
    /// From the stored settings. `folders` were given at the start; `data` is the folder for the application's own
    /// files.
    pub fn new(context: &Context, settings: Settings, folders: Vec<PathBuf>, data: PathBuf) -> Self {
        theme::install(context);
        settings.apply(context);
        let mut app = Self {
            page: Page::Home,
            home: Home::new(data.clone()),
            new_study: NewStudy::new(&data),
            study: None,
            opening: None,
            choosing: None,
            queue: Queue::start(context, data),
            live: Live::default(),
            devices: Devices::default(),
            message: None,
            shows_keys: false,
            closing: Closing::No,
            interrupted: Box::new(|| false),
            frames: None,
            began: None,
            settings,
        };
        match folders.as_slice() {
            [one] => app.open(context, one),
            _ => app.home.named = folders,
        }
        app
    }

    /// Saves the running work and closes when `interrupted` returns true.
    pub fn listening_to(mut self, interrupted: Interrupted) -> Self {
        self.interrupted = interrupted;
        self
    }

    /// Logs how long the first frame took since `began`.
    pub fn begun_at(mut self, began: Instant) -> Self {
        self.began = Some(began);
        self
    }

    /// Draws without pause and times the frames.
    pub fn timing_frames(mut self) -> Self {
        self.frames = Some(FrameTimes::default());
        self
    }

    /// The settings to store.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The page that is shown.
    pub fn page(&self) -> Page {
        self.page
    }

    /// Draws a frame.
    pub fn draw(&mut self, ui: &mut Ui) {
        let context = ui.ctx().clone();
        let mut asks = Asks::default();
        if let Some(frames) = &mut self.frames {
            frames.next(self.queue.is_busy());
            context.request_repaint();
        }
        self.keep_up(&context);
        self.keys(&context, &mut asks);
        self.dropped(&context, &mut asks);

        Panel::left("navigation").resizable(false).exact_size(164.0).show(ui, |ui| self.navigation(ui));
        Panel::bottom("status").show(ui, |ui| self.status(ui));
        CentralPanel::default().show(ui, |ui| self.central(ui, &mut asks));
        self.windows(&context);
        self.close_requested(&context);
        for ask in asks.0 {
            self.answer(&context, ask);
        }
    }

    /// Takes the results of finished threads.
    fn keep_up(&mut self, context: &Context) {
        if let Some((folder, opening)) = &self.opening {
            match opening.poll() {
                Arrival::Here(Ok(study)) => {
                    self.settings.remember(folder);
                    self.study = Some(StudyPage::new(study, self.study.take()));
                    self.opening = None;
                }
                Arrival::Here(Err(error)) => {
                    self.opening = None;
                    self.page = if self.page == Page::Study && self.study.is_none() { Page::Home } else { self.page };
                    self.fail(error.to_string());
                }
                Arrival::Lost => {
                    let folder = folder.display().to_string();
                    self.opening = None;
                    self.fail(format!("{folder}: could not be opened; `odyssey study status` says what is in it"));
                }
                Arrival::Pending => {}
            }
        }
        match self.choosing.as_ref().map(Background::poll) {
            Some(Arrival::Here(chosen)) => {
                self.choosing = None;
                if let Some(folder) = chosen {
                    self.open_named(context, &folder);
                }
            }
            Some(Arrival::Lost) => self.choosing = None,
            Some(Arrival::Pending) | None => {}
        }
        // A study that finished or was stopped has new results.
        for folder in self.queue.take_changed() {
            self.settings.remember(&folder);
            self.home.refresh();
            let seen = self.study.as_ref().is_some_and(|page| page.folder() == folder);
            if seen || self.page == Page::Live {
                self.start_opening(context, &folder);
            }
        }
        if self.message.as_ref().is_some_and(|message| !message.failed && message.since.elapsed() > MESSAGE) {
            self.message = None;
        }
        context.request_repaint_after(LISTEN);
        if (self.interrupted)() && self.closing != Closing::Saving {
            self.queue.stop();
            self.closing = Closing::Saving;
        }
        if self.closing == Closing::Saving && !self.queue.is_busy() {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    fn keys(&mut self, context: &Context, asks: &mut Asks) {
        let pressed = |key| {
            let shortcut = KeyboardShortcut::new(Modifiers::COMMAND, key);
            context.input_mut(|input| input.consume_shortcut(&shortcut))
        };
        for (page, key) in Page::ALL.into_iter().zip([Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5]) {
            if pressed(key) {
                asks.push(Ask::Go(page));
            }
        }
        if pressed(Key::O) {
            asks.push(Ask::Choose);
        }
        if pressed(Key::N) {
            asks.push(Ask::Go(Page::NewStudy));
        }
        if pressed(Key::R)
            && let Some(page) = &self.study
        {
            asks.push(Ask::Open(page.folder().to_owned()));
        }
        if pressed(Key::Q) {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        if context.input(|input| input.key_pressed(Key::F1)) {
            self.shows_keys = !self.shows_keys;
        }
        if self.shows_keys && context.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
            self.shows_keys = false;
        }
    }

    /// Folders dropped on the window: a study is opened, anything else is for a new study.
    fn dropped(&mut self, context: &Context, asks: &mut Asks) {
        let dropped: Vec<PathBuf> =
            context.input(|input| input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect());
        for path in dropped {
            if library::studies_in(&path).is_ok() {
                asks.push(Ask::Open(path));
            } else {
                self.new_study.take(&path);
                asks.push(Ask::Go(Page::NewStudy));
            }
        }
    }

    fn navigation(&mut self, ui: &mut Ui) {
        ui.add_space(8.0);
        ui.label(RichText::new("odyssey").size(20.0).strong());
        ui.add_space(8.0);
        for page in Page::ALL {
            let mut name = page.name().to_owned();
            if page == Page::Live && self.queue.is_busy() {
                name.push_str(" •");
            }
            let enabled = page != Page::Study || self.study.is_some() || self.opening.is_some();
            let button = egui::Button::selectable(self.page == page, name).min_size([144.0, 30.0].into());
            if ui.add_enabled(enabled, button).clicked() {
                self.page = page;
            }
        }
        ui.with_layout(egui::Layout::bottom_up(egui::Align::Min), |ui| {
            ui.add_space(6.0);
            if ui.button("Keys (F1)").clicked() {
                self.shows_keys = !self.shows_keys;
            }
            let scale = (ui.ctx().zoom_factor() * 100.0).round();
            let sizes = egui::ComboBox::from_label("Size").width(64.0).selected_text(format!("{scale} %"));
            sizes.show_ui(ui, |ui| {
                for size in Settings::SCALES {
                    if ui.selectable_value(&mut self.settings.scale, size, format!("{} %", size * 100.0)).clicked() {
                        ui.ctx().set_zoom_factor(size);
                    }
                }
            });
            let themes = [
                (ThemePreference::System, "System"),
                (ThemePreference::Light, "Light"),
                (ThemePreference::Dark, "Dark"),
            ];
            let name = |wanted| themes.iter().find(|(theme, _)| *theme == wanted).map_or("System", |(_, name)| *name);
            let theme = egui::ComboBox::from_label("Theme").width(64.0).selected_text(name(self.settings.theme));
            theme.show_ui(ui, |ui| {
                for (theme, name) in themes {
                    if ui.selectable_value(&mut self.settings.theme, theme, name).clicked() {
                        ui.ctx().set_theme(theme);
                    }
                }
            });
        });
        // The keys Ctrl++ and Ctrl+− change it too.
        self.settings.scale = ui.ctx().zoom_factor();
    }

    fn status(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            if let Some(message) = &self.message {
                let dark = ui.visuals().dark_mode;
                if message.failed {
                    let close = ui.small_button("×");
                    close.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Close the message"));
                    ui.add(egui::Label::new(RichText::new(&message.text).color(theme::worse(dark))).wrap());
                    if close.clicked() {
                        self.message = None;
                    }
                } else {
                    ui.label(&message.text);
                }
                return;
            }
            match self.queue.headline() {
                Some(line) => ui.add(egui::Label::new(line).truncate()),
                None => ui.weak("nothing is running"),
            };
        });
    }

    fn central(&mut self, ui: &mut Ui, asks: &mut Asks) {
        match self.page {
            Page::Home => self.home.show(ui, &mut self.settings, asks),
            Page::NewStudy => {
                ScrollArea::vertical().show(ui, |ui| self.new_study.show(ui, &mut self.settings, asks));
            }
            Page::Study if self.opening.is_some() && self.study.is_none() => {
                ui.centered_and_justified(|ui| ui.spinner());
            }
            Page::Study => match &mut self.study {
                Some(study) => study.show(ui, asks),
                None => {
                    ui.weak("No study is open.");
                    if ui.button("Home").clicked() {
                        asks.push(Ask::Go(Page::Home));
                    }
                }
            },
            Page::Live => self.live.show(ui, &mut self.queue, asks),
            Page::Devices => self.devices.show(ui, &mut self.settings, asks),
        }
    }

    fn windows(&mut self, context: &Context) {
        let mut open = self.shows_keys;
        egui::Window::new("Keys").open(&mut open).collapsible(false).resizable(false).show(context, |ui| {
            egui::Grid::new("keys").num_columns(2).striped(true).show(ui, |ui| {
                for (key, what) in KEYS {
                    ui.strong(key);
                    ui.label(what);
                    ui.end_row();
                }
            });
        });
        self.shows_keys = open;
    }

    /// A window that is closed while something runs asks first, and saves.
    fn close_requested(&mut self, context: &Context) {
        if context.input(|input| input.viewport().close_requested())
            && self.closing == Closing::No
            && self.queue.is_busy()
        {
            context.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.closing = Closing::Asked;
        }
        if self.closing == Closing::No {
            return;
        }
        egui::Modal::new(egui::Id::unique("closing")).show(context, |ui| {
            ui.set_max_width(420.0);
            if self.closing == Closing::Saving {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("saving what is done…");
                });
                return;
            }
            ui.heading("A study is running");
            ui.label("It can stop now, save what is done, and go on when you start odyssey again.");
            ui.horizontal(|ui| {
                if ui.button("Stop, save and quit").clicked() {
                    self.queue.stop();
                    self.closing = Closing::Saving;
                }
                if ui.button("Keep running").clicked() {
                    self.closing = Closing::No;
                }
            });
        });
    }

    fn answer(&mut self, context: &Context, ask: Ask) {
        match ask {
            Ask::Go(page) => self.page = page,
            Ask::Choose => {
                self.choosing = Some(Background::start(context, || {
                    rfd::FileDialog::new().set_title("A study's folder").pick_folder()
                }));
            }
            Ask::Open(folder) => self.open_named(context, &folder),
            Ask::Run(job) => {
                self.settings.remember(job.folder());
                self.home.refresh();
                self.queue.push(*job);
                self.page = Page::Live;
            }
            Ask::Say(text) => self.message = Some(Message { text, failed: false, since: Instant::now() }),
            Ask::Fail(text) => self.fail(text),
        }
    }

    fn fail(&mut self, text: String) {
        self.message = Some(Message { text: theme::visible(&text), failed: true, since: Instant::now() });
    }

    /// Opens a study, or lists the studies of a folder of such.
    fn open_named(&mut self, context: &Context, folder: &Path) {
        match library::studies_in(folder) {
            Ok(found) if found.len() == 1 => self.open(context, &found[0]),
            Ok(found) => {
                self.home.named = found;
                self.page = Page::Home;
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn open(&mut self, context: &Context, folder: &Path) {
        self.page = Page::Study;
        if self.study.as_ref().is_some_and(|page| page.folder() != folder) {
            self.study = None;
        }
        self.start_opening(context, folder);
    }

    fn start_opening(&mut self, context: &Context, folder: &Path) {
        let of = folder.to_owned();
        self.opening = Some((folder.to_owned(), Background::start(context, move || OpenStudy::read(&of))));
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
        if let Some(began) = self.began.take() {
            tracing::info!("first frame after {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, super::settings::KEY, &self.settings);
    }

    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        self.queue.stop_and_wait();
        if let Some(frames) = &self.frames {
            tracing::info!("{frames}");
        }
    }
}
