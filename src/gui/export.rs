//! What is shown, as files.

use super::Asks;
use super::opened::OpenStudy;

/// Writes the page, tables and figures into a folder that the user chooses.
pub fn all(_study: &OpenStudy, _asks: &mut Asks) {}
