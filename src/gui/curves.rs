//! Curves of a domain: loss by position in window and document, and loss while training.

use std::path::Path;
use std::sync::Arc;

use egui::Ui;
use egui_plot::{GridInput, GridMark, Legend, Line, LineStyle, PlotPoint, PlotPoints};

use super::background::{Arrival, Background};
use super::{marks, theme};
use crate::error::Result;
use crate::evaluate::Positions;
use crate::evaluate::positions::Bin;
use crate::report::plots::thinned;
use crate::study::{Row, StudyResults, positions};

/// Height of a plot.
const HEIGHT: f32 = 260.0;

/// The visible state of the curves.
#[derive(Default)]
pub struct Curves {
    by_document: bool,
    loading: Option<Background<Result<[Positions; 2]>>>,
    positions: Option<Loaded>,
    losses: Vec<Loss>,
}

/// The state of reading the per-token files.
enum Loaded {
    Here { window: [Vec<PlotPoint>; 2], document: [Vec<PlotPoint>; 2] },
    Missing(String),
}

/// One run's loss curve.
struct Loss {
    name: String,
    seed: usize,
    validation: bool,
    points: Vec<PlotPoint>,
}

impl Curves {
    /// Shows the curves of these rows from now on, and the positions of the one at `row`.
    pub fn take(&mut self, results: &StudyResults, rows: &[usize]) {
        (self.loading, self.positions) = (None, None);
        let mut losses = Vec::new();
        for (seed, row) in rows.iter().filter_map(|&row| results.rows.get(row)).enumerate() {
            for (validation, points) in [(false, &row.train_loss), (true, &row.valid_loss)] {
                let kind = if validation { "validation" } else { "training (dotted)" };
                let points: Vec<PlotPoint> = thinned(points).into_iter().map(|(x, y)| PlotPoint::new(x, y)).collect();
                losses.push(Loss { name: format!("{kind}, seed {}", row.seed), seed, validation, points });
            }
        }
        losses.retain(|loss| !loss.points.is_empty());
        self.losses = losses;
    }

    fn keep_up(&mut self, ui: &Ui, folder: &Path, results: &Arc<StudyResults>, row: usize) {
        match self.loading.as_ref().map(Background::poll) {
            None if self.positions.is_none() => {
                let (folder, results) = (folder.to_owned(), results.clone());
                let read = move || {
                    let row: &Row = &results.rows[row];
                    positions(&folder, row)
                };
                self.loading = Some(Background::start(ui.ctx(), read));
            }
            Some(Arrival::Here(read)) => {
                self.loading = None;
                self.positions = Some(match read {
                    Ok([before, after]) => Loaded::Here {
                        window: [points(&before.window), points(&after.window)],
                        document: [points(&before.document), points(&after.document)],
                    },
                    Err(error) => Loaded::Missing(theme::visible(&error.to_string())),
                });
            }
            Some(Arrival::Lost) => {
                self.loading = None;
                self.positions = Some(Loaded::Missing("the per-token files could not be read".into()));
            }
            None | Some(Arrival::Pending) => {}
        }
    }

    /// Draws them; `row` is the one whose positions are shown.
    pub fn show(&mut self, ui: &mut Ui, folder: &Path, results: &Arc<StudyResults>, row: usize) {
        self.keep_up(ui, folder, results, row);
        ui.strong("Loss by position");
        match &self.positions {
            None => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("reading the losses of every token…");
                });
            }
            Some(Loaded::Missing(why)) => {
                ui.label(format!("It cannot be shown: {why}"));
            }
            Some(Loaded::Here { window, document }) => {
                ui.horizontal_wrapped(|ui| {
                    ui.selectable_value(&mut self.by_document, false, "tokens before in the window");
                    ui.selectable_value(&mut self.by_document, true, "tokens before in the document");
                });
                by_position(ui, if self.by_document { document } else { window }, self.by_document);
            }
        }
        ui.add_space(12.0);
        ui.strong("Loss while training");
        if self.losses.is_empty() {
            ui.label("The results hold no loss curve of it.");
            return;
        }
        let plot = marks::plot(ui, "loss while training").height(HEIGHT).legend(Legend::default());
        let plot = plot.x_axis_label("step").y_axis_label("nats per token");
        plot.show(ui, |plot| {
            for loss in &self.losses {
                let style = if loss.validation { LineStyle::Solid } else { LineStyle::dotted_dense() };
                let line = Line::new(loss.name.as_str(), PlotPoints::Borrowed(&loss.points));
                let width = if loss.validation { 3.0 } else { 1.5 };
                plot.line(line.color(theme::group(loss.seed)).width(width).style(style));
            }
        });
    }
}

/// Bins on an axis that doubles.
fn points(bins: &[Bin]) -> Vec<PlotPoint> {
    let place = |from: usize| if from == 0 { 0.0 } else { (from as f64).log2() + 1.0 };
    bins.iter().map(|bin| PlotPoint::new(place(bin.from), bin.nll)).collect()
}

/// The number of tokens at a place on that axis.
fn tokens(place: f64) -> String {
    let tokens = if place < 0.5 { 0 } else { (place - 1.0).exp2().round() as u64 };
    crate::report::count(tokens)
}

fn by_position(ui: &mut Ui, [before, after]: &[Vec<PlotPoint>; 2], document: bool) {
    let plot = marks::plot(ui, ("loss by position", document)).height(HEIGHT).legend(Legend::default());
    let plot = plot
        .x_axis_label("tokens before, at least")
        .y_axis_label("nats per token")
        .x_grid_spacer(doublings)
        .x_axis_formatter(|mark, _| tokens(mark.value))
        .label_formatter(|position| match position {
            egui_plot::HoverPosition::NearDataPoint { plot_name, position, .. } => {
                Some(format!("{plot_name}: {:.3} nats from {} tokens on", position.y, tokens(position.x)))
            }
            _ => None,
        });
    plot.show(ui, |plot| {
        for (index, (name, points)) in [("before (dashed)", before), ("after", after)].into_iter().enumerate() {
            let style = if index == 0 { LineStyle::dashed_loose() } else { LineStyle::Solid };
            let line = Line::new(name, PlotPoints::Borrowed(points));
            plot.line(line.color(theme::group(index)).width(2.5).style(style));
        }
    });
}

/// Marks where the number of tokens doubles.
fn doublings(input: GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let ends = (low.max(0.0).floor() as u32, high.clamp(0.0, 40.0).ceil() as u32);
    (ends.0..=ends.1).map(|k| GridMark { value: f64::from(k), step_size: 1.0 }).collect()
}
