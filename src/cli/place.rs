//! How commands that train take the place of their result, and what they say of one that is there.

use std::path::Path;

use odyssey::adapt::{AdaptResult, Form, RunPlace};
use odyssey::error::Result;

use super::common::Common;

/// Takes the new folder `out` for `work`, the command's name. To go on is asked for by the user, or by a device that was
/// lost meanwhile.
pub fn take(out: &Path, form: Form, resume: bool, work: &str, common: &Common) -> Result<RunPlace> {
    let place = RunPlace::take(out, form, resume || common.again.get(), work)?;
    if let Some(checkpoint) = place.lacks_checkpoint().filter(|_| resume) {
        common.say(&format!("there is no {} to go on from: starting anew", checkpoint.display()));
    }
    Ok(place)
}

/// Says that nothing is left to do.
pub fn say_done(result: &AdaptResult, common: &Common) {
    common.say(&format!("{} has the whole result of this run already", result.out));
}
