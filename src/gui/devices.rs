//! The machine's devices, and whether they compute right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use egui::{Context, Grid, Label, ProgressBar, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_extras::{Column, TableBuilder};

use super::background::{Arrival, Background};
use super::queue::give_way;
use super::settings::Settings;
use super::{Ask, Asks, theme};
use crate::device::diagnosis::{self, Case, Check, Diagnosis, Verdict};
use crate::device::{Card, ChosenDevice, DeviceChoice, DeviceName, cards};
use crate::doctor;
use crate::error::Result;
use crate::process::bytes;
use crate::progress::Monitor;

/// The visible state of the devices.
#[derive(Default)]
pub struct Devices {
    listed: Option<Listed>,
    listing: Option<Background<Result<Listed>>>,
    examining: Option<Examining>,
    /// The device whose checks are shown.
    shown: Option<String>,
}

/// The devices of this machine.
struct Listed {
    /// What `auto` takes.
    auto: DeviceName,
    devices: Vec<Listing>,
}

/// A device in the list.
struct Listing {
    /// What `--device` calls it.
    choice: String,
    name: String,
    about: Vec<(&'static str, String)>,
    diagnosis: Option<Diagnosis>,
}

/// An examination under way.
struct Examining {
    choice: String,
    progress: Arc<Progress>,
    work: Background<Result<Diagnosis>>,
}

/// The progress of an examination, and whether it should stop.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    of: AtomicU64,
    stop: AtomicBool,
}

/// Tells how far an examination is.
struct Watcher {
    progress: Arc<Progress>,
    context: Context,
}

impl Monitor for Watcher {
    fn begin(&mut self, _what: &str, total: u64) {
        self.progress.of.store(total, Ordering::Relaxed);
    }

    fn advance(&mut self, units: u64, _note: &str) {
        self.progress.done.fetch_add(units, Ordering::Relaxed);
        self.context.request_repaint();
    }

    fn stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Relaxed)
    }
}

/// The values of `--device` on this machine and their labels. It calls the graphics drivers, so do not call it while
/// drawing.
pub(super) fn choices() -> Vec<(String, String)> {
    let fixed = [("auto", "auto: a real GPU, or else the CPU"), ("cpu", "cpu: the processor")];
    let fixed = fixed.into_iter().map(|(choice, words)| (choice.to_owned(), words.to_owned()));
    let found =
        cards().iter().map(|card| (card.choice.clone(), format!("{}: {}, {}", card.choice, card.name, card.kind)));
    fixed.chain(found).collect()
}

fn list() -> Result<Listed> {
    let known = |chosen: &ChosenDevice| diagnosis::known(&diagnosis::folder(), &chosen.name, &chosen.driver);
    let cpu = DeviceChoice::Cpu.find()?;
    let memory = cpu.free_memory().map_or_else(|| "not known".to_owned(), |free| bytes(free.bytes));
    let mut devices = vec![Listing {
        choice: "cpu".into(),
        name: cpu.name.card.clone(),
        about: vec![("kind", "processor".into()), ("driver", "flex".into()), ("memory free", memory)],
        diagnosis: known(&cpu),
    }];
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    devices.extend(cards().iter().map(|card: &Card| Listing {
        choice: card.choice.clone(),
        name: card.name.clone(),
        about: vec![
            ("kind", card.kind.to_owned()),
            ("driver", format!("{}, {}", card.api, card.driver)),
            ("memory of its own", card.own_memory_bytes.map_or_else(|| "the system's".to_owned(), bytes)),
            ("a kernel sees at once", bytes(card.max_binding_bytes)),
            ("f16", yes(card.f16)),
            ("subgroups", yes(card.subgroups)),
        ],
        diagnosis: diagnosis::known(&diagnosis::folder(), &card.device_name(), &card.driver),
    }));
    Ok(Listed { auto: DeviceChoice::Auto.open()?.name, devices })
}

fn examine(choice: &str, watcher: &mut Watcher) -> Result<Diagnosis> {
    give_way();
    let chosen = choice.parse::<DeviceChoice>()?.find()?;
    let diagnosis = doctor::examine(&chosen, doctor::PATIENCE, watcher)?;
    if let Err(error) = diagnosis::keep(&diagnosis::folder(), &diagnosis) {
        tracing::warn!("the diagnosis cannot be kept for later runs: {error}");
    }
    Ok(diagnosis)
}

impl Devices {
    fn keep_up(&mut self, context: &Context, asks: &mut Asks) {
        if self.listed.is_none() && self.listing.is_none() {
            self.listing = Some(Background::start(context, list));
        }
        match self.listing.as_ref().map(Background::poll) {
            Some(Arrival::Here(Ok(listed))) => (self.listed, self.listing) = (Some(listed), None),
            Some(Arrival::Here(Err(error))) => {
                asks.push(Ask::Fail(error.to_string()));
                self.nothing();
            }
            Some(Arrival::Lost) => {
                asks.push(Ask::Fail("the graphics driver failed while it was asked for its devices".into()));
                self.nothing();
            }
            Some(Arrival::Pending) | None => {}
        }
        let Some(examining) = &self.examining else { return };
        match examining.work.poll() {
            Arrival::Here(done) => {
                match done {
                    Ok(diagnosis) => {
                        let listing = self.listed.iter_mut().flat_map(|listed| &mut listed.devices);
                        let mut of_choice = listing.filter(|listing| listing.choice == examining.choice);
                        if let Some(listing) = of_choice.next() {
                            asks.push(Ask::Say(format!("{}: {}", listing.name, diagnosis.words)));
                            listing.diagnosis = Some(diagnosis);
                        }
                        self.shown = Some(examining.choice.clone());
                    }
                    Err(error) => asks.push(Ask::Fail(error.to_string())),
                }
                self.examining = None;
            }
            Arrival::Lost => {
                asks.push(Ask::Fail(format!("{} could not be examined: its driver failed", examining.choice)));
                self.examining = None;
            }
            Arrival::Pending => {}
        }
    }

    /// The list failed; it is not requested again at every frame.
    fn nothing(&mut self) {
        let auto = DeviceName { backend: "unknown".into(), card: String::new() };
        (self.listed, self.listing) = (Some(Listed { auto, devices: Vec::new() }), None);
    }

    /// Draws the page.
    pub fn show(&mut self, ui: &mut Ui, settings: &mut Settings, asks: &mut Asks) {
        self.keep_up(ui.ctx(), asks);
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.heading("Devices");
            let Some(listed) = &self.listed else {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("asking the graphics drivers…");
                });
                return;
            };
            ui.add(Label::new(format!("New studies compute on one of these. auto takes {}.", listed.auto)).wrap());
            ui.radio_value(&mut settings.device, "auto".to_owned(), "New studies: auto");
            let (mut wanted, mut shown, mut again) = (None, None, false);
            for listing in &listed.devices {
                ui.separator();
                match device(ui, listing, settings, self.examining.as_ref()) {
                    Pressed::Examine => wanted = Some(listing.choice.clone()),
                    Pressed::Show => shown = Some(listing.choice.clone()),
                    Pressed::Nothing => {}
                }
                if let Some(diagnosis) =
                    listing.diagnosis.as_ref().filter(|_| self.shown.as_ref() == Some(&listing.choice))
                {
                    checks(ui, diagnosis);
                }
            }
            ui.separator();
            if listed.devices.len() < 2 {
                ui.weak("No card was found. With a driver (Vulkan, Metal or Direct3D 12) it would be listed here.");
            }
            again |= ui.button("Look again").on_hover_text("Reads the devices and their diagnoses again").clicked();
            if let Some(choice) = wanted {
                let progress = Arc::new(Progress::default());
                let mut watcher = Watcher { progress: Arc::clone(&progress), context: ui.ctx().clone() };
                let of = choice.clone();
                let work = Background::start(ui.ctx(), move || examine(&of, &mut watcher));
                self.examining = Some(Examining { choice, progress, work });
            }
            if shown.is_some() {
                self.shown = shown.filter(|shown| self.shown.as_ref() != Some(shown));
            }
            if again {
                self.listed = None;
            }
        });
    }
}

/// The button of a device that was pressed.
enum Pressed {
    Nothing,
    Examine,
    Show,
}

fn device(ui: &mut Ui, listing: &Listing, settings: &mut Settings, examining: Option<&Examining>) -> Pressed {
    let mut pressed = Pressed::Nothing;
    let dark = ui.visuals().dark_mode;
    let choice = &listing.choice;
    ui.horizontal_wrapped(|ui| {
        ui.strong(choice);
        ui.label(theme::visible(&listing.name));
    });
    Grid::new(("about", choice)).num_columns(2).show(ui, |ui| {
        for (what, value) in &listing.about {
            ui.weak(*what);
            ui.add(Label::new(theme::visible(value)).wrap());
            ui.end_row();
        }
    });
    let (word, colour, words) = match &listing.diagnosis {
        None => ("not examined", theme::undecided(dark), "whether it computes right is not known yet"),
        Some(diagnosis) => {
            let (word, colour) = match diagnosis.verdict {
                Verdict::Fine => ("● fine", theme::better(dark)),
                Verdict::Limited => ("◐ limited", theme::undecided(dark)),
                Verdict::Wrong => ("× wrong", theme::worse(dark)),
            };
            (word, colour, diagnosis.words.as_str())
        }
    };
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(word).color(colour).strong());
        ui.label(theme::visible(words));
    });
    ui.horizontal_wrapped(|ui| {
        ui.radio_value(&mut settings.device, choice.clone(), format!("New studies: {choice}"));
        match examining {
            Some(running) if running.choice == *choice => {
                let [done, of] = [&running.progress.done, &running.progress.of].map(|n| n.load(Ordering::Relaxed));
                let share = done as f32 / of.max(1) as f32;
                let bar = ui.add(ProgressBar::new(share).desired_width(200.0).text(format!("{done} of {of} checks")));
                bar.widget_info(|| {
                    let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, format!("Examining {choice}"));
                    info.value = Some(f64::from(100.0 * share));
                    info
                });
                if ui.button("Stop examining").clicked() {
                    running.progress.stop.store(true, Ordering::Relaxed);
                }
            }
            other => {
                let button = ui.add_enabled(other.is_none(), egui::Button::new("Examine"));
                button.widget_info(|| WidgetInfo::labeled(Role::Button, other.is_none(), format!("Examine {choice}")));
                let hint =
                    "Compares everything that models compute with exact values in 64 bits: takes seconds to minutes";
                if button.on_hover_text(hint).clicked() {
                    pressed = Pressed::Examine;
                }
            }
        }
        if listing.diagnosis.is_some() {
            let button = ui.button("Checks");
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Checks of {choice}")));
            if button.clicked() {
                pressed = Pressed::Show;
            }
        }
    });
    pressed
}

/// What was checked, as `odyssey doctor` shows it.
fn checks(ui: &mut Ui, diagnosis: &Diagnosis) {
    let number = |value: Option<f64>| match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.1e}"),
    };
    let device = diagnosis.device.to_string();
    let height = ui.text_style_height(&egui::TextStyle::Body) + 4.0;
    ScrollArea::horizontal().id_salt((&device, "checks")).show(ui, |ui| {
        let table = TableBuilder::new(ui).id_salt(&device).striped(true).max_scroll_height(260.0);
        let widths = [220.0, 70.0, 70.0, 80.0, 130.0];
        let table = widths.into_iter().fold(table, |table, width| table.column(Column::initial(width).clip(true)));
        table
            .column(Column::remainder().at_least(120.0).clip(true))
            .header(22.0, |mut header| {
                for title in ["check", "error", "allowed", "on the CPU", "worst at", ""] {
                    header.col(|ui| _ = ui.strong(title));
                }
            })
            .body(|body| {
                body.rows(height, diagnosis.checks.len(), |mut row| {
                    let Check { about, tightest, ok, .. } = &diagnosis.checks[row.index()];
                    let Case { at, worst, allowed, cpu, reason } = tightest;
                    let said = reason.as_deref().unwrap_or(if *ok { "● fine" } else { "× TOO FAR OFF" });
                    let cells = [&about.name, &number(*worst), &number(*allowed), &number(*cpu), at];
                    for (index, cell) in cells.into_iter().map(String::as_str).chain([said]).enumerate() {
                        row.col(|ui| {
                            let label = ui.add(Label::new(theme::visible(cell)).truncate());
                            if index == 1 {
                                label.on_hover_text(&about.bound);
                            }
                        });
                    }
                });
            });
    });
    let speeds: BTreeMap<&str, String> = diagnosis
        .timings
        .iter()
        .map(|t| (t.name.as_str(), t.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} {}", t.unit))))
        .collect();
    ui.horizontal_wrapped(|ui| {
        for (what, speed) in speeds {
            ui.weak(what);
            ui.strong(speed);
        }
    });
}
