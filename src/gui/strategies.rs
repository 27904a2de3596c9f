//! Strategies and seeds of one domain side by side.

use egui::{Align, Color32, Label, Layout, Pos2, Rect, RichText, ScrollArea, Sense, Stroke, TextWrapMode, Ui, vec2};
use egui_extras::{Column, TableBuilder};
use egui_plot::{GridInput, GridMark, HLine, Legend, Line, Points};

use super::opened::{OpenStudy, Selection, name, shown_here};
use super::{marks, theme};
use crate::columns::{self, Cell, Face, Outcome, Sheet};
use crate::report::{Direction, delta, drawable, outcomes, word};

/// The visible state of the comparison.
#[derive(Default)]
pub struct Strategies {
    seen: Option<Seen>,
}

/// The shown content of a domain, prepared when it is chosen.
struct Seen {
    domain: String,
    lines: Vec<LineOf>,
    /// The cells of the lines.
    sheet: Sheet,
    /// Lowest and highest δ that the intervals must hold.
    range: [f64; 2],
    ablation: Option<Sheet>,
    rates: Vec<Rates>,
}

/// A strategy, or one of its seeds.
struct LineOf {
    arm: usize,
    /// The strategy's own line, its seeds together.
    whole: bool,
    delta: f64,
    ci95: [f64; 2],
    restart: Option<f64>,
    direction: Direction,
}

/// δ by learning rate for one way to train and to test.
struct Rates {
    name: String,
    /// log₁₀ of the rate, and δ.
    points: Vec<[f64; 2]>,
    ci95: Vec<[f64; 2]>,
}

impl Strategies {
    /// Drops the prepared content, because the study was read again.
    pub fn renew(&mut self) {
        self.seen = None;
    }

    /// Draws it.
    pub fn show(&mut self, ui: &mut Ui, study: &OpenStudy, selection: &Selection) {
        let Some(domain) = &selection.domain else {
            ui.label("No domain is selected. Choose one above, click one on the scatter, or press an arrow key.");
            return;
        };
        if self.seen.as_ref().is_none_or(|seen| seen.domain != *domain) {
            self.seen = Some(Seen::of(study, domain));
        }
        let Some(seen) = &self.seen else { return };
        ScrollArea::vertical().id_salt("strategies").auto_shrink(false).show(ui, |ui| {
            seen.forest(ui);
            ui.weak("Dashed: the restart control. δ in nats per token; right of zero is worse.");
            match &seen.ablation {
                Some(sheet) => {
                    ui.add_space(12.0);
                    ui.strong("Ablation grid");
                    rates(ui, &seen.rates);
                    show_sheet(ui, sheet);
                }
                None => {
                    ui.weak("The study has no ablation grid: add an [ablation] table to its TOML.");
                }
            }
        });
    }
}

impl Seen {
    fn of(study: &OpenStudy, domain: &str) -> Self {
        let (mut lines, mut shown) = (Vec::new(), Vec::new());
        for (arm, domains) in outcomes(&study.results).into_values().enumerate() {
            let Some(whole) = domains.into_iter().find(|outcome| outcome.domain == domain) else { continue };
            let restart = whole.change.and_then(|change| change.restart_delta).filter(drawable);
            let seeds: Vec<Outcome<'_>> = match whole.rows[..] {
                [_] => Vec::new(),
                ref rows => rows.iter().map(|row| Outcome::of_seed(row)).collect(),
            };
            for (at, outcome) in std::iter::once(whole).chain(seeds).enumerate() {
                lines.push(LineOf {
                    arm,
                    whole: at == 0,
                    delta: outcome.delta,
                    ci95: outcome.ci95,
                    restart,
                    direction: outcome.direction(),
                });
                shown.push(outcome);
            }
        }
        let mut sheet = shown_here(Sheet::of(&columns::rows(), Face::Strategies, &shown));
        if let Some(column) = sheet.column("arm") {
            let of_seeds = sheet.rows.iter_mut().zip(&lines).filter(|(_, line)| !line.whole);
            of_seeds.for_each(|(row, _)| row[column] = Cell::default());
        }
        let ends = lines.iter().flat_map(|line| [line.delta, line.ci95[0], line.ci95[1]]);
        let ends = ends.chain(lines.iter().filter_map(|line| line.restart)).filter(drawable);
        let [low, high] = ends.fold([0.0_f64, 0.0_f64], |[low, high], end| [low.min(end), high.max(end)]);
        let margin = 0.06 * (high - low).max(1e-6);
        Self {
            domain: domain.to_owned(),
            lines,
            sheet,
            range: [low - margin, high + margin],
            ablation: ablation(study, domain),
            rates: rates_of(study, domain),
        }
    }

    /// The table with a forest of intervals in its last column.
    fn forest(&self, ui: &mut Ui) {
        let height = ui.spacing().interact_size.y;
        let dark = ui.visuals().dark_mode;
        ScrollArea::horizontal().id_salt("forest").show(ui, |ui| {
            let width = (ui.available_width() - 730.0).max(200.0);
            TableBuilder::new(ui)
                .id_salt("strategies and seeds")
                .vscroll(false)
                .cell_layout(Layout::left_to_right(Align::Center))
                .column(Column::initial(170.0).at_least(90.0).clip(true).resizable(true))
                .columns(Column::auto().at_least(60.0), self.sheet.headings.len().saturating_sub(1))
                .column(Column::exact(width))
                .header(26.0, |mut header| {
                    for heading in &self.sheet.headings {
                        header.col(|ui| {
                            ui.strong(&heading.title).on_hover_text(&heading.help);
                        });
                    }
                    header.col(|ui| self.scale(ui));
                })
                .body(|body| {
                    body.rows(height, self.lines.len(), |mut row| {
                        let line = &self.lines[row.index()];
                        row.set_overline(line.whole);
                        let cells = self.sheet.rows.get(row.index()).into_iter().flatten();
                        for (cell, heading) in cells.zip(&self.sheet.headings) {
                            row.col(|ui| {
                                let text = RichText::new(&cell.text);
                                let text = match heading.key.as_str() {
                                    "verdict" => text.color(theme::direction(line.direction, dark)),
                                    _ => text,
                                };
                                let text = if line.whole { text.strong() } else { text };
                                ui.add(Label::new(text).wrap_mode(TextWrapMode::Extend));
                            });
                        }
                        row.col(|ui| self.bar(ui, line));
                    });
                });
        });
    }

    fn place(&self, rect: Rect, value: f64) -> f32 {
        let share = (value - self.range[0]) / (self.range[1] - self.range[0]);
        rect.left() + rect.width() * share as f32
    }

    fn scale(&self, ui: &mut Ui) {
        let (rect, _) = ui.allocate_exact_size(ui.available_size(), Sense::hover());
        let font = egui::FontId::proportional(11.5);
        let colour = ui.visuals().text_color();
        let zero = self.place(rect, 0.0);
        ui.painter().text(Pos2::new(zero, rect.center().y), egui::Align2::CENTER_CENTER, "0", font.clone(), colour);
        for (end, x, align) in [
            (self.range[0], rect.left(), egui::Align2::LEFT_CENTER),
            (self.range[1], rect.right(), egui::Align2::RIGHT_CENTER),
        ] {
            if (x - zero).abs() > 60.0 {
                ui.painter().text(Pos2::new(x, rect.center().y), align, delta(end), font.clone(), colour);
            }
        }
    }

    fn bar(&self, ui: &mut Ui, line: &LineOf) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ui.available_height()), Sense::hover());
        let dark = ui.visuals().dark_mode;
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        let zero = self.place(rect, 0.0);
        let half = |from: f32, to: f32, colour: Color32| {
            let area = Rect::from_x_y_ranges(from..=to, rect.y_range());
            painter.rect_filled(area, 0.0, colour.gamma_multiply(0.07));
        };
        half(rect.left(), zero, theme::better(dark));
        half(zero, rect.right(), theme::worse(dark));
        let grey = theme::undecided(dark);
        painter.vline(zero, rect.y_range(), Stroke::new(1.0, grey));
        if let Some(restart) = line.restart {
            let x = self.place(rect, restart);
            let ends = [Pos2::new(x, rect.top()), Pos2::new(x, rect.bottom())];
            painter.extend(egui::Shape::dashed_line(&ends, Stroke::new(1.5, grey), 4.0, 4.0));
        }
        let y = rect.center().y;
        if line.ci95.iter().all(drawable) {
            let [low, high] = line.ci95.map(|end| self.place(rect, end));
            let width = if line.whole { 3.0 } else { 1.5 };
            painter.hline(low..=high, y, Stroke::new(width, theme::group(line.arm)));
        }
        let radius = if line.whole { 6.5 } else { 4.5 };
        let open = matches!(line.direction, Direction::NoDifference | Direction::Undecided);
        marks::paint(&painter, Pos2::new(self.place(rect, line.delta), y), radius, line.arm, open);
    }
}

/// The rows of the grid for the domain.
fn ablation(study: &OpenStudy, domain: &str) -> Option<Sheet> {
    let all = study.ablation.as_ref()?;
    let mine = all.rows.iter().zip(&study.results.ablation).filter(|(_, row)| !row.control && row.domain == domain);
    let rows: Vec<_> = mine.map(|(cells, _)| cells.clone()).collect();
    (!rows.is_empty()).then(|| Sheet { headings: all.headings.clone(), rows })
}

fn rates_of(study: &OpenStudy, domain: &str) -> Vec<Rates> {
    let mut found: Vec<Rates> = Vec::new();
    let several = study.arms.len() > 1;
    for row in study.results.ablation.iter().filter(|row| !row.control && row.domain == domain && row.lr > 0.0) {
        if !drawable(&row.delta) {
            continue;
        }
        let mut name = format!(
            "trained {}, {}; tested {}, {}",
            word(row.train_join),
            word(row.newlines),
            word(row.eval_join),
            word(row.eval_newlines)
        );
        if several {
            name = format!("{} / {}: {name}", self::name(&row.model), self::name(&row.strategy));
        }
        let at = found.iter().position(|rates| rates.name == name).unwrap_or_else(|| {
            found.push(Rates { name, points: Vec::new(), ci95: Vec::new() });
            found.len() - 1
        });
        found[at].points.push([row.lr.log10(), row.delta]);
        found[at].ci95.push(row.delta_ci95);
    }
    for rates in &mut found {
        let mut order: Vec<usize> = (0..rates.points.len()).collect();
        order.sort_by(|&a, &b| rates.points[a][0].total_cmp(&rates.points[b][0]));
        rates.points = order.iter().map(|&at| rates.points[at]).collect();
        rates.ci95 = order.iter().map(|&at| rates.ci95[at]).collect();
    }
    found
}

/// δ by learning rate, a curve for each way to train and to test.
fn rates(ui: &mut Ui, all: &[Rates]) {
    if all.iter().all(|rates| rates.points.len() < 2) {
        return;
    }
    ui.label("δ against the learning rate; above zero is worse");
    let plot = marks::plot(ui, "learning rates").height(280.0).legend(Legend::default());
    let plot = plot
        .x_axis_label("learning rate")
        .y_axis_label("δ, nats per token")
        .x_grid_spacer(powers)
        .x_axis_formatter(|mark, _| format!("{:.0e}", 10_f64.powf(mark.value)).replace('-', "−"))
        .label_formatter(|position| match position {
            egui_plot::HoverPosition::NearDataPoint { plot_name, position, .. } => {
                Some(format!("{plot_name}: {} at {:.1e}", delta(position.y), 10_f64.powf(position.x)))
            }
            _ => None,
        });
    plot.show(ui, |plot| {
        let grey = Color32::GRAY;
        plot.hline(HLine::new("", 0.0).color(grey).width(1.0).allow_hover(false));
        for (index, rates) in all.iter().enumerate() {
            let colour = theme::group(index);
            plot.line(Line::new(rates.name.as_str(), rates.points.clone()).color(colour).width(2.0).allow_hover(false));
            let marks = Points::new(rates.name.as_str(), rates.points.clone()).color(colour).radius(5.0);
            plot.points(marks.shape(marks::shape(index)));
            for ([x, _], [low, high]) in rates.points.iter().zip(&rates.ci95) {
                let bar = Line::new(rates.name.as_str(), vec![[*x, *low], [*x, *high]]);
                plot.line(bar.color(colour.gamma_multiply(0.6)).width(1.5).allow_hover(false));
            }
        }
    });
}

fn powers(input: GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let ends = (low.max(-30.0).floor() as i32, high.min(30.0).ceil() as i32);
    (ends.0..=ends.1)
        .flat_map(|power| [(1.0_f64, 1.0), (3.0, 0.5)].map(|(m, step)| (f64::from(power) + m.log10(), step)))
        .map(|(value, step_size)| GridMark { value, step_size })
        .collect()
}

/// A report's table.
fn show_sheet(ui: &mut Ui, sheet: &Sheet) {
    let height = ui.spacing().interact_size.y;
    ScrollArea::horizontal().id_salt("grid").show(ui, |ui| {
        TableBuilder::new(ui)
            .id_salt("ablation grid")
            .striped(true)
            .vscroll(false)
            .cell_layout(Layout::left_to_right(Align::Center))
            .columns(Column::auto().at_least(50.0), sheet.headings.len())
            .header(26.0, |mut header| {
                for heading in &sheet.headings {
                    header.col(|ui| {
                        ui.strong(&heading.title).on_hover_text(&heading.help);
                    });
                }
            })
            .body(|body| {
                body.rows(height, sheet.rows.len(), |mut row| {
                    for cell in &sheet.rows[row.index()] {
                        row.col(|ui| {
                            let label = ui.add(Label::new(&cell.text).wrap_mode(TextWrapMode::Extend));
                            if !cell.note.is_empty() {
                                label.on_hover_text(&cell.note);
                            }
                        });
                    }
                });
            });
    });
}
