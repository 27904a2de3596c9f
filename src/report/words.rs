//! Sentences that several parts of a report share.

use super::percent;
use crate::compare::Handful;

/// How concentrated the worsening is, in words.
pub fn handful_sentence(handful: &Handful) -> String {
    if handful.types == 0 {
        return "No token type got worse.".to_owned();
    }
    let (verb, noun) = if handful.types == 1 { ("carries", "type") } else { ("carry", "types") };
    let carried =
        format!("{} token {noun} {verb} {} of the worsening.", handful.types, percent(handful.share_of_worsening));
    match (handful.held_out_share_of_top_10, handful.held_out_share_of_random_10) {
        (Some(worst), Some(random)) => format!(
            "{carried} The ten worst types of one half of the documents carry {} of the worsening in the other half; \
             ten types drawn at random carry {}.",
            percent(worst),
            percent(random)
        ),
        _ => format!("{carried} It could not be checked on another half of the text."),
    }
}
