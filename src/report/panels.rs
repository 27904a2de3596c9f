//! Figures of small panels: loss by step, and δ by learning rate.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::VPos;

use super::axis::Axis;
use super::draw::{Drawn, GREY, INK, LEFT, axes, colour, legend, text};
use super::figure::{Curve, Panel, RateCurve, RatePanel};

/// Loss by step, a panel for each domain.
pub(super) fn losses<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    arms: &[String],
    columns: usize,
    panels: &[Panel],
) -> Drawn<DB> {
    let top = legend(root, arms, false)?;
    let grid = root.margin(top, 20, 20, 20).split_evenly((panels.len().div_ceil(columns), columns));
    for (panel, area) in panels.iter().zip(&grid) {
        let points = || panel.curves.iter().flat_map(|curve| &curve.points);
        let steps: Vec<f64> = points().map(|p| p.0).collect();
        let values: Vec<f64> = points().map(|p| p.1).collect();
        text(area, &panel.title, (84, 4), 25, INK, (LEFT, VPos::Top))?;
        let inner = area.margin(42, 6, 4, 16);
        let plot = axes(&inner, Axis::linear(&steps, 0.02, 4), Axis::linear(&values, 0.08, 4), (36, 80), 20, None)?;
        for Curve { arm, valid, points } in &panel.curves {
            let line: Vec<(i32, i32)> = points.iter().map(|&(x, y)| plot.at(x, y)).collect();
            let style = if *valid { colour(*arm).stroke_width(5) } else { colour(*arm).mix(0.45).stroke_width(2) };
            if let [only] = line[..] {
                root.draw(&Circle::new(only, 5, style.filled()))?;
            }
            root.draw(&PathElement::new(line, style))?;
        }
    }
    Ok(())
}

/// δ by learning rate, a panel for each domain, a curve for each way to train.
pub(super) fn rates<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    arms: &[String],
    columns: usize,
    panels: &[RatePanel],
) -> Drawn<DB> {
    let top = legend(root, arms, false)?;
    let grid = root.margin(top, 20, 20, 20).split_evenly((panels.len().div_ceil(columns), columns));
    let all: Vec<f64> = panels.iter().flat_map(|p| &p.curves).flat_map(|c| &c.points).map(|p| p.lr).collect();
    for (panel, area) in panels.iter().zip(&grid) {
        let points = || panel.curves.iter().flat_map(|curve| &curve.points);
        let restart = panel.restart.iter().flatten().map(|(_, delta)| *delta);
        let ends = points().flat_map(|p| [p.ci95[0], p.ci95[1], p.delta]).chain([0.0]).chain(restart);
        let ends: Vec<f64> = ends.collect();
        text(area, &panel.title, (84, 4), 25, INK, (LEFT, VPos::Top))?;
        let inner = area.margin(42, 6, 4, 16);
        let plot = axes(&inner, Axis::of_rates(&all), Axis::linear(&ends, 0.08, 4), (36, 80), 20, None)?;
        let frame = plot.frame();
        let zero = plot.at(0.0, 0.0).1;
        root.draw(&PathElement::new(vec![(frame.left, zero), (frame.right, zero)], INK.stroke_width(2)))?;
        if let Some(restart) = panel.restart.as_ref() {
            let line: Vec<(i32, i32)> = restart.iter().map(|&(lr, delta)| plot.at(lr.log10(), delta)).collect();
            for point in &line {
                root.draw(&Cross::new(*point, 7, GREY.stroke_width(2)))?;
            }
            root.draw(&PathElement::new(line, GREY.mix(0.6).stroke_width(2)))?;
        }
        for RateCurve { arm, points } in &panel.curves {
            let at = |lr: f64, delta: f64| plot.at(lr.log10(), delta);
            let line: Vec<(i32, i32)> = points.iter().map(|p| at(p.lr, p.delta)).collect();
            for point in points {
                let [low, high] = point.ci95.map(|end| at(point.lr, end));
                root.draw(&PathElement::new(vec![low, high], colour(*arm).mix(0.6).stroke_width(3)))?;
            }
            for centre in &line {
                root.draw(&Circle::new(*centre, 6, colour(*arm).filled()))?;
            }
            root.draw(&PathElement::new(line, colour(*arm).stroke_width(4)))?;
        }
    }
    Ok(())
}
