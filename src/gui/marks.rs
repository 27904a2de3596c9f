//! Markers of groups: colour and shape together, so that neither is needed alone. The shapes are the reports'.

use egui::{AsIdSalt, Color32, Painter, Pos2, Response, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, vec2};
use egui_plot::{MarkerShape, Plot};

use super::theme;

/// In the reports' order; their number has no divisor in common with the palette's, so 30 groups differ.
const SHAPES: [MarkerShape; 5] =
    [MarkerShape::Circle, MarkerShape::Up, MarkerShape::Square, MarkerShape::Diamond, MarkerShape::Down];

/// The shape of the `group`-th group in a plot.
pub fn shape(group: usize) -> MarkerShape {
    SHAPES[group % SHAPES.len()]
}

/// Draws the marker of a group outside a plot.
pub fn paint(painter: &Painter, centre: Pos2, radius: f32, group: usize, open: bool) {
    let colour = theme::group(group);
    let (fill, stroke) = if open { (Color32::TRANSPARENT, Stroke::new(1.5, colour)) } else { (colour, Stroke::NONE) };
    let corners =
        |offsets: &[(f32, f32)]| -> Vec<Pos2> { offsets.iter().map(|&(x, y)| centre + radius * vec2(x, y)).collect() };
    let outline = match shape(group) {
        MarkerShape::Up => corners(&[(0.0, -1.0), (0.87, 0.5), (-0.87, 0.5)]),
        MarkerShape::Down => corners(&[(0.0, 1.0), (-0.87, -0.5), (0.87, -0.5)]),
        MarkerShape::Square => corners(&[(-0.71, -0.71), (0.71, -0.71), (0.71, 0.71), (-0.71, 0.71)]),
        MarkerShape::Diamond => corners(&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]),
        _ => {
            painter.circle(centre, 0.9 * radius, fill, stroke);
            return;
        }
    };
    painter.add(Shape::convex_polygon(outline, fill, stroke));
}

/// The common style of plots: a faint grid, no crosshair, and the mouse wheel scrolls the page.
pub fn plot<'a>(ui: &Ui, id: impl AsIdSalt) -> Plot<'a> {
    let grid = theme::undecided(ui.visuals().dark_mode).gamma_multiply(0.45);
    Plot::new(id).grid_color(grid).show_crosshair(false).allow_scroll(false)
}

/// Room for a marker within a line of widgets, and the marker in it.
pub fn inline(ui: &mut Ui, group: usize, open: bool) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(14.0), Sense::hover());
    paint(ui.painter(), rect.center(), 6.0, group, open);
}

/// A switch for a group: marker and name; pressed where the group is shown.
pub fn toggle(ui: &mut Ui, group: usize, name: &str, shown: bool) -> Response {
    ui.spacing_mut().item_spacing.x = 4.0;
    inline(ui, group, false);
    let text = if shown { egui::RichText::new(name) } else { egui::RichText::new(name).strikethrough().weak() };
    let button = ui.add(egui::Button::selectable(shown, text).wrap_mode(egui::TextWrapMode::Extend));
    button.widget_info(|| WidgetInfo::selected(egui::Role::CheckBox, true, shown, format!("Show group {name}")));
    button.on_hover_text("Click to show or hide the group")
}
