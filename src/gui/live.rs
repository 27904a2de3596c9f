//! The running work: curves, speed, memory; pause and stop. Below it the waiting and the ended jobs.

use std::time::Duration;

use egui::{CollapsingHeader, Grid, Label, ProgressBar, Response, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_plot::{Legend, Line, LineStyle, Plot, Points};

use super::queue::{Ended, Entry, Job, Outcome, Queue, Running, TrainingSeen, View};
use super::{Ask, Asks, Page, theme};
use crate::process::bytes;
use crate::report::significant;

/// How often the clocks on the page are updated.
const TICK: Duration = Duration::from_millis(500);

/// The visible state of the running work.
#[derive(Default)]
pub struct Live {
    view: View,
    /// The version of the view.
    revision: u64,
}

/// The requests to the queue during a frame.
type Wish = Box<dyn FnOnce(&mut Queue)>;

impl Live {
    /// Draws the page.
    pub fn show(&mut self, ui: &mut Ui, queue: &mut Queue, asks: &mut Asks) {
        if let Some((revision, view)) = queue.newer(self.revision) {
            (self.revision, self.view) = (revision, view);
        }
        let mut wishes: Vec<Wish> = Vec::new();
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            if let Some(trouble) = &self.view.trouble {
                ui.label(RichText::new(theme::visible(trouble)).color(theme::worse(ui.visuals().dark_mode)));
            }
            offered(ui, &self.view.offered, &mut wishes);
            match &self.view.running {
                Some(running) => {
                    ui.ctx().request_repaint_after(TICK);
                    running_job(ui, running, self.view.paused, &mut wishes, asks);
                }
                None => nothing_runs(ui, &self.view, asks),
            }
            waiting(ui, &self.view, &mut wishes);
            past(ui, &self.view.past, &mut wishes, asks);
        });
        for wish in wishes {
            wish(queue);
        }
    }
}

/// A button whose accessible name also says its object.
fn button(ui: &mut Ui, text: &str, about: &str) -> Response {
    let button = ui.button(text);
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{text}: {about}")));
    button
}

fn nothing_runs(ui: &mut Ui, view: &View, asks: &mut Asks) {
    ui.heading("Nothing is running");
    if view.waiting.is_empty() {
        ui.horizontal_wrapped(|ui| {
            ui.label("Make a study of your texts, or run the demo from the first page.");
            if ui.button("New study…").clicked() {
                asks.push(Ask::Go(Page::NewStudy));
            }
            if ui.button("To the first page").clicked() {
                asks.push(Ask::Go(Page::Home));
            }
        });
    }
}

fn offered(ui: &mut Ui, offered: &[Entry], wishes: &mut Vec<Wish>) {
    if offered.is_empty() {
        return;
    }
    ui.heading("Not finished when odyssey ended");
    for Entry { id, job } in offered {
        let (id, name) = (*id, theme::visible(job.name()));
        ui.horizontal_wrapped(|ui| {
            ui.strong(&name);
            if button(ui, "Go on", &name).on_hover_text("Finished tasks stay; the others are run").clicked() {
                wishes.push(Box::new(move |queue| queue.take_up(id)));
            }
            if button(ui, "Forget", &name).on_hover_text("The folder stays as it is").clicked() {
                wishes.push(Box::new(move |queue| queue.forget(id)));
            }
            ui.weak(theme::visible(&job.folder().display().to_string()));
        });
    }
    ui.separator();
}

fn running_job(ui: &mut Ui, running: &Running, paused: bool, wishes: &mut Vec<Wish>, asks: &mut Asks) {
    ui.heading(theme::visible(&running.name));
    ui.horizontal_wrapped(|ui| {
        let folder = running.entry.job.folder();
        let (text, hint) = match paused {
            true => ("Go on", "Continue from the pause"),
            false => ("Pause", "Held at its next step; nothing is lost"),
        };
        if ui.add_enabled(!running.stops, egui::Button::new(text)).on_hover_text(hint).clicked() {
            wishes.push(Box::new(move |queue| queue.pause(!paused)));
        }
        let stop = egui::Button::new("Stop");
        if ui
            .add_enabled(!running.stops, stop)
            .on_hover_text("Saves the state; it can be resumed at any time")
            .clicked()
        {
            wishes.push(Box::new(Queue::stop_running));
        }
        if running.tasks_done().is_some_and(|(done, _)| done > 0)
            && ui.button("Results so far").on_hover_text("Opens the study as it is now").clicked()
        {
            asks.push(Ask::Open(folder.to_owned()));
        }
        match (running.stops, paused, running.clock.rests()) {
            (true, ..) => _ = ui.label("stopping: what is done is being saved…"),
            (false, true, true) => _ = ui.label("paused"),
            (false, true, false) => _ = ui.label("pausing at the next step…"),
            _ => {}
        }
    });
    ui.add_space(4.0);
    let now = running.clock.seconds();
    figures(ui, running, now);
    ui.add_space(4.0);
    for (depth, level) in running.levels.iter().enumerate() {
        let mut text = theme::visible(&level.what);
        if level.total > 0 {
            text.push_str(&format!("  {} of {}", level.done, level.total));
        }
        // Tasks differ too much in length to give the total from their number; the total is shown above.
        let of_tasks = depth == 0 && !running.tasks.is_empty();
        if let Some(left) = level.seconds_left(now).filter(|_| !of_tasks) {
            text.push_str(&format!(", {} left", duration(left)));
        }
        if !level.note.is_empty() {
            text.push_str(&format!(", {}", theme::visible(&level.note)));
        }
        ui.add(Label::new(text).wrap());
        if let Some(share) = level.share() {
            let bar = ProgressBar::new(share as f32).desired_width(ui.available_width().min(700.0)).desired_height(8.0);
            let bar = ui.add(bar);
            bar.widget_info(|| {
                let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, theme::visible(&level.what));
                info.value = Some(100.0 * share);
                info
            });
        }
    }
    if let Some(training) = &running.training {
        curves(ui, training);
    }
    tasks(ui, running);
    ui.separator();
}

/// The figures of the running job, as pairs that wrap.
fn figures(ui: &mut Ui, running: &Running, now: f64) {
    let mut pairs = vec![("running for", duration(now))];
    if let Some((done, of)) = running.tasks_done() {
        pairs.push(("tasks", format!("{done} of {of}")));
        let left =
            running.seconds_left().map_or_else(|| "not known yet".to_owned(), |s| format!("about {}", duration(s)));
        pairs.push(("left", left));
    }
    if let Some(training) = &running.training {
        if let Some(rate) = training.tokens_per_second {
            pairs.push(("speed", format!("{rate:.0} tokens/s")));
        }
        if training.step > 0 {
            pairs.push(("learning rate", format!("{:.2e}", training.lr)));
        }
        if let Some(loss) = training.loss {
            pairs.push(("loss", significant(loss)));
        }
        if let Some(loss) = training.valid_loss {
            pairs.push(("validation loss", significant(loss)));
        }
    }
    if running.memory > 0 {
        pairs.push(("memory", bytes(running.memory)));
    }
    if !running.device.is_empty() {
        pairs.push(("device", running.device.clone()));
    }
    ui.horizontal_wrapped(|ui| {
        for (what, value) in pairs {
            ui.weak(what);
            ui.strong(value);
            ui.add_space(8.0);
        }
    });
}

fn curves(ui: &mut Ui, training: &TrainingSeen) {
    ui.add_space(6.0);
    ui.add(Label::new(RichText::new(theme::visible(&training.what)).strong()).wrap());
    let dark = ui.visuals().dark_mode;
    let (light, strong) = (theme::undecided(dark), theme::better(dark));
    let plot = Plot::new("loss")
        .height(230.0)
        .legend(Legend::default())
        .x_axis_label("step")
        .y_axis_label("loss, nats per token")
        .allow_scroll(false)
        .show(ui, |plot| {
            let train = Line::new("training", training.train.points.clone()).color(light).width(1.0);
            plot.line(train.style(LineStyle::Solid));
            plot.line(Line::new("validation", training.valid.points.clone()).color(strong).width(2.5));
            plot.points(Points::new("validation", training.valid.points.clone()).color(strong).radius(4.0));
        });
    plot.response.widget_info(|| {
        let said =
            training.loss.map_or_else(String::new, |loss| format!(": {} at step {}", significant(loss), training.step));
        WidgetInfo::labeled(Role::Image, true, format!("Loss curve{said}"))
    });
}

fn tasks(ui: &mut Ui, running: &Running) {
    let Some((done, of)) = running.tasks_done() else { return };
    let header = CollapsingHeader::new(format!("Tasks ({done} of {of} done)")).id_salt("tasks");
    header.show(ui, |ui| {
        let height = ui.text_style_height(&egui::TextStyle::Body);
        let scroll = ScrollArea::vertical().id_salt("task list").max_height(220.0).auto_shrink([false, true]);
        scroll.show_rows(ui, height, running.tasks.len(), |ui, rows| {
            for index in rows {
                let task = &running.tasks[index];
                let state = match (task.done, running.task) {
                    (true, _) => "● done",
                    (false, Some((at, _))) if at == index => "▶ now",
                    _ => "○ missing",
                };
                let took = task.seconds.map_or_else(String::new, |seconds| format!("  ({})", duration(seconds)));
                ui.add(Label::new(format!("{state}  {}{took}", theme::visible(&task.label))).truncate());
            }
        });
    });
}

fn waiting(ui: &mut Ui, view: &View, wishes: &mut Vec<Wish>) {
    if view.waiting.is_empty() && view.running.is_none() && !view.held {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.strong("Queue");
        let mut held = view.held;
        let hint = "The running job goes on; waiting jobs stay until this is switched off";
        if ui.checkbox(&mut held, "Hold: start nothing more").on_hover_text(hint).changed() {
            wishes.push(Box::new(move |queue| queue.hold(held)));
        }
    });
    if view.waiting.is_empty() {
        ui.weak("Nothing waits.");
    }
    Grid::new("waiting").num_columns(4).show(ui, |ui| {
        for (index, Entry { id, job }) in view.waiting.iter().enumerate() {
            let (id, name) = (*id, theme::visible(job.name()));
            ui.label(format!("{}.", index + 1));
            ui.label(&name).on_hover_text(theme::visible(&job.folder().display().to_string()));
            ui.weak(job.device().unwrap_or_default());
            ui.horizontal(|ui| {
                if index > 0 && button(ui, "Move up", &name).clicked() {
                    wishes.push(Box::new(move |queue| queue.move_up(id)));
                }
                if button(ui, "Remove", &name).on_hover_text("Out of the queue; nothing is deleted").clicked() {
                    wishes.push(Box::new(move |queue| queue.remove(id)));
                }
            });
            ui.end_row();
        }
    });
}

fn past(ui: &mut Ui, past: &[Ended], wishes: &mut Vec<Wish>, asks: &mut Asks) {
    if past.is_empty() {
        return;
    }
    ui.separator();
    ui.strong("Ended");
    let dark = ui.visuals().dark_mode;
    for Ended { entry: Entry { id, job }, outcome, seconds } in past {
        let (id, name) = (*id, theme::visible(job.name()));
        ui.horizontal_wrapped(|ui| {
            let (word, colour, next) = match outcome {
                Outcome::Finished => ("● finished", theme::better(dark), None),
                Outcome::Stopped(_) => ("■ stopped", theme::undecided(dark), Some("Go on")),
                Outcome::Failed(_) => ("× failed", theme::worse(dark), Some("Try again")),
            };
            ui.label(RichText::new(word).color(colour));
            ui.strong(&name);
            ui.weak(duration(*seconds));
            if button(ui, "Open", &name).clicked() {
                asks.push(Ask::Open(job.folder().to_owned()));
            }
            if let Some(next) = next
                && button(ui, next, &name).on_hover_text("Only missing tasks are run").clicked()
            {
                asks.push(Ask::Run(Box::new(Job::clone(job))));
            }
            if button(ui, "Forget", &name).on_hover_text("Off this list; the folder stays").clicked() {
                wishes.push(Box::new(move |queue| queue.forget(id)));
            }
        });
        if let Outcome::Stopped(words) | Outcome::Failed(words) = outcome {
            ui.add(Label::new(theme::visible(words)).wrap());
        }
    }
}

/// So many seconds in words.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
