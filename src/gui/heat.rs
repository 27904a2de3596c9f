//! Passages coloured by how each token's loss changed.

use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, EventFilter, FontId, Key, Modifiers, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

use super::theme;
use crate::compare::{Passage, PassageToken};
use crate::report::delta;

/// From this change on (nats) a token also has a mark, not only a colour.
const MARKED: f32 = 0.5;
/// The loss (nats) with the strongest background colour.
const HIGHEST: f32 = 10.0;

/// What the colours stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    #[default]
    Change,
    Before,
    After,
    SideBySide,
}

impl Shown {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Change, "change"),
        (Self::Before, "loss before"),
        (Self::After, "loss after"),
        (Self::SideBySide, "before and after side by side"),
    ];

    fn meaning(self) -> &'static str {
        match self {
            Self::Change => {
                "Orange and underlined: worse by half a nat or more. Blue and slanted: better by half a nat or more. The \
                 stronger the colour, the larger the change."
            }
            _ => "The stronger the background, the higher the loss of the token: the model expected it less.",
        }
    }
}

/// The visible state of the passages.
#[derive(Default)]
pub struct Heat {
    shown: Shown,
    /// The passage and token that the numbers are of.
    at: Option<(usize, usize)>,
}

impl Heat {
    /// Resets the selected token, because the passages changed.
    pub fn renew(&mut self) {
        self.at = None;
    }

    /// Draws them.
    pub fn show(&mut self, ui: &mut Ui, passages: &[Passage]) {
        if passages.is_empty() {
            ui.label("The results hold no passages: the test text is too short.");
            return;
        }
        ui.horizontal_wrapped(|ui| {
            ui.label("colour:");
            for (shown, name) in Shown::ALL {
                ui.selectable_value(&mut self.shown, shown, name);
            }
        });
        ui.weak(self.shown.meaning());
        ui.weak("Point at a token to see its numbers, or move to the passage with Tab and along it with ← and →.");
        for (index, passage) in passages.iter().enumerate() {
            ui.add_space(8.0);
            let way = if passage.delta > 0.0 { "worse" } else { "better" };
            ui.horizontal_wrapped(|ui| {
                let place = format!(
                    "{way}: {} nats per token; document {}, byte {}",
                    delta(passage.delta),
                    passage.document,
                    passage.byte
                );
                ui.strong(place);
                if ui.small_button("Copy text").clicked() {
                    ui.ctx().copy_text(passage.tokens.iter().map(|token| token.text.as_str()).collect());
                }
            });
            match self.shown {
                Shown::SideBySide => ui.columns(2, |columns| {
                    for (ui, (shown, name)) in
                        columns.iter_mut().zip([(Shown::Before, "before"), (Shown::After, "after")])
                    {
                        ui.weak(name);
                        self.text(ui, index, passage, shown);
                    }
                }),
                shown => self.text(ui, index, passage, shown),
            }
            let numbers = match self.at {
                Some((at, token)) if at == index => passage.tokens.get(token).map(numbers),
                _ => None,
            };
            ui.label(numbers.unwrap_or_else(|| " ".to_owned()));
        }
    }

    fn text(&mut self, ui: &mut Ui, index: usize, passage: &Passage, shown: Shown) {
        let at = self.at.filter(|at| at.0 == index).map(|at| at.1);
        let (job, ends) = lay_out(ui, &passage.tokens, shown, at);
        let galley = ui.painter().layout_job(job);
        let (rect, response) = ui.allocate_exact_size(galley.size() + vec2(0.0, 4.0), Sense::click());
        response.widget_info(|| {
            let token = at.and_then(|at| passage.tokens.get(at)).map(numbers).unwrap_or_default();
            WidgetInfo::labeled(Role::Paragraph, true, format!("Passage {}. {token}", index + 1))
        });
        if let Some(pointer) = response.hover_pos().filter(|_| response.hovered()) {
            let char = galley.cursor_from_pos(pointer - rect.min - vec2(3.0, 0.0)).index.0;
            let token = ends.partition_point(|&end| end <= char).min(passage.tokens.len().saturating_sub(1));
            if ui.input(|input| input.pointer.is_moving()) || response.clicked() {
                self.at = Some((index, token));
            }
            if let Some(token) = passage.tokens.get(token) {
                response.clone().on_hover_text_at_pointer(numbers(token));
            }
        }
        if response.clicked() {
            response.request_focus();
        }
        if response.has_focus() {
            let arrows = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, arrows));
            let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
            let last = passage.tokens.len().saturating_sub(1);
            let next = match (pressed(Key::ArrowRight), pressed(Key::ArrowLeft), at) {
                (true, _, Some(at)) => (at + 1).min(last),
                (_, true, Some(at)) => at.saturating_sub(1),
                (_, _, at) => at.unwrap_or(0),
            };
            self.at = Some((index, next));
            ui.painter().rect_stroke(rect.expand(2.0), 2.0, ui.visuals().selection.stroke, StrokeKind::Outside);
        }
        let colour = ui.visuals().text_color();
        ui.painter().galley(rect.min, galley, colour);
    }
}

/// The passage as text with its grounds, and where each token ends in it, characters.
fn lay_out(ui: &Ui, tokens: &[PassageToken], shown: Shown, at: Option<usize>) -> (LayoutJob, Vec<usize>) {
    let dark = ui.visuals().dark_mode;
    let (text_colour, strong) = (ui.visuals().text_color(), ui.visuals().strong_text_color());
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    let (mut ends, mut end) = (Vec::with_capacity(tokens.len()), 0);
    for (index, token) in tokens.iter().enumerate() {
        let change = change(token);
        let mut format = TextFormat::simple(FontId::proportional(15.0), text_colour);
        format.line_height = Some(22.0);
        format.expand_bg = 0.0;
        format.background = match (shown, change) {
            (_, None) => Color32::TRANSPARENT,
            (Shown::Change, Some(change)) => theme::heat(change.into(), dark),
            (Shown::After, _) => loss(token.after, dark),
            _ => loss(token.before, dark),
        };
        if shown == Shown::Change && change.is_some_and(|change| change >= MARKED) {
            format.underline = Stroke::new(1.5, theme::worse(dark));
        }
        format.italics = shown == Shown::Change && change.is_some_and(|change| change <= -MARKED);
        if at == Some(index) {
            format.underline = Stroke::new(3.0, strong);
            format.color = strong;
        }
        let text = if token.text.is_empty() { theme::visible_token("") } else { theme::visible(&token.text) };
        end += text.chars().count();
        ends.push(end);
        job.append(&text, 0.0, format);
    }
    (job, ends)
}

/// The ground behind a token of this loss.
fn loss(nats: Option<f32>, dark: bool) -> Color32 {
    let strength = (nats.unwrap_or(0.0) / HIGHEST).clamp(0.0, 1.0);
    theme::undecided(dark).gamma_multiply(0.75 * strength)
}

fn change(token: &PassageToken) -> Option<f32> {
    Some(token.after? - token.before?).filter(|change| change.is_finite())
}

/// A token's numbers in words.
fn numbers(token: &PassageToken) -> String {
    let text = theme::visible_token(&token.text);
    match (token.before, token.after, change(token)) {
        (Some(before), Some(after), Some(change)) => {
            format!("{text}: before {before:.3}, after {after:.3}, change {} nats", delta(change.into()))
        }
        _ => format!("{text}: not scored, it is only read"),
    }
}
