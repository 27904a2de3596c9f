//! Change in perplexity against distance.

use std::collections::BTreeSet;

use egui::{
    Align, Align2, Button, Color32, EventFilter, FontId, Key, Layout, Modifiers, PopupAnchor, Pos2, Rect, Response,
    RichText, Role, ScrollArea, Stroke, TextWrapMode, Tooltip, Ui, Vec2, WidgetInfo, vec2,
};
use egui_extras::{Column, TableBuilder};
use egui_plot::{Axis, GridInput, GridMark, HLine, Line, LineStyle, PlotPoint, PlotTransform, Points, Span};

use super::against::{Against, Plane};
use super::export::{Exports, Format};
use super::opened::{Arm, OpenStudy, Selection, round};
use super::{marks, table, theme};
use crate::report::{delta, significant};
use crate::similarity::measures::Sense;

/// Domains up to which all are named at first.
const NAMED: usize = 40;
/// The largest number of names that are placed.
const MOST_NAMES: usize = 200;
/// How near to a point the pointer must be, in points of the screen.
const NEAR: f32 = 14.0;
/// Lowest height of the plot: below it the page scrolls.
const HEIGHT: f32 = 200.0;

/// The visible state of the scatter.
pub struct Scatter {
    intervals: bool,
    null_band: bool,
    fit: bool,
    /// `None` until the user chooses.
    names: Option<bool>,
    log: bool,
    /// Groups that are not shown, by name.
    hidden: BTreeSet<String>,
    reset: bool,
    /// The domain that the list was last scrolled to.
    scrolled_to: Option<String>,
    /// The domain whose name in the list is to get the keyboard.
    focus: Option<String>,
}

impl Default for Scatter {
    fn default() -> Self {
        Self {
            intervals: true,
            null_band: true,
            fit: true,
            names: None,
            log: false,
            hidden: BTreeSet::new(),
            reset: false,
            scrolled_to: None,
            focus: None,
        }
    }
}

/// What one frame draws.
#[derive(Clone, Copy)]
struct View<'a> {
    study: &'a OpenStudy,
    arm: &'a Arm,
    against: &'a Against,
    plane: &'a Plane,
    log: bool,
}

impl View<'_> {
    /// Where a domain lies; `None` where it has no distance.
    fn place(&self, index: usize) -> Option<[f64; 2]> {
        let x = self.against.x[index]?;
        Some([self.position(x)?, self.arm.domains[index].delta])
    }

    fn position(&self, x: f64) -> Option<f64> {
        if self.log { (x > 0.0).then(|| x.log10()) } else { Some(x) }
    }
}

impl Scatter {
    /// Draws it. Whether a domain's card is to be opened.
    pub fn show(&mut self, ui: &mut Ui, study: &OpenStudy, selection: &mut Selection, exports: &mut Exports) -> bool {
        let (Some(arm), Some(against)) = (selection.arm(study), selection.against(study)) else {
            ui.label(
                "No domain has a distance yet: run the similarity tasks of the study, then read it again (Ctrl+R).",
            );
            return false;
        };
        self.controls(ui, study, arm, against, selection, exports);
        let log = self.log && against.not_log.is_none();
        let plane = if log { &against.log } else { &against.linear };
        let view = View { study, arm, against, plane, log };
        self.groups(ui, study);
        let mut opened = false;
        let height = (ui.available_height() - 96.0).max(HEIGHT);
        ScrollArea::vertical().id_salt("scatter and words").auto_shrink(false).show(ui, |ui| {
            let side = (0.24 * ui.available_width()).clamp(110.0, 220.0);
            ui.horizontal_top(|ui| {
                let width = ui.available_width() - side - ui.spacing().item_spacing.x;
                ui.allocate_ui(vec2(width, height), |ui| opened |= self.plot(ui, view, selection));
                ui.allocate_ui(vec2(side, height), |ui| {
                    ui.vertical(|ui| opened |= self.list(ui, view, selection, height));
                });
            });
            for sentence in &against.sentences {
                ui.label(sentence);
            }
            if against.sentences.is_empty() {
                ui.label("No correlation: it needs three domains or more.");
            }
            ui.collapsing("The study in words", |ui| {
                for sentence in &study.answer {
                    ui.label(sentence);
                }
            });
        });
        opened
    }

    fn controls(
        &mut self,
        ui: &mut Ui,
        study: &OpenStudy,
        arm: &Arm,
        against: &Against,
        selection: &mut Selection,
        exports: &mut Exports,
    ) {
        ui.horizontal_wrapped(|ui| {
            table::distance(ui, study, selection);
            ui.checkbox(&mut self.intervals, "intervals");
            ui.checkbox(&mut self.null_band, "null band").on_hover_text(
                "Grey: not farther from the reference corpus than parts of this corpus are from one another",
            );
            ui.checkbox(&mut self.fit, "fit line");
            let mut named = self.names.unwrap_or(arm.domains.len() <= NAMED);
            if ui.checkbox(&mut named, "names").changed() {
                self.names = Some(named);
            }
            let log = ui.add_enabled(against.not_log.is_none(), egui::Checkbox::new(&mut self.log, "log x"));
            if let Some(why) = &against.not_log {
                log.on_disabled_hover_text(why);
                if self.log {
                    ui.weak(why);
                }
            }
            self.reset = ui.button("Reset view").clicked();
            ui.menu_button("Save…", |ui| {
                for format in Format::ALL {
                    let what = if format == Format::Csv { "Points as CSV" } else { "Figure as " };
                    let name = if format == Format::Csv { String::new() } else { format.ending().to_uppercase() };
                    if ui.add_enabled(!exports.is_busy(), Button::new(format!("{what}{name}"))).clicked() {
                        let results = study.results.clone();
                        exports.scatter(ui.ctx(), results, arm.name.clone(), against.measure, format);
                        ui.close();
                    }
                }
            });
        });
    }

    fn groups(&mut self, ui: &mut Ui, study: &OpenStudy) {
        if study.groups.len() < 2 {
            return;
        }
        ui.horizontal_wrapped(|ui| {
            for (index, name) in study.groups.iter().enumerate() {
                let shown = !self.hidden.contains(name);
                if ui.horizontal(|ui| marks::toggle(ui, index, name, shown)).inner.clicked() {
                    match shown {
                        true => self.hidden.insert(name.clone()),
                        false => self.hidden.remove(name),
                    };
                }
            }
        });
    }

    fn is_shown(&self, view: View<'_>, index: usize) -> bool {
        let group = view.arm.domains[index].group;
        view.study.groups.get(group).is_none_or(|name| !self.hidden.contains(name))
    }

    fn plot(&mut self, ui: &mut Ui, view: View<'_>, selection: &mut Selection) -> bool {
        let View { arm, against, plane, log, .. } = view;
        let dark = ui.visuals().dark_mode;
        let shown: Vec<usize> =
            (0..arm.domains.len()).filter(|&i| self.is_shown(view, i) && view.place(i).is_some()).collect();
        let direction = match against.measure.about().sense {
            Sense::Rival => "",
            Sense::Similarity => " (larger is closer to the reference)",
            Sense::Distance => " (larger is farther from the reference)",
        };
        let mut plot = marks::plot(ui, ("scatter", &arm.name, against.measure, log))
            .default_x_bounds(plane.x[0], plane.x[1])
            .default_y_bounds(plane.y[0], plane.y[1])
            .allow_double_click_reset(false)
            .show_x(false)
            .show_y(false)
            .x_axis_label(format!("{}{direction}", against.measure.label()))
            .y_axis_label("δ, nats per token")
            .y_axis_formatter(|mark, _| tick(mark));
        plot = if log {
            plot.x_grid_spacer(decades).x_axis_formatter(|mark, _| significant_short(10_f64.powf(mark.value)))
        } else {
            plot.x_axis_formatter(|mark, _| tick(mark))
        };
        if std::mem::take(&mut self.reset) {
            plot = plot.reset();
        }
        let (intervals, null_band, fit) = (self.intervals, self.null_band, self.fit);
        let guides = against.guides;
        let answer = plot.show(ui, |plot| {
            let half = |range, colour: Color32| Span::new("", range).axis(Axis::Y).fill(colour.gamma_multiply(0.07));
            plot.span(half(0.0..=f64::INFINITY, theme::worse(dark)));
            plot.span(half(f64::NEG_INFINITY..=0.0, theme::better(dark)));
            if let Some(end) = guides.null.filter(|_| null_band).and_then(|null| view.position(null)) {
                let range = if guides.similarity { end..=f64::INFINITY } else { f64::NEG_INFINITY..=end };
                let grey = theme::undecided(dark);
                plot.span(Span::new("", range).fill(grey.gamma_multiply(0.2)).border(Stroke::new(1.0, grey)));
            }
            plot.hline(HLine::new("", 0.0).color(theme::undecided(dark)).width(1.0).allow_hover(false));
            if let Some(restart) = guides.restart {
                let line = HLine::new("", restart).color(theme::undecided(dark)).width(1.5);
                plot.hline(line.style(LineStyle::dashed_loose()).allow_hover(false));
            }
            if fit && !plane.fit.is_empty() {
                let line = Line::new("", plane.fit.clone()).color(theme::undecided(dark)).width(2.0);
                plot.line(line.allow_hover(false));
            }
            for &index in &shown {
                let (point, Some([x, y])) = (&arm.domains[index], view.place(index)) else { continue };
                let colour = theme::group(point.group);
                let thin = |line: Vec<[f64; 2]>| {
                    Line::new("", line).color(colour.gamma_multiply(0.6)).width(1.5).allow_hover(false)
                };
                if intervals && point.ci95.iter().all(|end| end.is_finite()) {
                    plot.line(thin(vec![[x, point.ci95[0]], [x, point.ci95[1]]]));
                }
                if intervals
                    && let Some([low, high]) = against.ci95[index]
                    && let (Some(low), Some(high)) = (view.position(low), view.position(high))
                {
                    plot.line(thin(vec![[low, y], [high, y]]));
                }
                let mark = Points::new("", vec![[x, y]]).shape(marks::shape(point.group)).color(colour);
                plot.points(mark.radius(radius(arm, index)).filled(!point.is_open()).allow_hover(false));
            }
        });
        self.labels(ui, view, &shown, &answer.transform, selection);
        let (response, transform) = (answer.response, answer.transform);
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Image, true, format!("Plot of δ against {}", against.measure.label()))
        });
        self.point_at(ui, &response, &transform, view, &shown, selection)
    }

    /// Selects and opens by pointer and by keys; says what is under the pointer.
    fn point_at(
        &self,
        ui: &Ui,
        response: &Response,
        transform: &PlotTransform,
        view: View<'_>,
        shown: &[usize],
        selection: &mut Selection,
    ) -> bool {
        let near = response.hover_pos().and_then(|pointer| {
            let far = |&&index: &&usize| {
                let place = view.place(index).unwrap_or([f64::NAN; 2]);
                pointer.distance(on_screen(transform, place))
            };
            let nearest = shown.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
            (far(&nearest) <= NEAR).then_some(*nearest)
        });
        let mut opened = false;
        if let Some(index) = near {
            let point = &view.arm.domains[index];
            ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
            if response.clicked() || response.double_clicked() {
                selection.domain = Some(point.domain.clone());
                opened = response.double_clicked();
            }
            let id = response.id.with("card");
            Tooltip::always_open(ui.ctx().clone(), ui.layer_id(), id, PopupAnchor::Pointer).gap(16.0).show(|ui| {
                small_card(ui, view, index);
            });
        }
        if response.has_focus() {
            let arrows = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, arrows));
            ui.painter().rect_stroke(response.rect, 2.0, ui.visuals().selection.stroke, egui::StrokeKind::Inside);
            let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
            if pressed(Key::ArrowDown) || pressed(Key::ArrowRight) {
                selection.step(view.study, 1);
            } else if pressed(Key::ArrowUp) || pressed(Key::ArrowLeft) {
                selection.step(view.study, -1);
            }
            opened |= pressed(Key::Enter) && selection.domain.is_some();
        }
        opened
    }

    /// Names of halves, guides and domains, the selected one ringed.
    fn labels(&self, ui: &Ui, view: View<'_>, shown: &[usize], transform: &PlotTransform, selection: &Selection) {
        let dark = ui.visuals().dark_mode;
        let frame = *transform.frame();
        let painter = ui.painter().with_clip_rect(frame);
        let font = FontId::proportional(12.5);
        let mut taken: Vec<Rect> = Vec::new();
        let mut write = |at: Pos2, anchor: Align2, text: String, colour: Color32| {
            taken.push(painter.text(at, anchor, text, font.clone(), colour));
        };
        let zero = on_screen(transform, [0.0, 0.0]).y;
        if zero > frame.top() + 24.0 {
            let at = frame.left_top() + vec2(8.0, 6.0);
            write(at, Align2::LEFT_TOP, "▲ worse after adaptation".into(), theme::worse(dark));
        }
        if zero < frame.bottom() - 24.0 {
            let at = frame.left_bottom() + vec2(8.0, -6.0);
            write(at, Align2::LEFT_BOTTOM, "▼ better after adaptation".into(), theme::better(dark));
        }
        let guides = view.against.guides;
        if let Some(restart) = guides.restart {
            let at = Pos2::new(frame.right() - 6.0, on_screen(transform, [0.0, restart]).y - 2.0);
            let text = format!("restart control {}", delta(restart));
            write(at, Align2::RIGHT_BOTTOM, text, theme::undecided(dark));
        }
        if let Some(null) = guides.null.filter(|_| self.null_band).and_then(|null| view.position(null)) {
            let x = on_screen(transform, [null, 0.0]).x;
            let (anchor, step) = if guides.similarity { (Align2::RIGHT_TOP, -4.0) } else { (Align2::LEFT_TOP, 4.0) };
            let at = Pos2::new(x + step, frame.top() + 24.0);
            write(at, anchor, "grey: within the reference".into(), theme::undecided(dark));
        }
        let selected = selection.index(view.study);
        let named = self.names.unwrap_or(view.arm.domains.len() <= NAMED);
        let others = shown.iter().copied().filter(|&i| named && Some(i) != selected).take(MOST_NAMES);
        let points: Vec<Rect> = shown
            .iter()
            .take(MOST_NAMES)
            .filter_map(|&i| Some(Rect::from_center_size(on_screen(transform, view.place(i)?), Vec2::splat(10.0))))
            .collect();
        for index in selected.into_iter().filter(|index| shown.contains(index)).chain(others) {
            let Some(place) = view.place(index) else { continue };
            let (at, is_selected) = (on_screen(transform, place), Some(index) == selected);
            if !frame.contains(at) {
                continue;
            }
            let colour = if is_selected { ui.visuals().strong_text_color() } else { ui.visuals().text_color() };
            let radius = radius(view.arm, index);
            if is_selected {
                painter.circle_stroke(at, radius + 5.0, Stroke::new(2.5, colour));
            }
            let font = if is_selected { FontId::proportional(14.5) } else { font.clone() };
            let galley = painter.layout_no_wrap(view.arm.domains[index].name.clone(), font, colour);
            let gap = radius + 3.0 + if is_selected { 5.0 } else { 0.0 };
            let room = [(1.0, -0.5), (-1.0, -0.5), (1.0, -1.2), (-1.0, -1.2), (1.0, 0.2), (-1.0, 0.2)];
            let corner = |(side, down): (f32, f32)| {
                let x = if side > 0.0 { at.x + gap } else { at.x - gap - galley.size().x };
                Rect::from_min_size(Pos2::new(x, at.y + down * galley.size().y), galley.size())
            };
            let fits = |rect: &Rect| {
                frame.contains_rect(*rect)
                    && !taken.iter().any(|other| other.intersects(*rect))
                    && !points.iter().any(|point| point.intersects(*rect))
            };
            let free = room.into_iter().map(corner).find(fits).or(is_selected.then(|| corner(room[0])));
            if let Some(rect) = free {
                if is_selected {
                    painter.rect_filled(rect.expand(2.0), 3.0, ui.visuals().extreme_bg_color.gamma_multiply(0.85));
                }
                painter.galley(rect.min, galley, colour);
                taken.push(rect);
            }
        }
    }

    /// The points as a list: for the keyboard and screen readers.
    fn list(&mut self, ui: &mut Ui, view: View<'_>, selection: &mut Selection, height: f32) -> bool {
        let shown: Vec<usize> = (0..view.arm.domains.len()).filter(|&i| self.is_shown(view, i)).collect();
        let mut opened = false;
        let row_height = ui.spacing().interact_size.y;
        let mut table = TableBuilder::new(ui)
            .id_salt("domains of the scatter")
            .min_scrolled_height(0.0)
            .max_scroll_height(height - row_height)
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::exact(16.0))
            .column(Column::remainder().clip(true));
        if self.scrolled_to != selection.domain {
            self.scrolled_to.clone_from(&selection.domain);
            let row = selection.index(view.study).and_then(|index| shown.iter().position(|&i| i == index));
            table = row.into_iter().fold(table, |table, row| table.scroll_to_row(row, None));
        }
        table.body(|body| {
            body.rows(row_height, shown.len(), |mut row| {
                let at = row.index();
                let index = shown[at];
                let point = &view.arm.domains[index];
                row.col(|ui| marks::inline(ui, point.group, point.is_open()));
                row.col(|ui| {
                    let selected = selection.domain.as_ref() == Some(&point.domain);
                    let missing = view.place(index).is_none();
                    let text = RichText::new(&point.name);
                    let text = if missing { text.weak() } else { text };
                    let button = ui.add(Button::selectable(selected, text).wrap_mode(TextWrapMode::Truncate));
                    let by_key = button.has_focus() && ui.input(|input| input.key_pressed(Key::Enter));
                    if button.clicked() || by_key {
                        selection.domain = Some(point.domain.clone());
                        self.scrolled_to.clone_from(&selection.domain);
                        opened |= button.double_clicked() || by_key;
                    }
                    if self.focus.as_ref() == Some(&point.domain) {
                        self.focus = None;
                        button.request_focus();
                    }
                    if button.has_focus() {
                        let arrows = EventFilter { vertical_arrows: true, ..EventFilter::default() };
                        ui.memory_mut(|memory| memory.set_focus_lock_filter(button.id, arrows));
                        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
                        let step = isize::from(pressed(Key::ArrowDown)) - isize::from(pressed(Key::ArrowUp));
                        if step != 0
                            && let Some(next) = round(Some(at), step, shown.len())
                        {
                            let next = &view.arm.domains[shown[next]].domain;
                            (selection.domain, self.focus) = (Some(next.clone()), Some(next.clone()));
                        }
                    }
                    button.on_hover_ui(|ui| small_card(ui, view, index));
                });
            });
        });
        opened
    }
}

/// A domain in a few lines.
fn small_card(ui: &mut Ui, view: View<'_>, index: usize) {
    let point = &view.arm.domains[index];
    ui.horizontal(|ui| {
        marks::inline(ui, point.group, point.is_open());
        ui.strong(&point.name);
    });
    for line in point.summary.iter().chain([&view.against.words[index]]) {
        ui.label(line);
    }
}

fn on_screen(transform: &PlotTransform, [x, y]: [f64; 2]) -> Pos2 {
    transform.position_from_point(&PlotPoint::new(x, y))
}

/// The area of a marker grows with the test text.
fn radius(arm: &Arm, index: usize) -> f32 {
    let share = arm.domains[index].tokens as f64 / arm.most_tokens.max(1) as f64;
    4.0 + 5.0 * share.sqrt() as f32
}

/// A label with enough decimals to distinguish it from the next one.
fn tick(mark: GridMark) -> String {
    let decimals = (-mark.step_size.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{:.decimals$}", mark.value).replace('-', "−")
}

/// A power of ten or its double or fivefold.
fn significant_short(value: f64) -> String {
    let text = significant(value);
    if text.contains('e') || !text.contains('.') {
        text
    } else {
        text.trim_end_matches('0').trim_end_matches('.').into()
    }
}

/// Marks of a logarithmic axis: powers of ten, their doubles and fivefolds.
fn decades(input: GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    if !(low.is_finite() && high.is_finite()) || high - low > 40.0 {
        return Vec::new();
    }
    let powers = low.floor() as i32..=high.ceil() as i32;
    powers
        .flat_map(|power| {
            [(1.0_f64, 1.0), (2.0, 0.3), (5.0, 0.3)].map(|(m, step)| (f64::from(power) + m.log10(), step))
        })
        .map(|(value, step_size)| GridMark { value, step_size })
        .collect()
}
