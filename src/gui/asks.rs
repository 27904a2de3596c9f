//! What pages request of the application.

use std::path::PathBuf;

use super::pages::Page;
use super::queue::Job;

/// A request of a page to the application.
#[derive(Debug)]
pub enum Ask {
    /// Show this page.
    Go(Page),
    /// Ask which study to open.
    Choose,
    /// Open the study in this folder and show it.
    Open(PathBuf),
    /// Run this when its turn comes, and show how it goes.
    Run(Box<Job>),
    /// Say that something was done.
    Say(String),
    /// Say that something failed, and how to go on.
    Fail(String),
}

/// The requests of the pages during one frame.
#[derive(Debug, Default)]
pub struct Asks(pub(super) Vec<Ask>);

impl Asks {
    /// One more.
    pub fn push(&mut self, ask: Ask) {
        self.0.push(ask);
    }
}
