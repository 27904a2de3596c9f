//! How the figures are drawn: axes, markers, labels that do not overlap; the same code for every back end.
//!
//! Lengths are in units of a canvas 1600 wide. δ is the change in log-perplexity, nats per token; positive is worse.

use std::ops::Range;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::figure::{Guides, Mark};
use super::{PALETTE, delta, interval, visible};
use crate::stats::least_squares;

/// What drawing on a back end gives.
pub(super) type Drawn<DB, T = ()> = DrawResult<T, DB>;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const GREY: RGBColor = RGBColor(0x5c, 0x5c, 0x5c);
const GRID: RGBColor = RGBColor(0xe8, 0xe8, 0xe8);
/// The half in which adaptation made it worse.
const WORSE: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// Marker shapes; their number has no divisor in common with the palette's, so 30 groups differ.
const SHAPES: usize = 5;
const RADIUS: i32 = 11;
pub(super) const LEFT: HPos = HPos::Left;

/// Title and caption on a white ground.
pub(super) fn heading<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, title: &str, caption: &str) -> Drawn<DB> {
    use_own_font();
    root.fill(&WHITE)?;
    text(root, title, (40, 24), 40, INK, (LEFT, VPos::Top))?;
    text(root, caption, (40, 78), 27, GREY, (LEFT, VPos::Top))
}

/// The content of a figure without data.
pub(super) fn nothing<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>) -> Drawn<DB> {
    let (width, height) = size(root);
    text(root, "nothing to plot", (width / 2, height / 2), 32, GREY, (HPos::Center, VPos::Center))
}

/// δ against a distance, with intervals, the pooled least-squares line and the domains' names. Domains that are not
/// farther from the reference than it is from itself are grey, the restart control a dashed line.
pub(super) fn scatter<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    groups: &[String],
    axis: &str,
    marks: &[Mark],
    guides: &Guides,
) -> Drawn<DB> {
    let top = legend(root, groups, true)?;
    let xs: Vec<f64> = marks.iter().map(|mark| mark.x).collect();
    let (x_axis, y_axis) = (Axis::of_measure(&xs).wide_enough_for(guides.null), Axis::of_delta(marks, guides.restart));
    let area = root.margin(top, 20, 20, 40);
    let plot = axes(&area, x_axis, y_axis, (90, 150), 24, Some((axis, "δ, nats per token")))?;
    plot.shade_worse_above(root)?;
    let ends = plot.frame();
    if let Some(null) = guides.null.map(|null| plot.x.position(null)).filter(|null| plot.x.range.contains(null)) {
        let (x, from) = (plot.at(null, 0.0).0, if guides.similarity { ends.right } else { ends.left });
        root.draw(&Rectangle::new([(x.min(from), ends.top), (x.max(from), ends.bottom)], GREY.mix(0.12).filled()))?;
        root.draw(&PathElement::new(vec![(x, ends.top), (x, ends.bottom)], GREY.stroke_width(2)))?;
    }
    if let Some(restart) = guides.restart {
        let y = plot.at(plot.x.range.start, restart).1;
        dashed(root, (ends.left, y), (ends.right, y))?;
    }

    let points: Vec<(f64, f64)> = marks.iter().map(|mark| (mark.x, mark.delta)).collect();
    if let Some((intercept, slope)) = least_squares(&points) {
        let steps = (0..=100).map(|i| f64::from(i) / 100.0);
        let line: Vec<(i32, i32)> = steps
            .map(|t| plot.x.lerp(t))
            .map(|x| (x, intercept + slope * plot.x.value(x)))
            .filter(|(_, y)| plot.y.range.contains(y))
            .map(|(x, y)| plot.at(x, y))
            .collect();
        root.draw(&PathElement::new(line, GREY.mix(0.7).stroke_width(3)))?;
    }

    let at = |mark: &Mark, y: f64| plot.at(plot.x.position(mark.x), y);
    let zero = plot.at(plot.x.range.start, 0.0).1;
    let mut bars = vec![Frame { top: zero - 1, bottom: zero + 1, ..plot.frame() }];
    if let Some(restart) = guides.restart {
        let y = plot.at(plot.x.range.start, restart).1;
        bars.push(Frame { top: y - 1, bottom: y + 1, ..plot.frame() });
    }
    for mark in marks {
        let Some([low, high]) = mark.ci95 else { continue };
        let ((x, bottom), (_, top)) = (at(mark, low), at(mark, high));
        bars.push(Frame { left: x - 2, top, right: x + 2, bottom });
        let style = colour(mark.group).mix(0.6).stroke_width(3);
        for path in [[(x, top), (x, bottom)], [(x - 7, top), (x + 7, top)], [(x - 7, bottom), (x + 7, bottom)]] {
            root.draw(&PathElement::new(path.to_vec(), style))?;
        }
    }
    let centres: Vec<(i32, i32)> = marks.iter().map(|mark| at(mark, mark.delta)).collect();
    names_and_markers(root, &plot, marks, &centres, &bars)
}

/// The markers at their places, and their names beside them.
fn names_and_markers<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    plot: &Plot,
    marks: &[Mark],
    centres: &[(i32, i32)],
    bars: &[Frame],
) -> Drawn<DB> {
    let mut sizes = Vec::new();
    for mark in marks {
        sizes.push(text_size(root, &mark.label, 25)?);
    }
    let places = place_labels(centres, &sizes, bars, plot);
    for (mark, place) in marks.iter().zip(&places) {
        let Some(place) = place else { continue };
        if let Some(leader) = place.leader {
            root.draw(&PathElement::new(leader.to_vec(), GREY.mix(0.6).stroke_width(1)))?;
        }
        text(root, &mark.label, place.corner, 25, INK, (LEFT, VPos::Top))?;
    }
    let unnamed = places.iter().filter(|place| place.is_none()).count();
    if unnamed > 0 {
        let (width, height) = size(root);
        let note = format!("{unnamed} of {} names have no room", marks.len());
        text(root, &note, (width - 40, height - 44), 22, GREY, (HPos::Right, VPos::Top))?;
    }
    for (mark, &centre) in marks.iter().zip(centres) {
        marker_of(root, mark, centre)?;
    }
    Ok(())
}

/// What each strategy gains on the domains against what it forgets of the reference: the lower left corner is best.
pub(super) fn balance<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    groups: &[String],
    marks: &[Mark],
) -> Drawn<DB> {
    let top = legend(root, groups, true)?;
    let xs: Vec<f64> = marks.iter().map(|mark| mark.x).chain([0.0]).collect();
    let names = ("δ on the reference, nats per token (larger: more is forgotten)", "δ on the domains, nats per token");
    let area = root.margin(top, 20, 20, 40);
    let plot = axes(&area, Axis::linear(&xs, 0.1, 7), Axis::of_delta(marks, None), (90, 150), 24, Some(names))?;
    plot.shade_worse_above(root)?;
    let (frame, zero) = (plot.frame(), plot.at(0.0, plot.y.range.start).0);
    dashed(root, (zero, frame.top), (zero, frame.bottom))?;
    let centres: Vec<(i32, i32)> = marks.iter().map(|mark| plot.at(mark.x, mark.delta)).collect();
    let bars = [Frame { left: zero - 1, right: zero + 1, ..frame }];
    names_and_markers(root, &plot, marks, &centres, &bars)
}

/// δ by domain with its interval, one line each.
pub(super) fn forest<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    groups: &[String],
    marks: &[Mark],
    restart: Option<f64>,
) -> Drawn<DB> {
    let top = legend(root, groups, true)?;
    let mut names = 0;
    for mark in marks {
        names = names.max(text_size(root, &mark.label, 25)?.0);
    }
    let rows = Axis { range: marks.len() as f64 - 0.5..-0.5, ticks: Vec::new(), decimals: 0, log: false };
    let area = root.margin(top + 44, 20, 20, 370);
    let plot =
        axes(&area, Axis::of_delta(marks, restart), rows, (90, names + 30), 24, Some(("δ, nats per token", "")))?;
    plot.shade_worse_right(root)?;
    if let Some(restart) = restart {
        let (x, ends) = (plot.at(restart, 0.0).0, plot.frame());
        dashed(root, (x, ends.top), (x, ends.bottom))?;
    }
    for (row, mark) in marks.iter().enumerate() {
        let at = |x: f64| plot.at(x, row as f64);
        let centre = at(mark.delta);
        let middle = VPos::Center;
        text(root, &mark.label, (plot.across.start - 16, centre.1), 25, INK, (HPos::Right, middle))?;
        let value = match mark.ci95 {
            Some(ci95) => format!("{} {}", delta(mark.delta), interval(ci95, delta)),
            None => delta(mark.delta),
        };
        text(root, &value, (plot.across.end + 16, centre.1), 23, GREY, (LEFT, middle))?;
        if let Some([low, high]) = mark.ci95 {
            root.draw(&PathElement::new(vec![at(low), at(high)], colour(mark.group).mix(0.8).stroke_width(4)))?;
        }
        marker_of(root, mark, centre)?;
    }
    Ok(())
}

/// The frame of a plot, after its axes are drawn.
pub(super) struct Plot {
    pub(super) x: Axis,
    y: Axis,
    across: Range<i32>,
    down: Range<i32>,
}

impl Plot {
    /// Where a position on both scales lies on the canvas.
    pub(super) fn at(&self, x: f64, y: f64) -> (i32, i32) {
        (self.x.map(&x, (self.across.start, self.across.end)), self.y.map(&y, (self.down.end, self.down.start)))
    }

    pub(super) fn frame(&self) -> Frame {
        Frame { left: self.across.start, top: self.down.start, right: self.across.end, bottom: self.down.end }
    }

    fn shade_worse_above<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        let Frame { left, top, right, .. } = self.frame();
        let zero = self.at(self.x.range.start, 0.0).1;
        root.draw(&Rectangle::new([(left, top), (right, zero)], WORSE.mix(0.07).filled()))?;
        root.draw(&PathElement::new(vec![(left, zero), (right, zero)], INK.stroke_width(2)))?;
        for (frame, name) in self.names_of_halves().iter().zip(["worse after adaptation", "better after adaptation"]) {
            text(root, name, (frame.left, frame.top), 24, GREY, (LEFT, VPos::Top))?;
        }
        Ok(())
    }

    /// Where the upper and the lower half are named.
    fn names_of_halves(&self) -> [Frame; 2] {
        let Frame { left, top, bottom, .. } = self.frame();
        [top + 10, bottom - 40].map(|top| Frame { left: left + 14, top, right: left + 300, bottom: top + 30 })
    }

    fn shade_worse_right<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        let Frame { top, right, bottom, .. } = self.frame();
        let zero = self.at(0.0, self.y.range.start).0;
        root.draw(&Rectangle::new([(zero, top), (right, bottom)], WORSE.mix(0.07).filled()))?;
        root.draw(&PathElement::new(vec![(zero, top), (zero, bottom)], INK.stroke_width(2)))?;
        text(root, "better", (zero - 14, top - 38), 24, GREY, (HPos::Right, VPos::Top))?;
        text(root, "worse", (zero + 14, top - 38), 24, GREY, (LEFT, VPos::Top))
    }
}

/// Draws the axes and the grid into `area`, leaving `(below, left)` for their labels.
pub(super) fn axes<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    x: Axis,
    y: Axis,
    (below, left): (i32, i32),
    font: i32,
    names: Option<(&str, &str)>,
) -> Drawn<DB, Plot> {
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(below)
        .y_label_area_size(left)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID.stroke_width(1))
        .light_line_style(TRANSPARENT)
        .axis_style(GREY.stroke_width(2))
        .label_style(("sans-serif", font).into_font().color(&GREY))
        .axis_desc_style(("sans-serif", font + 3).into_font().color(&INK));
    if let Some((across, up)) = names {
        mesh.x_desc(across).y_desc(up);
    }
    mesh.draw()?;
    let (across, down) = chart.plotting_area().get_pixel_range();
    Ok(Plot { x, y, across, down })
}

/// Names the groups under the heading and returns where the plot may begin. A single one needs no legend.
pub(super) fn legend<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    groups: &[String],
    markers: bool,
) -> Drawn<DB, i32> {
    let (mut x, mut y) = (52, 140);
    if groups.len() < 2 {
        return Ok(y);
    }
    for (index, group) in groups.iter().enumerate() {
        let width = text_size(root, group, 25)?.0 + 70;
        if x + width > size(root).0 - 20 && x > 52 {
            (x, y) = (52, y + 38);
        }
        if markers {
            marker(root, index, (x, y))?;
        } else {
            root.draw(&PathElement::new(vec![(x - 14, y), (x + 14, y)], colour(index).stroke_width(5)))?;
        }
        text(root, group, (x + 24, y), 25, INK, (LEFT, VPos::Center))?;
        x += width;
    }
    Ok(y + 34)
}

pub(super) fn colour(index: usize) -> RGBColor {
    let [r, g, b] = PALETTE[index % PALETTE.len()];
    RGBColor(r, g, b)
}

/// The marker of a group: a filled shape with a white edge.
pub(super) fn marker<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, group: usize, (x, y): (i32, i32)) -> Drawn<DB> {
    let fill = colour(group).filled();
    let corners = |radius: i32| -> Vec<(i32, i32)> {
        let r = f64::from(radius);
        let turned = |sides: u32, from: f64, r: f64| {
            (0..sides)
                .map(|i| (from + 360.0 * f64::from(i) / f64::from(sides)).to_radians())
                .map(|angle| (x + (r * angle.cos()).round() as i32, y + (r * angle.sin()).round() as i32))
                .collect()
        };
        match group % SHAPES {
            1 => turned(3, -90.0, 1.25 * r),
            2 => turned(4, 45.0, 1.25 * r),
            3 => turned(4, 0.0, 1.25 * r),
            _ => turned(3, 90.0, 1.25 * r),
        }
    };
    if group.is_multiple_of(SHAPES) {
        root.draw(&Circle::new((x, y), RADIUS + 2, WHITE.filled()))?;
        return root.draw(&Circle::new((x, y), RADIUS, fill));
    }
    root.draw(&Polygon::new(corners(RADIUS + 3), WHITE.filled()))?;
    root.draw(&Polygon::new(corners(RADIUS), fill))
}

/// The marker of a domain, open where no difference was found.
fn marker_of<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, mark: &Mark, centre: (i32, i32)) -> Drawn<DB> {
    marker(root, mark.group, centre)?;
    match mark.open {
        true => root.draw(&Circle::new(centre, RADIUS / 2, WHITE.filled())),
        false => Ok(()),
    }
}

/// A dashed line across or down the plot.
fn dashed<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, from: (i32, i32), to: (i32, i32)) -> Drawn<DB> {
    const DASH: i32 = 14;
    let (dx, dy) = ((to.0 - from.0).signum(), (to.1 - from.1).signum());
    let length = (to.0 - from.0).abs().max((to.1 - from.1).abs());
    for start in (0..length).step_by(2 * DASH as usize) {
        let at = |far: i32| (from.0 + dx * far.min(length), from.1 + dy * far.min(length));
        root.draw(&PathElement::new(vec![at(start), at(start + DASH)], INK.stroke_width(2)))?;
    }
    Ok(())
}

/// A rectangle on the canvas.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: i32,
    top: i32,
    pub(super) right: i32,
    bottom: i32,
}

impl Frame {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }
}

/// Where a label goes.
struct Place {
    /// Its upper left corner.
    corner: (i32, i32),
    /// A line to its marker, where it stands apart.
    leader: Option<[(i32, i32); 2]>,
}

/// Places labels beside their markers, greedily: never on a marker or other text, off the `bars` if possible. A label
/// without enough space is left out.
fn place_labels(centres: &[(i32, i32)], sizes: &[(i32, i32)], bars: &[Frame], plot: &Plot) -> Vec<Option<Place>> {
    const DIRECTIONS: [(i32, i32); 8] = [(1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1)];
    let square = |&(x, y): &(i32, i32), r| Frame { left: x - r, top: y - r, right: x + r, bottom: y + r };
    let markers: Vec<Frame> = centres.iter().map(|centre| square(centre, RADIUS + 2)).collect();
    // Where markers are dense, names far from their markers would make the figure worse.
    let rings: &[i32] = if centres.len() > 40 { &[0, 22] } else { &[0, 22, 50, 90, 140, 200] };
    let (bounds, mut taken) = (plot.frame(), plot.names_of_halves().to_vec());
    let mut places = Vec::new();
    for (&(x, y), &(width, height)) in centres.iter().zip(sizes) {
        let candidates = rings.iter().enumerate().flat_map(|(ring, far)| {
            DIRECTIONS.into_iter().map(move |(dx, dy)| {
                let away = RADIUS + 8 + far;
                // Diagonal neighbours start near the marker's corner, so they need less distance.
                let across = if dy == 0 { away } else { away - 6 };
                let left = x + dx * across - (1 - dx) * width / 2;
                let top = y + dy * (away - 4) - (1 - dy) * height / 2;
                (ring, Frame { left, top, right: left + width, bottom: top + height })
            })
        });
        let best = candidates
            .filter(|(_, frame)| {
                bounds.holds(frame) && !markers.iter().chain(&taken).any(|other| frame.overlaps(other))
            })
            .min_by_key(|(ring, frame)| 3 * ring + bars.iter().filter(|bar| frame.overlaps(bar)).count());
        places.push(best.map(|(ring, frame)| {
            taken.push(frame);
            let near = (x.clamp(frame.left, frame.right), y.clamp(frame.top, frame.bottom));
            Place { corner: (frame.left, frame.top), leader: (ring > 0).then_some([(x, y), near]) }
        }));
    }
    places
}

pub(super) fn text<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    what: &str,
    at: (i32, i32),
    size: i32,
    colour: RGBColor,
    (across, down): (HPos, VPos),
) -> Drawn<DB> {
    // Both back ends place centred text too high, by different amounts.
    let lower = if matches!(down, VPos::Center) { size / 8 } else { 0 };
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(across, down));
    area.draw(&Text::new(visible(what), (at.0, at.1 + lower), style))
}

/// Width and height of some text, with room for a viewer of the SVG whose typeface is a little wider.
fn text_size<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, what: &str, size: i32) -> Drawn<DB, (i32, i32)> {
    let style = TextStyle::from(("sans-serif", size).into_font());
    let (width, _) = area.estimate_text_size(&visible(what), &style)?;
    Ok((width as i32 * 108 / 100, size))
}

fn size<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>) -> (i32, i32) {
    let (width, height) = area.dim_in_pixel();
    (width as i32, height as i32)
}

/// Makes the built-in typeface the one called "sans-serif".
fn use_own_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only if the bytes are not a font; then drawing text reports that no font exists.
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}
