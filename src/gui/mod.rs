//! The desktop application: a face over the same library calls as the command line.
//!
//! A page is a struct with the state of what is seen and a `show` that draws it. Nothing is computed while drawing: what a
//! page shows of a study is prepared when the study is opened ([`opened`]), what takes long happens on threads
//! ([`background`], [`queue`]). A page changes nothing but itself; what concerns the whole application it asks for
//! ([`Asks`]).
//!
//! Read [`app`] first; `home`, `new_study`, `live`, `study_page` and `devices` are the pages, and `scatter`, `table`, `card`,
//! `heat` and `strategies` what the page of a study shows.

pub mod against;
pub mod app;
pub mod background;
mod card;
mod columns;
mod curves;
mod devices;
pub mod export;
mod frames;
mod heat;
mod home;
pub mod library;
mod live;
mod marks;
mod new_study;
pub mod opened;
pub mod queue;
mod scatter;
pub mod settings;
mod strategies;
mod study_page;
mod table;
pub mod theme;
mod tokens;
mod window;
mod wording;

use std::path::PathBuf;

pub use app::App;
pub use window::{WindowOptions, run};

use queue::Job;

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// Recent studies, and what to do first.
    #[default]
    Home,
    /// A form that makes a study.
    NewStudy,
    /// The opened study.
    Study,
    /// What is running and queued.
    Live,
    /// The machine's devices and whether they compute right.
    Devices,
}

impl Page {
    /// All, in the order of the navigation.
    pub const ALL: [Self; 5] = [Self::Home, Self::NewStudy, Self::Study, Self::Live, Self::Devices];

    /// What the navigation calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::NewStudy => "New study",
            Self::Study => "Study",
            Self::Live => "Live",
            Self::Devices => "Devices",
        }
    }
}

/// What a page asks of the application.
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

/// What the pages asked for while one frame was drawn.
#[derive(Debug, Default)]
pub struct Asks(Vec<Ask>);

impl Asks {
    /// One more.
    pub fn push(&mut self, ask: Ask) {
        self.0.push(ask);
    }
}
