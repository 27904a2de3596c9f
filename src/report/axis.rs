//! Scales of figures: linear or logarithmic, marked at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::figure::Mark;

/// A scale: its range in positions, where it is marked, and whether positions are decimal logarithms of values.
#[derive(Clone)]
pub(super) struct Axis {
    pub(super) range: Range<f64>,
    pub(super) ticks: Vec<f64>,
    /// Decimals of labels. On a logarithmic scale: 0 if every power of ten has a label, otherwise those of the
    /// mantissa.
    pub(super) decimals: usize,
    pub(super) log: bool,
}

impl Axis {
    /// A scale over `values`, wider by a share of their span on both sides.
    pub(super) fn linear(values: &[f64], padding: f64, ticks: usize) -> Self {
        let (low, high) = extent(values);
        let span = if high > low { high - low } else { (10.0 * high.abs()).max(1e-6) };
        Self::over(low - padding * span..high + padding * span, ticks)
    }

    /// Linear, or logarithmic where all values are positive and span more than two decades.
    pub(super) fn of_measure(values: &[f64]) -> Self {
        let (low, high) = extent(values);
        if low <= 0.0 || high / low <= 100.0 {
            return Self::linear(values, 0.06, 7);
        }
        let padding = 0.06 * (high / low).log10();
        let range = low.log10() - padding..high.log10() + padding;
        let every = ((range.end - range.start) / 8.0).ceil().max(1.0) as usize;
        let decades = (range.start.ceil() as i32..=range.end.floor() as i32).step_by(every);
        Self { ticks: decades.map(f64::from).collect(), range, decimals: 0, log: true }
    }

    /// A logarithmic scale of learning rates, marked at each of them.
    pub(super) fn of_rates(rates: &[f64]) -> Self {
        let mut ticks: Vec<f64> = rates.iter().map(|rate| rate.log10()).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let (low, high) = extent(&ticks);
        let padding = 0.1 * (high - low).max(1.0);
        Self { range: low - padding..high + padding, ticks, decimals: 1, log: true }
    }

    /// The same, so that `value` has a place on it too.
    pub(super) fn wide_enough_for(mut self, value: Option<f64>) -> Self {
        let Some(position) = value.map(|value| self.position(value)).filter(|p| p.is_finite()) else { return self };
        let margin = 0.02 * (self.range.end - self.range.start);
        self.range = self.range.start.min(position - margin)..self.range.end.max(position + margin);
        self
    }

    /// A scale of δ that holds 0, every interval, and space for the names of both halves.
    pub(super) fn of_delta(marks: &[Mark], restart: Option<f64>) -> Self {
        let ends = marks.iter().flat_map(|mark| mark.ci95.into_iter().flatten().chain([mark.delta, 0.0]));
        let ends = ends.chain(restart);
        let (low, high) = extent(&ends.collect::<Vec<_>>());
        let span = (high - low).max(1e-4);
        Self::over((low - 0.06 * span).min(-0.12 * span)..(high + 0.06 * span).max(0.12 * span), 7)
    }

    /// A scale marked at about `ticks` multiples of 1, 2 or 5 times a power of ten.
    pub(super) fn over(range: Range<f64>, ticks: usize) -> Self {
        let rough = (range.end - range.start) / ticks as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (range.start / step).ceil();
        let ticks = (0..=ticks * 2).map(|i| (first + i as f64) * step).filter(|tick| *tick <= range.end).collect();
        Self { range, ticks, decimals: (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize, log: false }
    }

    pub(super) fn position(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    pub(super) fn value(&self, position: f64) -> f64 {
        if self.log { 10_f64.powf(position) } else { position }
    }

    pub(super) fn lerp(&self, t: f64) -> f64 {
        self.range.start + t * (self.range.end - self.range.start)
    }

    fn label(&self, position: f64) -> String {
        let value = self.value(position);
        let text = if self.log && self.decimals > 0 {
            format!("{value:.*e}", self.decimals).replace(".0e", "e")
        } else if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) && (self.log || self.decimals > 4) {
            format!("{value:.0e}")
        } else if self.log {
            format!("{value:.*}", (-position).max(0.0) as usize)
        } else {
            format!("{value:.*}", self.decimals)
        };
        text.replace('-', "−").replace("−0e0", "0")
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, position: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (position - self.range.start) / (self.range.end - self.range.start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, position: &f64) -> String {
        self.label(*position)
    }
}

fn extent(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 0.0) }
}
