//! Colours and spacing. Colours are distinguishable with every colour-vision deficiency. No meaning depends on colour
//! alone.

use egui::{Color32, Context, FontDefinitions, FontFamily, FontId, Stroke, TextStyle, Theme, Vec2, Visuals};

use crate::report::{self, Direction, PALETTE};

/// Dark text on light ground needs darker colours than light text on dark ground; these are readable on both (contrast of at
/// least 4.5 : 1), by the theme.
fn by_theme(dark: bool, on_light: [u8; 3], on_dark: [u8; 3]) -> Color32 {
    let [r, g, b] = if dark { on_dark } else { on_light };
    Color32::from_rgb(r, g, b)
}

/// The half in which adaptation made it worse.
pub fn worse(dark: bool) -> Color32 {
    by_theme(dark, [0xa8, 0x45, 0x00], [0xff, 0x9a, 0x4d])
}

/// The half in which it made it better.
pub fn better(dark: bool) -> Color32 {
    by_theme(dark, [0x00, 0x5c, 0x94], [0x6c, 0xb8, 0xf0])
}

/// The colour for "undecided".
pub fn undecided(dark: bool) -> Color32 {
    by_theme(dark, [0x5c, 0x5c, 0x5c], [0xb0, 0xb0, 0xb0])
}

/// The colour of a direction's word.
pub fn direction(direction: Direction, dark: bool) -> Color32 {
    match direction {
        Direction::Better => better(dark),
        Direction::Worse => worse(dark),
        Direction::Undecided | Direction::NoDifference => undecided(dark),
    }
}

/// The colour of the `index`-th group, strategy or curve: the reports' palette.
pub fn group(index: usize) -> Color32 {
    let [r, g, b] = PALETTE[index % PALETTE.len()];
    Color32::from_rgb(r, g, b)
}

/// The ground behind a token whose loss changed by `nats`: orange for worse, blue for better; a larger change has a
/// stronger colour; none below 0.03.
pub fn heat(nats: f64, dark: bool) -> Color32 {
    let strength = ((nats.abs() / 0.03).ln() / (3.0_f64 / 0.03).ln()).clamp(0.0, 1.0);
    let full = if nats > 0.0 { [0xd5, 0x5e, 0x00] } else { [0x00, 0x72, 0xb2] };
    let [r, g, b] = full;
    let most = if dark { 200.0 } else { 170.0 };
    Color32::from_rgba_unmultiplied(r, g, b, (strength * most) as u8)
}

/// Text in which everything invisible can be seen, as reports show it, in characters that the fonts here have.
pub fn visible(text: &str) -> String {
    in_this_font(&report::visible(text))
}

/// A token in the same way, its spaces as ·.
pub fn visible_token(text: &str) -> String {
    in_this_font(&report::visible_token(text))
}

/// Text of a report in characters that the fonts here have.
pub fn in_this_font(text: &str) -> String {
    text.replace('⏎', "↵")
}

/// Spacing and type for every page.
pub fn install(context: &Context) {
    // The font of text has no arrows and shapes; the one of code has.
    let mut fonts = FontDefinitions::default();
    fonts.families.entry(FontFamily::Proportional).or_default().push("Hack".to_owned());
    context.set_fonts(fonts);
    context.all_styles_mut(|style| {
        style.spacing.item_spacing = Vec2::new(8.0, 6.0);
        style.spacing.button_padding = Vec2::new(10.0, 4.0);
        style.spacing.interact_size.y = 26.0;
        style.text_styles.insert(TextStyle::Heading, FontId::proportional(22.0));
        style.text_styles.insert(TextStyle::Body, FontId::proportional(14.5));
        style.text_styles.insert(TextStyle::Button, FontId::proportional(14.5));
        style.text_styles.insert(TextStyle::Monospace, FontId::monospace(13.5));
        style.text_styles.insert(TextStyle::Small, FontId::proportional(12.0));
    });
    for theme in [Theme::Light, Theme::Dark] {
        let mut visuals = if theme == Theme::Dark { Visuals::dark() } else { Visuals::light() };
        // The default grey text has less contrast than 4.5 : 1.
        let text = if theme == Theme::Dark { Color32::from_gray(220) } else { Color32::from_gray(30) };
        visuals.widgets.noninteractive.fg_stroke.color = text;
        visuals.widgets.inactive.fg_stroke.color = text;
        visuals.weak_text_alpha = 0.75;
        // A box that is not ticked must be seen, too.
        let edge = if theme == Theme::Dark { Color32::from_gray(110) } else { Color32::from_gray(140) };
        visuals.widgets.inactive.bg_stroke = Stroke::new(1.0, edge);
        context.set_visuals_of(theme, visuals);
    }
}
