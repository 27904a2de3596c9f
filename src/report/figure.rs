//! A figure before it is drawn: what it shows, as data.

use crate::similarity::Measure;

/// What a figure shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// δ against a distance.
    Scatter(Measure),
    /// δ by domain, sorted.
    Forest,
    /// Loss while training.
    Losses,
    /// δ against the learning rate, by how training text was joined.
    Rates,
    /// The part of δ that line breaks carry, against the same.
    LineBreaks,
    /// δ against a distance, where there is none.
    NoScatter,
    /// What strategies gain on the domains against what they forget of the reference.
    Balance,
}

/// A figure, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Figure {
    /// File name without its ending.
    pub name: String,
    /// What it shows.
    pub kind: Kind,
    /// The model and strategy, as "model / strategy"; empty where a figure holds all of them.
    pub of: String,
    /// Title.
    pub title: String,
    /// The caption: coefficients and conventions.
    pub caption: String,
    pub(super) height: u32,
    pub(super) groups: Vec<String>,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Empty,
    Scatter { axis: String, marks: Vec<Mark>, guides: Guides },
    Forest { marks: Vec<Mark>, restart: Option<f64> },
    Losses { panels: Vec<Panel> },
    Rates { panels: Vec<RatePanel> },
    Balance { marks: Vec<Mark> },
}

/// The further contents of a scatter plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guides {
    /// The distance of the reference corpus from itself: domains that are not farther cannot be distinguished from it.
    pub null: Option<f64>,
    /// Whether larger is closer.
    pub similarity: bool,
    /// δ of the restart control.
    pub restart: Option<f64>,
}

/// A domain in a scatter or forest plot. `x` is unused in the latter.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub label: String,
    pub group: usize,
    pub x: f64,
    pub delta: f64,
    pub ci95: Option<[f64; 2]>,
    /// Whether the call is "no difference".
    pub open: bool,
}

/// δ by learning rate of one domain.
#[derive(Debug, Clone)]
pub(super) struct RatePanel {
    pub title: String,
    pub curves: Vec<RateCurve>,
    /// `(rate, δ)` of the restart control trained as the strategy has it; `None` in its own panel.
    pub restart: Option<Vec<(f64, f64)>>,
}

/// δ by learning rate for one way to join training text.
#[derive(Debug, Clone)]
pub(super) struct RateCurve {
    /// Which way; gives the colour.
    pub arm: usize,
    pub points: Vec<RatePoint>,
}

/// δ at one learning rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct RatePoint {
    pub lr: f64,
    pub delta: f64,
    pub ci95: [f64; 2],
}

/// The loss curves of one domain.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub title: String,
    pub curves: Vec<Curve>,
}

/// One run's training or validation loss.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// Which model and strategy; gives the colour.
    pub arm: usize,
    /// Validation rather than training.
    pub valid: bool,
    /// `(step, nats per token)`.
    pub points: Vec<(f64, f64)>,
}

/// How many panels stand side by side.
pub(super) fn columns(panels: usize) -> usize {
    if panels > 40 { 5 } else { 4.min(panels.max(1)) }
}

/// Whether a number has a place on an axis.
pub fn drawable(value: &f64) -> bool {
    value.abs() < 1e30 // false for NaN and infinities, too
}

/// At most `most` characters, the last of which says that some are missing.
pub fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most - 1) {
        Some((end, c)) if end + c.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

/// A file name of lower-case letters, digits and hyphens.
pub fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    short(&words.collect::<Vec<_>>().join("-").to_lowercase(), 60).replace('…', "")
}
